//! As much of HTTP/1.1 as the bench's servers speak: a request on a kept connection, a response
//! with a length.

use crate::servers::Route;

/// The head of a response, and where it ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Bytes of the head, the empty line included.
    pub(crate) bytes: usize,
    /// Bytes of the body.
    pub(crate) body: usize,
}

/// Reads a head, if it is all there.
pub(crate) fn head(bytes: &[u8]) -> Option<Result<Head, &'static str>> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    Some(parse(&bytes[..end]))
}

fn parse(bytes: &[u8]) -> Result<Head, &'static str> {
    let status = bytes
        .get(9..12)
        .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok())
        .ok_or("no status")?;
    let body = fields(bytes, "content-length")
        .next()
        .ok_or("no content-length")?;
    Ok(Head {
        status,
        bytes: bytes.len(),
        body: body.parse().map_err(|_| "no number in content-length")?,
    })
}

/// The values of a header, whose name is given in lower case.
fn fields<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = head.split(|byte| *byte == b'\n');
    lines.filter_map(move |line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| str::from_utf8(value).ok().map(str::trim))?
    })
}

/// How many `Set-Cookie` lines there are.
pub(crate) fn set_cookies(head: &[u8]) -> usize {
    fields(head, "set-cookie").count()
}

/// The `Cookie` header that a browser without a cookie would send after this response.
pub(crate) fn cookie(head: &[u8]) -> Option<String> {
    let kept = fields(head, "set-cookie").filter_map(|line| {
        let pair = line.split(';').next()?.trim();
        let removed = pair.ends_with('=') || line.to_ascii_lowercase().contains("max-age=0");
        (!removed).then_some(pair)
    });
    let pairs: Vec<_> = kept.collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

/// Appends a request.
pub(crate) fn write_request(out: &mut Vec<u8>, route: Route, query: &str, cookie: Option<&str>) {
    for part in [
        route.method(),
        " /",
        route.name(),
        query,
        " HTTP/1.1\r\nhost: 127.0.0.1\r\n",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
    if route.method() == "POST" {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    if let Some(cookie) = cookie {
        for part in ["cookie: ", cookie, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nset-cookie: a=1; Path=/\r\nset-cookie: old=; Max-Age=0\r\n\
        Set-Cookie: b=2\r\n\r\nin\n";

    #[test]
    fn a_response_is_read() {
        assert_eq!(head(&ANSWER[..40]), None);
        assert_eq!(
            head(ANSWER),
            Some(Ok(Head {
                status: 200,
                bytes: ANSWER.len() - 3,
                body: 3
            }))
        );
        assert_eq!(cookie(ANSWER).as_deref(), Some("a=1; b=2"));
        assert_eq!(set_cookies(ANSWER), 3);
    }

    #[test]
    fn a_request_is_written() {
        let mut out = Vec::new();
        write_request(&mut out, Route::Login, "?bytes=9", Some("a=1"));
        let text = "POST /login?bytes=9 HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\ncookie: a=1\r\n\r\n";
        assert_eq!(out, text.as_bytes());
    }
}
