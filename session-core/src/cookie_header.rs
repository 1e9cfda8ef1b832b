//! Reads the `Cookie` header.
//!
//! The header carries the cookies of every application of the host, and those that a page of a
//! sibling subdomain has planted. A cookie is ours only if its name is, byte for byte: browsers
//! enforce the `__Host-` prefix on exactly these bytes, so a name that equals ours only after some
//! conversion (Unicode whitespace removed, another case, percent-decoded) was never subject to it.

use std::{borrow::Cow, iter};

use http::{HeaderMap, HeaderValue, header};
use memchr::memchr;
use percent_encoding::percent_decode;
use smallvec::SmallVec;

/// The `Cookie` fields of a request; usually there is one.
pub(crate) type Fields = SmallVec<[HeaderValue; 1]>;

/// The `Cookie` fields of a request. HTTP/2 may split the header (RFC 9113 §8.2.3).
pub(crate) fn fields(headers: &HeaderMap) -> Fields {
    let mut fields = Fields::new();
    // collecting an iterator costs a request without cookies 50 instructions of 900
    for field in headers.get_all(header::COOKIE) {
        fields.push(sensitive(field));
    }
    fields
}

/// A copy whose `Debug` output is redacted.
pub(crate) fn sensitive(field: &HeaderValue) -> HeaderValue {
    let mut field = field.clone();
    field.set_sensitive(true);
    field
}

/// The values of all cookies of this name, in the order sent, without quotes and percent-decoded.
///
/// A value that is not UTF-8 is left out. The number of values is limited only by the size of the
/// header, and each is decoded when it is its turn.
pub(crate) fn candidates<'h>(
    fields: &'h [HeaderValue],
    name: &'h str,
) -> impl Iterator<Item = Cow<'h, str>> {
    fields
        .iter()
        .flat_map(move |field| raw_values(field.as_bytes(), name))
        .filter_map(decode)
}

/// The values of all cookies of this name in one field, as sent.
///
/// Spaces and tabs are the only bytes that are ignored around a name and a value, as browsers do
/// (RFC 6265bis §5.6).
pub(crate) fn raw_values<'h>(field: &'h [u8], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    pairs(field).filter_map(move |pair| {
        // a name contains no `=`, so what precedes the first one needs no search
        let after_name = trim_start(pair).strip_prefix(name.as_bytes())?;
        trim_start(after_name).strip_prefix(b"=").map(trim)
    })
}

/// What the semicolons of a field separate.
fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(field);
    iter::from_fn(move || {
        let field = rest?;
        let end = memchr(b';', field);
        rest = end.map(|end| &field[end + 1..]);
        Some(&field[..end.unwrap_or(field.len())])
    })
}

