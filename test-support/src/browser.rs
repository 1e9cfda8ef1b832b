//! An HTTP client that keeps cookies as a browser does (RFC 6265).

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use cookie::Cookie;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A browser without pages: it stores the cookies of responses by name, sends them back, and opens
/// a connection for each request.
///
/// It talks to one site over plain HTTP, so it ignores `Domain`, `Path` and `Secure`. Tests assert
/// those on the header itself.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// A browser without cookies.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Stores a cookie that no response has set.
    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.into(), value.into());
    }

    /// Sends a `GET` request, and stores the cookies of its response.
    pub async fn get(&mut self, addr: SocketAddr, path: &str) -> Response<String> {
        self.send(addr, Method::GET, path, "").await
    }

    /// Sends a request with a body, and stores the cookies of its response.
    pub async fn send(
        &mut self,
        addr: SocketAddr,
        method: Method,
        path: &str,
        body: &str,
    ) -> Response<String> {
        self.send_with(addr, method, path, body, HeaderMap::new())
            .await
    }

    /// As [`send`](Self::send), with further headers.
    pub async fn send_with(
        &mut self,
        addr: SocketAddr,
        method: Method,
        path: &str,
        body: &str,
        headers: HeaderMap,
    ) -> Response<String> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, addr.to_string());
        if let Some(cookies) = self.cookie_header() {
            request = request.header(header::COOKIE, cookies);
        }
        for (name, value) in &headers {
            request = request.header::<HeaderName, HeaderValue>(name.clone(), value.clone());
        }
        let response = fetch(
            addr,
            request
                .body(Full::from(body.to_owned()))
                .expect("a request"),
        )
        .await;
        self.keep(response.headers());
        response
    }

    /// Stores the cookies that a response sets, and drops those that it removes.
    pub fn keep(&mut self, headers: &HeaderMap) {
        for value in headers.get_all(header::SET_COOKIE) {
            let cookie =
                Cookie::parse(value.to_str().expect("ascii").to_owned()).expect("a cookie");
            let removed = cookie.max_age().is_some_and(|age| age.is_zero());
            match removed {
                true => drop(self.cookies.remove(cookie.name())),
                false => drop(
                    self.cookies
                        .insert(cookie.name().into(), cookie.value().into()),
                ),
            }
        }
    }

    /// The `Cookie` header of its next request; `None` without cookies.
    pub fn cookie_header(&self) -> Option<String> {
        let pairs: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// Sends a request over a connection of its own.
async fn fetch(addr: SocketAddr, request: Request<Full<Bytes>>) -> Response<String> {
    let stream = TcpStream::connect(addr)
        .await
        .expect("the application listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/1");
    let connection = tokio::spawn(connection);
    let (head, body) = sender
        .send_request(request)
        .await
        .expect("a response")
        .into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    connection.abort();
    Response::from_parts(head, String::from_utf8(body.to_vec()).expect("text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_kept_until_a_response_removes_it() {
        let set = |value: &'static str| {
            HeaderMap::from_iter([(header::SET_COOKIE, HeaderValue::from_static(value))])
        };
        let mut browser = Browser::new();
        assert_eq!(browser.cookie_header(), None);
        browser.keep(&set("id=1; Path=/"));
        browser.keep(&set("other=2; Max-Age=60"));
        assert_eq!(browser.cookie_header().as_deref(), Some("id=1; other=2"));
        browser.keep(&set("id=3"));
        browser.keep(&set("other=; Max-Age=0"));
        assert_eq!(browser.cookie_header().as_deref(), Some("id=3"));
        assert_eq!(browser.cookie("other"), None);
    }
}
