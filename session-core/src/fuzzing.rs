//! The entry points of the fuzz targets.
//!
//! Each takes any bytes, gives them to a parser, and panics if a property of the parser does not
//! hold. `tests/corpus.rs` runs them on the inputs that fuzzing has found.

use std::{borrow::Cow, sync::LazyLock};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    bearer::{self, BearerToken},
    body::Transport,
    codec, cookie_header,
    format::{Format, Native},
    id::SessionId,
    request_scheme::Proxy,
    secret::Secret,
    sign::SigningKeys,
    token::SessionToken,
};

const NAME: &str = "__Host-id";

/// Reads the lines of `data` as the `Cookie` fields of a request.
///
/// Finds the same cookies as a search for the name: those that only blanks separate from a
/// semicolon and an equals sign. A value that is not encoded is borrowed from the header.
pub fn cookie_header(data: &[u8]) {
    let fields: Vec<_> = lines(data)
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    for name in [NAME, "a"] {
        let expected = fields
            .iter()
            .flat_map(|field| cookies_by_search(field.as_bytes(), name))
            .filter_map(|value| {
                let (decoded, is_encoded) = decoded(value);
                Some((String::from_utf8(decoded).ok()?, is_encoded))
            });
        let read = cookie_header::candidates(&fields, name).map(|value| {
            let is_owned = matches!(value, Cow::Owned(_));
            (value.into_owned(), is_owned)
        });
        assert!(read.eq(expected), "{name} in {fields:?}");
    }
}

/// Finds the values of the cookies of this name by looking for the name and at what is around it.
fn cookies_by_search<'h>(field: &'h [u8], name: &str) -> Vec<&'h [u8]> {
    let mut found = Vec::new();
    for at in 0..field.len() {
        let Some(after) = field[at..].strip_prefix(name.as_bytes()) else {
            continue;
        };
        let before = trim_blanks(&field[..at]);
        if !before.is_empty() && !before.ends_with(b";") {
            continue;
        }
        let Some(value) = trim_blanks(after).strip_prefix(b"=") else {
            continue;
        };
        let end = value.iter().position(|byte| *byte == b';');
        found.push(trim_blanks(&value[..end.unwrap_or(value.len())]));
    }
    found
}

/// The bytes of a value, and whether some were percent-encoded.
fn decoded(value: &[u8]) -> (Vec<u8>, bool) {
    let is_quoted = value.len() > 1 && value.starts_with(b"\"") && value.ends_with(b"\"");
    let mut rest = if is_quoted {
        &value[1..value.len() - 1]
    } else {
        value
    };
    let (mut bytes, mut is_encoded) = (Vec::new(), false);
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).expect("two digits are a byte"));
                (rest, is_encoded) = (&after[2..], true);
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    (bytes, is_encoded)
}

/// Reads `data` as the value of a cookie, and as changes to a value that was signed.
///
/// What verifies was signed, and what was signed verifies only if it is unchanged.
pub fn cookie_value(data: &[u8]) {
    token_text(Transport::Cookie, data);
}

/// Reads the lines of `data` as the `Authorization` fields of a request, and `data` as changes to a
/// token that was signed.
///
/// The token of a session is found exactly if one field has the scheme, spaces, and the prefix of
/// tokens. What verifies was signed.
pub fn authorization(data: &[u8]) {
    let fields: Vec<_> = lines(data)
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let headers: HeaderMap = fields
        .iter()
        .map(|field| (header::AUTHORIZATION, field.clone()))
        .collect();
    let expected: Vec<_> = fields
        .iter()
        .filter_map(|field| bearer_by_splitting(trim_blanks(field.as_bytes())))
        .collect();
    let found = BearerToken::find(&headers);
    assert_eq!(found.is_some(), !expected.is_empty(), "{fields:?}");
    let text = found.as_ref().and_then(BearerToken::text);
    match (text, &expected[..]) {
        (Some(text), [token]) if str::from_utf8(token).is_ok() => {
            assert_eq!(text.as_bytes(), *token, "{fields:?}");
        }
        (Some(text), [_]) => assert_eq!(text, bearer::PREFIX, "a token that is not text"),
        (text, _) => assert_eq!(text, None, "{fields:?}"),
    }
    token_text(Transport::Bearer, data);
}

