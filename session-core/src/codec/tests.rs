//! Tests of the codec.

use proptest::{option, prelude::*, sample};

use super::*;

/// A body with every field, as this release writes it, and a field of a later release. Every later
/// release reads it.
const GOLDEN: &[u8] = include_bytes!("../../tests/vectors/body-v2.bin");

/// The fields that every body has: one secret of zeros, created at 5, no data.
const SMALLEST: &[u8] =
    b"\x83\xa7secrets\x91\xc4\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \xaacreated_at\x05\xa4data\x80";

fn golden() -> Body {
    let mut data = Data::default();
    data.insert("user", encode_value("ann").expect("a string"));
    data.insert("views", encode_value(&41).expect("an integer"));
    let hash = |first: u8| SecretHash::from_bytes(std::array::from_fn(|at| first + at as u8));
    let tag = |name: &str, value: &str| Tag {
        name: name.into(),
        value: value.into(),
    };
    Body {
        secrets: Secrets {
            first: hash(0x20),
            second: Some(hash(0x40)),
        },
        created_at: Millis(1_700_000_000_123),
        authenticated_at: Some(Millis(1_700_000_060_000)),
        renewed_at: Some(Millis(1_700_000_061_000)),
        listed_at: Some(Millis(1_700_000_062_000)),
        transport: Transport::Bearer,
        contents: Arc::new(Contents {
            data,
            principal: Some("ann".into()),
            tags: vec![tag("sid", "s-1"), tag("tenant", "blue")],
            lifetime: LifetimeOverrides {
                idle: Some(Duration::from_secs(60)),
                absolute: Some(Duration::from_secs(86_400)),
                persistent: Some(true),
            },
            cookie: CookieOverrides {
                http_only: Some(false),
                same_site: Some(None),
                priority: Some(Some(Priority::High)),
                ..CookieOverrides::default()
            },
        }),
        unknown: vec![(Bytes::from("later"), Bytes::from_static(b"\x92\x01\x02"))],
    }
}

#[test]
fn the_golden_vector_decodes_and_encodes_to_itself() {
    let bytes = Bytes::from_static(GOLDEN);
    assert_eq!(decode(&bytes), Ok(golden()));
    assert_eq!(encode(&golden()), bytes);
    assert_eq!(
        encode(&decode(&bytes).expect("a body")),
        bytes,
        "unknown fields are kept"
    );
}

#[test]
fn fields_at_their_default_are_left_out() {
    let bytes = Bytes::from_static(SMALLEST);
    let body = decode(&bytes).expect("a body");
    assert_eq!(body.secrets, Secrets::one(SecretHash::from_bytes([0; 32])));
    assert_eq!(body.created_at, Millis(5));
    assert_eq!(body.transport, Transport::Cookie);
    assert_eq!(*body.contents, Contents::default());
    assert_eq!(encode(&body), bytes);
}

#[test]
fn a_field_at_its_default_may_be_there() {
    let bytes = with_field(b"\xa9transport\xa6cookie");
    assert_eq!(decode(&bytes), decode(&Bytes::from_static(SMALLEST)));
}

#[test]
fn decoded_data_shares_the_bytes_of_the_body() {
    let bytes = Bytes::from_static(GOLDEN);
    let body = decode(&bytes).expect("a body");
    let value = body.contents.data.get("user").expect("present");
    for part in [&value, &body.unknown[0].0, &body.unknown[0].1] {
        assert!(bytes.as_ptr_range().contains(&part.as_ptr()));
    }
}

