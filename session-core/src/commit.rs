//! The driver of a commit: asks `decide` for the next step, performs it on the store, and applies
//! the answer.

use std::{mem, sync::Arc};

use tracing::Instrument;

use crate::{
    answer::{Answer, Change, Context, Creation, Progress, Verdict},
    attempted::Attempted,
    body::Contents,
    clock::Now,
    decide::{Facts, Purpose, Step, Trigger, decide},
    encode,
    error::{SessionError, SessionErrorKind},
    event,
    id::SessionId,
    indexing, limit,
    listing::Listed,
    lookup,
    outcome::{Ended, Loss, Outcome},
    record::{Loaded, Version},
    replicas::Replicas,
    shared::Shared,
    state::State,
    store::{Applied, Created, Destroy, Destroyed, Saved, Touched, Write},
    store_error::{StoreError, StoreErrorKind},
    token::SessionToken,
    verbs::Verb,
};

/// How many ids to try before giving up: with 128 random bits the first is not taken.
const MAX_ID_ATTEMPTS: u32 = 8;

/// Commits a session.
pub(crate) async fn commit(shared: &Shared, trigger: Trigger) -> Result<Outcome, SessionError> {
    let id = shared
        .cell
        .read(|state| state.token().map(SessionToken::id));
    let span = tracing::debug_span!(
        "session.commit",
        session.id = id.map(tracing::field::display)
    );
    run(shared, trigger).instrument(span).await
}

/// Commits a session for which the store has nothing to do. `None` if it has, or if another commit
/// is in flight.
pub(crate) fn try_commit(shared: &Shared) -> Option<Outcome> {
    let now = shared.config.now();
    shared.cell.read_settled(|state, require_unchanged| {
        let facts = facts(shared, Trigger::Finish, require_unchanged);
        match decide(state, facts, &shared.config.policy, now) {
            Step::Done(lost) => Some(Outcome {
                lost,
                ..Outcome::UNTOUCHED
            }),
            Step::NotStored => {
                warn_not_stored();
                Some(Outcome::UNTOUCHED)
            }
            Step::Fail(_)
            | Step::NewToken
            | Step::Load(_)
            | Step::Create(_)
            | Step::Save(_)
            | Step::Repeat(_)
            | Step::Touch { .. }
            | Step::Destroy { .. }
            | Step::FindRoom { .. }
            | Step::List
            | Step::Limit(_) => None,
        }
    })?
}

fn facts(shared: &Shared, trigger: Trigger, require_unchanged: bool) -> Facts<'_> {
    Facts {
        request: shared.request.facts(),
        trigger,
        require_unchanged,
        committed: false,
        late: false,
        due: None,
        has_room: false,
    }
}

