//! What only an adapter calls: the parts of [`Sessions`] and [`SessionHandle`] that put them around
//! a request.

use std::sync::Arc;

use http::{Extensions, Response};

use crate::{
    error::SessionError,
    handle::SessionHandle,
    outcome::Outcome,
    response,
    session::Session,
    sessions::{self, Dispatch, Sessions},
};

/// How far a request could be finished without the store.
#[derive(Debug)]
#[must_use]
pub enum TryFinish {
    /// It is finished.
    Done(Result<Outcome, SessionError>),
    /// The session has to be written first.
    Unfinished(Unfinished),
}

/// The rest of a request that has to be finished.
#[derive(Debug)]
#[must_use = "the session is not written yet"]
pub struct Unfinished(Session);

impl Unfinished {
    /// Writes the session and sets the response's headers.
    ///
    /// # Errors
    ///
    /// As [`Sessions::finish`], and as cancel safe.
    pub async fn finish<B>(self, response: &mut Response<B>) -> Result<Outcome, SessionError> {
        sessions::finish_commit(&self.0, response).await
    }
}

impl Sessions {
    /// Does what [`finish`](Self::finish) does as far as no call to the store is needed, which is
    /// all of it for most requests.
    ///
    /// For adapters that care about the size of their futures.
    pub fn try_finish<B>(&self, handle: &SessionHandle, response: &mut Response<B>) -> TryFinish {
        match sessions::begin_finish(handle, response) {
            Dispatch::Done(result) => TryFinish::Done(result),
            Dispatch::Commit(session) => TryFinish::Unfinished(Unfinished(session)),
        }
    }

    /// Prepares an error response that replaces the response of a request.
    ///
    /// It carries the tokens of what is committed already: by [`Session::save`], and by session
    /// layers inside this one, which are found in the extensions of the response that is
    /// `replaced`.
    pub fn reject<B>(
        &self,
        handle: &SessionHandle,
        replaced: Option<&Extensions>,
        response: &mut Response<B>,
    ) {
        response::reject(
            handle.loaded().map(Session::shared),
            handle.is_accessed(),
            self.config().transports,
            replaced,
            response,
        );
    }
}

impl SessionHandle {
    /// Ends the request: from now on a write is an error, also to a session that is loaded later.
    ///
    /// [`Sessions::finish`] does this first. An adapter calls it if there is no response.
    pub fn close(&self) {
        self.close_session();
    }

    /// Tells the handle of a request that has just begun that another session layer surrounds it.
    ///
    /// If that layer has to [`reject`](Sessions::reject) the request, its response keeps this
    /// session's cookie. A handle that was cloned before is not changed.
    #[must_use]
    pub fn nested(mut self) -> Self {
        self.set_nested();
        self
    }

    /// Whether the request began with these sessions.
    pub fn is_of(&self, sessions: &Sessions) -> bool {
        self.config()
            .is_some_and(|config| Arc::ptr_eq(config, sessions.config()))
    }

    /// Whether somebody tried to load the session, so that the response may depend on it.
    pub fn accessed(&self) -> bool {
        self.is_accessed()
    }
}
