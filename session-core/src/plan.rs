//! What to do about a session, decided without doing it: a pure function from state to plan.

use std::time::{Duration, SystemTime};

use crate::{
    SessionId, clock,
    policy::Policy,
    record::Contents,
    state::{Retired, State, Stored},
};

/// One step on the store, and what the browser is told if it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) step: Step,
    pub(crate) cookie: CookieStep,
}

/// What the store is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// Store the session under its fresh id, then end the one it replaces.
    Create {
        ttl: Duration,
        retire: Option<SessionId>,
    },
    /// Replace the record if it is still the one that was read.
    Save {
        ttl: Duration,
        renew: bool,
    },
    /// Move the expiry.
    Touch {
        ttl: Duration,
    },
    /// End a stored session.
    Destroy {
        id: SessionId,
    },
    /// Nothing, and say so: the browser could not be told the new secret, and without it the renewal protects nobody.
    Refuse,
}

/// What the browser is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CookieStep {
    /// Its copy is up to date, or none of our business.
    #[default]
    Keep,
    Set,
    Remove,
}

/// What the request brought along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// A cookie of the session's name, good or bad.
    pub(crate) cookie: bool,
    /// The cookie that named this session was signed by an older key.
    pub(crate) stale: bool,
    /// Whether the response may carry the cookie: not when it must be `Secure` and the request was not.
    pub(crate) addressable: bool,
}

/// Who asks for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The handler, explicitly: an unchanged session is stored too.
    Save,
    /// The end of the request.
    Finish,
}

/// Decides. Total: every state has a plan.
pub(crate) fn decide(
    state: &State,
    request: Request,
    policy: &Policy,
    asked: Asked,
    now: SystemTime,
) -> Plan {
    let remove = if request.cookie {
        CookieStep::Remove
    } else {
        CookieStep::Keep
    };
    let rejected = if policy.remove_rejected_cookie {
        remove
    } else {
        CookieStep::Keep
    };
    let end = |retired: Retired| match retired {
        Retired(Some(id)) => Plan {
            step: Step::Destroy { id },
            cookie: remove,
        },
        Retired(None) => Plan {
            step: Step::Nothing,
            cookie: remove,
        },
    };
    match state {
        State::Uninitialized { fresh, discarded } => {
            let wanted = asked == Asked::Save || policy.save_uninitialized && !discarded;
            let ttl = policy.timeouts.ttl(&fresh.initial.life, Duration::ZERO);
            if wanted && request.addressable && !ttl.is_zero() {
                return Plan {
                    step: Step::Create { ttl, retire: None },
                    cookie: CookieStep::Set,
                };
            }
            Plan {
                step: Step::Nothing,
                cookie: rejected,
            }
        }
        State::New {
            fresh,
            draft,
            destroyed,
        } => {
            let wanted =
                asked == Asked::Save || policy.save_uninitialized || worth_storing(&draft.contents);
            let ttl = policy
                .timeouts
                .ttl(&draft.contents.life, age(fresh.created_at, now));
            if wanted && request.addressable && !ttl.is_zero() {
                let retire = destroyed.and_then(|Retired(id)| id);
                return Plan {
                    step: Step::Create { ttl, retire },
                    cookie: CookieStep::Set,
                };
            }
            match destroyed {
                Some(retired) => end(*retired),
                None => Plan {
                    step: Step::Nothing,
                    cookie: rejected,
                },
            }
        }
        State::Unmodified {
            discarded: true, ..
        } => Plan {
            step: Step::Nothing,
            cookie: CookieStep::Keep,
        },
        State::Unmodified {
            stored,
            discarded: false,
        } => unchanged(stored, request, policy, asked, now),
        State::Modified { stored, draft } if draft.contents == stored.record.contents => {
            unchanged(stored, request, policy, asked, now)
        }
        State::Modified { stored, draft } => {
            let (before, after) = (&stored.record.contents, &draft.contents);
            let ttl = policy.timeouts.ttl(&after.life, stored.record.age(now));
            if ttl.is_zero() {
                return end(Retired(Some(stored.token.id())));
            }
            let persistent = policy.timeouts.persistent(&after.life);
            let outdated = policy.rolling
                || request.stale
                || persistent
                || persistent != policy.timeouts.persistent(&before.life)
                || after.cookie != before.cookie;
            Plan {
                step: Step::Save { ttl, renew: false },
                cookie: set_if(outdated, request),
            }
        }
        State::Renewed { stored, draft } => {
            let ttl = policy
                .timeouts
                .ttl(&draft.contents.life, stored.record.age(now));
            if ttl.is_zero() {
                return end(Retired(Some(stored.token.id())));
            }
            if !request.addressable {
                return Plan {
                    step: Step::Refuse,
                    cookie: CookieStep::Keep,
                };
            }
            Plan {
                step: Step::Save { ttl, renew: true },
                cookie: CookieStep::Set,
            }
        }
        State::Regenerated {
            fresh,
            draft,
            retired,
        } => {
            let ttl = policy
                .timeouts
                .ttl(&draft.contents.life, age(fresh.created_at, now));
            if ttl.is_zero() || !request.addressable {
                return end(*retired);
            }
            let Retired(retire) = *retired;
            Plan {
                step: Step::Create { ttl, retire },
                cookie: CookieStep::Set,
            }
        }
        State::Destroyed { retired } => end(*retired),
        State::Gone => Plan {
            step: Step::Nothing,
            cookie: CookieStep::Keep,
        },
    }
}

/// The plan for a stored session that nobody changed.
fn unchanged(
    stored: &Stored,
    request: Request,
    policy: &Policy,
    asked: Asked,
    now: SystemTime,
) -> Plan {
    let life = &stored.record.contents.life;
    let ttl = policy.timeouts.ttl(life, stored.record.age(now));
    if ttl.is_zero() {
        let cookie = if request.cookie {
            CookieStep::Remove
        } else {
            CookieStep::Keep
        };
        return Plan {
            step: Step::Destroy {
                id: stored.token.id(),
            },
            cookie,
        };
    }
    let elapsed = now.duration_since(stored.seen_at).unwrap_or_default();
    let remaining = stored.ttl.map(|ttl| ttl.saturating_sub(elapsed));
    let step = if policy.resave && asked == Asked::Finish && !stored.written {
        Step::Save { ttl, renew: false }
    } else if stored.touch
        || asked == Asked::Save
        || policy.timeouts.touch_due(life, ttl, remaining)
    {
        Step::Touch { ttl }
    } else {
        Step::Nothing
    };
    let extended = step != Step::Nothing && policy.timeouts.persistent(life);
    let cookie = set_if(policy.rolling || request.stale || extended, request);
    if cookie == CookieStep::Set && asked == Asked::Finish && !stored.written {
        // Only a save proves that the token is still good. Another request may have renewed since this one loaded, and a
        // superseded token must not replace the new one in the browser.
        return Plan {
            step: Step::Save { ttl, renew: false },
            cookie,
        };
    }
    Plan { step, cookie }
}

/// Whether a session that is not stored yet holds anything. A lifetime or a cookie attribute alone is no reason to keep one.
fn worth_storing(contents: &Contents) -> bool {
    !contents.data.is_empty() || contents.principal.is_some()
}

fn set_if(outdated: bool, request: Request) -> CookieStep {
    if outdated && request.addressable {
        CookieStep::Set
    } else {
        CookieStep::Keep
    }
}

fn age(created_at: u64, now: SystemTime) -> Duration {
    Duration::from_millis(clock::to_millis(now).saturating_sub(created_at))
}

#[cfg(test)]
#[path = "plan_histories.rs"]
mod histories;
