//! The encoding of a body: a MessagePack map with named fields.
//!
//! Two releases may serve the same sessions while one replaces the other. A reader therefore keeps
//! fields that it does not know and writes them back, and a release that needs more adds a field
//! instead of changing one.

mod message_pack;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::{
    body::{Body, Contents, Secrets, Tag, Transport},
    clock::{Millis, millis},
    cookie_options::{Priority, SameSite, Secure},
    cookie_spec::CookieOverrides,
    data::{Data, Entry},
    secret::SecretHash,
    timeouts::LifetimeOverrides,
};

pub(crate) use message_pack::Problem;
use message_pack::{MAX_DEPTH, Reader, Writer, utf8};

const SECRETS: &str = "secrets";
const CREATED_AT: &str = "created_at";
const AUTHENTICATED_AT: &str = "authenticated_at";
const RENEWED_AT: &str = "renewed_at";
const LISTED_AT: &str = "listed_at";
const IDLE_TIMEOUT: &str = "idle_timeout";
const ABSOLUTE_TIMEOUT: &str = "absolute_timeout";
const PERSISTENT: &str = "persistent";
const COOKIE: &str = "cookie";
const PRINCIPAL: &str = "principal";
const TAGS: &str = "tags";
const TRANSPORT: &str = "transport";
const DATA: &str = "data";

/// What an error says instead of the name of a field.
const BODY: &str = "body";
const UNKNOWN: &str = "unknown field";

/// What the other fields of most bodies take.
const TYPICAL_FIELDS_BYTES: usize = 192;
/// What most values take.
const TYPICAL_VALUE_BYTES: usize = 64;
/// Name and value.
const TAG_PARTS: usize = 2;

/// The bytes are not a body that this release can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode `{field}` of the session record: {problem}")]
pub(crate) struct DecodeError {
    pub(crate) field: &'static str,
    pub(crate) problem: Problem,
}

/// Encodes a body.
pub(crate) fn encode(body: &Body) -> Bytes {
    let Body {
        secrets,
        created_at,
        authenticated_at,
        renewed_at,
        listed_at,
        transport,
        contents,
        unknown,
    } = body;
    let Contents {
        data,
        principal,
        tags,
        lifetime,
        cookie,
    } = &**contents;
    let optional = [
        authenticated_at.is_some(),
        renewed_at.is_some(),
        listed_at.is_some(),
        lifetime.idle.is_some(),
        lifetime.absolute.is_some(),
        lifetime.persistent.is_some(),
        !cookie.is_empty(),
        principal.is_some(),
        !tags.is_empty(),
        *transport != Transport::Cookie,
    ];
    let fields = 3 + optional.iter().filter(|&&present| present).count() + unknown.len();

    let mut out = Writer::with_capacity(typical_bytes(body));
    out.map(fields);
    out.text(SECRETS);
    out.array(secrets.iter().count());
    secrets.iter().for_each(|secret| out.bin(secret.as_bytes()));
    let numbers = [
        (CREATED_AT, Some(created_at.0)),
        (AUTHENTICATED_AT, authenticated_at.map(|at| at.0)),
        (RENEWED_AT, renewed_at.map(|at| at.0)),
        (LISTED_AT, listed_at.map(|at| at.0)),
        (IDLE_TIMEOUT, lifetime.idle.map(millis)),
        (ABSOLUTE_TIMEOUT, lifetime.absolute.map(millis)),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            out.text(name);
            out.uint(number);
        }
    }
    if let Some(persistent) = lifetime.persistent {
        out.text(PERSISTENT);
        out.bool(persistent);
    }
    if !cookie.is_empty() {
        out.text(COOKIE);
        // a struct of options cannot fail to serialize to memory
        let mut serializer = rmp_serde::Serializer::new(out.as_mut_vec()).with_struct_map();
        let _ = StoredCookie::serialize(cookie, &mut serializer);
    }
    if let Some(principal) = principal {
        out.text(PRINCIPAL);
        out.text(principal);
    }
    if !tags.is_empty() {
        out.text(TAGS);
        out.array(tags.len());
        tags.iter().for_each(|tag| encode_tag(tag, &mut out));
    }
    match transport {
        Transport::Cookie => {}
        Transport::Bearer => {
            out.text(TRANSPORT);
            out.text("bearer");
        }
    }
    for (name, value) in unknown {
        // the name was checked when it was decoded
        out.text(std::str::from_utf8(name).unwrap_or_default());
        out.raw(value);
    }
    out.text(DATA);
    out.map(data.len());
    for (name, value) in data.iter() {
        out.text(name);
        out.bin(value);
    }
    out.finish()
}

