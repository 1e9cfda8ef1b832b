//! The driver: carries out plans on a store until the session is settled.

use std::{sync::Arc, time::Duration};

use tracing::Instrument;

use crate::{
    SessionId, Version,
    error::{SessionError, SessionErrorKind},
    op::{Draft, Op},
    plan::{Asked, CookieStep, Step, decide},
    record::Record,
    session::{self, Session, Unsure},
    state::{Done, State, Stored},
    store::{Created, Loaded, Saved, StoreError, Touched},
    token::{Secret, SessionToken},
};

/// Fresh names to try before giving up: with 128 random bits the first one is free.
const NAMES: u32 = 8;

/// What became of a session when it was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Nothing was asked of the store.
    Untouched,
    /// A new session is stored.
    Created,
    /// The stored session has been changed.
    Saved,
    /// The stored session lives on, unchanged.
    Touched,
    /// The session has ended.
    Destroyed,
    /// The session had ended meanwhile. Nothing was written, and the browser is told nothing.
    Gone,
}

/// Settles a session: decide, do, and again where somebody else was first.
pub(crate) async fn commit(session: &Session, asked: Asked) -> Result<Outcome, SessionError> {
    let span = tracing::debug_span!(
        "session.commit",
        session.id = session.id().map(tracing::field::display)
    );
    attempts(session, asked).instrument(span).await
}

/// Settles a session that needs nothing from the store. `None` where it does, or where another commit is under way.
pub(crate) fn try_commit(session: &Session, asked: Asked) -> Option<Outcome> {
    let _turn = session.turn().try_lock().ok()?;
    let plan = {
        let inner = session.lock();
        let config = session.sessions().config();
        decide(
            &inner.state,
            session.request(&inner.state),
            &config.policy,
            asked,
            config.clock.now(),
        )
    };
    (plan.step == Step::Nothing).then(|| nothing(session, plan.cookie))
}

async fn attempts(session: &Session, asked: Asked) -> Result<Outcome, SessionError> {
    let _turn = session.turn().lock().await;
    if asked == Asked::Save && session.is_closed() {
        // the response was committed while this one waited
        return Err(session::closed());
    }
    let (clock, policy) = (&session.sessions().config().clock, session.policy());
    let began_at = clock.now();
    let (mut conflicts, mut taken) = (0, 0);
    let mut place_in_line = None;
    loop {
        match attempt(session, asked).await? {
            Attempt::Done(outcome) => {
                trace(session, outcome);
                return Ok(outcome);
            }
            Attempt::Next => {}
            Attempt::Taken if taken + 1 < NAMES => taken += 1,
            Attempt::Taken => {
                let detail = format!("{NAMES} fresh session ids in a row were taken");
                return Err(SessionError::new(SessionErrorKind::Entropy, detail));
            }
            Attempt::Conflict => {
                conflicts += 1;
                let late = || {
                    clock.now().duration_since(began_at).unwrap_or_default()
                        >= policy.commit_deadline
                };
                let mut over = conflicts >= policy.commit_attempts || late();
                if let (false, None, Some(id)) = (over, &place_in_line, session.id()) {
                    place_in_line = Some(session.sessions().config().queues.wait(&id).await);
                    over = late();
                }
                if over {
                    let detail = format!("others wrote first {conflicts} times in a row");
                    return Err(SessionError::new(SessionErrorKind::Contention, detail));
                }
            }
        }
    }
}

/// What one attempt came to.
enum Attempt {
    Done(Outcome),
    /// Somebody else wrote first; the session now stands on what they wrote.
    Conflict,
    /// The fresh id was taken; the session now has another.
    Taken,
    /// One step is done, and another is to do.
    Next,
}

/// One step on the store, made ready under the lock and carried out without it.
enum Job {
    None,
    Create {
        token: SessionToken,
        record: Arc<Record>,
        done: Done,
        ttl: Duration,
        retire: Option<SessionId>,
    },
    Save {
        token: SessionToken,
        expect: Version,
        record: Arc<Record>,
        done: Done,
        ttl: Duration,
        renew: bool,
    },
    Touch {
        stored: Stored,
        ttl: Duration,
    },
    Destroy(SessionId),
    /// Nothing: somebody else has renewed the session, which this request was about to renew.
    Gone,
}

