//! Notices that a session has ended, whoever ended it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    changes::Changes,
    config::Config,
    error::SessionError,
    id::SessionId,
    lookup,
    state::Current,
    watchers::{Signal, Subscription},
};

/// How often to look at a session whose changes nothing announces.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How often to look at a session that does not expire.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// The time over which watches spread their looks after an interruption.
const SPREAD: Duration = Duration::from_secs(1);

/// Watches a session: [`Session::watch`](crate::Session::watch) makes one.
///
/// The session has ended if its record is gone, or if it belongs to somebody else now. A renewal of
/// its token does not end it.
///
/// For adapters, which have timers; applications call `ended` of their adapter. It alternates
/// between [`look`](Self::look) and [`changed`](Self::changed).
pub struct Watch {
    config: Arc<Config>,
    subject: Option<Subject>,
}

/// The session as it was.
struct Subject {
    id: SessionId,
    principal: Option<String>,
    subscription: Option<Subscription>,
}

impl Watch {
    pub(crate) fn new(
        config: Arc<Config>,
        id: Option<SessionId>,
        principal: Option<String>,
    ) -> Self {
        let subject = id.map(|id| Subject {
            id,
            principal,
            subscription: None,
        });
        Self { config, subject }
    }

    /// Asks the store. Returns after how long to look again if no change is announced before, or
    /// `None` if the session has ended.
    ///
    /// Call it first when the response of the request is sent: a session that begins with the
    /// request is not stored before. It does not extend the session's life.
    ///
    /// # Errors
    ///
    /// If the store fails. The session may live on; look again after a while.
    pub async fn look(&mut self) -> Result<Option<Duration>, SessionError> {
        let Some(subject) = &mut self.subject else {
            return Ok(None);
        };
        let (config, id) = (&*self.config, subject.id);
        let subscription = subject
            .subscription
            .get_or_insert_with(|| config.watchers.subscribe(id));
        // a change from now on may be missing in what is read
        subscription.reset();
        let (current, is_announced) = match config.watchers.changes() {
            Some(changes) => {
                let watched = changes.load(&id).await.map_err(lookup::unreadable)?;
                let feed = watched.feed.filter(|feed| feed.silence().is_some());
                let current = watched
                    .loaded
                    .map(|loaded| lookup::decode(config, &id, loaded));
                (current.transpose()?, feed.is_some())
            }
            None => (lookup::load(config, &id).await?, false),
        };
        let wait = current.and_then(|current| subject.wait(config, &current));
        Ok(wait.map(|wait| match is_announced {
            true => wait,
            false => wait.min(POLL_INTERVAL),
        }))
    }

    /// Waits until the session may have ended. Returns how long to wait before looking: not at all
    /// after a change, and up to a second after an interruption of all announcements, so that not
    /// all watches look at once.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no change is lost.
    pub async fn changed(&mut self) -> Duration {
        let subscription = self
            .subject
            .as_mut()
            .and_then(|subject| Some((subject.id, subject.subscription.as_mut()?)));
        match subscription {
            Some((id, subscription)) => match subscription.signal().await {
                Signal::Changed => Duration::ZERO,
                Signal::Interrupted => spread(&id),
            },
            // it was not looked at yet
            None => Duration::ZERO,
        }
    }
}

impl Subject {
    /// How long the session lives if nothing happens; `None` if it has ended.
    fn wait(&self, config: &Config, current: &Current) -> Option<Duration> {
        let Current { body, ttl, .. } = current;
        if body.contents.principal.as_deref() != self.principal.as_deref() {
            return None;
        }
        let age = body.age(config.now().wall);
        let absolute = config.policy.timeouts.absolute(&body.contents.lifetime);
        let left = match absolute {
            Some(absolute) => Some(absolute.checked_sub(age).filter(|left| !left.is_zero())?),
            None => None,
        };
        let wait = [left, *ttl].into_iter().flatten().min();
        Some(wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT))
    }
}

/// A part of [`SPREAD`] that differs between sessions.
fn spread(id: &SessionId) -> Duration {
    let [first, second, ..] = id.to_bytes();
    SPREAD * u32::from(u16::from_be_bytes([first, second])) / u32::from(u16::MAX)
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.subject.as_ref().map(|subject| subject.id);
        f.debug_struct("Watch")
            .field("id", &id)
            .finish_non_exhaustive()
    }
}
