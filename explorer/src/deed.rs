//! What is done to the sessions of a user by means of the index.

use std::{fmt, str::FromStr};

use anyhow::Context;
use session_core::{Session, SessionError, SessionId, Sessions};

use crate::whose::Whose;

/// A call on the sessions of a principal or of the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Ends all.
    EndAll(Whose),
    /// Ends all but the session of the caller, or but the one that the browser began with.
    EndOthers(Whose),
    /// Ends the first that is listed.
    EndFirst(Whose),
    /// Lists all.
    List(Whose),
    /// The store forgets the record of the first session that is listed.
    Evict(Whose),
}

/// What came of a deed.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// The sessions that were listed.
    pub listed: Vec<SessionId>,
    /// The session that was to be ended.
    pub target: Option<SessionId>,
    /// The session that was to be kept.
    pub kept: Option<SessionId>,
}

impl Deed {
    /// The sessions that it concerns.
    pub fn whose(self) -> Whose {
        match self {
            Self::EndAll(whose)
            | Self::EndOthers(whose)
            | Self::EndFirst(whose)
            | Self::List(whose)
            | Self::Evict(whose) => whose,
        }
    }

    /// Does it, unless the store does it by itself. `own` is the session that is kept.
    pub(crate) async fn call(
        self,
        sessions: &Sessions,
        own: Option<&Session>,
    ) -> Result<Done, SessionError> {
        let of = self.whose().sessions(sessions);
        let mut done = Done::default();
        match (self, own) {
            (Self::EndOthers(_), Some(own)) => {
                done.kept = own.id();
                of.end_others(own).await?;
            }
            (Self::EndAll(_) | Self::EndOthers(_), _) => {
                of.end_all().await?;
            }
            (Self::EndFirst(_), _) => {
                let listed = of.list().await?;
                if let Some(first) = listed.first() {
                    done.target = Some(first.id());
                    of.end(&first.id()).await?;
                }
            }
            (Self::List(_), _) => {
                let listed = of.list().await?;
                done.listed = listed.iter().map(|session| session.id()).collect();
            }
            (Self::Evict(_), _) => {}
        }
        Ok(done)
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::EndAll(_) => "end_all",
            Self::EndOthers(_) => "end_others",
            Self::EndFirst(_) => "end",
            Self::List(_) => "list",
            Self::Evict(_) => "evict",
        };
        write!(f, "{name}({})", self.whose())
    }
}

impl FromStr for Deed {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.strip_suffix(')').and_then(|text| text.split_once('('));
        let (name, whose) = parts.with_context(|| format!("no verb is called {text:?}"))?;
        let whose = whose.parse()?;
        Ok(match name {
            "end_all" => Self::EndAll(whose),
            "end_others" => Self::EndOthers(whose),
            "end" => Self::EndFirst(whose),
            "list" => Self::List(whose),
            "evict" => Self::Evict(whose),
            _ => anyhow::bail!("no verb is called {text:?}"),
        })
    }
}
