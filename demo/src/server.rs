//! The server: connections in, requests to the site or to its API, each inside a [`SessionService`], and an orderly end.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use session_hyper::{
    ConfigError, EntropyError, PeerAddr, SessionBody, SessionError, SessionService, Sessions,
    SigningKeysError, Transport,
    store::{self, ConnectError},
};
use tokio::net::{TcpListener, TcpStream};

use crate::{api, options::Options, pages, site, users::Users};

/// Requests that are being served when the end is asked for have this long to finish.
const GRACE: Duration = Duration::from_secs(5);
/// A pause after the system refused a connection, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The demo, opened and ready to serve.
#[derive(Clone, Debug)]
pub struct Server {
    sessions: Sessions,
    users: Users,
    instance: Option<Arc<str>>,
}

/// The demo cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be opened.
    #[error("--store: {0}")]
    Store(#[from] ConnectError),
    /// The signing keys cannot be used.
    #[error("--session-keys: {0}")]
    Keys(#[from] SigningKeysError),
    /// No random key can be drawn.
    #[error("no signing key can be drawn: {0}")]
    Entropy(#[from] EntropyError),
    /// The options exclude each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// What the handlers of a request share.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) users: Users,
    /// The name under which this instance is known.
    pub(crate) instance: Arc<str>,
}

impl Server {
    /// Opens the store and puts the sessions together.
    ///
    /// # Errors
    ///
    /// When the options cannot be used, or the store cannot be opened.
    pub async fn open(options: &Options) -> Result<Self, StartError> {
        let store = store::connect(options.store.reveal()).await?;
        let sessions = options.sessions(store)?;
        Ok(Self {
            sessions,
            users: Users::new(),
            instance: options.instance.as_deref().map(Into::into),
        })
    }

    /// Serves HTTP/1 and HTTP/2 (prior knowledge) until `stop` is ready; then takes no more connections, and gives
    /// requests under way a few seconds.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let address = listener
            .local_addr()
            .map_or_else(|_| "one".into(), |address| address.to_string());
        let context = Context {
            users: self.users,
            instance: self.instance.unwrap_or_else(|| address.into()),
        };
        let connections = GracefulShutdown::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => connection(&connections, stream, peer, &self.sessions, &context),
                    Err(error) => {
                        tracing::warn!(%error, "connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        tracing::info!(connections = connections.count(), "stopping");
        if tokio::time::timeout(GRACE, connections.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("requests under way are cut off");
        }
    }
}

/// Serves one connection in a task of its own.
fn connection(
    all: &GracefulShutdown,
    stream: TcpStream,
    peer: SocketAddr,
    sessions: &Sessions,
    context: &Context,
) {
    // one answer is one write, so that there is nothing to collect
    let _ = stream.set_nodelay(true);
    let handler =
        |context: Context| service_fn(move |request| site::answer(context.clone(), request));
    let site =
        SessionService::new(sessions.clone(), handler(context.clone())).on_error(pages::fault);
    let handler =
        |context: Context| service_fn(move |request| api::answer(context.clone(), request));
    let api = SessionService::new(sessions.clone(), handler(context.clone())).on_error(api::fault);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (method, path, begun) = (
            request.method().clone(),
            request.uri().path().to_owned(),
            Instant::now(),
        );
        // this server speaks no TLS; what a proxy in front of it did is for the option --proxy to say
        request.extensions_mut().insert(Transport::Plain);
        request.extensions_mut().insert(PeerAddr(peer.ip()));
        let (site, api) = (site.clone(), api.clone());
        async move {
            let mut response = if api::is_api(&path) {
                api.call(request).await?
            } else {
                site.call(request).await?
            };
            secure(response.headers_mut());
            tracing::info!(%method, path, status = response.status().as_u16(), elapsed = ?begun.elapsed(), "answered");
            Ok::<_, SessionError>(if method == Method::HEAD {
                headless(response)
            } else {
                response
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // with a timer, a client that never completes its head is dropped after hyper's 30 seconds
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let connection = all.watch(
        builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned(),
    );
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error, "connection ended");
        }
    });
}

/// The headers that keep a page of this site to itself.
fn secure(headers: &mut HeaderMap) {
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // with `no-referrer`, browsers would send `Origin: null` with the site's own forms
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
}

/// The head alone, with the length that the body would have had (RFC 9110 §9.3.2).
fn headless(
    mut response: Response<SessionBody<Full<Bytes>>>,
) -> Response<SessionBody<Full<Bytes>>> {
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|_| SessionBody::default())
}
