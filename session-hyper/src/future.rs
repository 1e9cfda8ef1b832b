//! The future of a request: the inner service first, then the commit, and only then the head of the
//! response.

use std::{
    fmt,
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use crate::{
    body::SessionBody,
    in_flight::{Commit, InFlight, ServiceResult},
};

pin_project! {
    /// The future of a [`SessionService`](crate::SessionService): resolves to the response when the
    /// session is committed.
    ///
    /// A request that needs no call to the store costs no allocation here.
    #[must_use = "futures do nothing unless polled"]
    pub struct SessionFuture<F, B, E> {
        #[pin]
        state: State<F, B, E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, B, E> {
        /// The inner service works.
        Calling {
            #[pin]
            call: F,
            in_flight: Option<InFlight>,
        },
        /// The store works.
        Committing { commit: Commit<B, E> },
        /// The response was returned.
        Done,
    }
}

impl<F, B, E> SessionFuture<F, B, E> {
    /// Wraps the call of an inner service. Without `in_flight` its response is returned as it is.
    pub(crate) fn new(in_flight: Option<InFlight>, call: F) -> Self {
        Self {
            state: State::Calling { call, in_flight },
        }
    }
}

impl<F, B, E> Future for SessionFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Send + 'static,
    E: 'static,
{
    type Output = ServiceResult<B, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut state = self.as_mut().project().state;
            let (result, in_flight) = match state.as_mut().project() {
                StateProjection::Calling { call, in_flight } => {
                    (ready!(call.poll(cx)), in_flight.take())
                }
                StateProjection::Committing { commit } => {
                    let result = ready!(commit.as_mut().poll(cx));
                    state.set(State::Done);
                    return Poll::Ready(result);
                }
                StateProjection::Done => panic!("`SessionFuture` polled after completion"),
            };
            // drops what the inner service holds before the session is committed
            state.set(State::Done);
            let Some(in_flight) = in_flight else {
                return Poll::Ready(result.map(|response| response.map(SessionBody::service)));
            };
            match in_flight.finish(result) {
                ControlFlow::Break(result) => return Poll::Ready(result),
                ControlFlow::Continue(commit) => state.set(State::Committing { commit }),
            }
        }
    }
}

impl<F, B, E> fmt::Debug for SessionFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}
