//! Forged requests: whether a request that changes something came from the site itself.
//!
//! The session cookie travels with requests that other sites make a browser send, so the cookie alone is no permission.
//! The browser says where a request came from (`Sec-Fetch-Site`, or `Origin` in older ones), and a page cannot forge either.
//! There is no token in any form (OWASP CSRF Prevention Cheat Sheet, "Fetch Metadata headers").

use http::{HeaderMap, HeaderValue, Method, Uri, header, uri::Authority};

/// What of a request the answer depends on.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// Whether something follows the head.
    pub(crate) has_body: bool,
    /// Whether programs may send it too, which tell nothing about where they come from.
    pub(crate) programs: bool,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forged {
    /// Another site, by the browser's word.
    CrossSite,
    /// Nothing tells where it comes from, and a form of any site could have made it.
    Unknown,
}

/// Lets a request pass, or tells why not.
pub(crate) fn check(request: &Incoming<'_>) -> Result<(), Forged> {
    if matches!(
        *request.method,
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return Ok(());
    }
    if let Some(site) = request.headers.get("sec-fetch-site") {
        // `none` is the user's own doing, an address typed or a page reloaded. `same-site` is a neighbouring subdomain.
        return match site.as_bytes() {
            b"same-origin" | b"none" => Ok(()),
            _ => Err(Forged::CrossSite),
        };
    }
    if let Some(origin) = request.headers.get(header::ORIGIN) {
        return if same_host(origin, request) {
            Ok(())
        } else {
            Err(Forged::CrossSite)
        };
    }
    // A form cannot say JSON, and a script that says it has an origin.
    let plain = !request.has_body
        || request
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(is_json);
    if request.programs && plain {
        Ok(())
    } else {
        Err(Forged::Unknown)
    }
}

/// Whether the origin's host and port are those that the request is for. The scheme is the proxy's business.
fn same_host(origin: &HeaderValue, request: &Incoming<'_>) -> bool {
    let Some(origin) = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
    else {
        return false;
    };
    // HTTP/2 has the host in the request line, HTTP/1 in a header
    let host = match request.uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => request
            .headers
            .get(header::HOST)
            .and_then(|host| Authority::try_from(host.as_bytes()).ok()),
    };
    // Authorities compare without regard to case.
    host.is_some_and(|host| Authority::try_from(origin.1).is_ok_and(|origin| origin == host))
}

fn is_json(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else {
        return false;
    };
    text.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: bool = true;
    const FORM: bool = false;

    #[track_caller]
    fn check_one(
        method: Method,
        programs: bool,
        has_body: bool,
        headers: &[(&'static str, &str)],
        expected: Result<(), Forged>,
    ) {
        let uri = Uri::from_static("/login");
        let map = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
            .collect();
        let request = Incoming {
            method: &method,
            uri: &uri,
            headers: &map,
            has_body,
            programs,
        };
        assert_eq!(
            check(&request),
            expected,
            "{method} programs={programs} body={has_body} {headers:?}"
        );
    }

    #[test]
    fn reading_is_free() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            check_one(
                method,
                FORM,
                false,
                &[("sec-fetch-site", "cross-site")],
                Ok(()),
            );
        }
    }

    #[test]
    fn the_browsers_word_decides() {
        use Forged::*;
        const HOST: (&str, &str) = ("host", "shop.example:3000");
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            for programs in [API, FORM] {
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
                    // a proxy rewrote the host; the newer header still tells
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
                    check_one(method.clone(), programs, true, &headers, expected);
                }
            }
        }
    }

    #[test]
    fn programs_may_send_json_or_nothing() {
        use Forged::Unknown;
        for (programs, has_body, content_type, expected) in [
            (API, true, Some("application/json"), Ok(())),
            (API, true, Some("Application/JSON; charset=utf-8"), Ok(())),
            (API, false, None, Ok(())),
            (API, true, None, Err(Unknown)),
            (API, true, Some("text/plain"), Err(Unknown)),
            (
                API,
                true,
                Some("application/x-www-form-urlencoded"),
                Err(Unknown),
            ),
            (
                API,
                true,
                Some("text/plain; x=application/json"),
                Err(Unknown),
            ),
            (FORM, true, Some("application/json"), Err(Unknown)),
            (
                FORM,
                true,
                Some("application/x-www-form-urlencoded"),
                Err(Unknown),
            ),
            (FORM, false, None, Err(Unknown)),
        ] {
            let headers: Vec<_> = content_type
                .map(|value| ("content-type", value))
                .into_iter()
                .collect();
            check_one(Method::POST, programs, has_body, &headers, expected);
        }
    }

    #[test]
    fn http2_has_its_host_in_the_uri() {
        let uri = Uri::from_static("http://shop.example/login");
        for (origin, expected) in [
            ("http://shop.example", Ok(())),
            ("http://evil.example", Err(Forged::CrossSite)),
        ] {
            let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().expect("header"))]);
            let request = Incoming {
                method: &Method::POST,
                uri: &uri,
                headers: &headers,
                has_body: true,
                programs: FORM,
            };
            assert_eq!(check(&request), expected, "{origin}");
        }
    }
}
