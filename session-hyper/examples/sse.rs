//! Server-sent events on plain hyper: a stream of news that closes when its user logs out, in this
//! browser or anywhere else.
//!
//! ```text
//! cargo run -p session-hyper --example sse -- 3000
//!
//! curl -b jar -c jar --data ann localhost:3000/login
//! curl -N -b jar localhost:3000/news               # news number 1, 2, 3 …
//! # in another terminal
//! curl -b jar -c jar -X POST localhost:3000/logout # `event: ended`, and the stream is closed
//! curl -i localhost:3000/news                      # 401
//!
//! cargo test -p session-hyper --example sse
//! ```
//!
//! In a page:
//!
//! ```js
//! const news = new EventSource("/news");
//! news.onmessage = (event) => console.log(event.data);
//! news.addEventListener("ended", () => {
//!   news.close(); // or the browser connects again, and gets a 401
//!   console.log("you have logged out");
//! });
//! ```

use std::{convert::Infallible, error::Error, net::Ipv4Addr, pin::Pin, time::Duration};

use futures_util::stream::{self, Stream};
use http_body_util::{BodyExt, Either, Full, Limited, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Frame},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use session_hyper::{
    MemoryStore, Session, SessionExt, SessionRequestExt, SessionService, Sessions, SigningKeys,
};
use tokio::{net::TcpListener, time::interval};

/// A real service sends what happens, and a comment if nothing has happened for 15 seconds: that
/// keeps proxies from closing the connection.
const PERIOD: Duration = Duration::from_secs(1);

type BoxError = Box<dyn Error + Send + Sync>;
type Events = StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;
type Reply = Response<Either<Full<Bytes>, Events>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(3000), |port| port.parse())?;
    // a key of this process alone; several instances share `SigningKeys::from_env("SESSION_KEYS")`
    let sessions = Sessions::builder(MemoryStore::new())
        .signing_keys(SigningKeys::random()?)
        .build()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = SessionService::new(sessions.clone(), service_fn(route));
        tokio::spawn(async move {
            if let Err(error) = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
            {
                eprintln!("connection: {error}");
            }
        });
    }
}

async fn route<B>(request: Request<B>) -> Result<Reply, BoxError>
where
    B: Body<Error: Into<BoxError>>,
{
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/news") => news(request).await,
        (&Method::POST, "/login") => log_in(request).await,
        (&Method::POST, "/logout") => {
            request.session().load().await?.log_out()?;
            Ok(text(StatusCode::OK, "logged out\n"))
        }
        _ => Ok(text(StatusCode::NOT_FOUND, "not found\n")),
    }
}

/// The request ends with the head of the response, and the stream goes on. It does not keep the
/// session alive: a user who only looks at the page is logged out after the idle timeout.
async fn news<B>(request: Request<B>) -> Result<Reply, BoxError> {
    let session = request.session().peek().await?;
    // 401 if nobody is logged in
    session.require_login()?;
    let mut response = Response::new(Either::Right(events(&session)));
    let headers = response.headers_mut();
    let event_stream = HeaderValue::from_static("text/event-stream");
    headers.insert(CONTENT_TYPE, event_stream);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn events(session: &Session) -> Events {
    let open = (Box::pin(session.ended()), interval(PERIOD), 0);
    let frames = stream::unfold(Some(open), async |open| {
        let (mut ended, mut ticks, number) = open?;
        let (event, open) = tokio::select! {
            // a browser ignores an event without a line of data
            () = &mut ended => ("event: ended\ndata:\n\n".to_owned(), None),
            _ = ticks.tick() => {
                let number = number + 1;
                (format!("data: news number {number}\n\n"), Some((ended, ticks, number)))
            }
        };
        Some((Ok(Frame::data(event.into())), open))
    });
    StreamBody::new(Box::pin(frames))
}

async fn log_in<B>(request: Request<B>) -> Result<Reply, BoxError>
where
    B: Body<Error: Into<BoxError>>,
{
    let session = request.session().load().await?;
    let body = Limited::new(request.into_body(), 64).collect().await?;
    let name = String::from_utf8(body.to_bytes().to_vec())?;
    // a real service checks a password first
    session.log_in(&name)?;
    Ok(text(StatusCode::OK, "logged in\n"))
}

fn text(status: StatusCode, text: &'static str) -> Reply {
    let mut response = Response::new(Either::Left(Full::from(text)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use hyper::{
        header::{COOKIE, SET_COOKIE},
        service::Service,
    };

    use super::*;

    fn sessions() -> Sessions {
        Sessions::builder(MemoryStore::new())
            .signing_keys(SigningKeys::random().expect("entropy"))
            .build()
            .expect("valid options")
    }

    /// Sends a request with this cookie.
    async fn send(
        sessions: &Sessions,
        method: Method,
        path: &str,
        cookie: &HeaderValue,
    ) -> Response<impl Body<Data = Bytes, Error: std::fmt::Debug> + Unpin> {
        let service = SessionService::new(sessions.clone(), service_fn(route::<Full<Bytes>>));
        let request = Request::builder().method(method).uri(path);
        let request = request.header(COOKIE, cookie).body(Full::default());
        let response = service.call(request.expect("a request")).await;
        response.expect("answered")
    }

    /// The text of the next event; `None` if the stream is closed.
    async fn next(
        body: &mut (impl Body<Data = Bytes, Error: std::fmt::Debug> + Unpin),
    ) -> Option<Bytes> {
        let frame = body.frame().await?.expect("a stream that is closed");
        Some(frame.into_data().expect("data"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_logout_closes_the_stream() {
        let sessions = sessions();
        let cookie = sessions.test_cookie(|session| session.log_in("ann"));
        let cookie = cookie.await.expect("no fault");
        let response = send(&sessions, Method::GET, "/news", &cookie).await;
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        assert!(!response.headers().contains_key(SET_COOKIE));
        let mut news = response.into_body();
        for number in 1..=3 {
            let expected = format!("data: news number {number}\n\n");
            assert_eq!(next(&mut news).await, Some(expected.into()));
        }
        send(&sessions, Method::POST, "/logout", &cookie).await;
        let ended = "event: ended\ndata:\n\n";
        assert_eq!(next(&mut news).await, Some(ended.into()));
        assert_eq!(next(&mut news).await, None);
        let response = send(&sessions, Method::GET, "/news", &cookie).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}