/// Decodes a body. The data and unknown fields of the result share `bytes`.
///
/// # Errors
///
/// If the bytes are not exactly one body. No input causes a panic, deep recursion, or an allocation
/// out of proportion to its length.
pub(crate) fn decode(bytes: &Bytes) -> Result<Body, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut secrets = None;
    let mut created_at = None;
    let mut authenticated_at = None;
    let mut renewed_at = None;
    let mut listed_at = None;
    let mut lifetime = LifetimeOverrides::default();
    let mut cookie = None;
    let mut principal = None;
    let mut tags = None;
    let mut transport = None;
    let mut data = None;
    let mut unknown = Vec::new();
    for _ in 0..reader.map().map_err(in_field(BODY))? {
        let name = reader.name().map_err(in_field(BODY))?;
        let r = &mut reader;
        match name {
            b"secrets" => set(SECRETS, &mut secrets, decode_secrets(r)),
            b"created_at" => set(CREATED_AT, &mut created_at, decode_time(r)),
            b"authenticated_at" => set(AUTHENTICATED_AT, &mut authenticated_at, decode_time(r)),
            b"renewed_at" => set(RENEWED_AT, &mut renewed_at, decode_time(r)),
            b"listed_at" => set(LISTED_AT, &mut listed_at, decode_time(r)),
            b"idle_timeout" => set(IDLE_TIMEOUT, &mut lifetime.idle, decode_duration(r)),
            b"absolute_timeout" => {
                set(ABSOLUTE_TIMEOUT, &mut lifetime.absolute, decode_duration(r))
            }
            b"persistent" => set(PERSISTENT, &mut lifetime.persistent, r.bool()),
            b"cookie" => set(COOKIE, &mut cookie, decode_cookie(r)),
            b"principal" => set(PRINCIPAL, &mut principal, r.text().map(Into::into)),
            b"tags" => set(TAGS, &mut tags, decode_tags(r)),
            b"transport" => set(TRANSPORT, &mut transport, decode_transport(r)),
            b"data" => set(DATA, &mut data, decode_data(r, bytes)),
            _ => decode_unknown(name, r)
                .map(|value| unknown.push((bytes.slice_ref(name), bytes.slice_ref(value))))
                .map_err(in_field(UNKNOWN)),
        }?;
    }
    reader.finish().map_err(in_field(BODY))?;
    check_names(&unknown).map_err(in_field(UNKNOWN))?;
    let missing = |field| DecodeError {
        field,
        problem: Problem::Missing,
    };
    Ok(Body {
        secrets: secrets.ok_or(missing(SECRETS))?,
        created_at: created_at.ok_or(missing(CREATED_AT))?,
        authenticated_at,
        renewed_at,
        listed_at,
        transport: transport.unwrap_or_default(),
        contents: Arc::new(Contents {
            data: data.ok_or(missing(DATA))?,
            principal,
            tags: tags.unwrap_or_default(),
            lifetime,
            cookie: cookie.unwrap_or_default(),
        }),
        unknown,
    })
}

/// Encodes one value of the application. Structs keep their field names.
pub(crate) fn encode_value<T: Serialize + ?Sized>(
    value: &T,
) -> Result<Bytes, rmp_serde::encode::Error> {
    let mut out = Vec::with_capacity(TYPICAL_VALUE_BYTES);
    value.serialize(&mut rmp_serde::Serializer::new(&mut out).with_struct_map())?;
    Ok(Bytes::from(out))
}

/// Decodes one value of the application.
pub(crate) fn decode_value<T: DeserializeOwned>(
    bytes: &[u8],
) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut deserializer)
}