#[test]
fn a_body_fits_into_the_space_that_is_reserved_for_it() {
    let mut body = decode(&Bytes::from_static(SMALLEST)).expect("a body");
    let value = encode_value(&"v".repeat(300)).expect("a string");
    body.unknown = (100..130)
        .map(|n| (Bytes::from(n.to_string().repeat(100)), value.clone()))
        .collect();
    let contents = Arc::make_mut(&mut body.contents);
    contents.principal = Some("p".repeat(300).into());
    contents.data.insert("name", value);
    let tag = Tag {
        name: "n".repeat(100).into(),
        value: "v".repeat(100).into(),
    };
    contents.tags = vec![tag; 30];

    let (needed, reserved) = (encode(&body).len(), typical_bytes(&body));
    assert!(
        (needed..needed + 256).contains(&reserved),
        "{reserved} bytes for {needed}"
    );
    assert!(Writer::with_capacity(reserved).as_mut_vec().capacity() >= reserved);
}

#[test]
fn room_is_made_for_no_more_elements_than_the_bytes_can_hold() {
    let bytes = Bytes::from_static(&[0; 20]);
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.uint(), Ok(0));
    for (len, min_bytes, expected) in [(3, 4, 3), (100, 4, 4), (100, 5, 3), (usize::MAX, 1, 19)] {
        let capacity = reader.capacity(len, min_bytes);
        assert_eq!(capacity, expected, "{len} of {min_bytes} bytes");
    }
}

/// `SMALLEST` with one more field.
fn with_field(field: &[u8]) -> Bytes {
    let mut bytes = SMALLEST.to_vec();
    bytes[0] += 1;
    bytes.splice(1..1, field.iter().copied());
    Bytes::from(bytes)
}

/// A map of these fields.
fn of_fields(fields: &[&[u8]]) -> Bytes {
    Bytes::from([&[0x80 | fields.len() as u8][..], &fields.concat()].concat())
}

#[track_caller]
fn assert_rejected(bytes: &Bytes, field: &'static str, problem: Problem) {
    assert_eq!(decode(bytes).map(drop), Err(DecodeError { field, problem }));
}

#[test]
fn required_fields_must_be_present() {
    let secrets = &SMALLEST[1..44];
    let created_at = &SMALLEST[44..56];
    let data = &SMALLEST[56..];
    assert!(decode(&of_fields(&[data, created_at, secrets])).is_ok());
    assert_rejected(&of_fields(&[created_at, data]), SECRETS, Problem::Missing);
    assert_rejected(&of_fields(&[secrets, data]), CREATED_AT, Problem::Missing);
    assert_rejected(&of_fields(&[secrets, created_at]), DATA, Problem::Missing);
}

#[test]
fn names_must_be_distinct() {
    let twice = |field: &[u8]| {
        let mut bytes = with_field(field).to_vec();
        bytes[0] += 1;
        bytes.splice(1..1, field.iter().copied());
        Bytes::from(bytes)
    };
    for (field, name) in [
        (&b"\xaacreated_at\x05"[..], CREATED_AT),
        (b"\xa9principal\xa3ann", PRINCIPAL),
        (b"\xaapersistent\xc3", PERSISTENT),
        (b"\xa4tags\x90", TAGS),
        (b"\xa5later\xc0", UNKNOWN),
    ] {
        assert_rejected(&twice(field), name, Problem::Duplicate);
    }
    let data = b"\xa4data\x82\xa1a\xc4\x01\x01\xa1a\xc4\x01\x02";
    let bytes = of_fields(&[&SMALLEST[1..44], &SMALLEST[44..56], data]);
    assert_rejected(&bytes, DATA, Problem::Duplicate);
}

#[test]
fn there_are_one_or_two_secrets_of_32_bytes() {
    let secrets = |count: u8, len: u8| {
        let secret = [&[0xc4, len][..], &vec![7; len.into()]].concat();
        let field = [
            b"\xa7secrets",
            &[0x90 | count][..],
            &secret.repeat(count.into()),
        ]
        .concat();
        of_fields(&[&field, &SMALLEST[44..56], &SMALLEST[56..]])
    };
    assert!(decode(&secrets(1, 32)).is_ok());
    assert!(decode(&secrets(2, 32)).is_ok());
    assert_rejected(
        &secrets(0, 32),
        SECRETS,
        Problem::Expected("one or two secrets"),
    );
    assert_rejected(
        &secrets(3, 32),
        SECRETS,
        Problem::Expected("one or two secrets"),
    );
    assert_rejected(&secrets(1, 31), SECRETS, Problem::Expected("32 bytes"));
    assert_rejected(&secrets(2, 33), SECRETS, Problem::Expected("32 bytes"));
}

