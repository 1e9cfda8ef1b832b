//! On plain hyper.

use bench_scene::{ANONYMOUS, Arguments, IN, Login, NOBODY, OUT, Profile, TEXT};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use session_hyper::{SessionError, SessionRequestExt, SessionService, Sessions};

pub(crate) async fn serve(arguments: &Arguments, sessions: Sessions) -> anyhow::Result<()> {
    let listener = arguments.listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = SessionService::new(sessions.clone(), service_fn(answer));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, SessionError> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/anonymous") => text(StatusCode::OK, ANONYMOUS),
        (&Method::GET, "/read") => page(crate::read(&request.session().load().await?)?),
        (&Method::POST, "/write") => page(crate::write(&request.session().load().await?)?),
        (&Method::POST, "/login") => {
            let profile = Profile::for_login(&Login {
                bytes: bytes(request.uri()),
            });
            crate::login(&request.session().load().await?, &profile)?;
            text(StatusCode::OK, IN)
        }
        (&Method::POST, "/logout") => {
            request.session().load().await?.destroy()?;
            text(StatusCode::OK, OUT)
        }
        _ => text(StatusCode::NOT_FOUND, ""),
    })
}

fn page(page: Option<String>) -> Response<Full<Bytes>> {
    match page {
        Some(page) => text(StatusCode::OK, page),
        None => text(StatusCode::UNAUTHORIZED, NOBODY),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

fn bytes(uri: &Uri) -> Option<usize> {
    uri.query()?.strip_prefix("bytes=")?.parse().ok()
}
