//! What a request costs in store calls, over a socket.

use http::StatusCode;
use integration_tests::{App, text};
use session_core::testing::Call;
use session_hyper::SessionRequestExt;
use test_support::Browser;

use super::{VIEWS, count};
use crate::visit::{Tested, on_every_store, sessions};

on_every_store! {
    each_kind_of_request_makes_a_fixed_number_of_store_calls
}

/// No call for a request that does not use the session, one call for a read, one more for a write.
async fn each_kind_of_request_makes_a_fixed_number_of_store_calls(store: Tested) {
    let app = App::start(sessions(&store), |request| async move {
        let handle = request.session();
        match request.uri().path() {
            "/untouched" => return text(""),
            "/read" => return text(handle.load().await?.get(VIEWS)?.unwrap_or(0).to_string()),
            "/write" => drop(count(&handle.load().await?)?),
            "/renew" => handle.load().await?.renew()?,
            "/login" => handle.load().await?.log_in("ann")?,
            "/switch" => handle.load().await?.log_in("bob")?,
            "/regenerate" => handle.load().await?.regenerate()?,
            _ => handle.load().await?.destroy()?,
        }
        text("")
    })
    .await;
    let mut browser = Browser::new();
    for (path, expected) in [
        ("/untouched", &[][..]),
        ("/read", &[]),
        ("/logout", &[]),
        ("/write", &[Call::Create]),
        ("/untouched", &[]),
        ("/read", &[Call::Load]),
        ("/write", &[Call::Load, Call::Save]),
        ("/renew", &[Call::Load, Call::Save]),
        ("/login", &[Call::Load, Call::Save]),
        ("/login", &[Call::Load, Call::Save]),
        ("/switch", &[Call::Load, Call::Create, Call::Destroy]),
        ("/regenerate", &[Call::Load, Call::Create, Call::Destroy]),
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