#[test]
fn an_error_names_the_field_and_the_problem() {
    for (field, name, expected) in [
        (&b"\xaaidle_timeout\xff"[..], BODY, "a string"),
        (b"\xacidle_timeout\xff", IDLE_TIMEOUT, "an unsigned integer"),
        (
            b"\xb0absolute_timeout\xa1x",
            ABSOLUTE_TIMEOUT,
            "an unsigned integer",
        ),
        (
            b"\xb0authenticated_at\xc0",
            AUTHENTICATED_AT,
            "an unsigned integer",
        ),
        (
            b"\xaarenewed_at\xcb\0\0\0\0\0\0\0\0",
            RENEWED_AT,
            "an unsigned integer",
        ),
        (b"\xaapersistent\x01", PERSISTENT, "a boolean"),
        (b"\xa9principal\x01", PRINCIPAL, "a string"),
        (b"\xa9principal\xa2\xff\xff", PRINCIPAL, "UTF-8"),
        (
            b"\xa6cookie\x81\xa6secure\xa5maybe",
            COOKIE,
            "cookie attributes",
        ),
        (
            b"\xa4tags\x91\x93\xa1a\xa1b\xc0",
            TAGS,
            "name and value of a tag",
        ),
        (b"\xa9transport\xa6pigeon", TRANSPORT, "a known transport"),
        (b"\xa1\xff\xc0", UNKNOWN, "UTF-8"),
        (b"\xa5later\xc1", UNKNOWN, "a value"),
    ] {
        assert_rejected(&with_field(field), name, Problem::Expected(expected));
    }
    let error = decode(&Bytes::from_static(b"\x80")).expect_err("no field");
    assert_eq!(
        error.to_string(),
        "cannot decode `secrets` of the session record: it is missing"
    );
    let error = decode(&Bytes::new()).expect_err("no map");
    assert_eq!(
        error.to_string(),
        "cannot decode `body` of the session record: expected a map"
    );
}

#[test]
fn bytes_after_the_body_are_rejected() {
    assert_rejected(
        &Bytes::from([SMALLEST, &[0xc0]].concat()),
        BODY,
        Problem::TrailingBytes,
    );
}

#[test]
fn lengths_that_the_bytes_do_not_hold_are_rejected() {
    for bytes in [
        &b"\xdf\xff\xff\xff\xff"[..],
        b"\x81\xdb\xff\xff\xff\xff",
        b"\x81\xa7secrets\xdd\xff\xff\xff\xff",
        b"\x81\xa9principal\xdb\xff\xff\xff\xff",
        b"\x81\xa4tags\xdd\xff\xff\xff\xff",
        b"\x81\xa4data\xdf\xff\xff\xff\xff",
        b"\x81\xa4data\x81\xa1a\xc6\xff\xff\xff\xff",
        b"\x81\xa5later\xc6\xff\xff\xff\xff",
        b"\x81\xa5later\xdd\xff\xff\xff\xff",
    ] {
        assert!(decode(&Bytes::from_static(bytes)).is_err(), "{bytes:x?}");
    }
}

#[test]
fn values_are_nested_to_a_limit() {
    let nested = |depth: usize| [&vec![0x91; depth][..], &[0xc0]].concat();
    let field = |depth| with_field(&[b"\xa5later", &nested(depth)[..]].concat());
    assert!(decode(&field(MAX_DEPTH - 1)).is_ok());
    assert_rejected(&field(MAX_DEPTH + 1), UNKNOWN, Problem::Expected("a value"));
    assert_rejected(&field(1_000_000), UNKNOWN, Problem::Expected("a value"));
    assert!(decode_value::<serde::de::IgnoredAny>(&nested(MAX_DEPTH - 1)).is_ok());
    assert!(decode_value::<serde::de::IgnoredAny>(&nested(1_000_000)).is_err());
}

