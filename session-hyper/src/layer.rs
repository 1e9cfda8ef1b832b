//! The layer that wraps services in [`SessionService`].

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use session_core::{SessionError, Sessions};

use crate::{options::Options, service::SessionService};

/// Wraps services in [`SessionService`]. With the feature `tower` it implements
/// `tower_layer::Layer`.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "memory")]
/// # fn layer() -> Result<(), Box<dyn std::error::Error>> {
/// use session_hyper::{MemoryStore, SessionLayer, Sessions, SigningKeys, error_response};
///
/// let sessions = Sessions::builder(MemoryStore::new())
///     .signing_keys(SigningKeys::random()?)
///     .build()?;
/// let layer = SessionLayer::new(sessions).on_error(|error| {
///     let response = error_response(error);
///     let text = format!("<h1>{}</h1>", response.status());
///     response.map(|_| text.into())
/// });
/// let service = hyper::service::service_fn(async |_: http::Request<String>| {
///     Ok::<_, std::convert::Infallible>(http::Response::new("Hello".to_owned()))
/// });
/// let service = layer.layer(service);
/// # let _ = service;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SessionLayer {
    options: Arc<Options>,
}

impl SessionLayer {
    /// Makes a layer for these sessions.
    pub fn new(sessions: Sessions) -> Self {
        Self {
            options: Arc::new(Options::new(sessions)),
        }
    }

    /// As [`SessionService::on_error`].
    pub fn on_error(
        mut self,
        on_error: impl Fn(&SessionError) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.options).set_on_error(on_error);
        self
    }

    /// Wraps a service.
    pub fn layer<S>(&self, inner: S) -> SessionService<S> {
        SessionService::with_options(self.options.clone(), inner)
    }
}

#[cfg(feature = "tower")]
impl<S> tower_layer::Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService::with_options(self.options.clone(), inner)
    }
}
