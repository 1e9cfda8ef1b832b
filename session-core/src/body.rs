//! The decoded body of a record: what a session is.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    clock::Millis, cookie_spec::CookieOverrides, data::Data, secret::SecretHash,
    timeouts::LifetimeOverrides,
};

/// A decoded record, without the version of its last write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Body {
    pub(crate) secrets: Secrets,
    pub(crate) created_at: Millis,
    /// When somebody last logged in.
    pub(crate) authenticated_at: Option<Millis>,
    /// When the secret was last replaced.
    pub(crate) renewed_at: Option<Millis>,
    /// When a write of the record last told the index about it.
    pub(crate) listed_at: Option<Millis>,
    pub(crate) transport: Transport,
    pub(crate) contents: Arc<Contents>,
    /// Fields that a newer release wrote, kept as they are: name and encoded value.
    pub(crate) unknown: Vec<(Bytes, Bytes)>,
}

impl Body {
    /// The age that the absolute timeout limits: since the login, or since the creation if nobody
    /// has logged in.
    pub(crate) fn age(&self, now: Millis) -> Duration {
        now.since(self.authenticated_at.unwrap_or(self.created_at))
    }
}

/// The hashes of the secrets that open a session.
///
/// There is a second one after two concurrent logins of one principal, so that both responses carry
/// a working cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Secrets {
    pub(crate) first: SecretHash,
    pub(crate) second: Option<SecretHash>,
}

impl Secrets {
    pub(crate) fn one(first: SecretHash) -> Self {
        Self {
            first,
            second: None,
        }
    }

    /// One or two hashes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &SecretHash> {
        std::iter::once(&self.first).chain(&self.second)
    }

    pub(crate) fn contain(&self, hash: &SecretHash) -> bool {
        // both are compared, so that the time taken does not tell which one matched
        let second = self.second.as_ref().is_some_and(|second| second == hash);
        (self.first == *hash) | second
    }
}

/// How the token of a session travels. A token is accepted only on its own transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// In a cookie.
    #[default]
    Cookie,
    /// In the `Authorization` header.
    Bearer,
}

/// The part of a body that a request may change.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Contents {
    pub(crate) data: Data,
    pub(crate) principal: Option<Box<str>>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) lifetime: LifetimeOverrides,
    pub(crate) cookie: CookieOverrides,
}

impl Contents {
    /// Whether the session can be found by something else than its id.
    pub(crate) fn is_labelled(&self) -> bool {
        self.principal.is_some() || !self.tags.is_empty()
    }

    pub(crate) fn tag(&self, name: &str) -> Option<&str> {
        let tag = self.tags.iter().find(|tag| *tag.name == *name)?;
        Some(&tag.value)
    }

    /// Sets the value of a tag, or removes the tag.
    pub(crate) fn set_tag(&mut self, name: &str, value: Option<&str>) {
        let at = self.tags.iter().position(|tag| *tag.name == *name);
        match (at, value) {
            (Some(at), Some(value)) => self.tags[at].value = value.into(),
            (Some(at), None) => drop(self.tags.remove(at)),
            (None, Some(value)) => self.tags.push(Tag {
                name: name.into(),
                value: value.into(),
            }),
            (None, None) => {}
        }
    }
}

impl fmt::Debug for Contents {
    /// Prints the names of the data only, because values and principals may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}

/// A name and a value under which an index lists the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: Box<str>,
    pub(crate) value: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> SecretHash {
        SecretHash::from_bytes([byte; 32])
    }

    fn body(authenticated_at: Option<Millis>) -> Body {
        Body {
            secrets: Secrets::one(hash(1)),
            created_at: Millis(1_000),
            authenticated_at,
            renewed_at: None,
            listed_at: None,
            transport: Transport::Cookie,
            contents: Arc::default(),
            unknown: Vec::new(),
        }
    }

    #[test]
    fn either_secret_opens_the_session() {
        let one = Secrets::one(hash(1));
        assert!(one.contain(&hash(1)));
        assert!(!one.contain(&hash(2)));
        let two = Secrets {
            first: hash(1),
            second: Some(hash(2)),
        };
        assert!(two.contain(&hash(1)));
        assert!(two.contain(&hash(2)));
        assert!(!two.contain(&hash(3)));
        assert!(two.iter().eq([&hash(1), &hash(2)]));
    }

    #[test]
    fn age_counts_from_the_login_or_else_from_the_creation() {
        let now = Millis(10_000);
        assert_eq!(body(None).age(now), Duration::from_secs(9));
        assert_eq!(body(Some(Millis(8_000))).age(now), Duration::from_secs(2));
        assert_eq!(body(Some(Millis(20_000))).age(now), Duration::ZERO);
    }

    #[test]
    fn debug_prints_no_value_principal_or_secret() {
        let mut body = body(None);
        let contents = Arc::make_mut(&mut body.contents);
        contents.principal = Some("ann@example.com".into());
        contents
            .data
            .insert("email", Bytes::from_static(b"ann@example.com"));
        let text = format!("{body:?}");
        assert!(text.contains("email"), "{text}");
        assert!(!text.contains("ann@"), "{text}");
        assert!(text.contains("SecretHash(..)"), "{text}");
    }
}
