//! What to do next about a session: a pure function of its state.

use std::{sync::Arc, time::Duration};

use crate::{
    attempted::Attempted,
    body::{Contents, Secrets, Transport},
    clock::Now,
    cookie_spec::{CookieOverrides, CookieSpec},
    draft::{Draft, Login},
    id::SessionId,
    listing::Listed,
    outcome::Loss,
    policy::{Policy, WhenFull},
    record::Version,
    secret::Secret,
    set_cookie,
    state::{Base, Doubt, NewSession, Refusal, Regeneration, Retired, Since, State},
    token::SessionToken,
    unlisted::Due,
};

/// The next step of a commit. It borrows from the state what it needs.
#[derive(Debug)]
pub(crate) enum Step<'s> {
    /// Nothing is left to do; writes may have been lost.
    Done(Option<Loss>),
    /// Nothing is stored, because the client could not be sent the cookie.
    NotStored,
    /// The commit fails. What it did before stays.
    Fail(Refusal),
    /// Generate a token for a new session.
    NewToken,
    /// Read the record.
    Load(SessionId),
    /// Store a new session.
    Create(Create<'s>),
    /// Replace the record.
    Save(Save<'s>),
    /// Send the same save again.
    Repeat(&'s Arc<Attempted>),
    /// Extend the expiry.
    Touch {
        base: &'s Base,
        ttl: Duration,
        reissue: bool,
    },
    /// Remove a record.
    Destroy {
        id: SessionId,
        expected: Option<Version>,
        purpose: Purpose,
        /// What it contains, as far as that is known: the index is told.
        contents: Option<&'s Arc<Contents>>,
    },
    /// Find out whether a principal may have one more session, beside the one that logs in or is
    /// replaced.
    FindRoom {
        principal: &'s Arc<str>,
        own: Option<SessionId>,
    },
    /// List the session that was stored.
    List,
    /// Find out whether the session that was listed exceeds the limit.
    Limit(Listed),
}

/// A session to be stored under a new token.
#[derive(Debug)]
pub(crate) struct Create<'s> {
    pub(crate) new: &'s NewSession,
    pub(crate) token: &'s SessionToken,
    pub(crate) contents: &'s Arc<Contents>,
    pub(crate) login: Option<&'s Login>,
    pub(crate) ttl: Duration,
}

/// A record to be replaced.
#[derive(Debug)]
pub(crate) struct Save<'s> {
    pub(crate) base: &'s Base,
    pub(crate) contents: &'s Arc<Contents>,
    pub(crate) login: Option<&'s Login>,
    pub(crate) secret: SecretChange,
    pub(crate) ttl: Duration,
    /// The record is written only to extend its life.
    pub(crate) only_extends: bool,
    /// Send the cookie although the token is not new, if it opens the session.
    pub(crate) reissue: bool,
    /// The life of the session is extended by more than a little.
    pub(crate) extends: bool,
    /// What the session is listed under before the write is acknowledged.
    pub(crate) lists: Lists<'s>,
}

/// What a session is listed under before a write of it is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lists<'s> {
    /// Nothing: it can be found by nothing new.
    Nothing,
    /// The tags that this draft sets, and what is new.
    Tags(&'s Draft),
    /// All that it can be found by.
    All,
}

/// What a save does to the secrets of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretChange {
    /// They stay.
    Keep,
    /// A new one replaces them.
    Replace,
    /// A new one is valid beside the first: a concurrent request has logged in the same principal.
    Add,
}

impl SecretChange {
    /// The secrets after the change.
    pub(crate) fn apply(self, secrets: Secrets, new: &Secret) -> Secrets {
        match self {
            Self::Keep => secrets,
            Self::Replace => Secrets::one(new.hash()),
            Self::Add => Secrets {
                second: Some(new.hash()),
                ..secrets
            },
        }
    }
}

/// Why a record is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The request ends the session.
    Retire,
    /// Its time is over.
    Expire,
    /// It may exist under a token that nobody has.
    Orphan,
    /// It was created to replace a session that cannot be ended.
    Undo,
}

/// Why a decision is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// The handler saves explicitly: an unchanged session is stored too.
    Save,
    /// The request ends.
    Finish,
}

