//! Cross-site request forgery: whether a request that changes something comes from the site itself.
//!
//! The session cookie is sent with requests that other sites make the browser send, so it is no
//! proof of the user's intent. The browser says where a request comes from, with `Sec-Fetch-Site`
//! or, in older browsers, with `Origin`, and a page cannot forge either. So the forms need no token
//! (OWASP CSRF Prevention Cheat Sheet, "Fetch Metadata headers").

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, uri::Authority};
use hyper::body::Incoming;

use crate::{body, rejection::Rejection};

/// What a request is for, which decides who may send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Browsers alone, with forms of this site.
    Browsers,
    /// Also programs, which send no header about where a request comes from.
    Programs,
}

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgery {
    /// The browser says that it comes from another site.
    CrossSite,
    /// No header says where it comes from, and a form of any site could have sent it.
    Unknown,
}

/// Rejects a request that another site may have made the browser send.
pub(crate) fn check(request: &Request<Incoming>, audience: Audience) -> Result<(), Rejection> {
    let facts = Facts {
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
        has_body: body::has_body(request),
        audience,
    };
    facts.check().map_err(|forgery| {
        let message = match (forgery, audience) {
            (Forgery::CrossSite, _) => "the request comes from another site",
            (Forgery::Unknown, Audience::Programs) => {
                "send JSON, with content-type: application/json"
            }
            (Forgery::Unknown, Audience::Browsers) => {
                "the request does not say which site it comes from; programs use the JSON API"
            }
        };
        tracing::info!(?forgery, "request rejected as a possible forgery");
        Rejection::new(StatusCode::FORBIDDEN, message)
    })
}

/// The parts of a request that decide.
#[derive(Debug)]
struct Facts<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    has_body: bool,
    audience: Audience,
}