/// Removes spaces and tabs at both ends.
fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = trim_start(bytes);
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Removes spaces and tabs at the start.
fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Removes quotes, decodes percent-encoding.
fn decode(value: &[u8]) -> Option<Cow<'_, str>> {
    let value = match value {
        [b'"', quoted @ .., b'"'] => quoted,
        unquoted => unquoted,
    };
    if memchr(b'%', value).is_none() {
        return str::from_utf8(value).ok().map(Cow::Borrowed);
    }
    percent_decode(value).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "__Host-id";

    #[track_caller]
    fn find(fields: &[&[u8]], name: &str) -> Vec<String> {
        let fields: Vec<_> = fields
            .iter()
            .map(|bytes| HeaderValue::from_bytes(bytes).expect("a header value"))
            .collect();
        candidates(&fields, name).map(Cow::into_owned).collect()
    }

    #[test]
    fn every_cookie_of_the_name_is_found_in_the_order_sent() {
        assert_eq!(
            find(&[b"a=1; id=x; b=2", b"id=y;id=z"], "id"),
            ["x", "y", "z"]
        );
        assert_eq!(find(&[&b"id=x; ".repeat(1000)], "id").len(), 1000);
    }

    #[test]
    fn a_neighbour_may_hold_any_bytes() {
        assert_eq!(find(&[b"name=Zo\xc3\xab; id=x"], "id"), ["x"]);
        assert_eq!(find(&[b"name=Zo\xeb; id=x"], "id"), ["x"]);
        assert_eq!(
            find(&[b"garbage; =; ;; =id; a=id=y; \"; id=x"], "id"),
            ["x"]
        );
    }

    #[test]
    fn spaces_and_tabs_around_name_and_value_are_ignored() {
        assert_eq!(find(&[b" \t id \t=\t x \t;\tid=y z"], "id"), ["x", "y z"]);
    }

    #[test]
    fn a_value_may_be_quoted_and_percent_encoded() {
        assert_eq!(
            find(
                &[b"id=\"x\"; id=a%2Eb; id=\"%41\"; id=; id=\"; id=a=b; id=%zz"],
                "id"
            ),
            ["x", "a.b", "A", "", "\"", "a=b", "%zz"]
        );
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_left_out() {
        assert_eq!(
            find(&[b"id=\xff; id=%ff; id=%C3%AB; id=x"], "id"),
            ["ë", "x"]
        );
    }

    #[test]
    fn a_value_is_borrowed_from_the_header_unless_it_was_encoded() {
        let fields = [HeaderValue::from_static(
            "a=%41; id=x; id=\"y\"; id=%41; b=\"z\"",
        )];
        let owned: Vec<_> = candidates(&fields, "id")
            .map(|value| matches!(value, Cow::Owned(_)))
            .collect();
        assert_eq!(owned, [false, false, true]);
    }

    /// A page of a sibling subdomain may set such a cookie with `Domain` and a long `Path`: to the
    /// browser the name has no prefix, and it is sent before the real cookie.
    #[test]
    fn a_name_behind_unicode_whitespace_does_not_pass_for_a_host_bound_cookie() {
        for space in ["\u{a0}", "\u{85}", "\u{2000}", "\u{3000}", "\u{feff}"] {
            for planted in [format!("{space}{NAME}=x"), format!("{NAME}{space}=x")] {
                let header = format!("{planted}; {NAME}=y");
                assert_eq!(find(&[header.as_bytes()], NAME), ["y"], "{planted:?}");
            }
        }
    }

    #[test]
    fn a_name_is_compared_as_sent() {
        for planted in [
            "__host-id=x",
            "__%48ost-id=x",
            "\"__Host-id\"=x",
            "__Host-id2=x",
        ] {
            assert_eq!(find(&[planted.as_bytes()], NAME), [""; 0], "{planted}");
        }
    }

    /// Bytes that some reader may remove or fold, and those that structure the header.
    fn around() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(vec![
            "\u{a0}", "\u{85}", "\u{2000}", "\u{3000}", "\u{feff}", "\u{200b}", " ", "\t", "\"",
            "%20", "%00", "\\", "a", ";", "=", ",", "$", "",
        ]);
        prop::collection::vec(
            prop_oneof![
                3 => known.prop_map(|text| text.as_bytes().to_vec()),
                1 => any::<u8>().prop_map(|byte| vec![byte]),
            ],
            0..3,
        )
        .prop_map(|parts| parts.concat())
    }

    /// The name, or what some reader may take for it.
    fn lookalike() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(vec![
            NAME,
            "__host-id",
            "__HOST-ID",
            "__Host-%69d",
            "%5F_Host-id",
            "__Host-ıd",
            "__Hoſt-id",
            "__Host\u{2010}id",
            "_\u{200b}_Host-id",
        ]);
        known.prop_map(|text| text.as_bytes().to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn only_the_exact_name_matches(before in around(), name in lookalike(), after in around()) {
            let field = [&*before, &*name, &*after, b"=planted"].concat();
            // the pair that ends in `=planted` is not the first one if there is a semicolon before
            let pair = field.rsplit(|b| *b == b';').next().expect("at least one");
            let sent_name = pair.split(|b| *b == b'=').next().expect("at least one");
            let is_blank = |bytes: &[u8]| bytes.iter().all(|b| b" \t".contains(b));
            let is_exact = (0..=sent_name.len()).any(|at| {
                let (blank, rest) = sent_name.split_at(at);
                is_blank(blank) && rest.strip_prefix(NAME.as_bytes()).is_some_and(is_blank)
            });
            // an earlier pair of the field may be of the name too
            let last = raw_values(&field, NAME).last();
            let found = last.is_some_and(|value| value.ends_with(b"planted"));
            prop_assert_eq!(found, is_exact);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(field: Vec<u8>) {
            let _ = raw_values(&field, "a").filter_map(decode).count();
        }

        #[test]
        fn what_is_encoded_decodes(value in "\\PC{0,40}") {
            let encoded = utf8_percent_encode(&value, NON_ALPHANUMERIC);
            let field = format!("a=b; {NAME}={encoded}");
            prop_assert_eq!(find(&[field.as_bytes()], NAME), [value]);
        }
    }
}
