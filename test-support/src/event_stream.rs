//! A client of server-sent events.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::browser::Browser;

/// A stream of events that is open. It is closed when the value is dropped.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    /// What has arrived and is not the whole of an event.
    rest: String,
    _connection: JoinSet<hyper::Result<()>>,
}

impl EventStream {
    /// Requests a stream over a connection of its own, with the cookies of this browser. The stream
    /// of a response with an error status is its text.
    pub async fn open(addr: SocketAddr, path: &str, browser: &Browser) -> Response<Self> {
        let mut request = Request::get(path).header(header::HOST, addr.to_string());
        if let Some(cookies) = browser.cookie_header() {
            request = request.header(header::COOKIE, cookies);
        }
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let stream = TcpStream::connect(addr).await;
        let stream = TokioIo::new(stream.expect("the application listens"));
        let (mut sender, connection) = http1::handshake(stream).await.expect("HTTP/1");
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request).await.expect("a response");
        response.map(|body| Self {
            body,
            rest: String::new(),
            _connection: driver,
        })
    }

    /// Waits for the next event and returns its name, or `None` if the server has closed the
    /// stream. As in a browser, comments are ignored, and so is an event without a line of data.
    ///
    /// # Panics
    ///
    /// If the connection is lost before the server has closed the stream.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            while let Some((block, rest)) = self.rest.split_once("\n\n") {
                let name = event_name(block);
                self.rest = rest.to_owned();
                if name.is_some() {
                    return name;
                }
            }
            let frame = self.body.frame().await?.expect("a stream that is closed");
            if let Ok(data) = frame.into_data() {
                self.rest += str::from_utf8(&data).expect("text");
            }
        }
    }
}

/// The name of the event in this block; `None` if it has no data.
fn event_name(block: &str) -> Option<String> {
    let value = |name: &str| {
        let mut fields = block.lines().filter_map(|line| line.strip_prefix(name));
        let value = fields.next()?.strip_prefix(':')?;
        Some(value.strip_prefix(' ').unwrap_or(value))
    };
    value("data")?;
    Some(value("event").unwrap_or("message").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_line_of_data() {
        for (block, expected) in [
            ("event: ended\ndata:", Some("ended")),
            ("data: 1\nid: 7", Some("message")),
            ("event: ended", None),
            (": a comment", None),
        ] {
            assert_eq!(event_name(block).as_deref(), expected, "{block}");
        }
    }
}
