//! An application over a real socket: hyper, and a handler with sessions.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use session_core::{SessionError, Sessions, SigningKeys};
use session_hyper::SessionService;
use tokio::{net::TcpListener, task::JoinHandle};

/// The result of a handler.
pub type Reply = Result<Response<Full<Bytes>>, SessionError>;

type Handler =
    Arc<dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// A running application. It ends when it is dropped.
#[derive(Debug)]
pub struct App {
    addr: SocketAddr,
    accept: JoinHandle<()>,
}

impl App {
    /// Serves this handler with these sessions, on a free port of the loopback interface.
    pub async fn start<F>(
        sessions: Sessions,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let handler = Endpoint(Arc::new(move |request| Box::pin(handler(request))));
        let service = SessionService::new(sessions, handler);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let service =
                        service_fn(move |request| hyper::service::Service::call(&service, request));
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { addr, accept }
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// A handler as a service.
#[derive(Clone)]
struct Endpoint(Handler);

impl hyper::service::Service<Request<Incoming>> for Endpoint {
    type Response = Response<Full<Bytes>>;
    type Error = SessionError;
    type Future = Pin<Box<dyn Future<Output = Reply> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        (self.0)(request)
    }
}

/// A response with a body of text.
pub fn text(text: impl Into<String>) -> Reply {
    Ok(Response::new(Full::from(text.into())))
}

/// The signing key of [`keys`].
pub const KEY: &str = "the signing key of all integration tests";

/// Signing keys, the same at every call.
pub fn keys() -> SigningKeys {
    SigningKeys::new([KEY]).expect("long enough")
}
