//! What the clones of a session share.

use std::sync::Arc;

use crate::{
    cell::Cell,
    config::Config,
    error::SessionError,
    request_context::RequestContext,
    state::{NewSession, State},
};

pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) request: RequestContext,
    pub(crate) cell: Cell,
}

impl Shared {
    pub(crate) fn new(config: Arc<Config>, request: RequestContext, state: State) -> Self {
        Self {
            config,
            request,
            cell: Cell::new(state),
        }
    }

    /// A session that would begin now, with a token.
    pub(crate) fn new_session(&self) -> Result<NewSession, SessionError> {
        let token = Some(self.request.new_token(&self.config)?);
        Ok(NewSession {
            token,
            ..self.request.new_session(&self.config)
        })
    }
}
