//! The headers of sessions whose tokens do not travel in cookies.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::cookie_header::sensitive;

/// The response header that carries a new token; empty if the session has ended.
pub(crate) const SESSION_TOKEN: HeaderName = HeaderName::from_static("session-token");
/// The request header that asks for a bearer session.
const SESSION_TRANSPORT: HeaderName = HeaderName::from_static("session-transport");
/// The beginning of the tokens of sessions, by which they are told from those of others.
pub(crate) const PREFIX: &str = "b1.";

/// A token of a session in `Authorization`, which is not verified.
#[derive(Clone, Debug)]
pub(crate) enum BearerToken {
    /// The field that carries it.
    One(HeaderValue),
    /// Several such fields. `Authorization` is no list (RFC 9110 §11.6.2), so an intermediary may
    /// have checked another one than this service would take, and none is accepted.
    Several,
}

impl BearerToken {
    /// Looks for a token of a session. `None` if there is none: credentials of another scheme, and
    /// tokens of others, are no concern of sessions.
    pub(crate) fn find(headers: &HeaderMap) -> Option<Self> {
        let fields = headers.get_all(header::AUTHORIZATION).iter();
        let mut ours = fields.filter(|field| token(field.as_bytes()).is_some());
        let first = ours.next()?;
        match ours.next() {
            None => Some(Self::One(sensitive(first))),
            Some(_) => Some(Self::Several),
        }
    }

    /// The text to verify.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::One(field) => token(field.as_bytes()),
            Self::Several => None,
        }
    }
}

/// Whether the client wants the session that begins with this request to be a bearer session.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    let field = headers.get(SESSION_TRANSPORT);
    field.is_some_and(|field| trim(field.as_bytes()).eq_ignore_ascii_case(b"bearer"))
}

/// Asks for a bearer session, as a client does.
#[cfg(feature = "testing")]
pub(crate) fn ask(headers: &mut HeaderMap) {
    headers.insert(SESSION_TRANSPORT, HeaderValue::from_static("bearer"));
}

/// The token of a session in an `Authorization` field: the scheme in any case, at least one space,
/// and the token (RFC 9110 §11.4, RFC 6750 §2.1). Everything that begins like a token of a session
/// is taken for one, so that a damaged one is not ignored.
pub(crate) fn token(field: &[u8]) -> Option<&str> {
    let field = trim(field);
    let scheme_ends = field.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = field.split_at(scheme_ends);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    let token_begins = rest.iter().position(|byte| *byte != b' ')?;
    let token = &rest[token_begins..];
    if !token.starts_with(PREFIX.as_bytes()) {
        return None;
    }
    // a token that is not text is damaged, and verifies as little as its prefix does
    Some(str::from_utf8(token).unwrap_or(PREFIX))
}

/// Removes spaces and tabs at both ends (RFC 9110 §5.5).
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn headers(name: HeaderName, fields: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            let field = HeaderValue::from_bytes(field).expect("a header value");
            headers.append(name.clone(), field);
        }
        headers
    }

    #[track_caller]
    fn find(fields: &[&[u8]]) -> Option<BearerToken> {
        BearerToken::find(&headers(header::AUTHORIZATION, fields))
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_the_token_as_sent() {
        for field in [
            "Bearer b1.x.y",
            "bearer b1.x.y",
            "BEARER   b1.x.y",
            " \tbEaReR b1.x.y \t",
        ] {
            assert_eq!(token(field.as_bytes()), Some("b1.x.y"), "{field:?}");
        }
    }

    #[test]
    fn credentials_of_others_are_left_alone() {
        for field in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x",
            "Bearer v1.x.y",
            "Bearer B1.x.y",
            "Bearer b1",
            "Bearer b12.x",
            "Bearer\tb1.x.y",
            "Bearerb1.x.y",
            "Basic b1.x.y",
            "Basic YW5uOg==, Bearer b1.x.y",
            "Token b1.x.y",
            "b1.x.y",
            "\"Bearer\" b1.x.y",
            "\u{a0}Bearer b1.x.y",
            "Bearer\u{a0}b1.x.y",
            "Bearer \u{a0}b1.x.y",
        ] {
            assert_eq!(token(field.as_bytes()), None, "{field:?}");
        }
    }

    #[test]
    fn a_damaged_token_is_a_token_all_the_same() {
        for (field, expected) in [
            (&b"Bearer b1."[..], "b1."),
            (b"Bearer b1.x, Bearer b1.y", "b1.x, Bearer b1.y"),
            (b"Bearer b1.x y", "b1.x y"),
            (b"Bearer b1.\xff", "b1."),
        ] {
            assert_eq!(token(field), Some(expected));
        }
    }

    #[test]
    fn of_several_fields_one_may_carry_the_token_of_a_session() {
        let one = find(&[b"Basic YW5uOg==", b"Bearer b1.x", b"Bearer abc"]);
        assert_eq!(one.expect("one").text(), Some("b1.x"));
        let two = find(&[b"Bearer b1.x", b"Bearer b1.x"]);
        assert_eq!(two.expect("decides the request").text(), None);
        assert!(find(&[b"Basic YW5uOg==", b"Bearer abc"]).is_none());
        assert!(find(&[]).is_none());
    }

    #[test]
    fn a_client_asks_for_a_bearer_session_by_name() {
        let asks = |fields: &[&[u8]]| is_asked_for(&headers(SESSION_TRANSPORT, fields));
        assert!(asks(&[b"bearer"]));
        assert!(asks(&[b" Bearer "]));
        for other in [&b""[..], b"cookie", b"bearer, cookie", b"bearers", b"\xff"] {
            assert!(!asks(&[other]), "{other:?}");
        }
        assert!(!asks(&[]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(field: Vec<u8>) {
            if let Some(token) = token(&field) {
                prop_assert!(token.starts_with(PREFIX));
            }
        }

        #[test]
        fn what_is_written_is_read(
            scheme in "[bB][eE][aA][rR][eE][rR]",
            blanks in " {1,4}",
            rest in "[A-Za-z0-9._~+/=-]{0,100}",
        ) {
            let field = format!("{scheme}{blanks}{PREFIX}{rest}");
            let expected = format!("{PREFIX}{rest}");
            prop_assert_eq!(token(field.as_bytes()), Some(&*expected));
        }

        #[test]
        fn another_scheme_is_not_read(scheme in "[A-Za-z0-9!#$%&'*+.^_`|~-]{0,10}") {
            prop_assume!(!scheme.eq_ignore_ascii_case("bearer"));
            let field = format!("{scheme} b1.x.y");
            prop_assert_eq!(token(field.as_bytes()), None);
        }
    }
}