/// What is known of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestFacts<'r> {
    pub(crate) cookie: &'r CookieSpec,
    /// Whether the request came over TLS; `None` if that is unknown.
    pub(crate) secure: Option<bool>,
    /// The session that the client's token opened.
    pub(crate) presented: Option<SessionId>,
    /// The client's cookie was signed by another key than the first.
    pub(crate) signed_by_old_key: bool,
    /// Whether there is a response that can carry a token.
    pub(crate) has_response: bool,
    /// How the tokens of sessions that begin here travel.
    pub(crate) transport: Transport,
}

impl RequestFacts<'_> {
    /// Whether the response can carry the token of a session with these attributes. The `Secure` of
    /// the cookie counts for tokens in headers too.
    pub(crate) fn can_set_cookie(&self, overrides: &CookieOverrides) -> bool {
        self.has_response && set_cookie::can_issue(self.cookie, overrides, self.secure)
    }
}

/// What a commit is about, beside the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'r> {
    pub(crate) request: RequestFacts<'r>,
    pub(crate) trigger: Trigger,
    /// A concurrent change is an error.
    pub(crate) require_unchanged: bool,
    /// This commit has stored or touched the session.
    pub(crate) committed: bool,
    /// The deadline has passed, and concurrent requests or the store are the reason.
    pub(crate) late: bool,
    /// What the index has to be told before the last write is acknowledged.
    pub(crate) due: Option<Due>,
    /// The principal may have one more session.
    pub(crate) has_room: bool,
}

/// Decides the next step. Every state has one.
pub(crate) fn decide<'s>(
    state: &'s State,
    facts: Facts<'_>,
    policy: &Policy,
    now: Now,
) -> Step<'s> {
    match facts.due {
        Some(Due::Put) => return Step::List,
        Some(Due::Limit(listed)) => return Step::Limit(listed),
        None => {}
    }
    let context = Context { facts, policy, now };
    match state {
        State::Uninitialized { new, discarded } => {
            let save_uninitialized = policy.express.save_uninitialized && !discarded;
            if facts.trigger == Trigger::Save || save_uninitialized {
                context.create(new, &new.initial, None, None)
            } else {
                Step::Done(None)
            }
        }
        // ended first: a logout must not fail because a message cannot be stored
        State::New {
            retired: Some(retired),
            ..
        } => context.retire(retired),
        State::New {
            new,
            draft,
            retired: None,
        } => context.store_if_wanted(new, draft),
        State::Unmodified {
            discarded: true, ..
        } => Step::Done(None),
        State::Unmodified {
            base,
            discarded: false,
        } => context.unchanged(base),
        // a tag that is set again may belong to a write that was not listed
        State::Modified { base, draft }
            if draft.contents() == base.contents() && !draft.sets_tag() =>
        {
            context.unchanged(base)
        }
        State::Modified { base, draft } => context.save(base, draft, SecretChange::Keep),
        State::Renewed { base, draft } if !base.is_superseded() => {
            context.save(base, draft, SecretChange::Replace)
        }
        State::Renewed { base, draft } => {
            let login = draft.login().map(|login| &*login.principal);
            if login.is_some() && login == base.principal() {
                context.save(base, draft, SecretChange::Add)
            } else {
                // a login must not keep the tokens of somebody else, and a renewal is done already
                Step::Load(base.token.id())
            }
        }
        State::Regenerated {
            draft,
            progress: Regeneration::Undo(id, _),
            ..
        } => Step::Destroy {
            id: *id,
            expected: None,
            purpose: Purpose::Undo,
            contents: Some(draft.contents()),
        },
        State::Regenerated {
            progress: Regeneration::Created(base),
            retired: Some(_),
            ..
        } if facts.late => Step::Destroy {
            id: base.token.id(),
            expected: None,
            purpose: Purpose::Undo,
            contents: Some(base.contents()),
        },
        State::Regenerated {
            progress: Regeneration::Created(_),
            retired: Some(retired),
            ..
        } => context.retire(retired),
        State::Regenerated {
            progress: Regeneration::Created(_),
            retired: None,
            ..
        } => Step::Done(None),
        State::Regenerated {
            new,
            draft,
            retired,
            progress: Regeneration::Planned,
        } => {
            let replaced = retired.as_ref().map(|retired| retired.base.token.id());
            match (
                context.create(new, draft.contents(), draft.login(), replaced),
                retired,
            ) {
                (Step::NotStored, _) => Step::Fail(Refusal::CannotSetCookie),
                // the new session would end at once
                (Step::Done(_), Some(retired)) => context.retire(retired),
                (step, _) => step,
            }
        }
        State::Destroyed {
            retired: Some(retired),
        } => context.retire(retired),
        State::Destroyed { retired: None } => Step::Done(None),
        State::Superseded {
            token,
            since,
            new,
            draft,
            ended,
        } => match (draft.login(), ended, since) {
            (Some(_), true, _) => context.store_if_wanted(new, draft),
            (Some(_), false, _) if !facts.request.can_set_cookie(&draft.contents().cookie) => {
                Step::Fail(Refusal::CannotSetCookie)
            }
            (Some(_), false, Since::LongBeforeLoad) => context.store_if_wanted(new, draft),
            (Some(_), false, Since::JustBeforeLoad | Since::Loaded) => Step::Load(token.id()),
            (None, true, _) => Step::Fail(Refusal::Superseded),
            (None, false, Since::LongBeforeLoad) => context.store_if_wanted(new, draft),
            (None, false, Since::JustBeforeLoad) => {
                let wanted = !draft.is_empty() || facts.trigger == Trigger::Save;
                Step::Done(wanted.then_some(Loss::Superseded))
            }
            // its writes were lost, and reported, when the principal was found to have changed
            (None, false, Since::Loaded) => Step::Done(None),
        },
        State::InDoubt(_) if facts.late => Step::Fail(Refusal::InDoubt),
        State::InDoubt(Doubt::Save {
            attempted,
            repeat: true,
            ..
        }) => Step::Repeat(attempted),
        State::InDoubt(
            Doubt::Save {
                attempted,
                repeat: false,
                ..
            }
            | Doubt::Create { attempted, .. },
        ) => Step::Load(attempted.token.id()),
        State::Gone => Step::Done(None),
    }
}

