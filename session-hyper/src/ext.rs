//! The session in the extensions of a request.

use http::{Extensions, Request, request::Parts};
use session_core::{SessionHandle, Sessions};

/// Returns the session of a request.
///
/// # Examples
///
/// ```
/// use http::Request;
/// use session_hyper::{SessionError, SessionRequestExt};
///
/// async fn greeting<B>(request: &Request<B>) -> Result<String, SessionError> {
///     let session = request.session().load().await?;
///     Ok(format!("Hello, {}", session.principal().as_deref().unwrap_or("stranger")))
/// }
/// ```
pub trait SessionRequestExt {
    /// Returns the session of the innermost layer. It costs nothing until it is loaded.
    ///
    /// If no session layer has processed the request, loading it is an error, and the log says what
    /// to add.
    fn session(&self) -> SessionHandle;

    /// Returns the session whose cookie has this name, if several layers are stacked.
    fn session_named(&self, cookie_name: &str) -> SessionHandle;
}

impl<B> SessionRequestExt for Request<B> {
    fn session(&self) -> SessionHandle {
        get_or_missing(self.extensions(), None)
    }

    fn session_named(&self, cookie_name: &str) -> SessionHandle {
        get_or_missing(self.extensions(), Some(cookie_name))
    }
}

impl SessionRequestExt for Parts {
    fn session(&self) -> SessionHandle {
        get_or_missing(&self.extensions, None)
    }

    fn session_named(&self, cookie_name: &str) -> SessionHandle {
        get_or_missing(&self.extensions, Some(cookie_name))
    }
}

/// The handles of stacked layers, a list that begins with the innermost layer.
#[derive(Clone, Debug)]
struct Handles {
    handle: SessionHandle,
    outer: Option<Box<Handles>>,
}

/// Makes this the handle of the innermost layer.
pub(crate) fn push(extensions: &mut Extensions, handle: SessionHandle) {
    let outer = extensions.remove::<Handles>().map(Box::new);
    extensions.insert(Handles { handle, outer });
}

/// Returns the handle of the innermost layer, or of the one whose cookie has this name.
pub(crate) fn get(extensions: &Extensions, cookie_name: Option<&str>) -> Option<SessionHandle> {
    let mut handles = handles(extensions);
    let found = match cookie_name {
        None => handles.next(),
        Some(_) => handles.find(|handle| handle.cookie_name() == cookie_name),
    };
    found.cloned()
}

/// Returns the handle that an outer layer began with these sessions.
pub(crate) fn begun_with(extensions: &Extensions, sessions: &Sessions) -> Option<SessionHandle> {
    handles(extensions)
        .find(|handle| handle.is_of(sessions))
        .cloned()
}

fn get_or_missing(extensions: &Extensions, cookie_name: Option<&str>) -> SessionHandle {
    get(extensions, cookie_name).unwrap_or_else(|| {
        tracing::error!(
            cookie = cookie_name.unwrap_or("any"),
            "no session in this request: wrap the service in \
             SessionService::new(sessions, service), or add \
             Router::layer(SessionLayer::new(sessions)) outside of the routes that use it"
        );
        SessionHandle::missing()
    })
}

fn handles(extensions: &Extensions) -> impl Iterator<Item = &SessionHandle> {
    let innermost = extensions.get::<Handles>();
    std::iter::successors(innermost, |handles| handles.outer.as_deref())
        .map(|handles| &handles.handle)
}