async fn run(shared: &Shared, trigger: Trigger) -> Result<Outcome, SessionError> {
    let _lock = shared.cell.commit_lock().await;
    if trigger == Trigger::Save && shared.cell.is_closed() {
        // the response was committed while this one waited
        return Err(SessionError::closed());
    }
    let config = &*shared.config;
    let mut commit = InFlight::begin(shared, trigger);
    let deadline = commit.now.monotonic + config.policy.commit_deadline;
    let mut turn = None;
    loop {
        let now = commit.now;
        commit.facts.late = commit.repeats && now.monotonic >= deadline;
        let answer = match decide(&commit.progress.state, commit.facts, &config.policy, now) {
            Step::Done(lost) => {
                commit.progress.outcome.lost = commit.progress.outcome.lost.or(lost);
                return Ok(commit.finish());
            }
            Step::NotStored => {
                warn_not_stored();
                return Ok(commit.finish());
            }
            Step::Fail(refusal) => return Err(refusal.into()),
            Step::NewToken => Answer::Token(new_token(shared, &commit.progress.state)?),
            Step::Load(id) => commit.load(id).await?,
            Step::Create(create) => {
                let attempted = encode::create(shared, &create, now)?;
                commit.create(attempted).await
            }
            Step::Save(save) => {
                let attempted = encode::save(shared, &save, now)?;
                commit.save(attempted).await?
            }
            Step::Repeat(attempted) => {
                let attempted = attempted.clone();
                commit.save(attempted).await?
            }
            Step::Touch { base, ttl, reissue } => {
                let (id, version) = (base.token.id(), base.version);
                let contents = Arc::clone(base.contents());
                let result = config.records.touch(&id, version, ttl).await;
                let change = commit.touched(&id, result)?;
                if matches!(change, Ok(Change::Applied(_))) {
                    indexing::refresh(config, id, &contents, &[], ttl, now.wall);
                }
                Answer::Touched {
                    ttl,
                    reissue,
                    change,
                }
            }
            Step::Destroy {
                id,
                expected,
                purpose,
                contents,
            } => {
                let contents = contents.cloned();
                commit.destroy(id, expected, purpose, contents).await?
            }
            Step::FindRoom { principal, own } => {
                let principal = Arc::clone(principal);
                commit.find_room(&principal, own).await?
            }
            Step::List => commit.list().await?,
            Step::Limit(listed) => commit.limit(listed).await?,
        };
        let conflict = is_conflict(&answer);
        commit.apply(answer)?;
        if conflict && turn.is_none() {
            let id = commit.progress.state.token().map(SessionToken::id);
            if let Some(id) = id {
                turn = Some(config.contention.lock(id).await);
            }
        }
    }
}

/// A commit on a copy of the state. However it ends, also if it is dropped, the session takes over
/// where it stands.
struct InFlight<'s> {
    shared: &'s Shared,
    /// Read when the commit begins, and again after each answer.
    now: Now,
    facts: Facts<'s>,
    progress: Progress,
    /// A step has to be repeated because of a concurrent request, or because its outcome is
    /// unknown.
    repeats: bool,
    /// The write that the store has been asked for and has not answered.
    pending: Pending,
    /// How many replicas are to confirm the writes.
    replicas: Option<Replicas>,
    /// What the session contained that the store was last asked to remove.
    removed: Option<Arc<Contents>>,
    /// It has done so, or may have.
    removes: bool,
}

enum Pending {
    None,
    Create(Arc<Attempted>),
    Save(Arc<Attempted>),
    Destroy(Purpose),
}

impl<'s> InFlight<'s> {
    fn begin(shared: &'s Shared, trigger: Trigger) -> Self {
        let (progress, require_unchanged) = shared.cell.begin_commit();
        let facts = Facts {
            due: progress.due(),
            ..facts(shared, trigger, require_unchanged)
        };
        Self {
            shared,
            now: shared.config.now(),
            facts,
            progress,
            repeats: false,
            pending: Pending::None,
            replicas: shared.cell.replicas().or(shared.config.policy.confirm),
            removed: None,
            removes: false,
        }
    }

    fn apply(&mut self, answer: Answer) -> Result<(), SessionError> {
        self.pending = Pending::None;
        let shared = self.shared;
        self.now = shared.config.now();
        let context = Context {
            facts: self.facts,
            policy: &shared.config.policy,
            now: self.now,
            new_session: &|| shared.request.new_session(&shared.config),
        };
        self.repeats |= is_conflict(&answer);
        let ended_before = self.progress.outcome.ended;
        let result = self.progress.apply_answer(answer, context);
        let outcome = &self.progress.outcome;
        let ended = outcome.ended.filter(|_| ended_before != outcome.ended);
        // what was absent was ended by somebody else
        if let (Some(Ended { id, reason }), true) = (ended, self.removes) {
            let principal = principal(self.removed.as_ref());
            event::ended(shared.config.observer.as_ref(), id, reason, principal);
        }
        self.facts.committed = outcome.created || outcome.saved || outcome.touched;
        self.facts.due = self.progress.due();
        self.repeats |= matches!(self.progress.state, State::InDoubt(_));
        result
    }

