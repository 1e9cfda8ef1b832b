//! A WebSocket on axum that the server closes when the session ends.
//!
//! ```text
//! cargo run -p session-hyper --example websocket --features axum -- 3000
//! ```
//!
//! Open <http://localhost:3000> in two tabs, log in, connect in the one and log out in the other.
//!
//! ```text
//! cargo test -p session-hyper --example websocket --features axum
//! ```

use std::{error::Error, net::Ipv4Addr, time::Duration};

use axum::{
    Router,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{any, get, post},
};
use session_hyper::{
    MemoryStore, Session, SessionExt, SessionLayer, Sessions, SigningKeys,
    axum::{self as extract, Authenticated, SessionRejection},
};
use tokio::{net::TcpListener, time::timeout};

/// Tells the page that its session has ended. Codes from 4000 on are for applications (RFC 6455
/// §7.4.2).
const ENDED: u16 = 4401;
/// How long the client may take to reply to that.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

const PAGE: &str = r#"<!DOCTYPE html>
<form method="post" action="/login"><button>Log in</button></form>
<form method="post" action="/logout"><button>Log out</button></form>
<button onclick="connect()">Connect</button>
<pre id="log"></pre>
<script>
  const show = (text) => { log.textContent += text + "\n"; };
  function connect() {
    const socket = new WebSocket("/echo");
    socket.onopen = () => socket.send("hello");
    socket.onmessage = (event) => show(event.data);
    // connect again after any other code: this one says that the server would refuse it
    socket.onclose = (event) => show(event.code === 4401 ? "please log in" : "connection lost");
  }
</script>
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(3000), |port| port.parse())?;
    // a key of this process alone; several instances share `SigningKeys::from_env("SESSION_KEYS")`
    let sessions = Sessions::builder(MemoryStore::new())
        .signing_keys(SigningKeys::random()?)
        .build()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(sessions)).await?;
    Ok(())
}

fn app(sessions: Sessions) -> Router {
    Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/echo", any(connect))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(SessionLayer::new(sessions))
}

/// 401 for visitors who are not logged in, before there is a WebSocket.
async fn connect(user: Authenticated, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if !is_same_origin(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    upgrade.on_upgrade(async move |socket| serve(socket, &user).await)
}

/// Whether a page of this site opens the WebSocket.
///
/// A page of any site can open one to this server, and its messages are not subject to the
/// same-origin policy (cross-site WebSocket hijacking). The cookie is sent along if it is
/// `SameSite=None`, and also if the other page is on a sibling subdomain, which is the same *site*.
/// So `SameSite` is not enough, and the server compares the origin (RFC 6455 §10.2). Programs send
/// none, and have no cookies of a user.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Uri>().ok());
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    // the scheme is not compared, because a proxy may terminate TLS
    match (origin.as_ref().and_then(Uri::authority), host) {
        (Some(origin), Some(host)) => origin == host,
        _ => false,
    }
}

/// Serves the WebSocket until the client closes it, or the session ends. Messages do not keep the
/// session alive: a page that is in use sends a request now and then.
async fn serve(mut socket: WebSocket, session: &Session) {
    tokio::select! {
        () = echo(&mut socket) => {}
        () = session.ended() => {
            // a client that reads nothing gets no frame, but the end of the connection
            let _ = timeout(CLOSE_TIMEOUT, close(socket)).await;
        }
    }
}

/// Sends every message back.
async fn echo(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(_) | Message::Binary(_) = message
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

async fn close(mut socket: WebSocket) {
    let frame = CloseFrame {
        code: ENDED,
        reason: "the session has ended".into(),
    };
    if socket.send(Message::Close(Some(frame))).await.is_ok() {
        // until the client has replied: the end of the connection could overtake the frame
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

/// A real service asks for a name and a password.
async fn log_in(session: extract::Session) -> Result<Redirect, SessionRejection> {
    session.log_in("ann")?;
    Ok(Redirect::to("/"))
}

async fn log_out(session: extract::Session) -> Result<Redirect, SessionRejection> {
    session.log_out()?;
    Ok(Redirect::to("/"))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::{body::Bytes, http::HeaderValue};
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::TcpStream;
    use tokio_tungstenite::{
        WebSocketStream, client_async,
        tungstenite::{self, client::IntoClientRequest},
    };

    use super::*;

    struct Test {
        sessions: Sessions,
        addr: SocketAddr,
        cookie: HeaderValue,
    }

    impl Test {
        /// Starts the server and logs in.
        async fn start() -> Self {
            let sessions = Sessions::builder(MemoryStore::new())
                .signing_keys(SigningKeys::random().expect("entropy"))
                .build()
                .expect("valid options");
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.expect("a port");
            let addr = listener.local_addr().expect("bound");
            let app = app(sessions.clone());
            tokio::spawn(async { axum::serve(listener, app).await });
            let cookie = sessions.test_cookie(|session| session.log_in("ann")).await;
            Self {
                sessions,
                addr,
                cookie: cookie.expect("no fault"),
            }
        }

        /// Opens a WebSocket, or returns the status that refuses it.
        async fn connect(
            &self,
            headers: &[(header::HeaderName, &HeaderValue)],
        ) -> Result<WebSocketStream<TcpStream>, StatusCode> {
            let request = format!("ws://{}/echo", self.addr).into_client_request();
            let mut request = request.expect("a request");
            for (name, value) in headers {
                request.headers_mut().insert(name, (*value).clone());
            }
            let stream = TcpStream::connect(self.addr).await.expect("it listens");
            match client_async(request, stream).await {
                Ok((socket, _)) => Ok(socket),
                Err(tungstenite::Error::Http(response)) => Err(response.status()),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn the_end_of_the_session_closes_the_socket() {
        let test = Test::start().await;
        let connected = test.connect(&[(header::COOKIE, &test.cookie)]).await;
        let mut socket = connected.expect("ann is logged in");
        let hello = tungstenite::Message::Binary(Bytes::from_static(b"hello"));
        socket.send(hello.clone()).await.expect("open");
        let echo = socket.next().await.expect("open").expect("a message");
        assert_eq!(echo, hello);

        let ended = test.sessions.of("ann").end_all().await;
        assert_eq!(ended.expect("no fault"), 1);
        let closed = socket.next().await.expect("open").expect("a message");
        let tungstenite::Message::Close(Some(frame)) = closed else {
            panic!("{closed:?}");
        };
        assert_eq!(u16::from(frame.code), ENDED);
        assert!(socket.next().await.is_none(), "the connection is closed");
        let refused = test.connect(&[(header::COOKIE, &test.cookie)]).await;
        assert_eq!(refused.err(), Some(StatusCode::UNAUTHORIZED));
    }

    #[tokio::test]
    async fn pages_of_other_sites_open_no_socket() {
        let test = Test::start().await;
        for (origin, expected) in [
            (format!("http://{}", test.addr), None),
            (format!("https://{}", test.addr), None),
            (
                "http://evil.example".to_owned(),
                Some(StatusCode::FORBIDDEN),
            ),
            ("http://127.0.0.1:1".to_owned(), Some(StatusCode::FORBIDDEN)),
            ("null".to_owned(), Some(StatusCode::FORBIDDEN)),
        ] {
            let value = HeaderValue::from_str(&origin).expect("a header");
            let headers = [(header::COOKIE, &test.cookie), (header::ORIGIN, &value)];
            assert_eq!(test.connect(&headers).await.err(), expected, "{origin}");
        }
    }
}
