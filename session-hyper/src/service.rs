//! The service around a service: begins the session, calls, commits, and only then lets the head of the response go.

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use session_core::{SessionError, SessionHandle, Sessions};

use crate::{
    body::SessionBody,
    ext, outcome,
    reject::{self, OnError, Rejected},
};

/// Gives every request of the inner service a session.
///
/// Implements `hyper::service::Service`, and with the feature `tower` also `tower_service::Service`. The session is committed
/// when the inner service has answered and before its head is sent; a body that streams on is not waited for. An inner
/// service that fails or panics commits nothing. One that fails with a [`SessionError`] is answered by the table of
/// [`status`](crate::status) instead of a broken connection.
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    options: Options,
}

#[derive(Clone)]
pub(crate) struct Options {
    sessions: Sessions,
    eager: bool,
    on_error: OnError,
}

impl<S> SessionService<S> {
    /// Wraps a service.
    pub fn new(sessions: Sessions, inner: S) -> Self {
        Self::with(Options::new(sessions), inner)
    }

    pub(crate) fn with(options: Options, inner: S) -> Self {
        Self { inner, options }
    }

    /// Loads every session before the inner service is called, so that an outage is answered before it does anything.
    pub fn eager(mut self, eager: bool) -> Self {
        self.options.eager(eager);
        self
    }

    /// Answers errors by this function instead of [`reject`](crate::reject()).
    pub fn on_error(mut self, on_error: impl Fn(&SessionError) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        self.options.on_error(on_error);
        self
    }
}

impl<S, A, B> hyper::service::Service<Request<A>> for SessionService<S>
where
    S: hyper::service::Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<SessionBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, request: Request<A>) -> Self::Future {
        let (options, inner) = (self.options.clone(), self.inner.clone());
        Box::pin(async move { options.serve(request, move |request| inner.call(request)).await })
    }
}

#[cfg(feature = "tower")]
impl<S, A, B> tower_service::Service<Request<A>> for SessionService<S>
where
    S: tower_service::Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<SessionBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // the service that was polled ready is the one to call
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let options = self.options.clone();
        Box::pin(async move { options.serve(request, |request| inner.call(request)).await })
    }
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("inner", &self.inner).field("options", &self.options).finish()
    }
}

impl Options {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Self { sessions, eager: false, on_error: Arc::new(reject::reject) }
    }

    pub(crate) fn eager(&mut self, eager: bool) {
        self.eager = eager;
    }

    pub(crate) fn on_error(&mut self, on_error: impl Fn(&SessionError) -> Response<Bytes> + Send + Sync + 'static) {
        self.on_error = Arc::new(on_error);
    }

    /// One request, from its first byte to the head of its response.
    async fn serve<A, B, E: 'static, F>(
        self,
        mut request: Request<A>,
        call: impl FnOnce(Request<A>) -> F,
    ) -> Result<Response<SessionBody<B>>, E>
    where
        F: Future<Output = Result<Response<B>, E>>,
    {
        if let Some(outer) = ext::present(request.extensions(), Some(self.sessions.cookie_name())) {
            if !outer.is_of(&self.sessions) {
                tracing::error!(
                    cookie = self.sessions.cookie_name(),
                    "two session layers write the same cookie, and the options of the inner one do not count: \
                     give one of them another name with CookieOptions::name"
                );
            }
            return Ok(call(request).await?.map(SessionBody::service));
        }
        let handle = self.sessions.begin(&request);
        let _close = Close(&handle);
        if self.eager
            && handle.in_scope()
            && let Err(error) = handle.load().await
        {
            return Ok(self.answer(&error, &handle));
        }
        ext::add(request.extensions_mut(), handle.clone());
        let mut response = match call(request).await {
            Ok(response) => response,
            Err(error) => match session_error(&error) {
                Some(error) => return Ok(self.answer(error, &handle)),
                None => return Err(error),
            },
        };
        let rejected = response.extensions_mut().remove::<Rejected>();
        match self.sessions.finish(&handle, &mut response).await {
            Err(error) => Ok(self.answer(&error, &handle)),
            Ok(outcome) => {
                outcome::committed(outcome);
                match rejected {
                    // its session was committed all the same
                    Some(Rejected(error)) => Ok(self.answer(&error, &handle)),
                    None => Ok(response.map(SessionBody::service)),
                }
            }
        }
    }

    /// The answer to an error. Nothing is said of the session but what a completed `save` has made true.
    fn answer<B>(&self, error: &SessionError, handle: &SessionHandle) -> Response<SessionBody<B>> {
        outcome::failed(error);
        let mut response = (self.on_error)(error).map(SessionBody::error);
        if let Some(cookie) = handle.settled_cookie() {
            response.headers_mut().append(header::SET_COOKIE, cookie);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if handle.asked() {
            response.headers_mut().append(header::VARY, HeaderValue::from_static("Cookie"));
        }
        response
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("sessions", &self.sessions).field("eager", &self.eager).finish_non_exhaustive()
    }
}

/// Closes the session however the request ends: also where the service fails, panics or is dropped.
struct Close<'a>(&'a SessionHandle);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The session error that a service failed with, as such or in a box.
fn session_error<E: 'static>(error: &E) -> Option<&SessionError> {
    let error: &dyn Any = error;
    error.downcast_ref::<SessionError>().or_else(|| {
        let boxed = error.downcast_ref::<Box<dyn std::error::Error + Send + Sync>>()?;
        boxed.downcast_ref::<SessionError>()
    })
}