    /// Tells of what was written, once it is acknowledged.
    fn tell(&self) {
        if self.progress.unlisted.is_some() {
            return;
        }
        let outcome = &self.progress.outcome;
        let state = &self.progress.state;
        if let Some(id) = state.token().map(SessionToken::id) {
            let principal = principal(state.contents());
            event::written(self.shared.config.observer.as_ref(), id, outcome, principal);
        }
    }

    fn finish(&mut self) -> Outcome {
        let outcome = self.progress.outcome;
        self.tell();
        // what was written made no difference, or the handler learns that it is lost
        let is_over = matches!(self.progress.state, State::Modified { .. })
            || outcome.lost == Some(Loss::Superseded);
        if is_over {
            let state = mem::replace(&mut self.progress.state, State::Gone);
            self.progress.state = committed(state);
        }
        outcome
    }

    /// Adds what an answer says about the replicas of a write.
    fn confirmed(&mut self, answer: Result<Option<Applied>, &StoreError>) {
        let replicas = match answer {
            Ok(applied) => applied.and_then(|applied| applied.replicas),
            Err(error) if error.kind() == StoreErrorKind::Timeout => self.unconfirmed(),
            Err(_) => None,
        };
        self.progress.outcome.confirmed(replicas);
    }

    /// What is known about the replicas of a write whose answer was lost.
    fn unconfirmed(&self) -> Option<u32> {
        self.replicas.map(|_| 0)
    }

    async fn load(&mut self, id: SessionId) -> Result<Answer, SessionError> {
        if matches!(self.progress.state, State::InDoubt(_)) {
            let replicas = self.unconfirmed();
            self.progress.outcome.confirmed(replicas);
        }
        match lookup::load(&self.shared.config, &id).await {
            Ok(current) => Ok(Answer::Loaded(current.map(Box::new))),
            Err(error) if matches!(self.progress.state, State::InDoubt(_)) => {
                Err(SessionError::with_source(
                    SessionErrorKind::InDoubt,
                    "session store did not confirm a write, and cannot be asked whether it was applied",
                    error,
                ))
            }
            Err(error) => Err(error),
        }
    }

    async fn create(&mut self, attempted: Arc<Attempted>) -> Answer {
        let id = attempted.token.id();
        self.pending = Pending::Create(attempted.clone());
        let write = Write::new(&attempted.record, attempted.ttl).listed(&attempted.listings);
        let write = write.confirm(self.replicas);
        let result = match self.shared.config.records.create(&id, write).await {
            Ok(Created::Created(applied)) => Ok(Creation::Applied(applied)),
            Ok(Created::Taken) => {
                tracing::warn!(session.id = %id, "id of a new session is taken");
                Ok(Creation::Taken)
            }
            Err(error) => Err(error),
        };
        self.confirmed(match &result {
            Ok(Creation::Applied(applied)) => Ok(Some(*applied)),
            Ok(Creation::Taken) => Ok(None),
            Err(error) => Err(error),
        });
        Answer::Created(attempted, result)
    }

    async fn save(&mut self, attempted: Arc<Attempted>) -> Result<Answer, SessionError> {
        let id = attempted.token.id();
        self.pending = Pending::Save(attempted.clone());
        let write = Write::new(&attempted.record, attempted.ttl).listed(&attempted.listings);
        let write = write.confirm(self.replicas);
        // a save without an expected version is none
        let expected = attempted.expected.unwrap_or(attempted.record.version());
        let result = match self.shared.config.records.save(&id, expected, write).await {
            Ok(Saved::Saved(applied)) => Ok(Change::Applied(applied)),
            Ok(Saved::Conflict(current)) => Ok(self.conflict(&id, current)?),
            Ok(Saved::Gone) => Ok(Change::Gone),
            Err(error) => Err(error),
        };
        self.confirmed(applied(&result));
        if attempted.refreshes && matches!(result, Ok(Change::Applied(_))) {
            let (config, contents) = (&self.shared.config, &attempted.body.contents);
            let (listed, ttl) = (&attempted.listings, attempted.ttl);
            indexing::refresh(config, id, contents, listed, ttl, self.now.wall);
        }
        Ok(Answer::Saved(attempted, result))
    }