struct Context<'c> {
    facts: Facts<'c>,
    policy: &'c Policy,
    now: Now,
}

impl Context<'_> {
    fn store_if_wanted<'s>(&self, new: &'s NewSession, draft: &'s Draft) -> Step<'s> {
        let wanted = self.facts.trigger == Trigger::Save
            || self.policy.express.save_uninitialized
            || worth_storing(draft.contents());
        if !wanted {
            return Step::Done(None);
        }
        match (
            self.create(new, draft.contents(), draft.login(), None),
            draft.login(),
        ) {
            (Step::NotStored, Some(_)) => Step::Fail(Refusal::CannotSetCookie),
            (step, _) => step,
        }
    }

    fn create<'s>(
        &self,
        new: &'s NewSession,
        contents: &'s Arc<Contents>,
        login: Option<&'s Login>,
        replaced: Option<SessionId>,
    ) -> Step<'s> {
        if !self.facts.request.can_set_cookie(&contents.cookie) {
            return Step::NotStored;
        }
        let began_at = login.map_or(new.created_at, |login| login.at);
        let ttl = self
            .policy
            .timeouts
            .ttl(&contents.lifetime, self.now.wall.since(began_at));
        if ttl.is_zero() {
            return Step::Done(None);
        }
        if let Some(id) = new.orphan {
            return Step::Destroy {
                id,
                expected: None,
                purpose: Purpose::Orphan,
                contents: Some(contents),
            };
        }
        if let Some(login) = login
            && self.must_find_room()
        {
            return Step::FindRoom {
                principal: &login.principal,
                own: replaced,
            };
        }
        match &new.token {
            Some(token) => Step::Create(Create {
                new,
                token,
                contents,
                login,
                ttl,
            }),
            None => Step::NewToken,
        }
    }

    fn save<'s>(&self, base: &'s Base, draft: &'s Draft, secret: SecretChange) -> Step<'s> {
        let contents = draft.contents();
        if secret != SecretChange::Keep && !self.facts.request.can_set_cookie(&contents.cookie) {
            return Step::Fail(Refusal::CannotSetCookie);
        }
        let age = match draft.login() {
            Some(login) => self.now.wall.since(login.at),
            None => base.body.age(self.now.wall),
        };
        let ttl = self.policy.timeouts.ttl(&contents.lifetime, age);
        if ttl.is_zero() {
            return expire(base);
        }
        if self.facts.late {
            return Step::Fail(Refusal::Contention);
        }
        if let Some(login) = draft.login()
            && self.must_find_room()
        {
            return Step::FindRoom {
                principal: &login.principal,
                own: Some(base.token.id()),
            };
        }
        let timeouts = &self.policy.timeouts;
        let (before, after) = (base.contents(), contents);
        let changes_cookie = before.cookie != after.cookie
            || timeouts.persistent(&before.lifetime) != timeouts.persistent(&after.lifetime)
            || timeouts.persistent(&after.lifetime) && before.lifetime != after.lifetime;
        let replaces_key = self.facts.request.signed_by_old_key && after.principal.is_some();
        let repeats_cookie =
            changes_cookie || self.policy.express.rolling && self.touch_due(base, ttl);
        Step::Save(Save {
            base,
            contents,
            login: draft.login(),
            secret,
            ttl,
            only_extends: false,
            reissue: replaces_key || repeats_cookie && is_in_cookie(base),
            extends: self.extends_life(base, ttl),
            // The request that added a principal may have failed before it was listed. And the index
            // keeps a key for as long as it has heard of, so a longer life must not wait.
            lists: if draft.login().is_some() || before.lifetime != after.lifetime {
                Lists::All
            } else if draft.sets_tag() {
                Lists::Tags(draft)
            } else {
                Lists::Nothing
            },
        })
    }

    /// The step for a stored session that nobody changed.
    fn unchanged<'s>(&self, base: &'s Base) -> Step<'s> {
        if base.is_superseded() {
            // it neither extends the life of the session nor proves anything
            return Step::Done(None);
        }
        if self.facts.committed {
            // what was stored or touched has a full life, also if a moment has passed since
            return Step::Done(None);
        }
        let lifetime = &base.contents().lifetime;
        let ttl = self
            .policy
            .timeouts
            .ttl(lifetime, base.body.age(self.now.wall));
        if ttl.is_zero() {
            return expire(base);
        }
        let due = self.touch_due(base, ttl);
        let reissue = due
            && (self.policy.express.rolling && is_in_cookie(base)
                || self.facts.request.signed_by_old_key && base.principal().is_some());
        let resave = self.policy.express.resave && self.facts.trigger == Trigger::Finish;
        if resave && base.extends && !base.written && !self.facts.late {
            return Step::Save(Save {
                base,
                contents: base.contents(),
                login: None,
                secret: SecretChange::Keep,
                ttl,
                only_extends: true,
                reissue,
                extends: due,
                lists: Lists::Nothing,
            });
        }
        let asked = base.touch_requested || self.facts.trigger == Trigger::Save;
        if (due || asked) && !self.facts.late {
            return Step::Touch { base, ttl, reissue };
        }
        Step::Done(None)
    }

    fn retire<'s>(&self, retired: &'s Retired) -> Step<'s> {
        if self.facts.late {
            let refusal = if retired.in_doubt {
                Refusal::InDoubt
            } else {
                Refusal::Contention
            };
            return Step::Fail(refusal);
        }
        Step::Destroy {
            id: retired.base.token.id(),
            expected: Some(retired.base.version),
            purpose: Purpose::Retire,
            contents: Some(retired.base.contents()),
        }
    }

    fn touch_due(&self, base: &Base, ttl: Duration) -> bool {
        base.extends && self.extends_life(base, ttl)
    }

    /// Whether this time to live extends a life so much that a touch would be due.
    fn extends_life(&self, base: &Base, ttl: Duration) -> bool {
        let remaining = base.remaining(self.now);
        let lifetime = &base.contents().lifetime;
        self.policy.timeouts.touch_due(lifetime, ttl, remaining)
    }

    /// Whether a login has to wait for the answer that its principal may have one more session.
    fn must_find_room(&self) -> bool {
        let limit = self.policy.limit;
        let rejects = limit.is_some_and(|limit| limit.when_full == WhenFull::Reject);
        rejects && !self.facts.has_room
    }
}

/// Whether the client keeps the token in a cookie, which is set again to keep it for longer.
fn is_in_cookie(base: &Base) -> bool {
    match base.body.transport {
        Transport::Cookie => true,
        Transport::Bearer => false,
    }
}

fn expire(base: &Base) -> Step<'_> {
    Step::Destroy {
        id: base.token.id(),
        expected: Some(base.version),
        purpose: Purpose::Expire,
        contents: Some(base.contents()),
    }
}

/// Whether a session that is not stored yet holds anything. A lifetime or a cookie attribute alone
/// is no reason to store one.
fn worth_storing(contents: &Contents) -> bool {
    !contents.data.is_empty() || contents.principal.is_some() || !contents.tags.is_empty()
}
