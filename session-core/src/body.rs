//! The decoded body of a record: what a session is.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{clock::Millis, cookie_spec::CookieOverrides, data::Data, secret::SecretHash, timeouts::LifetimeOverrides};

/// A decoded record, without the version of its last write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Body {
    pub(crate) secrets: Secrets,
    pub(crate) created_at: Millis,
    /// When somebody last logged in.
    pub(crate) authenticated_at: Option<Millis>,
    /// When the secret was last replaced.
    pub(crate) renewed_at: Option<Millis>,
    pub(crate) transport: Transport,
    pub(crate) contents: Contents,
    /// Fields written by a newer release, kept as they are: name and encoded value.
    pub(crate) unknown: Vec<(Bytes, Bytes)>,
}

impl Body {
    /// The age that the absolute timeout limits: since the login, or since the creation if nobody has logged in.
    pub(crate) fn age(&self, now: Millis) -> Duration {
        now.since(self.authenticated_at.unwrap_or(self.created_at))
    }
}

/// The hashes of the secrets that open a session.
///
/// There is a second one after two concurrent logins of one principal, so that both responses carry a working cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Secrets {
    pub(crate) first: SecretHash,
    pub(crate) second: Option<SecretHash>,
}

impl Secrets {
    pub(crate) fn one(first: SecretHash) -> Self {
        Self { first, second: None }
    }

    pub(crate) fn contain(&self, hash: &SecretHash) -> bool {
        // both are compared, so that the time taken does not tell which one matched
        let second = self.second.as_ref().is_some_and(|second| second == hash);
        (self.first == *hash) | second
    }
}

/// How the token of a session travels. A token is accepted only on its own transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
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

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}

/// A name and a value under which an index lists the session, with the nonce of the index entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: Box<str>,
    pub(crate) value: Box<str>,
    pub(crate) nonce: Option<[u8; 8]>,
}