#[test]
fn a_field_of_a_later_release_may_have_any_type() {
    for value in [
        &b"\xc0"[..],
        b"\xc2",
        b"\xff",
        b"\xcb\0\0\0\0\0\0\0\0",
        b"\xa3abc",
        b"\xa2\xff\xff",
        b"\xc4\x02\x01\x02",
        b"\x93\x01\xa1a\xc0",
        b"\x82\x01\x02\xa1a\x90",
        b"\xd4\x01\x07",
        b"\xc7\x03\x01abc",
        b"\xd6\xff\0\0\0\0",
    ] {
        let bytes = with_field(&[b"\xa5later", value].concat());
        let body = decode(&bytes).unwrap_or_else(|error| panic!("{value:x?}: {error}"));
        assert_eq!(
            body.unknown,
            [(Bytes::from("later"), Bytes::from_static(value))]
        );
        assert_eq!(decode(&encode(&body)), Ok(body));
    }
}

/// MessagePack has a short and up to three long forms of a length.
#[test]
fn every_form_of_a_length_is_read() {
    let mut body = golden();
    for len in [0, 31, 32, 255, 256, 65_535, 65_536] {
        let text = "x".repeat(len);
        let contents = Arc::make_mut(&mut body.contents);
        contents.data.insert(&text, Bytes::from(text.clone()));
        contents.principal = Some(text.as_str().into());
        contents.tags.push(Tag {
            name: text.as_str().into(),
            value: text.as_str().into(),
        });
        assert_eq!(decode(&encode(&body)).as_ref(), Ok(&body), "{len}");
        Arc::make_mut(&mut body.contents).tags.pop();
    }
    for len in [15, 16, 65_535, 65_536] {
        let contents = Arc::make_mut(&mut body.contents);
        contents.data.clear();
        (0..len).for_each(|n: u32| contents.data.insert(&format!("{n:05}"), Bytes::new()));
        contents.tags.resize(len as usize, contents.tags[0].clone());
        assert_eq!(decode(&encode(&body)).as_ref(), Ok(&body), "{len}");
    }
}

#[test]
fn every_form_of_a_number_is_read() {
    for number in [
        0,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        u32::MAX.into(),
        1 << 32,
        u64::MAX,
    ] {
        let mut body = golden();
        body.created_at = Millis(number);
        Arc::make_mut(&mut body.contents).lifetime.idle = Some(Duration::from_millis(number));
        assert_eq!(decode(&encode(&body)), Ok(body));
    }
}

fn hash() -> impl Strategy<Value = SecretHash> {
    any::<[u8; 32]>().prop_map(SecretHash::from_bytes)
}

fn time() -> impl Strategy<Value = Millis> {
    any::<u64>().prop_map(Millis)
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

fn text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,8}".prop_map(Into::into)
}

fn cookie() -> impl Strategy<Value = CookieOverrides> {
    use SameSite::{Auto, Lax, None, Strict};
    let secure = sample::select(&[Secure::Always, Secure::Never, Secure::Auto][..]);
    let same_site = sample::select(&[Strict, Lax, None, Auto][..]);
    let priority = sample::select(&[Priority::Low, Priority::Medium, Priority::High][..]);
    (
        any::<Option<bool>>(),
        option::of(secure),
        option::of(option::of(same_site)),
        any::<Option<bool>>(),
        option::of(option::of(priority)),
    )
        .prop_map(
            |(http_only, secure, same_site, partitioned, priority)| CookieOverrides {
                http_only,
                secure,
                same_site,
                partitioned,
                priority,
            },
        )
}

