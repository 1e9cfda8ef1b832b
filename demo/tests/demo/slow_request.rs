//! A request whose handler waits for its body.

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::Client;

pub(crate) struct SlowRequest {
    stream: TcpStream,
    body: Bytes,
}

impl SlowRequest {
    /// Sends a request except for its body, and waits until its handler asks for that.
    pub(crate) async fn start(client: &Client, method_and_path: &str, body: &str) -> Self {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let cookies = client.browser.cookie_header();
        let head = format!(
            "{method_and_path} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\ncookie: {}\r\n\
             expect: 100-continue\r\n\r\n",
            body.len(),
            cookies.unwrap_or_default(),
        );
        let mut stream = TcpStream::connect(client.address)
            .await
            .expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("connected");
        let mut answer = [0; CONTINUE.len()];
        stream.read_exact(&mut answer).await.expect("connected");
        assert_eq!(answer, CONTINUE);
        let body = Bytes::copy_from_slice(body.as_bytes());
        Self { stream, body }
    }

    /// Sends the body and returns the response.
    pub(crate) async fn complete(mut self) -> Response<String> {
        self.stream.write_all(&self.body).await.expect("connected");
        let mut text = String::new();
        self.stream.read_to_string(&mut text).await.expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a complete head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status: StatusCode = status.and_then(|code| code.parse().ok()).expect("a status");
        let mut response = Response::builder().status(status);
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            response = response.header(name, value);
        }
        response.body(body.to_owned()).expect("a response")
    }
}