impl Facts<'_> {
    fn check(&self) -> Result<(), Forgery> {
        if [Method::GET, Method::HEAD, Method::OPTIONS].contains(self.method) {
            return Ok(());
        }
        if let Some(site) = self.headers.get("sec-fetch-site") {
            // `none` is a user action such as an address typed or a page reloaded, `same-site` a
            // sibling subdomain
            return match site.as_bytes() {
                b"same-origin" | b"none" => Ok(()),
                _ => Err(Forgery::CrossSite),
            };
        }
        if let Some(origin) = self.headers.get(header::ORIGIN) {
            return match self.is_for(origin) {
                true => Ok(()),
                false => Err(Forgery::CrossSite),
            };
        }
        match self.audience {
            // a form cannot send JSON, and the browser adds the origin to a script's request
            Audience::Programs if !self.has_body || self.has_json() => Ok(()),
            Audience::Programs | Audience::Browsers => Err(Forgery::Unknown),
        }
    }

    /// Whether the request is for the host and the port of the origin. A proxy may change the
    /// scheme.
    fn is_for(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let Some((_, origin)) = origin.split_once("://") else {
            return false;
        };
        // the host is in the URI in HTTP/2, and in a header in HTTP/1
        let host = match self.uri.authority() {
            Some(authority) => Some(authority.clone()),
            None => self
                .headers
                .get(header::HOST)
                .and_then(|host| Authority::try_from(host.as_bytes()).ok()),
        };
        // authorities are compared case-insensitively
        host.is_some_and(|host| Authority::try_from(origin).is_ok_and(|origin| origin == host))
    }

    fn has_json(&self) -> bool {
        let content_type = self.headers.get(header::CONTENT_TYPE);
        let Some(text) = content_type.and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Audience::{Browsers, Programs};

    #[track_caller]
    fn check(
        method: Method,
        audience: Audience,
        has_body: bool,
        headers: &[(&'static str, &str)],
        expected: Result<(), Forgery>,
    ) {
        let uri = Uri::from_static("/login");
        let map = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
            .collect();
        let request = Facts {
            method: &method,
            uri: &uri,
            headers: &map,
            has_body,
            audience,
        };
        assert_eq!(
            request.check(),
            expected,
            "{method} {audience:?} body={has_body} {headers:?}"
        );
    }

    #[test]
    fn a_request_that_only_reads_passes() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            check(
                method,
                Browsers,
                false,
                &[("sec-fetch-site", "cross-site")],
                Ok(()),
            );
        }
    }

    #[test]
    fn the_browser_says_where_a_request_comes_from() {
        use Forgery::CrossSite;
        const HOST: (&str, &str) = ("host", "shop.example:3000");
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            for audience in [Programs, Browsers] {
                for (headers, expected) in [
                    (vec![HOST, ("sec-fetch-site", "same-origin")], Ok(())),
                    (vec![HOST, ("sec-fetch-site", "none")], Ok(())),
                    (vec![HOST, ("sec-fetch-site", "same-site")], Err(CrossSite)),
                    (vec![HOST, ("sec-fetch-site", "cross-site")], Err(CrossSite)),
                    (vec![HOST, ("sec-fetch-site", "new-word")], Err(CrossSite)),
                    (
                        vec![
                            HOST,
                            ("sec-fetch-site", "cross-site"),
                            ("origin", "http://shop.example:3000"),
                        ],
                        Err(CrossSite),
                    ),
                    // a proxy rewrote the host, which the newer header does not depend on
                    (
                        vec![
                            ("host", "backend"),
                            ("sec-fetch-site", "same-origin"),
                            ("origin", "https://shop.example"),
                        ],
                        Ok(()),
                    ),
                    (vec![HOST, ("origin", "http://shop.example:3000")], Ok(())),
                    (vec![HOST, ("origin", "https://SHOP.example:3000")], Ok(())),
                    (
                        vec![HOST, ("origin", "http://shop.example")],
                        Err(CrossSite),
                    ),
                    (
                        vec![HOST, ("origin", "http://evil.example:3000")],
                        Err(CrossSite),
                    ),
                    (
                        vec![HOST, ("origin", "http://shop.example:3000.evil.example")],
                        Err(CrossSite),
                    ),
                    (vec![HOST, ("origin", "null")], Err(CrossSite)),
                    (vec![("origin", "http://shop.example:3000")], Err(CrossSite)),
                ] {
                    check(method.clone(), audience, true, &headers, expected);
                }
            }
        }
    }

    #[test]
    fn programs_may_send_json_or_no_body() {
        use Forgery::Unknown;
        for (audience, has_body, content_type, expected) in [
            (Programs, true, Some("application/json"), Ok(())),
            (
                Programs,
                true,
                Some("Application/JSON; charset=utf-8"),
                Ok(()),
            ),
            (Programs, false, None, Ok(())),
            (Programs, true, None, Err(Unknown)),
            (Programs, true, Some("text/plain"), Err(Unknown)),
            (
                Programs,
                true,
                Some("application/x-www-form-urlencoded"),
                Err(Unknown),
            ),
            (
                Programs,
                true,
                Some("text/plain; x=application/json"),
                Err(Unknown),
            ),
            (Browsers, true, Some("application/json"), Err(Unknown)),
            (
                Browsers,
                true,
                Some("application/x-www-form-urlencoded"),
                Err(Unknown),
            ),
            (Browsers, false, None, Err(Unknown)),
        ] {
            let headers: Vec<_> = content_type
                .map(|value| ("content-type", value))
                .into_iter()
                .collect();
            check(Method::POST, audience, has_body, &headers, expected);
        }
    }

    #[test]
    fn in_http2_the_host_is_in_the_uri() {
        let uri = Uri::from_static("http://shop.example/login");
        for (origin, expected) in [
            ("http://shop.example", Ok(())),
            ("http://evil.example", Err(Forgery::CrossSite)),
        ] {
            let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().expect("header"))]);
            let request = Facts {
                method: &Method::POST,
                uri: &uri,
                headers: &headers,
                has_body: true,
                audience: Browsers,
            };
            assert_eq!(request.check(), expected, "{origin}");
        }
    }
}