async fn attempt(session: &Session, asked: Asked) -> Result<Attempt, SessionError> {
    let (job, cookie) = prepare(session, asked)?;
    let config = session.sessions().config();
    let store = &config.store;
    match job {
        Job::None => Ok(Attempt::Done(nothing(session, cookie))),
        Job::Create {
            token,
            record,
            done,
            ttl,
            retire,
        } => {
            let id = token.id();
            match store
                .create(&id, &config.format.encode(&record), ttl)
                .await?
            {
                Created::Created => {}
                Created::Taken => {
                    tracing::warn!(session.id = %id, "a fresh session id was taken");
                    let name = session.sessions().name(session.origin())?;
                    let mut inner = session.lock();
                    inner.state = inner.take().rename(id, name);
                    return Ok(Attempt::Taken);
                }
            }
            if let Some(old) = retire {
                if let Err(error) = store.destroy(&old).await {
                    // both must not live on in the browser's hands: the new token is not handed out, and opens nothing
                    let _ = store.destroy(&id).await;
                    return Err(error.into());
                }
                tracing::debug!(session.id = %old, "session replaced");
            }
            let stored = stored(session, token, record, ttl);
            settle(session, cookie, |state| match retire {
                Some(old) => state.retired(old).settle(stored, &done, false),
                None => state.settle(stored, &done, false),
            });
            Ok(Attempt::Done(Outcome::Created))
        }
        Job::Save {
            token,
            expect,
            record,
            done,
            ttl,
            renew,
        } => {
            // said before it is sent: a dropped or unanswered save may have been applied
            session.lock().unsure.push(Unsure {
                version: record.version,
                token: token.clone(),
                done: done.clone(),
                renew,
            });
            let saved = match store
                .save(&token.id(), expect, &config.format.encode(&record), ttl)
                .await
            {
                Ok(saved) => saved,
                Err(error)
                    if asked == Asked::Finish && !session.lock().state.is_modified() && !renew =>
                {
                    return Ok(Attempt::Done(only_life_is_lost(&token, &error)));
                }
                Err(error) => return Err(error.into()),
            };
            let mut unsure = std::mem::take(&mut session.lock().unsure);
            unsure.pop();
            match saved {
                Saved::Saved => {
                    let stored = stored(session, token, record, ttl);
                    settle(session, cookie, |state| state.settle(stored, &done, renew));
                    forget_superseded(session);
                    Ok(Attempt::Done(Outcome::Saved))
                }
                Saved::Gone => Ok(Attempt::Done(gone(session))),
                Saved::Conflict(current) if !unsure.is_empty() => {
                    let theirs = session.sessions().stored(&token, current)?;
                    let Some(own) = unsure
                        .into_iter()
                        .find(|own| own.version == theirs.record.version)
                    else {
                        let detail =
                            "an earlier write of this request may have been applied before another";
                        return Err(SessionError::new(SessionErrorKind::Timeout, detail));
                    };
                    let own_cookie = if own.renew { CookieStep::Set } else { cookie };
                    settle(session, own_cookie, |state| {
                        state.settle(
                            Stored {
                                token: own.token,
                                written: true,
                                ..theirs
                            },
                            &own.done,
                            own.renew,
                        )
                    });
                    Ok(Attempt::Conflict)
                }
                Saved::Conflict(current) => {
                    conflict(session, asked, cookie, &token, renew, current)
                }
            }
        }
        Job::Touch { stored, ttl } => match store.touch(&stored.token.id(), ttl).await {
            Ok(Touched::Touched) => {
                let stored = self::stored(session, stored.token, stored.record, ttl);
                settle(session, cookie, |state| {
                    state.settle(stored, &Done { log: None, ops: 0 }, false)
                });
                Ok(Attempt::Done(Outcome::Touched))
            }
            Ok(Touched::Gone) => Ok(Attempt::Done(gone(session))),
            Err(error) if asked == Asked::Finish => {
                Ok(Attempt::Done(only_life_is_lost(&stored.token, &error)))
            }
            Err(error) => Err(error.into()),
        },
        Job::Destroy(id) => {
            store.destroy(&id).await?;
            let ended = |state: State| match state {
                // over by its own lifetime, not by the handler's word
                State::Unmodified { .. } | State::Modified { .. } | State::Renewed { .. } => {
                    state.destroy().retired(id)
                }
                other => other.retired(id),
            };
            settle(session, cookie, ended);
            let farewell = matches!(session.lock().state, State::New { .. });
            // what was written after the destroy is the next step
            Ok(if farewell {
                Attempt::Next
            } else {
                Attempt::Done(Outcome::Destroyed)
            })
        }
        Job::Gone => Ok(Attempt::Done(gone(session))),
    }
}