/// The token of a session in an `Authorization` field.
fn bearer_by_splitting(field: &[u8]) -> Option<&[u8]> {
    let mut parts = field.splitn(2, |byte| *byte == b' ');
    let (scheme, rest) = (parts.next()?, parts.next()?);
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = &rest[blanks..];
    (scheme.eq_ignore_ascii_case(b"bearer") && token.starts_with(b"b1.")).then_some(token)
}

fn token_text(transport: Transport, data: &[u8]) {
    static KEYS: LazyLock<[SigningKeys; 2]> = LazyLock::new(|| {
        let (new, old) = ([1; 32], [2; 32]);
        let keys = |keys: &[[u8; 32]]| SigningKeys::new(keys).expect("long keys");
        [keys(&[new, old]), keys(&[old])]
    });
    let [keys, old] = &*KEYS;
    let read = |name: &str, text: &str| Native.read_token(transport, name, text, keys);
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(verified) = read(NAME, text)
    {
        let by = if verified.signed_by_old_key {
            old
        } else {
            keys
        };
        let written = Native.write_token(transport, NAME, &verified.token, by);
        assert_eq!(written, text);
    }

    let Some((id, rest)) = data.split_first_chunk::<{ SessionId::BYTES }>() else {
        return;
    };
    let Some((secret, rest)) = rest.split_first_chunk::<{ Secret::BYTES }>() else {
        return;
    };
    let token = SessionToken::new(SessionId::from_bytes(*id), Secret::new(*secret));
    let by_old_key = rest.first().is_some_and(|byte| byte % 2 == 1);
    let by = if by_old_key { old } else { keys };
    let value = Native.write_token(transport, NAME, &token, by);
    let changed = changed(&value, rest.get(1..).unwrap_or_default());
    let verified = read(NAME, &changed);
    assert_eq!(verified.is_some(), changed == value, "{changed}");
    if let Some(verified) = verified {
        assert!(verified.token == token && verified.signed_by_old_key == by_old_key);
    }
    assert!(read("id", &changed).is_none(), "another name");
}

/// Replaces, inserts or removes characters, by three bytes each: what, where, which character.
fn changed(value: &str, changes: &[u8]) -> String {
    let mut changed = value.to_owned();
    for change in changes.chunks_exact(3) {
        let at = usize::from(change[1]) % (changed.len() + 1);
        let character = char::from(change[2] & 0x7f);
        match change[0] % 3 {
            0 if at < changed.len() => drop(changed.remove(at)),
            1 if at < changed.len() => {
                changed.replace_range(at..=at, character.encode_utf8(&mut [0]))
            }
            _ => changed.insert(at, character),
        }
    }
    changed
}

/// Reads `data` as the stored body of a record.
///
/// A body that was decoded is encoded to bytes that decode to the same body.
pub fn record(data: &[u8]) {
    let Ok(body) = codec::decode(&Bytes::copy_from_slice(data)) else {
        return;
    };
    let encoded = codec::encode(&body);
    let again = codec::decode(&encoded).expect("what was encoded decodes");
    assert_eq!(again, body);
    assert_eq!(codec::encode(&again), encoded);
}

/// Reads the lines of `data` as the headers of a proxy: those that begin with `x:` as
/// `X-Forwarded-Proto`, the others as `Forwarded`.
///
/// The answer is that of a reader that splits lists instead of scanning them. It depends neither on
/// the case of the text nor on what follows the first element.
pub fn forwarding_headers(data: &[u8]) {
    let fields: Vec<_> = lines(data)
        .map(|line| match line.strip_prefix(b"x:") {
            Some(value) => (HeaderName::from_static("x-forwarded-proto"), value),
            None => (header::FORWARDED, line),
        })
        .filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?)))
        .collect();
    let is_https = |fields: &[(HeaderName, HeaderValue)]| {
        let headers: HeaderMap = fields.iter().cloned().collect();
        Proxy::Trust.secure(&Extensions::new(), &headers)
    };

    // `X-Forwarded-Proto` decides if it is there
    let is_old = |field: &&(HeaderName, HeaderValue)| field.0 != header::FORWARDED;
    let expected = match fields.iter().find(is_old) {
        Some(_) => fields
            .iter()
            .filter(is_old)
            .find_map(|(_, field)| x_forwarded_proto_by_splitting(field.as_bytes())),
        None => fields
            .iter()
            .find_map(|(_, field)| forwarded_by_splitting(field.as_bytes())),
    };
    assert_eq!(
        is_https(&fields),
        Some(expected.unwrap_or(false)),
        "{fields:?}"
    );

    let mut upper_case = fields.clone();
    for (_, value) in &mut upper_case {
        let upper = value.as_bytes().to_ascii_uppercase();
        *value = HeaderValue::from_bytes(&upper).expect("as valid as before");
    }
    assert_eq!(is_https(&upper_case), is_https(&fields), "{fields:?}");

    if let Some(expected) = expected {
        let decisive = fields.iter().find(is_old).or(fields.first());
        let name = &decisive.expect("an element of a field").0;
        for more in ["proto=https", "https", "proto=http", "\""] {
            let mut longer = fields.clone();
            longer.push((name.clone(), HeaderValue::from_static(more)));
            assert_eq!(is_https(&longer), Some(expected), "{fields:?} and {more}");
        }
    }
}

