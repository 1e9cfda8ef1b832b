//! The promises, each shown on the sequence that breaks it elsewhere. `T` numbers are the acceptance tests.

use integration_tests::{App, Browser, Call, ManualClock, TestStore, keys, text};
use session_core::{CookieOptions, Key, Sessions};
use session_hyper::RequestSession;

const VIEWS: Key<u32> = Key::new("views");

fn sessions(store: &TestStore) -> Sessions {
    Sessions::builder(store.clone()).signing_keys(keys()).build().expect("legal options")
}

#[tokio::test]
async fn smoke() {
    let store = TestStore::default();
    let app = App::start(sessions(&store), |request| async move {
        let session = request.session().load().await?;
        text(session.update(VIEWS, |views| views.unwrap_or(0) + 1)?.to_string())
    })
    .await;
    let mut browser = Browser::new();
    assert_eq!(browser.get(app.addr(), "/").await.body(), "1");
    assert_eq!(browser.get(app.addr(), "/").await.body(), "2");
    assert_eq!(store.take_calls(), [Call::Create, Call::Load, Call::Save]);
    let _ = (ManualClock::default(), CookieOptions::new());
}
