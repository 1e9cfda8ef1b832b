//! Reads from the headers of a proxy how the browser reached it.
//!
//! Both headers are lists to which every proxy may append, so the first element comes from the
//! proxy nearest to the browser. Whether to trust it is decided elsewhere.

use http::{HeaderMap, header};

/// The header that was in use before RFC 7239, and still is more widespread.
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const HTTPS: &[u8] = b"https";

/// Whether the proxy nearest to the browser was reached over HTTPS.
///
/// `X-Forwarded-Proto` decides if it is present, else the `proto` of `Forwarded` (RFC 7239 §5.4). A
/// header that is malformed says nothing, and the answer is no.
pub(crate) fn is_https(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(X_FORWARDED_PROTO).iter().peekable();
    if fields.peek().is_some() {
        return fields
            .find_map(|field| first_proto(field.as_bytes()))
            .is_some_and(|proto| proto.eq_ignore_ascii_case(HTTPS));
    }
    headers
        .get_all(header::FORWARDED)
        .iter()
        .find_map(|field| first_element(field.as_bytes()))
        .is_some_and(|element| element == Element::Https)
}

/// The first element of `X-Forwarded-Proto`. List elements may be empty (RFC 9110 §5.6.1.2).
fn first_proto(field: &[u8]) -> Option<&[u8]> {
    field
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .find(|element| !element.is_empty())
}

/// What an element of `Forwarded` says about the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Https,
    /// Another protocol, or none.
    Other,
    Malformed,
}

/// Reads the first element of `Forwarded`; `None` if the field has none.
fn first_element(field: &[u8]) -> Option<Element> {
    let mut scanner = Scanner { rest: field };
    scanner.skip(|byte| matches!(byte, b' ' | b'\t' | b','));
    if scanner.rest.is_empty() {
        return None;
    }
    Some(scanner.element().unwrap_or(Element::Malformed))
}

/// The part of a field that has not been read.
struct Scanner<'h> {
    rest: &'h [u8],
}

impl<'h> Scanner<'h> {
    /// `[ pair ] *( ";" [ pair ] )` up to a comma or the end, `None` if malformed (RFC 7239 §4).
    ///
    /// Spaces around the semicolons, and values that are neither a token nor quoted but contain no
    /// delimiter (`for=192.0.2.1:80`), are common and accepted. A second `proto` is not (§4).
    fn element(&mut self) -> Option<Element> {
        let mut proto = None;
        loop {
            self.skip_blanks();
            if !matches!(self.rest.first(), None | Some(b',' | b';')) {
                let (name, is_https) = self.pair()?;
                if name.eq_ignore_ascii_case(b"proto") && proto.replace(is_https).is_some() {
                    return None;
                }
            }
            self.skip_blanks();
            match self.rest.split_first() {
                None | Some((b',', _)) => break,
                Some((b';', rest)) => self.rest = rest,
                Some(_) => return None,
            }
        }
        Some(if proto == Some(true) {
            Element::Https
        } else {
            Element::Other
        })
    }

