//! The loaded session, as a handler holds it.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, request::Parts};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    SessionId, clock, codec,
    commit::{self, Outcome},
    cookie::{CookieOptions, Secure},
    cookie_header::CookieSpec,
    error::{SessionError, SessionErrorKind},
    key::{AsKey, KeyFor},
    manager::{self, Sessions},
    op::{Op, Update},
    plan::{Asked, CookieStep, Request},
    policy::{Policy, Unset},
    record::Contents,
    state::{Done, Fresh, State},
    timeouts::Life,
    token::SessionToken,
};

/// How often an update is computed anew because a clone of the session has written the same name meanwhile.
const UPDATE_ATTEMPTS: u32 = 100;

/// A loaded session.
///
/// Clones are the same session, and every accessor is synchronous: what is written here goes to the store once, when
/// the response is committed or [`save`](Self::save) is called. When another request wrote meanwhile, the changes made here
/// are made again on what it left, so neither loses any.
///
/// ```
/// use session_core::{Key, Session, SessionError};
///
/// const CART: Key<Vec<String>> = Key::new("cart");
///
/// fn add_to_cart(session: &Session, item: String) -> Result<usize, SessionError> {
///     let cart = session.update(CART, move |cart| {
///         let mut cart = cart.unwrap_or_default();
///         cart.push(item.clone());
///         cart
///     })?;
///     Ok(cart.len())
/// }
/// ```
#[derive(Clone)]
pub struct Session(Arc<Shared>);

struct Shared {
    sessions: Sessions,
    origin: Origin,
    inner: Mutex<Inner>,
    /// One commit at a time.
    turn: tokio::sync::Mutex<()>,
}

/// What changes while the request is served.
pub(crate) struct Inner {
    pub(crate) state: State,
    /// What the browser has to be told, by the commits so far.
    pub(crate) due: CookieStep,
    /// A conflict is to be an error.
    pub(crate) unchanged_required: bool,
    closed: bool,
    pub(crate) unsure: Vec<Unsure>,
}

/// A write whose outcome nobody has told.
pub(crate) struct Unsure {
    pub(crate) version: crate::Version,
    pub(crate) token: SessionToken,
    pub(crate) done: Done,
    pub(crate) renew: bool,
}

/// Where a session comes from: what the request brought, which does not change.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) cookie: Arc<CookieSpec>,
    pub(crate) request: Option<Box<Parts>>,
    pub(crate) presented: bool,
    pub(crate) stale: bool,
    pub(crate) presented_id: Option<SessionId>,
    pub(crate) secure: Option<bool>,
}

impl Origin {
    /// No request at all.
    pub(crate) fn outside(cookie: Arc<CookieSpec>) -> Self {
        Self {
            cookie,
            request: None,
            presented: false,
            stale: false,
            presented_id: None,
            secure: None,
        }
    }

    /// What the configuration gives to a session that begins here.
    pub(crate) fn initial(&self, policy: &Policy) -> Contents {
        let mut contents = Contents::default();
        let options = self.cookie.options();
        contents.life = match options.max_age {
            Some(age) if !policy.timeouts.persistent || age != policy.timeouts.idle => Life {
                idle: Some(age),
                absolute: None,
                persistent: Some(true),
            },
            None if policy.timeouts.persistent => Life {
                persistent: Some(false),
                ..Life::default()
            },
            Some(_) | None => Life::default(),
        };
        // a session that began over TLS keeps to it
        if options.secure == Secure::Auto && self.secure == Some(true) {
            contents.cookie.secure = Some(Secure::Always);
        }
        contents
    }
}

impl Session {
    pub(crate) fn new(sessions: Sessions, origin: Origin, state: State) -> Self {
        let inner = Inner {
            state,
            due: CookieStep::Keep,
            unchanged_required: false,
            closed: false,
            unsure: Vec::new(),
        };
        Self(Arc::new(Shared {
            sessions,
            origin,
            inner: Mutex::new(inner),
            turn: tokio::sync::Mutex::new(()),
        }))
    }

    // ---- data ----

