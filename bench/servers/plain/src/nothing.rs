//! `/anonymous` alone, without any session library.

use std::convert::Infallible;

use axum::{Router, routing::get};
use bench_scene::{ANONYMOUS, Arguments, TEXT};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;

pub(crate) async fn on_hyper(arguments: &Arguments) -> anyhow::Result<()> {
    let listener = arguments.listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)),
        );
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = match (request.method(), request.uri().path()) {
        (&Method::GET, "/anonymous") => Response::new(Full::from(ANONYMOUS)),
        _ => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    Ok(response)
}

pub(crate) async fn on_axum(arguments: &Arguments) -> anyhow::Result<()> {
    let app = Router::new().route("/anonymous", get(|| async { ANONYMOUS }));
    Ok(axum::serve(arguments.listen().await?, app).await?)
}