    /// `token "=" value`: the name, and whether the value is `https`.
    fn pair(&mut self) -> Option<(&'h [u8], bool)> {
        let name = self.take(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        self.rest = self.rest.strip_prefix(b"=")?;
        if name.is_empty() {
            return None;
        }
        let is_https = match self.rest.strip_prefix(b"\"") {
            Some(rest) => {
                self.rest = rest;
                self.quoted_is_https()?
            }
            None => {
                let value = self.take(|byte| !matches!(byte, b' ' | b'\t' | b',' | b';' | b'"'));
                if value.is_empty() {
                    return None;
                }
                value.eq_ignore_ascii_case(HTTPS)
            }
        };
        Some((name, is_https))
    }

    /// The rest of a quoted string, in which a backslash escapes the next byte (RFC 9110 §5.6.4).
    fn quoted_is_https(&mut self) -> Option<bool> {
        let mut expected = HTTPS.iter();
        let mut is_equal = true;
        loop {
            let (mut byte, mut rest) = self.rest.split_first()?;
            if *byte == b'"' {
                self.rest = rest;
                return Some(is_equal && expected.next().is_none());
            }
            if *byte == b'\\' {
                (byte, rest) = rest.split_first()?;
            }
            self.rest = rest;
            is_equal &= expected.next() == Some(&byte.to_ascii_lowercase());
        }
    }

    fn skip_blanks(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) {
        self.take(is_skipped);
    }

    /// The longest prefix of such bytes.
    fn take(&mut self, is_taken: impl Fn(u8) -> bool) -> &'h [u8] {
        let end = self.rest.iter().position(|&byte| !is_taken(byte));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn headers(name: &'static str, fields: &[&[u8]]) -> HeaderMap {
        let value = |field: &&[u8]| HeaderValue::from_bytes(field).expect("a header value");
        let name = HeaderName::from_static(name);
        fields
            .iter()
            .map(|field| (name.clone(), value(field)))
            .collect()
    }

    #[track_caller]
    fn check(name: &'static str, fields: &[&str], expected: bool) {
        let bytes: Vec<_> = fields.iter().map(|field| field.as_bytes()).collect();
        assert_eq!(
            is_https(&headers(name, &bytes)),
            expected,
            "{name}: {fields:?}"
        );
    }

    #[test]
    fn the_first_x_forwarded_proto_decides() {
        let check = |fields, expected| check(X_FORWARDED_PROTO, fields, expected);
        check(&["https"], true);
        check(&["HTTPS"], true);
        check(&[" https\t, http"], true);
        check(&["https", "http"], true);
        check(&[", ,https"], true);
        check(&["", "https"], true);
        check(&["http,https"], false);
        check(&["http", "https"], false);
        check(&["https;x"], false);
        check(&["https\u{a0}"], false);
        check(&["wss"], false);
        check(&[""], false);
    }

    #[test]
    fn the_proto_of_the_first_forwarded_element_decides() {
        let check = |fields, expected| check("forwarded", fields, expected);
        check(&["for=192.0.2.60;proto=https;by=203.0.113.43"], true);
        check(&["for=192.0.2.60; Proto=\"HTTPS\""], true);
        check(&["proto=https, proto=http"], true);
        check(&["proto=https", "proto=http"], true);
        check(&["", " , proto=https"], true);
        check(&["proto=http, proto=https"], false);
        check(&["proto=http", "proto=https"], false);
        check(&["for=192.0.2.60", "proto=https"], false);
        check(&["for=192.0.2.60, for=10.0.0.1;proto=https"], false);
    }

    #[test]
    fn delimiters_in_a_quoted_string_do_not_end_it() {
        let check = |field, expected| check("forwarded", &[field], expected);
        check("for=\"a;proto=https\"", false);
        check("for=\"a, proto=https\"", false);
        check("for=\"a\\\";proto=https\"", false);
        check(
            "for=\"[2001:db8::1]:80\";by=\"a,b;c\\\\\";proto=https",
            true,
        );
        check("proto=\"h\\ttps\"", true);
        check("proto=\"https \"", false);
        check("proto=\"http\"", false);
    }

    #[test]
    fn a_malformed_forwarded_element_says_nothing() {
        let check = |field, expected| check("forwarded", &[field], expected);
        check("proto=https;for=\"open", false);
        check("proto=https;for=\"open\\", false);
        check("proto=https;for=a b", false);
        check("proto=https;for", false);
        check("proto=https;=a", false);
        check("proto=https;for=", false);
        check("proto=https;for=a\"b\"", false);
        check("proto=https;proto=https", false);
        check("proto=https;proto=http", false);
        check("proto =https", false);
        check("pro\u{a0}to=https", false);
        check("\u{a0}proto=https", false);
    }

    #[test]
    fn what_proxies_send_against_the_grammar_is_accepted() {
        check("forwarded", &["for=192.0.2.60:80 ; proto=https ;"], true);
        check("forwarded", &["for=[2001:db8::1];proto=https"], true);
    }

    #[test]
    fn forwarded_is_read_only_if_x_forwarded_proto_is_absent() {
        let both = |proto| {
            let mut both = headers("forwarded", &[b"proto=https"]);
            both.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
            is_https(&both)
        };
        assert!(both("https"));
        assert!(!both("http") && !both(""));
        assert!(!is_https(&HeaderMap::new()));
    }

    /// A pair other than `proto`.
    fn pair() -> impl Strategy<Value = String> {
        let name = select(&["for", "by", "host", "ext"][..]);
        let quoted = "[ -~é]{0,8}".prop_map(|value| quote(&value, false));
        let value = prop_oneof!["[a-z0-9._-]{1,8}", quoted, Just(r#"";proto=https""#.into())];
        (name, value).prop_map(|(name, value)| format!("{name}={value}"))
    }

    fn quote(value: &str, escape_all: bool) -> String {
        let mut text = String::from("\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\') || escape_all && c.is_ascii() {
                text.push('\\');
            }
            text.push(c);
        }
        text + "\""
    }

    /// An element, and whether its protocol is `https`.
    fn element() -> impl Strategy<Value = (String, bool)> {
        let proto = select(&["https", "HTTPS", "http", "ws", "httpss", "http s"][..]);
        let text = (proto, any::<bool>(), any::<bool>()).prop_map(|(proto, quoted, escape_all)| {
            let text = if quoted || proto.contains(' ') {
                quote(proto, escape_all)
            } else {
                proto.into()
            };
            (format!("pRoto={text}"), proto.eq_ignore_ascii_case("https"))
        });
        let proto = proptest::option::weighted(0.8, text);
        let blank = select(&["", " ", "\t"][..]);
        (
            vec(pair(), 0..4),
            proto,
            blank,
            any::<prop::sample::Index>(),
        )
            .prop_map(|(mut pairs, proto, blank, at)| {
                let is_https = proto.as_ref().is_some_and(|(_, is_https)| *is_https);
                if let Some((text, _)) = proto {
                    pairs.insert(at.index(pairs.len() + 1), text);
                }
                if pairs.is_empty() {
                    pairs.push("for=unknown".into());
                }
                (pairs.join(&format!(";{blank}")), is_https)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_first_element_decides_however_it_is_written(
            elements in vec(element(), 1..4),
            splits in vec(any::<bool>(), 4),
            empty in select(&["", ",", " , ", "\t"][..]),
        ) {
            let mut fields = vec![empty.to_owned()];
            for ((text, _), split) in elements.iter().zip(splits) {
                let last = fields.last_mut().expect("never empty");
                match split {
                    true => fields.push(text.clone()),
                    false if last.trim().is_empty() => last.push_str(text),
                    false => *last += &format!(" ,{text}"),
                }
            }
            let bytes: Vec<_> = fields.iter().map(|field| field.as_bytes()).collect();
            prop_assert_eq!(is_https(&headers("forwarded", &bytes)), elements[0].1, "{:?}", fields);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(field: Vec<u8>) {
            let _ = (first_element(&field), first_proto(&field));
        }
    }
}
