//! What a request costs in store calls.

use http::StatusCode;
use integration_tests::{App, text};
use session_core::testing::Call;
use session_hyper::RequestSession;
use test_support::Browser;

use super::{COOKIE, Tested, VIEWS, count};
use crate::visit::{finish, on_every_store, request, sessions, set_cookies};

on_every_store! {
    anonymous_requests_make_no_store_calls
    each_kind_of_request_makes_a_fixed_number_of_store_calls
}

async fn anonymous_requests_make_no_store_calls(store: Tested) {
    let sessions = sessions(&store);
    for n in 0..40_000 {
        let mut browser = Browser::new();
        if n % 4 == 3 {
            browser.set_cookie(COOKIE, &format!("v1.forged{n}.mac"));
        }
        let handle = sessions.begin(&request(&browser));
        if n % 2 == 0 {
            assert_eq!(
                handle
                    .load()
                    .await
                    .expect("no store needed")
                    .get(VIEWS)
                    .expect("a number"),
                None
            );
        }
        let (_, response) = finish(&sessions, &handle, &mut browser)
            .await
            .expect("no fault");
        assert!(set_cookies(&response).is_empty());
    }
    assert_eq!(store.take_calls(), []);
    assert!(store.inner().is_empty());
}

/// No call for a request that does not use the session, one call for a read, one more for a write.
async fn each_kind_of_request_makes_a_fixed_number_of_store_calls(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let handle = request.session();
        match request.uri().path() {
            "/untouched" => text(""),
            "/read" => text(handle.load().await?.get(VIEWS)?.unwrap_or(0).to_string()),
            "/write" => text(count(&handle.load().await?).to_string()),
            "/renew" => {
                handle.load().await?.renew();
                text("")
            }
            _ => {
                handle.load().await?.destroy();
                text("")
            }
        }
    })
    .await;
    let mut browser = Browser::new();
    for (path, expected) in [
        ("/untouched", &[][..]),
        ("/read", &[]),
        ("/write", &[Call::Create]),
        ("/untouched", &[]),
        ("/read", &[Call::Load]),
        ("/write", &[Call::Load, Call::Save]),
        ("/renew", &[Call::Load, Call::Save]),
        ("/logout", &[Call::Load, Call::Destroy]),
        ("/read", &[]),
    ] {
        let response = browser.get(app.addr(), path).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(store.take_calls(), expected, "{path}");
        let silent = path == "/untouched";
        assert_eq!(response.headers().contains_key("vary"), !silent, "{path}");
        assert_eq!(
            response.headers().contains_key("cache-control"),
            !silent,
            "{path}"
        );
    }
}