fn contents() -> impl Strategy<Value = Contents> {
    let values = prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let data = prop::collection::btree_map("\\PC{0,8}", values, 0..5);
    let tag = (text(), text()).prop_map(|(name, value)| Tag { name, value });
    let lifetime = (
        option::of(duration()),
        option::of(duration()),
        any::<Option<bool>>(),
    )
        .prop_map(|(idle, absolute, persistent)| LifetimeOverrides {
            idle,
            absolute,
            persistent,
        });
    let tags = prop::collection::vec(tag, 0..4);
    (data, option::of(text()), tags, lifetime, cookie()).prop_map(
        |(values, principal, tags, lifetime, cookie)| {
            let mut data = Data::default();
            for (name, value) in values {
                data.insert(&name, value);
            }
            Contents {
                data,
                principal,
                tags,
                lifetime,
                cookie,
            }
        },
    )
}

/// Fields of a later release: numbers, strings, byte strings and arrays of them.
fn unknown() -> impl Strategy<Value = Vec<(Bytes, Bytes)>> {
    let value = prop_oneof![
        encoded(any::<i64>()),
        encoded(any::<f64>()),
        encoded("\\PC{0,8}"),
        encoded(prop::collection::vec(any::<Option<u32>>(), 0..4)),
    ];
    prop::collection::btree_map("later_\\PC{0,8}", value, 0..4).prop_map(|fields| {
        fields
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect()
    })
}

fn encoded<S: Strategy>(strategy: S) -> impl Strategy<Value = Bytes>
where
    S::Value: Serialize,
{
    strategy.prop_map(|value| encode_value(&value).expect("a plain value"))
}

fn body() -> impl Strategy<Value = Body> {
    let times = (time(), option::of(time()), option::of(time()));
    let transport = sample::select(&[Transport::Cookie, Transport::Bearer][..]);
    (
        hash(),
        option::of(hash()),
        times,
        transport,
        contents(),
        unknown(),
    )
        .prop_map(
            |(first, second, times, transport, contents, unknown)| Body {
                secrets: Secrets { first, second },
                created_at: times.0,
                authenticated_at: times.1,
                renewed_at: times.2,
                listed_at: times.2,
                transport,
                contents: Arc::new(contents),
                unknown,
            },
        )
}

proptest! {
    #[test]
    fn every_body_decodes_to_itself(body in body()) {
        prop_assert_eq!(decode(&encode(&body)), Ok(body));
    }

    #[test]
    fn every_part_of_a_body_is_rejected(body in body(), at: sample::Index) {
        let whole = encode(&body);
        let at = at.index(whole.len());
        prop_assert!(decode(&whole.slice(..at)).is_err());
    }

    #[test]
    fn a_changed_byte_is_rejected_or_decodes_to_a_body_that_encodes_again(
        body in body(),
        at: sample::Index,
        flip in 1..=255u8,
    ) {
        let mut bytes = encode(&body).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(changed) = decode(&bytes.into()) {
            prop_assert_eq!(decode(&encode(&changed)), Ok(changed));
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&with_field(&bytes));
        let _ = decode(&bytes.into());
    }

    #[test]
    fn a_value_decodes_to_itself(value: (Option<u64>, String, Vec<i8>, bool)) {
        let bytes = encode_value(&value).expect("a plain value");
        let decoded = decode_value::<(Option<u64>, String, Vec<i8>, bool)>(&bytes);
        prop_assert_eq!(decoded.expect("its own bytes"), value);
    }
}

#[test]
fn structs_keep_their_field_names() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        kept: u8,
        removed: u8,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        #[serde(default)]
        added: u8,
        kept: u8,
    }
    let bytes = encode_value(&Before {
        kept: 1,
        removed: 2,
    })
    .expect("a struct");
    assert_eq!(
        decode_value::<After>(&bytes).expect("the names"),
        After { added: 0, kept: 1 }
    );
}
