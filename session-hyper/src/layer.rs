//! What makes a [`SessionService`] of a service.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use session_core::{SessionError, Sessions};

use crate::service::{Options, SessionService};

/// Wraps services into [`SessionService`]. With the feature `tower` it is a tower layer.
#[derive(Clone, Debug)]
pub struct SessionLayer {
    options: Arc<Options>,
}

impl SessionLayer {
    /// A layer for these sessions.
    pub fn new(sessions: Sessions) -> Self {
        Self {
            options: Arc::new(Options::new(sessions)),
        }
    }

    /// As [`SessionService::eager`].
    pub fn eager(mut self, eager: bool) -> Self {
        Arc::make_mut(&mut self.options).eager(eager);
        self
    }

    /// As [`SessionService::on_error`].
    pub fn on_error(
        mut self,
        on_error: impl Fn(&SessionError) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.options).on_error(on_error);
        self
    }

    /// Wraps a service.
    pub fn wrap<S>(&self, inner: S) -> SessionService<S> {
        SessionService::with(self.options.clone(), inner)
    }
}

#[cfg(feature = "tower")]
impl<S> tower_layer::Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        self.wrap(inner)
    }
}