    /// The value of that name, decoded now; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`SessionErrorKind::Decode`] when the stored value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: impl AsKey<T>) -> Result<Option<T>, SessionError> {
        let value = self.lock().state.contents().data.get(key.name());
        value.map(|value| decode(key.name(), &value)).transpose()
    }

    /// Sets a value. Setting an equal value is no change.
    ///
    /// # Errors
    ///
    /// When the value cannot be encoded, the session would grow beyond the size limit, has ended, or is closed. The session
    /// is then as it was.
    pub fn insert<V: Serialize + ?Sized>(
        &self,
        key: impl KeyFor<V>,
        value: &V,
    ) -> Result<(), SessionError> {
        let value = encode(key.name(), value)?;
        self.write(Op::Set(key.name().into(), value))
    }

    /// Removes a value and returns it.
    ///
    /// # Errors
    ///
    /// When the session has ended or is closed, or the value is not a `T`; it is then still there.
    pub fn remove<T: DeserializeOwned>(
        &self,
        key: impl AsKey<T>,
    ) -> Result<Option<T>, SessionError> {
        let mut inner = self.lock();
        let Some(value) = inner.state.contents().data.get(key.name()) else {
            return Ok(None);
        };
        let value = decode(key.name(), &value)?;
        self.write_locked(&mut inner, Op::Remove(key.name().into()))?;
        Ok(Some(value))
    }

    /// Computes a value from the one that is there, and returns it.
    ///
    /// When another request wrote meanwhile the function runs again on what that one left: a counter counts every
    /// request. It must therefore have no other effect; what it returned here is then behind the stored value.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get) and [`insert`](Self::insert).
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: impl AsKey<T>,
        update: impl Fn(Option<T>) -> T + Send + Sync + 'static,
    ) -> Result<T, SessionError> {
        let name: Arc<str> = key.name().into();
        let compute: Update = {
            let name = name.clone();
            Arc::new(move |value| {
                let value = value.map(|value| decode::<T>(&name, value)).transpose()?;
                encode(&name, &update(value))
            })
        };
        for _ in 0..UPDATE_ATTEMPTS {
            // outside the lock: the function is the application's and may look at the session itself
            let before = self.lock().state.contents().data.get(&name);
            let after = compute(before.as_ref())?;
            let value = decode(&name, &after)?;
            let op = Op::Update(
                name.clone(),
                first_known(before.clone(), after.clone(), compute.clone()),
            );
            let mut inner = self.lock();
            if inner.state.contents().data.get(&name) == before {
                self.write_locked(&mut inner, op)?;
                return Ok(value);
            }
        }
        let detail = format!(
            "session value {:?} changed each time it was updated",
            &*name
        );
        Err(SessionError::new(SessionErrorKind::Contention, detail))
    }

    /// Whether there is a value of that name.
    pub fn contains(&self, name: impl AsRef<str>) -> bool {
        self.lock().state.contents().data.contains(name.as_ref())
    }

    /// The names of all values, sorted.
    pub fn names(&self) -> Vec<String> {
        self.lock()
            .state
            .contents()
            .data
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Removes every value and keeps the session.
    ///
    /// # Errors
    ///
    /// When the session has ended or is closed.
    pub fn clear(&self) -> Result<(), SessionError> {
        if self.lock().state.contents().data.is_empty() {
            return self.writable();
        }
        self.write(Op::Clear)
    }

    // ---- who ----

    /// Whom the session belongs to, if anybody.
    pub fn principal(&self) -> Option<String> {
        self.lock()
            .state
            .contents()
            .principal
            .as_deref()
            .map(str::to_owned)
    }

    /// Says whom the session belongs to from now on. Where that changes, the token is renewed with it, so that no token from
    /// before the login opens the session after it (OWASP, "Renew the Session ID After Any Privilege Level Change").
    ///
    /// # Errors
    ///
    /// When the session has ended or is closed.
    pub fn set_principal(&self, principal: Option<&str>) -> Result<(), SessionError> {
        if self.principal().as_deref() == principal {
            return self.writable();
        }
        // one step: no commit may see the principal under the old secret
        let mut inner = self.lock();
        self.write_locked(&mut inner, Op::SetPrincipal(principal.map(Into::into)))?;
        inner.state = inner.take().renew();
        Ok(())
    }

    // ---- lifecycle ----

    /// Gives the session a new token: same session, same data, and the old token is dead as soon as this request is
    /// committed. Call it at every change of privilege.
    ///
    /// A commit that renews is all or nothing: when somebody else renewed first, this request's outcome is "gone".
    pub fn renew(&self) {
        self.step(State::renew);
    }

    /// Ends this session and begins an empty one under a new id, which is stored even if nothing is written to it.
    ///
    /// The new one begins also where the old one has ended meanwhile, by a logout elsewhere. What is carried over by hand
    /// is then carried over a logout; [`renew`](Self::renew) never does that.
    ///
    /// # Errors
    ///
    /// When no token can be drawn; the session is then as it was.
    pub fn regenerate(&self) -> Result<(), SessionError> {
        let fresh = self.fresh()?;
        let mut inner = self.lock();
        if inner.closed {
            return Err(closed());
        }
        inner.state = inner.take().regenerate(fresh);
        Ok(())
    }

    /// Ends the session here and, at the commit, in the store; the browser is told to remove the cookie. A write after it begins
    /// a new session under a fresh id; the old one never returns.
    pub fn destroy(&self) {
        self.step(State::destroy);
    }

    /// Forgets what this request wrote. A [`destroy`](Self::destroy), [`regenerate`](Self::regenerate) or
    /// [`renew`](Self::renew) stands.
    pub fn discard(&self) {
        self.step(State::discard);
    }

    /// Does what the option [`Unset`] says: discard or destroy.
    pub fn unset(&self) {
        match self.0.sessions.config().policy.unset {
            Unset::Discard => self.discard(),
            Unset::Destroy => self.destroy(),
        }
    }

    /// Gives a stored session its full life at the commit, whether or not that is due.
    pub fn touch(&self) {
        self.step(State::touch);
    }

    /// Makes it an error ([`SessionErrorKind::Conflict`]) when another request wrote meanwhile, instead of merging. For an
    /// invariant that spans several values.
    pub fn require_unchanged(&self) {
        self.lock().unchanged_required = true;
    }

    /// Writes now instead of at the end. A new session is stored even if it is empty, and its cookie goes out with the response.
    ///
    /// # Errors
    ///
    /// As [`Sessions::finish`]. That the session ended meanwhile is not an error but [`Outcome::Gone`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, it leaves the old record or the new one, whole; the changes here are still to be written.
    pub async fn save(&self) -> Result<Outcome, SessionError> {
        if self.is_closed() {
            return Err(closed());
        }
        commit::commit(self, Asked::Save).await
    }

    /// Reads the session anew. What was written here and not saved is lost.
    ///
    /// # Errors
    ///
    /// [`SessionErrorKind::Gone`] when it is not stored, or not under this token, any more; also when the store fails. The
    /// session is then as it was.
    pub async fn reload(&self) -> Result<(), SessionError> {
        self.writable()?;
        let _turn = self.0.turn.lock().await;
        let gone = || {
            SessionError::new(
                SessionErrorKind::Gone,
                "there is no stored session to reload",
            )
        };
        let token = match &self.lock().state {
            State::Unmodified { stored, .. }
            | State::Modified { stored, .. }
            | State::Renewed { stored, .. } => stored.token.clone(),
            State::Uninitialized { .. }
            | State::New { .. }
            | State::Regenerated { .. }
            | State::Destroyed { .. }
            | State::Gone => return Err(gone()),
        };
        let stored = self.0.sessions.find(&token).await?.ok_or_else(gone)?;
        self.step(|state| state.reload(stored));
        Ok(())
    }

    // ---- facts ----

    /// The id. `None` when the session has ended.
    pub fn id(&self) -> Option<SessionId> {
        self.lock().state.token().map(SessionToken::id)
    }

    /// The bearer token, to open the session outside this request ([`Sessions::open`]). `None` when the session has
    /// ended. Before a commit it may be one that is not stored yet, or is about to be replaced.
    pub fn token(&self) -> Option<SessionToken> {
        self.lock().state.token().cloned()
    }

    /// Whether this is another session than the request's cookie named: it began with this request.
    pub fn is_new(&self) -> bool {
        self.id()
            .is_some_and(|id| Some(id) != self.0.origin.presented_id)
    }

    /// Whether there is anything to write. A change that was reverted is none.
    pub fn is_modified(&self) -> bool {
        self.lock().state.is_modified()
    }

    /// When the session began. `None` when it has ended.
    pub fn created_at(&self) -> Option<SystemTime> {
        self.lock().state.created_at().map(clock::from_millis)
    }

    /// When the session ends unless another request comes: for a stored session what the store says, for others what it would
    /// get now. `None` when it has ended.
    pub fn expires_at(&self) -> Option<SystemTime> {
        let now = self.0.sessions.config().clock.now();
        let inner = self.lock();
        if let State::Unmodified { stored, .. } = &inner.state
            && !stored.touch
        {
            return stored.seen_at.checked_add(stored.ttl?);
        }
        let age = now
            .duration_since(clock::from_millis(inner.state.created_at()?))
            .unwrap_or_default();
        now.checked_add(
            self.policy()
                .timeouts
                .ttl(&inner.state.contents().life, age),
        )
    }

    /// The time left to a cookie that outlives the browser; `None` for one that ends with the browser session.
    pub fn max_age(&self) -> Option<Duration> {
        let expires_at = self.expires_at()?;
        let now = self.0.sessions.config().clock.now();
        self.original_max_age()
            .map(|_| expires_at.duration_since(now).unwrap_or_default())
    }

    /// The lifetime that a persistent cookie is given each time; `None` for one that ends with the browser session.
    pub fn original_max_age(&self) -> Option<Duration> {
        let inner = self.lock();
        let life = &inner.state.contents().life;
        let timeouts = &self.policy().timeouts;
        timeouts.persistent(life).then(|| timeouts.idle(life))
    }

    /// The longest gap between two requests of this session.
    pub fn idle_timeout(&self) -> Duration {
        self.policy()
            .timeouts
            .idle(&self.lock().state.contents().life)
    }

    /// The longest life of this session, however busy.
    pub fn absolute_timeout(&self) -> Option<Duration> {
        self.policy()
            .timeouts
            .absolute(&self.lock().state.contents().life)
    }

    /// Gives this session an idle timeout of its own and a cookie that lasts as long; `None` gives the configured idle timeout
    /// and a cookie that ends with the browser session. Zero ends the session. The absolute timeout holds all the
    /// same: for a "remember me" set that too.
    ///
    /// # Errors
    ///
    /// When the session has ended or is closed.
    pub fn set_max_age(&self, max_age: Option<Duration>) -> Result<(), SessionError> {
        let mut inner = self.lock();
        self.write_locked(&mut inner, Op::SetIdle(max_age))?;
        self.write_locked(&mut inner, Op::SetPersistent(Some(max_age.is_some())))
    }

    /// Gives this session an idle timeout of its own; `None` gives the configured one.
    ///
    /// # Errors
    ///
    /// When the session has ended or is closed.
    pub fn set_idle_timeout(&self, idle: Option<Duration>) -> Result<(), SessionError> {
        self.write(Op::SetIdle(idle))
    }

    /// Gives this session an absolute timeout of its own; `None` gives the configured one.
    ///
    /// # Errors
    ///
    /// When the session has ended or is closed.
    pub fn set_absolute_timeout(&self, absolute: Option<Duration>) -> Result<(), SessionError> {
        self.write(Op::SetAbsolute(absolute))
    }

    /// Makes the cookie of this session outlive the browser, or not; `None` as configured.
    ///
    /// # Errors
    ///
    /// When the session has ended or is closed.
    pub fn set_persistent(&self, persistent: Option<bool>) -> Result<(), SessionError> {
        self.write(Op::SetPersistent(persistent))
    }

    /// Ends this session at a fixed time, however busy: an absolute timeout, given as a moment.
    ///
    /// # Errors
    ///
    /// When the session has ended or is closed.
    pub fn set_expires_at(&self, at: SystemTime) -> Result<(), SessionError> {
        let Some(created_at) = self.created_at() else {
            return self.write(Op::SetAbsolute(None));
        };
        self.set_absolute_timeout(Some(at.duration_since(created_at).unwrap_or_default()))
    }

    /// The cookie options of this session.
    pub fn cookie(&self) -> CookieOptions {
        manager::session_options(&self.0.origin.cookie, &self.lock().state)
    }

    /// Changes the cookie attributes of this session, now and for as long as it lives. Name, path, domain and lifetime are not
    /// among them.
    ///
    /// # Errors
    ///
    /// When the options exclude each other, or the session has ended or is closed.
    pub fn set_cookie(
        &self,
        change: impl FnOnce(CookieOptions) -> CookieOptions,
    ) -> Result<(), SessionError> {
        let overrides = self.0.origin.cookie.overrides(change(self.cookie()))?;
        self.write(Op::SetCookie(overrides))
    }

    // ---- for the rest of the crate ----

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.0.sessions.config().policy
    }

    pub(crate) fn turn(&self) -> &tokio::sync::Mutex<()> {
        &self.0.turn
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // nothing of the application runs under the lock, so a poisoned one is still whole
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the plan needs to know of the request.
    pub(crate) fn request(&self, state: &State) -> Request {
        let origin = &self.0.origin;
        let secure = state
            .contents()
            .cookie
            .secure
            .unwrap_or(origin.cookie.options().secure);
        let addressable = secure != Secure::Always || origin.secure != Some(false);
        Request {
            cookie: origin.presented,
            stale: origin.stale,
            addressable,
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn cookie_header(&self) -> Option<HeaderValue> {
        let inner = self.lock();
        manager::cookie_header(
            self.0.sessions.config(),
            &self.0.origin,
            &inner.state,
            inner.due,
        )
    }

    fn fresh(&self) -> Result<Fresh, SessionError> {
        self.0.sessions.fresh(&self.0.origin)
    }

    fn writable(&self) -> Result<(), SessionError> {
        let inner = self.lock();
        match inner.state {
            _ if inner.closed => Err(closed()),
            State::Gone => Err(SessionError::new(
                SessionErrorKind::Gone,
                "the session has ended meanwhile",
            )),
            State::Uninitialized { .. }
            | State::New { .. }
            | State::Unmodified { .. }
            | State::Modified { .. }
            | State::Renewed { .. }
            | State::Regenerated { .. }
            | State::Destroyed { .. } => Ok(()),
        }
    }

    fn write(&self, op: Op) -> Result<(), SessionError> {
        self.write_locked(&mut self.lock(), op)
    }

    fn write_locked(&self, inner: &mut Inner, op: Op) -> Result<(), SessionError> {
        if inner.closed {
            return Err(closed());
        }
        let fresh = if inner.state.write_needs_fresh() {
            Some(self.fresh()?)
        } else {
            None
        };
        let (state, written) = inner.take().write(op, self.policy().max_bytes, fresh);
        inner.state = state;
        written
    }

    fn step(&self, step: impl FnOnce(State) -> State) {
        let mut inner = self.lock();
        if inner.closed {
            tracing::warn!(
                "the session was changed after its response was committed; the change is lost"
            );
            return;
        }
        inner.state = step(inner.take());
    }
}

impl Inner {
    /// Takes the state out, to put the next one in.
    pub(crate) fn take(&mut self) -> State {
        mem::replace(&mut self.state, State::Gone)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        let id = inner.state.token().map(SessionToken::id);
        f.debug_struct("Session")
            .field("id", &id)
            .field("names", inner.state.contents())
            .finish_non_exhaustive()
    }
}

pub(crate) fn closed() -> SessionError {
    SessionError::new(
        SessionErrorKind::Closed,
        "the session is closed: its response has been committed",
    )
}

fn encode<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<Bytes, SessionError> {
    codec::encode_value(value).map_err(|error| {
        SessionError::because(
            SessionErrorKind::Encode,
            format!("session value {name:?} cannot be encoded"),
            error,
        )
    })
}

fn decode<T: DeserializeOwned>(name: &str, value: &Bytes) -> Result<T, SessionError> {
    codec::decode_value(value).map_err(|_| {
        // the decoder's own message may quote the value
        let detail = format!(
            "session value {name:?} is not a {}",
            std::any::type_name::<T>()
        );
        SessionError::new(SessionErrorKind::Decode, detail)
    })
}

/// An update that has run once on `before` need not run again on the same.
fn first_known(before: Option<Bytes>, after: Bytes, update: Update) -> Update {
    Arc::new(move |value| {
        if value == before.as_ref() {
            Ok(after.clone())
        } else {
            update(value)
        }
    })
}