/// Settles a session of which nothing is to be stored.
fn nothing(session: &Session, cookie: CookieStep) -> Outcome {
    settle(session, cookie, |state| state);
    let state = &session.lock().state;
    if matches!(state, State::New { .. } | State::Regenerated { .. })
        && !session.request(state).addressable
    {
        let id = state
            .token()
            .map(SessionToken::id)
            .map(tracing::field::display);
        tracing::warn!(
            session.id = id,
            "session not stored: its cookie must be Secure and the request came over plain http"
        );
    }
    match state {
        State::Gone => Outcome::Gone,
        State::Destroyed { .. } => Outcome::Destroyed,
        State::Uninitialized { .. }
        | State::New { .. }
        | State::Unmodified { .. }
        | State::Modified { .. }
        | State::Renewed { .. }
        | State::Regenerated { .. } => Outcome::Untouched,
    }
}

/// Decides, and encodes what is to be written.
fn prepare(session: &Session, asked: Asked) -> Result<(Job, CookieStep), SessionError> {
    let config = session.sessions().config();
    let inner = session.lock();
    let request = session.request(&inner.state);
    let plan = decide(
        &inner.state,
        request,
        &config.policy,
        asked,
        config.clock.now(),
    );
    let job = match (plan.step, &inner.state) {
        // logged out first: that must not fail because a farewell cannot be stored
        (
            Step::Create {
                retire: Some(id), ..
            },
            State::New { .. },
        ) => Job::Destroy(id),
        (Step::Save { renew: true, .. }, state) if state.superseded() => Job::Gone,
        (Step::Nothing, _) => Job::None,
        (Step::Create { ttl, retire }, state) => {
            let (State::Uninitialized { fresh, .. }
            | State::New { fresh, .. }
            | State::Regenerated { fresh, .. }) = state
            else {
                unreachable!("only what is not stored is created")
            };
            let record = Record {
                version: Version::generate(&*config.entropy)?,
                secret_hash: fresh.token.secret().hash(),
                created_at: fresh.created_at,
                contents: state.contents().clone(),
                unknown: Vec::new(),
            };
            Job::Create {
                token: fresh.token.clone(),
                record: Arc::new(record),
                done: done(state),
                ttl,
                retire,
            }
        }
        (Step::Save { ttl, renew }, state) => {
            let stored =
                on_store(state).unwrap_or_else(|| unreachable!("only what is stored is saved"));
            let secret = if renew {
                Secret::generate(&*config.entropy)?
            } else {
                stored.token.secret().clone()
            };
            let record = Record {
                version: Version::generate(&*config.entropy)?,
                // without a renewal the stored hash stays, also where another request has renewed meanwhile
                secret_hash: if renew {
                    secret.hash()
                } else {
                    stored.record.secret_hash
                },
                created_at: stored.record.created_at,
                contents: state.contents().clone(),
                unknown: stored.record.unknown.clone(),
            };
            let token = SessionToken::new(stored.token.id(), secret);
            Job::Save {
                token,
                expect: stored.record.version,
                record: Arc::new(record),
                done: done(state),
                ttl,
                renew,
            }
        }
        (Step::Touch { ttl }, state) => {
            let stored =
                on_store(state).unwrap_or_else(|| unreachable!("only what is stored is touched"));
            Job::Touch {
                stored: stored.clone(),
                ttl,
            }
        }
        (Step::Destroy { id }, _) => Job::Destroy(id),
        (Step::Refuse, _) => {
            let detail = "session not renewed: its cookie must be Secure and the request came over plain http";
            return Err(SessionError::new(SessionErrorKind::Config, detail));
        }
    };
    Ok((job, plan.cookie))
}

