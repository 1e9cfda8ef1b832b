//! Finding the session in a request.

use http::{Extensions, Request, request::Parts};
use session_core::SessionHandle;

/// Gives a request's session.
pub trait RequestSession {
    /// The session of the innermost layer. It costs nothing until it is loaded.
    ///
    /// Where no layer has seen the request, loading fails, and the log says what to add.
    fn session(&self) -> SessionHandle;

    /// The session whose cookie has this name, where several layers are stacked.
    fn session_named(&self, cookie_name: &str) -> SessionHandle;
}

impl<B> RequestSession for Request<B> {
    fn session(&self) -> SessionHandle {
        find(self.extensions(), None)
    }

    fn session_named(&self, cookie_name: &str) -> SessionHandle {
        find(self.extensions(), Some(cookie_name))
    }
}

impl RequestSession for Parts {
    fn session(&self) -> SessionHandle {
        find(&self.extensions, None)
    }

    fn session_named(&self, cookie_name: &str) -> SessionHandle {
        find(&self.extensions, Some(cookie_name))
    }
}

/// The handles of stacked layers, the innermost first.
#[derive(Clone, Debug)]
struct Handles {
    handle: SessionHandle,
    outer: Option<Box<Handles>>,
}

/// Adds the handle of one more layer.
pub(crate) fn add(extensions: &mut Extensions, handle: SessionHandle) {
    let outer = extensions.remove::<Handles>().map(Box::new);
    extensions.insert(Handles { handle, outer });
}

/// The handle of that cookie name that an outer layer has added, if one has.
pub(crate) fn present(extensions: &Extensions, cookie_name: Option<&str>) -> Option<SessionHandle> {
    let mut handles = extensions.get::<Handles>();
    while let Some(Handles { handle, outer }) = handles {
        if cookie_name.is_none() || handle.cookie_name() == cookie_name {
            return Some(handle.clone());
        }
        handles = outer.as_deref();
    }
    None
}

fn find(extensions: &Extensions, cookie_name: Option<&str>) -> SessionHandle {
    present(extensions, cookie_name).unwrap_or_else(|| {
        tracing::error!(
            cookie = cookie_name.unwrap_or("any"),
            "no session in this request: wrap the service in SessionService::new(sessions, service), \
             or add Router::layer(SessionLayer::new(sessions)) outside of the routes that use it"
        );
        SessionHandle::missing()
    })
}
