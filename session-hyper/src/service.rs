//! The service around a service: begins the session and calls. What follows is the [future](SessionFuture)'s business.

#[cfg(feature = "tower")]
use std::task::{Context, Poll};
use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use session_core::{SessionError, Sessions};

use crate::{
    body::SessionBody,
    ext,
    future::{Running, SessionFuture},
    reject::{self, OnError},
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
    options: Arc<Options>,
}

/// What a layer was told, for all its requests.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) sessions: Sessions,
    eager: bool,
    pub(crate) on_error: OnError,
}

impl<S> SessionService<S> {
    /// Wraps a service.
    pub fn new(sessions: Sessions, inner: S) -> Self {
        Self::with(Arc::new(Options::new(sessions)), inner)
    }

    pub(crate) fn with(options: Arc<Options>, inner: S) -> Self {
        Self { inner, options }
    }

    /// Loads every session before the inner service is called, so that an outage is answered before it does anything.
    pub fn eager(mut self, eager: bool) -> Self {
        Arc::make_mut(&mut self.options).eager(eager);
        self
    }

    /// Answers errors by this function instead of [`reject`](crate::reject()).
    pub fn on_error(
        mut self,
        on_error: impl Fn(&SessionError) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.options).on_error(on_error);
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
    type Future = SessionFuture<S::Future, B, S::Error>;

    fn call(&self, request: Request<A>) -> Self::Future {
        match self.options.begin(request) {
            Begun::Now(begun, request) => SessionFuture::new(begun, self.inner.call(request)),
            Begun::Eager(begun, request) => {
                let inner = self.inner.clone();
                SessionFuture::eager(begun, request, move |request| inner.call(request))
            }
        }
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
    type Future = SessionFuture<S::Future, B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match self.options.begin(request) {
            Begun::Now(begun, request) => SessionFuture::new(begun, self.inner.call(request)),
            Begun::Eager(begun, request) => {
                // the service that was polled ready is the one to call
                let next = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, next);
                SessionFuture::eager(begun, request, move |request| inner.call(request))
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService")
            .field("inner", &self.inner)
            .field("options", &self.options)
            .finish()
    }
}

impl Options {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Self {
            sessions,
            eager: false,
            on_error: Arc::new(reject::reject),
        }
    }

    pub(crate) fn eager(&mut self, eager: bool) {
        self.eager = eager;
    }

    pub(crate) fn on_error(
        &mut self,
        on_error: impl Fn(&SessionError) -> Response<Bytes> + Send + Sync + 'static,
    ) {
        self.on_error = Arc::new(on_error);
    }

    /// Gives a request its session.
    fn begin<A>(self: &Arc<Self>, mut request: Request<A>) -> Begun<A> {
        if let Some(outer) = ext::present(request.extensions(), Some(self.sessions.cookie_name())) {
            if !outer.is_of(&self.sessions) {
                tracing::error!(
                    cookie = self.sessions.cookie_name(),
                    "two session layers write the same cookie, and the options of the inner one do not count: \
                     give one of them another name with CookieOptions::name"
                );
            }
            return Begun::Now(None, request);
        }
        let handle = self.sessions.begin(&request);
        ext::add(request.extensions_mut(), handle.clone());
        let eager = self.eager && handle.in_scope();
        let running = Running {
            options: self.clone(),
            handle,
        };
        if eager {
            Begun::Eager(running, request)
        } else {
            Begun::Now(Some(running), request)
        }
    }
}

/// A request that has its session.
enum Begun<A> {
    /// The inner service is called at once. `None` where an outer layer has given the request this session, and will finish it.
    Now(Option<Running>, Request<A>),
    /// The session is loaded first.
    Eager(Running, Request<A>),
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("sessions", &self.sessions)
            .field("eager", &self.eager)
            .finish_non_exhaustive()
    }
}
