//! What the handler of a request does to its session. A new verb is added here, and what it
//! promises in `claims`.

use std::{fmt, str::FromStr, time::Duration};

use session_core::{Outcome, SameSite, Session, SessionError};

use crate::{
    deed::Deed,
    footprint::Footprint,
    point::{self, Event},
    principal::Principal,
    view::{TAG, TALLY},
};

/// A call of a handler. Every script loads the session first, unless it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads. Every other verb reads before and after it, too.
    Read,
    /// Inserts a value under a name of its own.
    Write,
    /// Counts up a value that all requests share.
    Update,
    /// Saves now.
    Save,
    /// Resets the idle timer.
    Touch,
    /// Asks for a new secret.
    Renew,
    /// Logs in.
    LogIn(Principal),
    /// Begins a new session in place of this one.
    Regenerate,
    /// Logs out.
    Destroy,
    /// Makes concurrent changes an error.
    RequireUnchanged,
    /// Forgets the changes.
    Discard,
    /// Reads the session again.
    Reload,
    /// Asks the store for the session, whatever the near cache has. It loads the session if it is
    /// the first call.
    Fresh,
    /// Gives the session a longer idle and absolute timeout of its own.
    Extend,
    /// Takes its time.
    Wait,
    /// Changes the attributes of the cookie.
    SetCookie,
    /// Sets the tag.
    SetTag,
    /// Removes the tag.
    RemoveTag,
    /// Does something to the sessions of a user.
    Do(Deed),
}

impl Verb {
    /// The verbs of scripts that are enumerated.
    pub const COMMON: &'static [Self] = &[
        Self::Write,
        Self::Update,
        Self::Save,
        Self::Touch,
        Self::Renew,
        Self::LogIn(Principal::Ann),
        Self::LogIn(Principal::Bob),
        Self::Regenerate,
        Self::Destroy,
        Self::RequireUnchanged,
        Self::Discard,
        Self::Reload,
    ];
    /// The verbs of scripts that are sampled, in addition.
    pub const RARE: &'static [Self] = &[Self::Extend, Self::SetCookie, Self::Wait];
    /// The verbs that make a difference with a near cache.
    pub const OF_NEAR: &'static [Self] = &[Self::Fresh];
    /// The verbs that change what a session is listed under, beside logins.
    pub const OF_TAGS: &'static [Self] = &[Self::SetTag, Self::RemoveTag];

    /// Calls the session. `number` identifies this call among all of the history.
    pub(crate) async fn call(
        self,
        session: &Session,
        number: u32,
    ) -> Result<Option<Outcome>, SessionError> {
        match self {
            Self::Read => {}
            Self::Write => session.insert(&*format!("w{number}"), &number)?,
            Self::Update => {
                let one = 1u64 << (4 * number);
                session.update(TALLY, move |tally: Option<u64>| tally.unwrap_or(0) + one)?;
            }
            Self::Save => return session.save().await.map(Some),
            Self::Touch => session.touch()?,
            Self::Renew => session.renew()?,
            Self::LogIn(principal) => session.log_in(principal.as_str())?,
            Self::Regenerate => session.regenerate()?,
            Self::Destroy => session.destroy()?,
            Self::RequireUnchanged => session.require_unchanged(),
            Self::Discard => session.discard()?,
            Self::Reload => session.reload().await?,
            Self::Extend => {
                session.set_max_age(Some(Duration::from_secs(150)))?;
                session.set_absolute_timeout(Some(Duration::from_secs(5000)))?;
            }
            Self::Wait => drop(point::reach(Event::new("wait", Footprint::LOCAL)).await),
            Self::SetCookie => session.set_cookie(|cookie| cookie.same_site(SameSite::Strict))?,
            Self::SetTag => session.set_tag(TAG.0, TAG.1)?,
            Self::RemoveTag => session.remove_tag(TAG.0)?,
            // they are not called on the session
            Self::Do(_) | Self::Fresh => {}
        }
        Ok(None)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Update => "update",
            Self::Save => "save",
            Self::Touch => "touch",
            Self::Renew => "renew",
            Self::LogIn(principal) => return write!(f, "log_in({})", principal.as_str()),
            Self::Regenerate => "regenerate",
            Self::Destroy => "destroy",
            Self::RequireUnchanged => "require_unchanged",
            Self::Discard => "discard",
            Self::Reload => "reload",
            Self::Fresh => "fresh",
            Self::Extend => "extend",
            Self::SetCookie => "set_cookie",
            Self::Wait => "wait",
            Self::SetTag => "set_tag",
            Self::RemoveTag => "remove_tag",
            Self::Do(deed) => return deed.fmt(f),
        })
    }
}

impl FromStr for Verb {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let logins = Principal::ALL.map(Self::LogIn);
        let mut verbs = std::iter::once(&Self::Read)
            .chain(Self::COMMON)
            .chain(Self::RARE)
            .chain(Self::OF_TAGS)
            .chain(Self::OF_NEAR)
            .chain(&logins);
        match verbs.find(|verb| verb.to_string() == text) {
            Some(found) => Ok(*found),
            None => Ok(Self::Do(text.parse()?)),
        }
    }
}