/// Whether the first element is `https`; `None` if there is none.
fn x_forwarded_proto_by_splitting(field: &[u8]) -> Option<bool> {
    let mut elements = field.split(|byte| *byte == b',').map(trim_blanks);
    let first = elements.find(|element| !element.is_empty())?;
    Some(first.eq_ignore_ascii_case(b"https"))
}

/// Whether the `proto` of the first element is `https`; `None` if there is none.
fn forwarded_by_splitting(field: &[u8]) -> Option<bool> {
    let units = units(field);
    let mut elements = units.split(|unit| *unit == Unit::Bare(b','));
    let first = elements.find(|element| !trim_units(element).is_empty())?;
    Some(element_by_splitting(first).unwrap_or(false))
}

/// A byte of a `Forwarded` field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Outside of a quoted string.
    Bare(u8),
    /// In a quoted string, unescaped.
    Quoted(u8),
    /// A quotation mark.
    Quote,
    /// The field ends within a quoted string.
    Open,
}

fn units(field: &[u8]) -> Vec<Unit> {
    let (mut units, mut is_quoted) = (Vec::new(), false);
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        units.push(match (byte, is_quoted) {
            (b'"', _) => {
                is_quoted = !is_quoted;
                Unit::Quote
            }
            (b'\\', true) => bytes.next().map_or(Unit::Open, Unit::Quoted),
            (_, true) => Unit::Quoted(byte),
            (_, false) => Unit::Bare(byte),
        });
    }
    if is_quoted {
        units.push(Unit::Open);
    }
    units
}

/// Whether the `proto` of an element is `https`; `None` if it is malformed.
fn element_by_splitting(element: &[Unit]) -> Option<bool> {
    let mut proto = None;
    for pair in element
        .split(|unit| *unit == Unit::Bare(b';'))
        .map(trim_units)
    {
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|unit| *unit == Unit::Bare(b'='))?;
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        let name: Vec<_> = name.iter().map(|unit| bare(*unit)).collect::<Option<_>>()?;
        // a header name is a token too
        HeaderName::from_bytes(&name).ok()?;
        let value: Vec<_> = match value {
            [Unit::Quote, value @ .., Unit::Quote] => value
                .iter()
                .map(|unit| match unit {
                    Unit::Quoted(byte) => Some(*byte),
                    Unit::Bare(_) | Unit::Quote | Unit::Open => None,
                })
                .collect::<Option<_>>()?,
            [] => return None,
            value => value
                .iter()
                .map(|unit| bare(*unit))
                .collect::<Option<_>>()?,
        };
        if name.eq_ignore_ascii_case(b"proto") && proto.replace(value).is_some() {
            return None;
        }
    }
    Some(proto.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https")))
}

fn bare(unit: Unit) -> Option<u8> {
    match unit {
        Unit::Bare(byte) if !is_blank(byte) => Some(byte),
        Unit::Bare(_) | Unit::Quoted(_) | Unit::Quote | Unit::Open => None,
    }
}

fn trim_units(units: &[Unit]) -> &[Unit] {
    let is_kept = |unit: &Unit| !matches!(unit, Unit::Bare(byte) if is_blank(*byte));
    let start = units.iter().position(is_kept).unwrap_or(units.len());
    let end = units.iter().rposition(is_kept).map_or(start, |at| at + 1);
    &units[start..end]
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn trim_blanks(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|byte| !is_blank(*byte))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|byte| !is_blank(*byte))
        .map_or(start, |at| at + 1);
    &bytes[start..end]
}

fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == b'\n')
}
