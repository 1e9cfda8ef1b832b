//! The service around a service.

use std::sync::Arc;
#[cfg(feature = "tower")]
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use session_core::{SessionError, Sessions};

use crate::{body::SessionBody, future::SessionFuture, in_flight::InFlight, options::Options};

/// Gives a session to every request of the inner service.
///
/// Implements `hyper::service::Service`, and with the feature `tower` also
/// `tower_service::Service`. The session is committed when the inner service has returned its
/// response, before the head is sent; a streaming body is not waited for. If the inner service
/// panics or is cancelled, nothing is committed. If it fails with a [`SessionError`], as such or in
/// a `Box<dyn Error + Send + Sync>`, the client gets the [error response](crate::error_response())
/// instead of a broken connection; every other error is returned.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "memory")]
/// # fn service() -> Result<(), Box<dyn std::error::Error>> {
/// use http::{Request, Response};
/// use hyper::service::service_fn;
/// use session_hyper::{
///     MemoryStore, SessionError, SessionRequestExt, SessionService, Sessions, SigningKeys,
/// };
///
/// async fn greet<B>(request: Request<B>) -> Result<Response<String>, SessionError> {
///     let session = request.session().load().await?;
///     let name = session.principal().unwrap_or("stranger".into());
///     Ok(Response::new(format!("Hello, {name}")))
/// }
///
/// let sessions = Sessions::builder(MemoryStore::new())
///     .signing_keys(SigningKeys::random()?)
///     .build()?;
/// let service = SessionService::new(sessions, service_fn(greet::<hyper::body::Incoming>));
/// # let _ = service;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    options: Arc<Options>,
}

impl<S> SessionService<S> {
    /// Wraps a service.
    pub fn new(sessions: Sessions, inner: S) -> Self {
        Self::with_options(Arc::new(Options::new(sessions)), inner)
    }

    pub(crate) fn with_options(options: Arc<Options>, inner: S) -> Self {
        Self { inner, options }
    }

    /// Makes the responses to errors with this function instead of
    /// [`error_response`](crate::error_response()).
    ///
    /// The library adds the session's headers to what the function returns.
    pub fn on_error(
        mut self,
        on_error: impl Fn(&SessionError) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.options).set_on_error(on_error);
        self
    }
}

impl<S, A, B> hyper::service::Service<Request<A>> for SessionService<S>
where
    S: hyper::service::Service<Request<A>, Response = Response<B>>,
    S::Error: 'static,
    B: Send + 'static,
{
    type Response = Response<SessionBody<B>>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, B, S::Error>;

    fn call(&self, mut request: Request<A>) -> Self::Future {
        let in_flight = InFlight::begin(&self.options, &mut request);
        SessionFuture::new(in_flight, self.inner.call(request))
    }
}

#[cfg(feature = "tower")]
impl<S, A, B> tower_service::Service<Request<A>> for SessionService<S>
where
    S: tower_service::Service<Request<A>, Response = Response<B>>,
    S::Error: 'static,
    B: Send + 'static,
{
    type Response = Response<SessionBody<B>>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let in_flight = InFlight::begin(&self.options, &mut request);
        SessionFuture::new(in_flight, self.inner.call(request))
    }
}
