//! Looks at the records through the public API, without taking part in the history.

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use session_core::{Clock, Session, SessionId, SessionToken, Sessions};

use crate::{
    point,
    surroundings::{Counter, ManualClock},
    view::{Seen, View},
};

/// Opens sessions with any secret that was ever drawn.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    pub(crate) sessions: Sessions,
    pub(crate) counter: Counter,
    pub(crate) clock: ManualClock,
    /// Looks for all secrets that open a session.
    pub(crate) is_thorough: bool,
}

impl Oracle {
    /// The session that a token opens.
    pub(crate) fn open(&self, token: &SessionToken) -> Option<Session> {
        // a store that fails opens nothing
        point::run_to_end(self.sessions.open(token)).unwrap_or(None)
    }

    /// Whether a secret opens the session of an id.
    pub(crate) fn opens(&self, id: SessionId, secret: &[u8; 16]) -> bool {
        token(id, secret).is_some_and(|token| self.open(&token).is_some())
    }

    /// The record of an id, if any secret opens it.
    pub(crate) fn view(&self, id: SessionId) -> Option<View> {
        let view = self.counter.find_secret(|secret| {
            let session = self.open(&token(id, secret)?)?;
            let now = self.clock.now();
            let age = session
                .authenticated_at()
                .or(session.created_at())
                .map_or(Duration::ZERO, |began| since(now, began));
            let left = session
                .absolute_timeout()
                .map_or(Duration::MAX, |absolute| absolute.saturating_sub(age));
            let idle = session.idle_timeout();
            Some(View {
                seen: Seen::of(&session),
                secret: *secret,
                second: None,
                life: idle.min(left),
                remaining: session
                    .expires_at()
                    .and_then(|at| at.duration_since(now).ok())
                    .unwrap_or_default(),
                idle,
                over: left.is_zero(),
            })
        })?;
        let second = || {
            self.counter.find_secret(|secret| {
                (*secret != view.secret && self.opens(id, secret)).then_some(*secret)
            })
        };
        Some(View {
            second: self.is_thorough.then(second).flatten(),
            ..view
        })
    }
}

fn since(now: SystemTime, earlier: SystemTime) -> Duration {
    now.duration_since(earlier).unwrap_or_default()
}

/// The token of a session with a secret.
pub(crate) fn token(id: SessionId, secret: &[u8; 16]) -> Option<SessionToken> {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&id.to_bytes());
    bytes[16..].copy_from_slice(secret);
    URL_SAFE_NO_PAD.encode(bytes).parse().ok()
}
