//! Verifies logout tokens, as §2.6 of OpenID Connect Back-Channel Logout 1.0 says.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, get_current_timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

/// This service at the provider: the audience of its tokens.
pub(crate) const CLIENT_ID: &str = "shop";
pub(crate) const ISSUER: &str = "https://id.example";
/// How old a logout token may be. §2.4 recommends that providers let it expire within two minutes.
const MAX_AGE: Duration = Duration::from_secs(120);
/// How far the clocks of provider and service may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// The member of `events` that makes a token a logout token (§2.4).
pub(crate) const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Whose sessions are to be ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Those that began with one session at the provider.
    Session(String),
    /// All sessions of a user.
    User(String),
}

/// What a valid token asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Logout {
    pub(crate) subject: Subject,
    pub(crate) jti: String,
}

/// The claims of a logout token that jsonwebtoken does not check.
#[derive(Deserialize)]
struct Claims {
    iat: u64,
    jti: String,
    events: Map<String, Value>,
    sid: Option<String>,
    sub: Option<String>,
    nonce: Option<Value>,
}

/// Verifies logout tokens.
pub(crate) struct Verifier {
    key: DecodingKey,
    validation: Validation,
    /// When the tokens that were accepted expire, by `jti`. Several instances share it in a
    /// database; otherwise a token may be replayed once to each of them until it expires.
    seen: Mutex<HashMap<String, u64>>,
}

impl Verifier {
    pub(crate) fn new(key: DecodingKey) -> Self {
        // the algorithm that is agreed with the provider, and never what a token says
        let mut validation = Validation::new(Algorithm::ES256);
        validation.leeway = LEEWAY.as_secs();
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[CLIENT_ID]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        Self {
            key,
            validation,
            seen: Mutex::default(),
        }
    }

    /// Returns what to end, or why the token is invalid.
    pub(crate) fn verify(&self, token: &str) -> Result<Logout, String> {
        // the signature, `iss`, `aud` and `exp`
        let token = decode::<Claims>(token, &self.key, &self.validation);
        let token = token.map_err(|error| error.to_string())?;
        // an ID token that is used as a logout token has another type (§2.4), if it has one
        if let Some(typ) = &token.header.typ {
            let typ = typ.to_ascii_lowercase();
            if !["logout+jwt", "application/logout+jwt", "jwt"].contains(&typ.as_str()) {
                return Err("typ is not logout+jwt".into());
            }
        }
        let Claims {
            iat,
            jti,
            events,
            sid,
            sub,
            nonce,
        } = token.claims;
        let now = get_current_timestamp();
        if iat > now + LEEWAY.as_secs() {
            return Err("iat is in the future".into());
        }
        let expires_at = iat + MAX_AGE.as_secs() + LEEWAY.as_secs();
        if expires_at <= now {
            return Err("iat is too long ago".into());
        }
        if !events.get(EVENT).is_some_and(Value::is_object) {
            return Err("events has no back-channel logout".into());
        }
        // an ID token has one, a logout token must not
        if nonce.is_some() {
            return Err("nonce is not allowed".into());
        }
        let subject = match (sid, sub) {
            (Some(sid), _) => Subject::Session(sid),
            (None, Some(sub)) => Subject::User(sub),
            (None, None) => return Err("neither sid nor sub".into()),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, expires_at| *expires_at > now);
        if seen.insert(jti.clone(), expires_at).is_some() {
            return Err("jti was used before".into());
        }
        Ok(Logout { subject, jti })
    }

    /// Accepts the token once more, because its sessions could not be ended.
    pub(crate) fn forget(&self, jti: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(jti);
    }
}