/// The space that a body takes, if its cookie attributes and lifetimes are not exceptional.
fn typical_bytes(body: &Body) -> usize {
    let Contents {
        data,
        principal,
        tags,
        ..
    } = &*body.contents;
    let principal = principal.as_ref().map_or(0, |principal| principal.len());
    let tags: usize = tags
        .iter()
        .map(|tag| tag.name.len() + tag.value.len() + 7)
        .sum();
    let unknown: usize = body
        .unknown
        .iter()
        .map(|(name, value)| name.len() + value.len() + 5)
        .sum();
    TYPICAL_FIELDS_BYTES + principal + tags + unknown + data.encoded_bytes()
}

fn encode_tag(tag: &Tag, out: &mut Writer) {
    out.array(TAG_PARTS);
    out.text(&tag.name);
    out.text(&tag.value);
}

/// Fills the slot of a field, which must be empty.
fn set<T>(
    field: &'static str,
    slot: &mut Option<T>,
    value: Result<T, Problem>,
) -> Result<(), DecodeError> {
    match slot.replace(value.map_err(in_field(field))?) {
        None => Ok(()),
        Some(_) => Err(DecodeError {
            field,
            problem: Problem::Duplicate,
        }),
    }
}

fn in_field(field: &'static str) -> impl Fn(Problem) -> DecodeError {
    move |problem| DecodeError { field, problem }
}

fn decode_time(reader: &mut Reader<'_>) -> Result<Millis, Problem> {
    reader.uint().map(Millis)
}

fn decode_duration(reader: &mut Reader<'_>) -> Result<Duration, Problem> {
    reader.uint().map(Duration::from_millis)
}

fn decode_secrets(reader: &mut Reader<'_>) -> Result<Secrets, Problem> {
    let len = reader.array()?;
    let mut secret = || reader.bin_array("32 bytes").map(SecretHash::from_bytes);
    match len {
        1 => Ok(Secrets::one(secret()?)),
        2 => Ok(Secrets {
            first: secret()?,
            second: Some(secret()?),
        }),
        _ => Err(Problem::Expected("one or two secrets")),
    }
}

fn decode_cookie(reader: &mut Reader<'_>) -> Result<CookieOverrides, Problem> {
    reader.value("cookie attributes", |deserializer| {
        StoredCookie::deserialize(deserializer)
    })
}

fn decode_tags(reader: &mut Reader<'_>) -> Result<Vec<Tag>, Problem> {
    let len = reader.array()?;
    // a tag takes one byte for the array and one for each part
    let mut tags = Vec::with_capacity(reader.capacity(len, 1 + TAG_PARTS));
    for _ in 0..len {
        if reader.array()? != TAG_PARTS {
            return Err(Problem::Expected("name and value of a tag"));
        }
        tags.push(Tag {
            name: reader.text()?.into(),
            value: reader.text()?.into(),
        });
    }
    Ok(tags)
}

fn decode_transport(reader: &mut Reader<'_>) -> Result<Transport, Problem> {
    match reader.text()? {
        "cookie" => Ok(Transport::Cookie),
        "bearer" => Ok(Transport::Bearer),
        _ => Err(Problem::Expected("a known transport")),
    }
}

/// Checks the name, which is written as text, and returns the value as it is encoded.
fn decode_unknown<'a>(name: &[u8], reader: &mut Reader<'a>) -> Result<&'a [u8], Problem> {
    utf8(name)?;
    reader.raw()
}

fn decode_data(reader: &mut Reader<'_>, bytes: &Bytes) -> Result<Data, Problem> {
    let len = reader.map()?;
    // an entry takes one byte for the name and two for the value
    let mut entries = Vec::with_capacity(reader.capacity(len, 3));
    for _ in 0..len {
        let name = reader.text()?.len();
        let name = reader.last(name);
        let value = reader.bin()?.len();
        entries.push(Entry::in_body(name, reader.last(value)));
    }
    Data::from_body(bytes, entries).ok_or(Problem::Duplicate)
}

fn check_names(fields: &[(Bytes, Bytes)]) -> Result<(), Problem> {
    let mut names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    match names.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(Problem::Duplicate),
        false => Ok(()),
    }
}

/// How [`CookieOverrides`] are stored.
#[derive(Serialize, Deserialize)]
#[serde(remote = "CookieOverrides")]
struct StoredCookie {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http_only: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secure: Option<Secure>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    same_site: Option<Option<SameSite>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partitioned: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    priority: Option<Option<Priority>>,
}

/// Reads an option of an option: `nil` is `Some(None)`, because an absent field is `None`.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
