//! The options of a layer, which all its services share.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Response;
use session_core::{SessionError, Sessions};

use crate::error_response::error_response;

/// Makes the response to an error.
type OnError = Arc<dyn Fn(&SessionError) -> Response<Bytes> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) sessions: Sessions,
    on_error: OnError,
}

impl Options {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Self {
            sessions,
            on_error: Arc::new(error_response),
        }
    }

    pub(crate) fn set_on_error(
        &mut self,
        on_error: impl Fn(&SessionError) -> Response<Bytes> + Send + Sync + 'static,
    ) {
        self.on_error = Arc::new(on_error);
    }

    /// Makes the response to an error.
    pub(crate) fn on_error(&self, error: &SessionError) -> Response<Bytes> {
        (self.on_error)(error)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
