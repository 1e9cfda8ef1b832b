//! A request under way: the inner service's answer, then the commit, and only then the head of the response.

use std::{
    any::Any,
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use session_core::{Finished, Outcome, SessionError, SessionHandle};

use crate::{body::SessionBody, outcome, reject::Rejected, service::Options};

type Answer<B, E> = Result<Response<SessionBody<B>>, E>;
type Boxed<B, E> = Pin<Box<dyn Future<Output = Answer<B, E>> + Send>>;

pin_project! {
    /// The answer of a [`SessionService`](crate::SessionService): the inner service's, once its session is settled.
    ///
    /// A request that asks nothing of the store costs no allocation here, unless its session is loaded eagerly.
    pub struct SessionFuture<F, B, E> {
        #[pin]
        step: Step<F, B, E>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, B, E> {
        /// The inner service works.
        Calling {
            #[pin]
            call: F,
            running: Option<Running>,
        },
        /// The store works.
        Waiting { answer: Boxed<B, E> },
        /// The answer is out, or about to be.
        Done,
    }
}

impl<F, B, E> SessionFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Send + 'static,
    E: Send + 'static,
{
    /// A call that has begun; without `running`, its answer is passed on as it is.
    pub(crate) fn new(running: Option<Running>, call: F) -> Self {
        Self {
            step: Step::Calling { call, running },
        }
    }

    /// A call that begins when its session has been loaded.
    pub(crate) fn eager<A>(
        running: Running,
        request: Request<A>,
        call: impl FnOnce(Request<A>) -> F + Send + 'static,
    ) -> Self
    where
        F: Send,
        A: Send + 'static,
    {
        let answer = Box::pin(async move {
            if let Err(error) = running.handle.load().await {
                return Ok(running.reject(&error));
            }
            Self::new(Some(running), call(request)).await
        });
        Self {
            step: Step::Waiting { answer },
        }
    }
}

impl<F, B, E> Future for SessionFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Send + 'static,
    E: Send + 'static,
{
    type Output = Answer<B, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut step = self.as_mut().project().step;
            let (answered, running) = match step.as_mut().project() {
                StepProjection::Calling { call, running } => {
                    (ready!(call.poll(cx)), running.take())
                }
                StepProjection::Waiting { answer } => return answer.as_mut().poll(cx),
                StepProjection::Done => panic!("`SessionFuture` polled after its answer"),
            };
            // what the inner service leaves behind is gone before its session is settled
            step.set(Step::Done);
            let Some(running) = running else {
                return Poll::Ready(answered.map(|response| response.map(SessionBody::service)));
            };
            match running.finish(answered) {
                ControlFlow::Break(answer) => return Poll::Ready(answer),
                ControlFlow::Continue(answer) => step.set(Step::Waiting { answer }),
            }
        }
    }
}

/// A request between its first byte and the head of its response. However it ends, also where the service fails, panics or is
/// dropped, its session is then closed.
pub(crate) struct Running {
    pub(crate) options: Arc<Options>,
    pub(crate) handle: SessionHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl Running {
    /// Settles the session, at once where the store is not needed for it.
    fn finish<B, E>(
        self,
        answered: Result<Response<B>, E>,
    ) -> ControlFlow<Answer<B, E>, Boxed<B, E>>
    where
        B: Send + 'static,
        E: Send + 'static,
    {
        let mut response = match answered {
            Ok(response) => response,
            Err(error) => return ControlFlow::Break(self.failed(error)),
        };
        match self
            .options
            .sessions
            .try_finish(&self.handle, &mut response)
        {
            Finished::Done(outcome) => ControlFlow::Break(Ok(self.finished(outcome, response))),
            Finished::Unsettled(unsettled) => ControlFlow::Continue(Box::pin(async move {
                let outcome = unsettled.finish(&mut response).await;
                Ok(self.finished(outcome, response))
            })),
        }
    }

    fn finished<B>(
        &self,
        outcome: Result<Outcome, SessionError>,
        mut response: Response<B>,
    ) -> Response<SessionBody<B>> {
        // the session of a rejection was committed all the same
        let rejected = response.extensions_mut().remove::<Rejected>();
        match outcome {
            Err(error) => self.reject(&error),
            Ok(outcome) => {
                outcome::committed(outcome);
                match rejected {
                    Some(Rejected(error)) => self.reject(&error),
                    None => response.map(SessionBody::service),
                }
            }
        }
    }

    /// An inner service that fails with a session error meant it for the table; other failures are passed on.
    fn failed<B, E: 'static>(&self, error: E) -> Answer<B, E> {
        match session_error(&error) {
            Some(error) => Ok(self.reject(error)),
            None => Err(error),
        }
    }

    /// The answer to an error. Nothing is said of the session but what a completed `save` has made true.
    fn reject<B>(&self, error: &SessionError) -> Response<SessionBody<B>> {
        outcome::failed(error);
        let mut response = (self.options.on_error)(error).map(SessionBody::error);
        if let Some(cookie) = self.handle.settled_cookie() {
            response.headers_mut().append(header::SET_COOKIE, cookie);
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if self.handle.asked() {
            response
                .headers_mut()
                .append(header::VARY, HeaderValue::from_static("Cookie"));
        }
        response
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

impl<F, B, E> std::fmt::Debug for SessionFuture<F, B, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}