    fn touched(
        &mut self,
        id: &SessionId,
        result: Result<Touched, StoreError>,
    ) -> Result<Result<Change, StoreError>, SessionError> {
        Ok(match result {
            Ok(Touched::Touched(applied)) => Ok(Change::Applied(applied)),
            Ok(Touched::Conflict(current)) => Ok(self.conflict(id, current)?),
            Ok(Touched::Gone) => Ok(Change::Gone),
            Err(error) => Err(error),
        })
    }

    async fn destroy(
        &mut self,
        id: SessionId,
        expected: Option<Version>,
        purpose: Purpose,
        contents: Option<Arc<Contents>>,
    ) -> Result<Answer, SessionError> {
        self.pending = Pending::Destroy(purpose);
        self.removed = contents;
        let options = expected.map_or_else(Destroy::any, Destroy::expecting);
        let options = options.confirm(match purpose {
            Purpose::Retire => self.replicas,
            // nobody could open it, or not for long
            Purpose::Expire | Purpose::Orphan | Purpose::Undo => None,
        });
        let result = match self.shared.config.records.destroy(&id, options).await {
            Ok(Destroyed::Destroyed(applied)) => Ok(Change::Applied(applied)),
            Ok(Destroyed::Conflict(current)) => Ok(self.conflict(&id, current)?),
            Ok(Destroyed::Gone) => Ok(Change::Gone),
            Err(error) => Err(error),
        };
        if options.replicas.is_some() {
            self.confirmed(applied(&result));
        }
        match &result {
            Ok(Change::Applied(_)) => self.removes = true,
            Ok(Change::Conflict(_)) => self.removes = false,
            Ok(Change::Gone) => {}
            Err(error) => self.removes |= error.kind() == StoreErrorKind::Timeout,
        }
        if let (Ok(Change::Applied(_)), Some(contents)) = (&result, &self.removed) {
            indexing::forget(&self.shared.config, id, contents);
        }
        Ok(Answer::Destroyed(purpose, result))
    }

    async fn find_room(
        &mut self,
        principal: &str,
        own: Option<SessionId>,
    ) -> Result<Answer, SessionError> {
        let config = &self.shared.config;
        let has_room = match config.policy.limit {
            Some(limit) => limit::has_room(config, limit, principal, own).await?,
            None => true,
        };
        self.facts.has_room = has_room;
        Ok(match has_room {
            true => Answer::Room,
            false => Answer::NoRoom,
        })
    }

    async fn list(&mut self) -> Result<Answer, SessionError> {
        let Some(unlisted) = &self.progress.unlisted else {
            return Ok(Answer::Listed(Listed::new(0, 0)));
        };
        let listed = indexing::put(&self.shared.config, &unlisted.attempted.listings).await?;
        Ok(Answer::Listed(listed))
    }

    async fn limit(&mut self, listed: Listed) -> Result<Answer, SessionError> {
        let config = &self.shared.config;
        let Some((unlisted, limit)) = self.progress.unlisted.as_ref().zip(config.policy.limit)
        else {
            return Ok(Answer::Limited(Verdict::Within));
        };
        let principal = unlisted.attempted.body.contents.principal.as_deref();
        let login = limit::ListedLogin {
            id: unlisted.id(),
            replaces: self.progress.state.replaced_id(),
            sequence: listed.sequence,
        };
        let verdict = limit::enforce(config, limit, principal, login).await?;
        Ok(Answer::Limited(verdict))
    }

