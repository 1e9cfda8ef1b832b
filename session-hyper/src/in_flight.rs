//! A request on its way through a service: its session begins with the request and is committed
//! before the response leaves.

use std::{any::Any, error::Error, future::Future, ops::ControlFlow, pin::Pin, sync::Arc};

use http::{Extensions, Request, Response};
use session_core::{Outcome, OutcomeKind, SessionError, SessionHandle, TryFinish};

use crate::{body::SessionBody, error_response::HandlerError, ext, options::Options, report};

/// What a service returns for a request.
pub(crate) type ServiceResult<B, E> = Result<Response<SessionBody<B>>, E>;
/// The rest of a request that needs the store.
pub(crate) type Commit<B, E> = Pin<Box<dyn Future<Output = ServiceResult<B, E>> + Send>>;

/// A request whose response has not been sent. When it is dropped its session is closed, also if
/// the service fails or panics.
pub(crate) struct InFlight {
    options: Arc<Options>,
    handle: SessionHandle,
}

impl InFlight {
    /// Begins a request: puts its session into its extensions.
    ///
    /// `None` if an outer layer has begun the session already. That layer will finish it.
    pub(crate) fn begin<A>(options: &Arc<Options>, request: &mut Request<A>) -> Option<Self> {
        let extensions = request.extensions();
        if let Some(outer) = ext::begun_with(extensions, &options.sessions) {
            ext::push(request.extensions_mut(), outer);
            return None;
        }
        let mut handle = options.sessions.begin(request);
        if let Some(outer) = ext::get(request.extensions(), handle.cookie_name()) {
            tracing::error!(
                cookie = handle.cookie_name(),
                "two session layers set a cookie of the same name, so the session of the outer one \
                 is used: give one of them another name with CookieOptions::name"
            );
            ext::push(request.extensions_mut(), outer);
            return None;
        }
        if ext::get(request.extensions(), None).is_some() {
            handle = handle.nested();
        }
        ext::push(request.extensions_mut(), handle.clone());
        Some(Self {
            options: options.clone(),
            handle,
        })
    }

    /// Finishes the request: commits the session, at once if that needs no call to the store.
    pub(crate) fn finish<B, E>(
        self,
        result: Result<Response<B>, E>,
    ) -> ControlFlow<ServiceResult<B, E>, Commit<B, E>>
    where
        B: Send + 'static,
        E: 'static,
    {
        let mut response = match result {
            Ok(response) => response,
            Err(error) => return ControlFlow::Break(self.failed(error)),
        };
        // a session error that the handler turned into a response itself, which the layer's own
        // response replaces
        let handled = response.extensions_mut().remove::<HandlerError>();
        let sessions = &self.options.sessions;
        match sessions.try_finish(&self.handle, &mut response) {
            TryFinish::Done(result) => {
                ControlFlow::Break(Ok(self.respond(result, handled, response)))
            }
            TryFinish::Unfinished(unfinished) => ControlFlow::Continue(Box::pin(async move {
                let result = unfinished.finish(&mut response).await;
                Ok(self.respond(result, handled, response))
            })),
        }
    }

    fn respond<B>(
        &self,
        result: Result<Outcome, SessionError>,
        handled: Option<HandlerError>,
        response: Response<B>,
    ) -> Response<SessionBody<B>> {
        let outcome = match result {
            Err(error) => return self.reject(&error, Some(response.extensions())),
            Ok(outcome) => outcome,
        };
        // a request that fails without an effect on its session counts once, as an error
        if handled.is_none() || outcome.kind() != OutcomeKind::Untouched {
            report::outcome(&outcome);
        }
        match handled {
            Some(HandlerError(error)) => self.reject(&error, None),
            None => response.map(SessionBody::service),
        }
    }

    /// A service may fail with a session error, which is answered; other errors are returned.
    fn failed<B, E: 'static>(&self, error: E) -> ServiceResult<B, E> {
        match session_error(&error) {
            Some(error) => Ok(self.reject(error, None)),
            None => Err(error),
        }
    }

    /// Makes the response to an error, which replaces another response if there is one.
    fn reject<B>(
        &self,
        error: &SessionError,
        replaced: Option<&Extensions>,
    ) -> Response<SessionBody<B>> {
        report::error(error);
        let mut response = self.options.on_error(error).map(SessionBody::error);
        let sessions = &self.options.sessions;
        sessions.reject(&self.handle, replaced, &mut response);
        response
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// The session error that a service failed with, as it is or in a box.
fn session_error<E: 'static>(error: &E) -> Option<&SessionError> {
    let error: &dyn Any = error;
    error.downcast_ref::<SessionError>().or_else(|| {
        let boxed = error.downcast_ref::<Box<dyn Error + Send + Sync>>()?;
        boxed.downcast_ref::<SessionError>()
    })
}
