//! Sessions for tests, and the cookies of their responses.

use http::{HeaderMap, Request, header};
use session_core::{Builder, Sessions, SigningKeys, testing::TestStore};

/// Options for sessions on this store.
pub(crate) fn builder(store: &TestStore) -> Builder {
    let keys = SigningKeys::new(["a signing key of at least 32 bytes"]).expect("long enough");
    Sessions::builder(store.clone()).signing_keys(keys)
}

/// Sessions on this store with default options.
pub(crate) fn sessions(store: &TestStore) -> Sessions {
    builder(store).build().expect("valid options")
}

/// A request with these cookies.
pub(crate) fn request(cookies: &[String]) -> Request<String> {
    let mut request = Request::new(String::new());
    for cookie in cookies {
        let value = cookie.parse().expect("a header value");
        request.headers_mut().append(header::COOKIE, value);
    }
    request
}

/// The `name=value` pairs that a response sets.
pub(crate) fn set_cookies(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::SET_COOKIE).iter();
    values
        .map(|value| {
            let text = value.to_str().expect("text");
            text.split(';').next().expect("a pair").to_owned()
        })
        .collect()
}
