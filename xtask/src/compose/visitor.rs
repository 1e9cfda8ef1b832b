//! A client of the demo's API with a cookie, over a connection for each request: the balancer gives
//! each to the next instance.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// Longer than any request of the demo may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A visitor of the site.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    site: SocketAddr,
    cookie: String,
}

/// A response of the API.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    cookie: Option<String>,
    pub(crate) body: Value,
}

impl Visitor {
    /// A visitor without a session.
    pub(crate) fn new(site: SocketAddr) -> Self {
        Self {
            site,
            cookie: String::new(),
        }
    }

    /// A visitor who is logged in as this user.
    pub(crate) fn logged_in(site: SocketAddr) -> anyhow::Result<Self> {
        let mut visitor = Self::new(site);
        let credentials = json!({"username": "ann", "password": "correct horse"});
        let response = visitor.send("POST", "/api/login", &credentials.to_string())?;
        ensure!(response.status == 200, "login: {response:?}");
        visitor.cookie = response.cookie.context("a login sets a cookie")?;
        Ok(visitor)
    }

    /// Ends the session. The cookie stays, as that of a thief would.
    pub(crate) fn log_out(&self) -> anyhow::Result<()> {
        let response = self.send("POST", "/api/logout", "{}")?;
        ensure!(response.status == 204, "logout: {response:?}");
        Ok(())
    }

    /// The session, as one of the instances shows it.
    pub(crate) fn session(&self) -> anyhow::Result<Value> {
        let response = self.send("GET", "/api/session", "")?;
        ensure!(response.status == 200, "session: {response:?}");
        Ok(response.body)
    }

    /// Adds one to the number of views, and returns the status.
    pub(crate) fn add_view(&self) -> io::Result<u16> {
        let response = self.send("POST", "/api/session/views/add", r#"{"by": 1}"#)?;
        Ok(response.status)
    }

    /// Whether the site serves.
    pub(crate) fn is_served(&self) -> bool {
        self.session().is_ok()
    }

    fn send(&self, method: &str, path: &str, body: &str) -> io::Result<Response> {
        let mut stream = TcpStream::connect_timeout(&self.site, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let (length, cookie) = (body.len(), &self.cookie);
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncookie: {cookie}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}",
            self.site
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        parse(&text).ok_or_else(|| io::Error::other(format!("not a response: {text:?}")))
    }
}

/// Parses a response whose end is the end of the connection.
fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let cookie = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let pair = value.split(';').next()?.trim();
        name.eq_ignore_ascii_case("set-cookie")
            .then(|| pair.to_owned())
    });
    Some(Response {
        status,
        cookie,
        // a response of the balancer is not JSON
        body: serde_json::from_str(body).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_a_status_a_cookie_and_a_body() {
        let response =
            parse("HTTP/1.1 200 OK\r\nSet-Cookie: id=a.b; Path=/\r\nx: y\r\n\r\n{\"value\": 1}");
        let response = response.expect("a response");
        assert_eq!(response.status, 200);
        assert_eq!(response.cookie.as_deref(), Some("id=a.b"));
        assert_eq!(response.body["value"], 1);
        let response = parse("HTTP/1.1 503 Busy\r\n\r\n<html>").expect("a response");
        assert_eq!((response.status, response.cookie), (503, None));
        assert!(parse("").is_none());
    }
}