    /// Reads what a concurrent request wrote. If that cannot be decoded, nothing was applied.
    fn conflict(&mut self, id: &SessionId, current: Loaded) -> Result<Change, SessionError> {
        let current = lookup::decode(&self.shared.config, id, current);
        if current.is_err() {
            self.pending = Pending::None;
        }
        Ok(Change::Conflict(Box::new(current?)))
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        // a dropped write is one whose reply is lost
        let lost = || StoreError::new(StoreErrorKind::Timeout, "the commit was dropped");
        match mem::replace(&mut self.pending, Pending::None) {
            Pending::None => {}
            Pending::Create(attempted) => {
                let _ = self.apply(Answer::Created(attempted, Err(lost())));
            }
            Pending::Save(attempted) => {
                let _ = self.apply(Answer::Saved(attempted, Err(lost())));
            }
            Pending::Destroy(purpose) => {
                let _ = self.apply(Answer::Destroyed(purpose, Err(lost())));
            }
        }
        let (shared, limit_bytes) = (self.shared, self.shared.config.policy.max_bytes);
        self.progress.interrupt();
        shared.cell.end_commit(&mut self.progress, limit_bytes, || {
            shared.request.new_session(&shared.config)
        });
    }
}

/// The state without writes that are over.
fn committed(state: State) -> State {
    match state {
        State::Modified { base, .. } => State::Unmodified {
            base,
            discarded: false,
        },
        state @ State::Superseded { .. } => Verb::Discard.apply(state, usize::MAX, None).0,
        state => state,
    }
}

/// Reads a session again.
pub(crate) async fn reload(shared: &Shared) -> Result<(), SessionError> {
    let _lock = shared.cell.commit_lock().await;
    let mut commit = InFlight::begin(shared, Trigger::Save);
    let id = commit
        .progress
        .state
        .stored_id()
        .ok_or_else(SessionError::gone)?;
    let current = lookup::load(&shared.config, &id).await?;
    let result = commit.apply(Answer::Reloaded(current.map(Box::new)));
    // it may have settled a write
    commit.tell();
    result
}

/// Asks the store about a session that was opened by what was kept in the process.
pub(crate) async fn refresh(shared: &Shared) -> Result<(), SessionError> {
    let _lock = shared.cell.commit_lock().await;
    let kept = shared.cell.read(|state| state.kept_id());
    let Some(id) = kept else {
        return Ok(());
    };
    let mut commit = InFlight::begin(shared, Trigger::Save);
    let current = lookup::load(&shared.config, &id).await?;
    commit.apply(Answer::Refreshed(current.map(Box::new)))
}

/// What was applied, for [`InFlight::confirmed`].
fn applied(result: &Result<Change, StoreError>) -> Result<Option<Applied>, &StoreError> {
    match result {
        Ok(Change::Applied(applied)) => Ok(Some(*applied)),
        Ok(Change::Conflict(_) | Change::Gone) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_conflict(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Saved(_, Ok(Change::Conflict(_)))
            | Answer::Touched {
                change: Ok(Change::Conflict(_)),
                ..
            }
            | Answer::Destroyed(_, Ok(Change::Conflict(_)))
    )
}

fn new_token(shared: &Shared, state: &State) -> Result<SessionToken, SessionError> {
    if state
        .new_session()
        .is_some_and(|new| new.taken >= MAX_ID_ATTEMPTS)
    {
        let detail = format!("{MAX_ID_ATTEMPTS} generated session ids in a row were taken");
        return Err(SessionError::new(SessionErrorKind::Entropy, detail));
    }
    shared.request.new_token(&shared.config)
}

fn warn_not_stored() {
    tracing::warn!(
        "session not stored: its cookie must be Secure and the request came over plain http"
    );
}

fn principal(contents: Option<&Arc<Contents>>) -> Option<&str> {
    contents.and_then(|contents| contents.principal.as_deref())
}
