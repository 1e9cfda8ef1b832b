//! The server: accepts connections, serves the site and its API in a [`SessionService`] each, and
//! shuts down gracefully.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::{Either, Empty};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use session_hyper::{
    PeerAddr, Proxy, RequestScheme, SessionError, SessionService, Sessions, store,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{
    api, context::Context, options::Options, pages, site, start_error::StartError, users::Users,
};

/// How long requests in progress may take after the shutdown began.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an error of accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The demo with its store opened, ready to serve.
#[derive(Clone, Debug)]
pub struct Server {
    sessions: Sessions,
    users: Users,
    instance: Option<Arc<str>>,
    fresh_within: Duration,
    proxy: Proxy,
}

impl Server {
    /// Opens the store. If it is unavailable, the server can serve what needs no session, and
    /// `/readyz` reports it.
    ///
    /// # Errors
    ///
    /// If an option is invalid.
    pub async fn open(options: &Options) -> Result<Self, StartError> {
        let store = store::lazy(options.store.reveal())?;
        let sessions = options.sessions(store)?;
        // connects now, so that neither the first visitor waits for it nor the first log line
        for part in sessions.health().await.down() {
            let reason = part.reason.as_deref().unwrap_or_default();
            tracing::warn!(part = part.name, reason, "session store is not ready");
        }
        Ok(Self {
            sessions,
            users: Users::new(),
            instance: options.instance.as_deref().map(Into::into),
            fresh_within: options.fresh_within,
            proxy: options.proxy.clone(),
        })
    }

    /// Serves HTTP/1 and HTTP/2 (prior knowledge) until `shutdown` is ready. It then accepts no
    /// more connections, closes streams of events, and waits a few seconds for requests in progress.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let address = listener
            .local_addr()
            .map_or_else(|_| "one".into(), |address| address.to_string());
        let context = Context {
            sessions: self.sessions.clone(),
            users: self.users,
            instance: self.instance.unwrap_or_else(|| address.into()),
            fresh_within: self.fresh_within,
            proxy: self.proxy,
            shutdown: CancellationToken::new(),
        };
        let connections = GracefulShutdown::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        serve_connection(&connections, stream, peer, &self.sessions, &context);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        context.shutdown.cancel();
        tracing::info!(connections = connections.count(), "shutting down");
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, connections.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("shutdown timed out; requests in progress are aborted");
        }
    }
}

/// Serves one connection in a task of its own.
fn serve_connection(
    connections: &GracefulShutdown,
    stream: TcpStream,
    peer: SocketAddr,
    sessions: &Sessions,
    context: &Context,
) {
    // a response is one write, so there is nothing to wait for
    let _ = stream.set_nodelay(true);
    let handler =
        |context: Context| service_fn(move |request| site::respond(context.clone(), request));
    let site = SessionService::new(sessions.clone(), handler(context.clone()))
        .on_error(pages::session_error);
    let handler =
        |context: Context| service_fn(move |request| api::respond(context.clone(), request));
    let api = SessionService::new(sessions.clone(), handler(context.clone()))
        .on_error(api::session_error);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (method, path, started_at) = (
            request.method().clone(),
            request.uri().path().to_owned(),
            Instant::now(),
        );
        // this server does no TLS; --proxy says whether to believe a proxy that does
        request.extensions_mut().insert(RequestScheme::Plain);
        request.extensions_mut().insert(PeerAddr(peer.ip()));
        let (site, api) = (site.clone(), api.clone());
        async move {
            let mut response = if api::is_api(&path) {
                api.call(request).await?
            } else {
                site.call(request).await?
            };
            add_security_headers(response.headers_mut());
            let status = response.status().as_u16();
            tracing::info!(%method, path, status, elapsed = ?started_at.elapsed(), "response");
            Ok::<_, SessionError>(if method == Method::HEAD {
                without_body(response)
            } else {
                response.map(Either::Left)
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // with a timer, hyper closes a connection whose request has no complete head after 30 seconds
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let connection = connections.watch(
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

/// Adds headers that restrict what a page may load and who may embed it.
fn add_security_headers(headers: &mut HeaderMap) {
    const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
        connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // with `no-referrer`, browsers send `Origin: null` with the site's own forms
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
}

/// Removes the body of a response and keeps its length (RFC 9110 §9.3.2).
fn without_body<B: Body>(mut response: Response<B>) -> Response<Either<B, Empty<Bytes>>> {
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|_| Either::Right(Empty::new()))
}