/// Takes over what somebody else wrote and says this request's changes again on it.
fn conflict(
    session: &Session,
    asked: Asked,
    cookie: CookieStep,
    token: &SessionToken,
    renew: bool,
    current: Loaded,
) -> Result<Attempt, SessionError> {
    let mut theirs = session.sessions().stored(token, current)?;
    loop {
        let (ops, said, held) = {
            let inner = session.lock();
            if inner.unchanged_required {
                return Err(SessionError::new(
                    SessionErrorKind::Conflict,
                    "another request has changed the session meanwhile",
                ));
            }
            let Some(stored) = on_store(&inner.state) else {
                return Ok(Attempt::Conflict);
            };
            (
                ops(&inner.state).to_vec(),
                done(&inner.state),
                stored.clone(),
            )
        };
        if renew && theirs.record.secret_hash != held.token.secret().hash() {
            // somebody else renewed first and this request came with the old secret: it must not end up with the new one
            return Ok(Attempt::Done(gone(session)));
        }
        let before = &held.record;
        let other = before.contents.principal.is_some()
            && before.contents.principal != theirs.record.contents.principal;
        if other && before.secret_hash != theirs.record.secret_hash {
            // somebody else has logged in since: what was meant for the one must not land with the other
            return Ok(Attempt::Done(gone(session)));
        }
        theirs.token = held.token;
        let contents = Draft::replay(&ops, &theirs.record.contents, session.policy().max_bytes)?;
        let mut inner = session.lock();
        let now = done(&inner.state);
        if now.log == said.log && now.ops == said.ops {
            if ops.is_empty() && !renew && asked == Asked::Finish {
                // a resave has nothing to say on top of what they wrote, which also gave the session its full life
                inner.state = inner.take().rebase(theirs, contents);
                if cookie != CookieStep::Keep {
                    inner.due = cookie;
                }
                drop(inner);
                forget_superseded(session);
                return Ok(Attempt::Done(Outcome::Saved));
            }
            inner.state = inner.take().rebase(theirs, contents);
            return Ok(Attempt::Conflict);
        }
    }
}

fn stored(session: &Session, token: SessionToken, record: Arc<Record>, ttl: Duration) -> Stored {
    Stored {
        token,
        record,
        ttl: Some(ttl),
        seen_at: session.sessions().config().clock.now(),
        touch: false,
        written: true,
    }
}

/// A write that would have changed nothing has failed: the request was served on what the store said.
fn only_life_is_lost(token: &SessionToken, error: &StoreError) -> Outcome {
    tracing::warn!(session.id = %token.id(), error = %chain(error), "session could not be touched");
    Outcome::Untouched
}

/// Takes note of what was done, and of what the browser is to be told about it.
fn settle(session: &Session, cookie: CookieStep, step: impl FnOnce(State) -> State) {
    let mut inner = session.lock();
    inner.state = step(inner.take());
    if cookie != CookieStep::Keep {
        inner.due = cookie;
    }
}

/// Lets go of a session that somebody else has renewed: what this request wrote is kept, and the old secret reads nothing of what
/// the new one stands for.
fn forget_superseded(session: &Session) {
    let mut inner = session.lock();
    if inner.state.superseded() && ops(&inner.state).is_empty() {
        inner.state = inner.take().gone();
        inner.due = CookieStep::Keep;
    }
}

fn gone(session: &Session) -> Outcome {
    let mut inner = session.lock();
    if let Some(stored) = on_store(&inner.state) {
        tracing::info!(session.id = %stored.token.id(), "session ended meanwhile; nothing was written");
    }
    inner.state = inner.take().gone();
    inner.due = CookieStep::Keep;
    Outcome::Gone
}

fn on_store(state: &State) -> Option<&Stored> {
    match state {
        State::Unmodified { stored, .. }
        | State::Modified { stored, .. }
        | State::Renewed { stored, .. } => Some(stored),
        State::Uninitialized { .. }
        | State::New { .. }
        | State::Regenerated { .. }
        | State::Destroyed { .. }
        | State::Gone => None,
    }
}

/// All that is written so far.
fn done(state: &State) -> Done {
    let log = match state {
        State::New { draft, .. }
        | State::Modified { draft, .. }
        | State::Renewed { draft, .. }
        | State::Regenerated { draft, .. } => Some(draft.log.clone()),
        State::Uninitialized { .. }
        | State::Unmodified { .. }
        | State::Destroyed { .. }
        | State::Gone => None,
    };
    Done {
        log,
        ops: ops(state).len(),
    }
}

fn ops(state: &State) -> &[Op] {
    match state {
        State::New { draft, .. }
        | State::Modified { draft, .. }
        | State::Renewed { draft, .. }
        | State::Regenerated { draft, .. } => &draft.ops,
        State::Uninitialized { .. }
        | State::Unmodified { .. }
        | State::Destroyed { .. }
        | State::Gone => &[],
    }
}

fn trace(session: &Session, outcome: Outcome) {
    let inner = session.lock();
    let Some(id) = inner.state.token().map(SessionToken::id) else {
        return;
    };
    match outcome {
        Outcome::Untouched => {}
        Outcome::Created => tracing::debug!(session.id = %id, "session created"),
        Outcome::Saved => tracing::debug!(session.id = %id, "session saved"),
        Outcome::Touched => tracing::trace!(session.id = %id, "session touched"),
        Outcome::Destroyed | Outcome::Gone => {}
    }
}

/// An error with its causes, for one log line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
