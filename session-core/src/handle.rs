//! The session of a request before it is loaded.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use http::request::Parts;
use smallvec::SmallVec;
use tokio::sync::Mutex;
use tracing::Instrument;

use crate::{
    commit,
    config::Config,
    cookie_spec::CookieSpec,
    draft::Draft,
    error::{SessionError, SessionErrorKind},
    format::Verified,
    id::SessionId,
    lookup::{self, Candidate, Lookup},
    policy::LoadMode,
    presented::Presented,
    request_context::RequestContext,
    session::Session,
    shared::Shared,
    state::{Base, NewSession, Since, State},
    token::SessionToken,
    transports::Transports,
};

/// How many of a request's signed tokens are looked up. A sibling subdomain can plant cookies (RFC
/// 6265bis §8.6), but only such that this service has signed.
const MAX_LOOKUPS: usize = 2;

/// The tokens to look up after the first.
type Others = SmallVec<[Verified; MAX_LOOKUPS - 1]>;

/// The session of a request, not loaded yet.
///
/// Clones are the same session. A request that never loads it costs the store nothing, and its
/// response is left as it is.
#[derive(Clone)]
pub struct SessionHandle(Option<Arc<Inner>>);

struct Inner {
    start: RequestStart,
    session: OnceLock<Session>,
    /// One load from the store at a time.
    loading: Mutex<()>,
    /// Somebody tried to load it.
    accessed: AtomicBool,
    /// The request is over.
    closed: AtomicBool,
}

/// What is known when a request begins.
pub(crate) struct RequestStart {
    pub(crate) config: Arc<Config>,
    pub(crate) cookie: Arc<CookieSpec>,
    /// Why the options that were computed for this request are invalid.
    pub(crate) invalid: Option<String>,
    pub(crate) in_scope: bool,
    pub(crate) presented: Presented,
    pub(crate) secure: Option<bool>,
    pub(crate) safe_method: bool,
    /// How the session is loaded, unless the handler says so.
    pub(crate) mode: LoadMode,
    pub(crate) parts: Option<Box<Parts>>,
    /// Another session layer surrounds this one.
    pub(crate) nested: bool,
}

impl SessionHandle {
    pub(crate) fn new(start: RequestStart) -> Self {
        Self(Some(Arc::new(Inner {
            start,
            session: OnceLock::new(),
            loading: Mutex::const_new(()),
            accessed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })))
    }

    /// Returns the handle of a request that no session layer has processed. Loading it is an error,
    /// so an adapter need not panic if a layer is missing.
    pub fn missing() -> Self {
        Self(None)
    }

    /// Loads the session: one round trip to the store, the first time and only if the request
    /// carries a signed token. The request extends the session's life, unless the option
    /// [`load_mode`](crate::Builder::load_mode) says that it peeks.
    ///
    /// A token that is missing, forged or unknown gives a new, empty session with a new id; an id
    /// that the client presents is never adopted (OWASP Session Management Cheat Sheet, strict
    /// session management). So does a token that was superseded by a renewal.
    ///
    /// # Errors
    ///
    /// If the store fails: the session is then unknown, not empty. A later call tries again. Also
    /// if the request is outside the cookie's path, or no token can be generated.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{SessionError, SessionHandle};
    /// async fn name(handle: &SessionHandle) -> Result<Option<String>, SessionError> {
    ///     Ok(handle.load().await?.principal())
    /// }
    /// ```
    pub async fn load(&self) -> Result<Session, SessionError> {
        let mode = self.0.as_ref().map(|inner| inner.start.mode);
        self.load_with(mode.unwrap_or_default()).await
    }

    /// Loads the session without extending its life: no expiry is written for this request, however
    /// long ago the last one was. For polling and for health pages.
    ///
    /// Only reading is free. A write extends the life as any write does, and so do
    /// [`touch`](Session::touch) and [`save`](Session::save), which ask for it. So does a
    /// [`load`](Self::load) by another handler of the same request.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    ///
    /// # Examples
    ///
    /// A page that polls does not keep its session alive:
    ///
    /// ```
    /// # use session_core::{SessionError, SessionHandle};
    /// async fn unread(handle: &SessionHandle) -> Result<u32, SessionError> {
    ///     let session = handle.peek().await?;
    ///     Ok(session.get("unread")?.unwrap_or(0))
    /// }
    /// ```
    pub async fn peek(&self) -> Result<Session, SessionError> {
        self.load_with(LoadMode::Peek).await
    }

    /// Loads the session from the store, even if the near cache
    /// ([`near_cache`](crate::Builder::near_cache)) could answer. For the moments that matter, such
    /// as a payment: a session that has ended on another instance an instant ago is not opened.
    /// Without a near cache this is [`load`](Self::load).
    ///
    /// If the request has loaded its session from the cache before, it is read again, and what the
    /// request has written since is kept.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load). If the request has loaded its session from the cache before and it
    /// has ended since, [`Gone`](SessionErrorKind::Gone), or
    /// [`Superseded`](SessionErrorKind::Superseded) if the token does not open it any more.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{SessionError, SessionHandle};
    /// # async fn pay(account: &str) {}
    /// async fn checkout(handle: &SessionHandle) -> Result<(), SessionError> {
    ///     let session = handle.load_fresh().await?;
    ///     if let Some(account) = session.principal() {
    ///         pay(&account).await;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn load_fresh(&self) -> Result<Session, SessionError> {
        self.load_with(LoadMode::Fresh).await
    }

    /// Loads the session in a certain mode, whatever the option
    /// [`load_mode`](crate::Builder::load_mode) says. If it is loaded already, the request extends
    /// its life if any of the loads does.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    ///
    /// # Examples
    ///
    /// Polling keeps the session alive only if the user is active in the page:
    ///
    /// ```
    /// # use session_core::{LoadMode, Session, SessionError, SessionHandle};
    /// async fn poll(handle: &SessionHandle, is_active: bool) -> Result<Session, SessionError> {
    ///     let mode = if is_active { LoadMode::Normal } else { LoadMode::Peek };
    ///     handle.load_with(mode).await
    /// }
    /// ```
    pub async fn load_with(&self, mode: LoadMode) -> Result<Session, SessionError> {
        let Some(inner) = &self.0 else {
            return Err(SessionError::new(
                SessionErrorKind::MissingLayer,
                "no session layer has processed this request",
            ));
        };
        inner
            .accessed
            .store(inner.start.in_scope, Ordering::Relaxed);
        let session = match inner.loaded_with(mode) {
            Some(session) => session,
            None => inner.load(mode).await?,
        };
        if mode == LoadMode::Fresh {
            // boxed, because it is rare and would make the future of every handler larger
            Box::pin(commit::refresh(session.shared())).await?;
        }
        if inner.closed.load(Ordering::SeqCst) {
            // loaded after the response was committed: it can be read
            session.shared().cell.close();
        }
        Ok(session.clone())
    }

    /// Returns the session if it is loaded.
    pub fn loaded(&self) -> Option<&Session> {
        self.0.as_ref().and_then(|inner| inner.session.get())
    }

    /// Returns the name of the session's cookie.
    pub fn cookie_name(&self) -> Option<&str> {
        self.0.as_ref().map(|inner| inner.start.cookie.name())
    }

    /// Whether the request is within the cookie's path, so that it has a session at all.
    pub fn in_scope(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.start.in_scope)
    }

    /// Returns the id in the signed token, for logs. It does not prove that the session exists.
    pub fn presented_id(&self) -> Option<SessionId> {
        let start = &self.0.as_ref()?.start;
        start.verified().next().map(|verified| verified.token.id())
    }

    /// The request passed another session layer before; only the first clone can be told.
    pub(crate) fn set_nested(&mut self) {
        let inner = self.0.as_mut().and_then(Arc::get_mut);
        if let Some(inner) = inner {
            inner.start.nested = true;
        }
    }

    /// The configuration that the request began with.
    pub(crate) fn config(&self) -> Option<&Arc<Config>> {
        self.0.as_ref().map(|inner| &inner.start.config)
    }

    /// The transports that the response may depend on.
    pub(crate) fn transports(&self) -> Transports {
        self.config()
            .map(|config| config.transports)
            .unwrap_or_default()
    }

    /// Whether somebody tried to load the session.
    pub(crate) fn is_accessed(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|inner| inner.accessed.load(Ordering::Relaxed))
    }

    /// Closes the session, also if it is loaded later.
    pub(crate) fn close_session(&self) {
        let Some(inner) = &self.0 else { return };
        // asked first, because most requests are closed twice and a swap takes longer
        if inner.closed.load(Ordering::SeqCst) || inner.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(session) = inner.session.get() {
            session.shared().cell.close();
        }
    }
}

impl Inner {
    /// The session, if it is loaded.
    fn loaded_with(&self, mode: LoadMode) -> Option<&Session> {
        let session = self.session.get()?;
        if mode.extends() {
            session.shared().cell.extend_life();
        }
        Some(session)
    }

    /// Loads the session, unless somebody else does so meanwhile.
    async fn load(&self, mode: LoadMode) -> Result<&Session, SessionError> {
        let first = match self.start.begin_load(mode)? {
            BeginLoad::Done(session) => return Ok(self.keep(session, mode)),
            BeginLoad::LookUp(first) => first,
        };
        let _loading = self.loading.lock().await;
        if let Some(session) = self.loaded_with(mode) {
            return Ok(session);
        }
        let span = tracing::debug_span!("session.load");
        // the future is large, and instrumenting it moves it
        let session = match span.is_disabled() {
            true => self.start.load(first, mode).await?,
            false => self.start.load(first, mode).instrument(span).await?,
        };
        Ok(self.keep(session, mode))
    }

    /// Keeps the session, unless somebody else has loaded it meanwhile.
    fn keep(&self, session: Session, mode: LoadMode) -> &Session {
        let mut is_first = false;
        let kept = self.session.get_or_init(|| {
            is_first = true;
            session
        });
        if !is_first && mode.extends() {
            kept.shared().cell.extend_life();
        }
        kept
    }
}

/// How far a session is loaded without a call to the store.
enum BeginLoad {
    Done(Session),
    /// This token has to be looked up first.
    LookUp(Verified),
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("cookie", &self.cookie_name())
            .field("loaded", &self.loaded())
            .finish()
    }
}

impl RequestStart {
    /// Loads the session as far as no call to the store is needed.
    fn begin_load(&self, mode: LoadMode) -> Result<BeginLoad, SessionError> {
        if let Some(reason) = &self.invalid {
            return Err(SessionError::new(SessionErrorKind::Config, reason.as_str()));
        }
        if !self.in_scope {
            return Err(SessionError::new(
                SessionErrorKind::OutsidePath,
                "request is outside the session cookie's path",
            ));
        }
        let Some(first) = self.verified().next() else {
            return self.without_session(None).map(BeginLoad::Done);
        };
        let kept = lookup::look_up_kept(&self.config, self.candidate(&first, mode));
        Ok(match kept {
            Some(base) => BeginLoad::Done(self.opened(&first, base)),
            None => BeginLoad::LookUp(first),
        })
    }

    /// Loads the session from the store. The first signed token that opens one wins; one that is
    /// superseded counts if none does.
    async fn load(&self, first: Verified, mode: LoadMode) -> Result<Session, SessionError> {
        let superseded = match lookup::look_up(&self.config, self.candidate(&first, mode)).await? {
            Lookup::Found(base) => return Ok(self.opened(&first, base)),
            Lookup::Superseded(since) => Some((first.token.clone(), since)),
            Lookup::NotFound => None,
        };
        let others = self.others(&first.token);
        if others.is_empty() {
            return self.without_session(superseded);
        }
        // boxed, because it is rare and would make the future of every handler larger
        Box::pin(self.load_other(others, superseded, mode)).await
    }

    async fn load_other(
        &self,
        others: Others,
        mut superseded: Option<(SessionToken, Since)>,
        mode: LoadMode,
    ) -> Result<Session, SessionError> {
        for other in others {
            let candidate = self.candidate(&other, mode);
            let lookup = match lookup::look_up_kept(&self.config, candidate) {
                Some(base) => Lookup::Found(base),
                None => lookup::look_up(&self.config, candidate).await?,
            };
            match lookup {
                Lookup::Found(base) => return Ok(self.opened(&other, base)),
                Lookup::Superseded(since) => {
                    superseded.get_or_insert((other.token, since));
                }
                Lookup::NotFound => {}
            }
        }
        self.without_session(superseded)
    }

    fn candidate<'t>(&self, verified: &'t Verified, mode: LoadMode) -> Candidate<'t> {
        Candidate {
            token: &verified.token,
            transport: Some(self.presented.transport()),
            mode,
        }
    }

    /// The session that a token opens.
    fn opened(&self, verified: &Verified, base: Arc<Base>) -> Session {
        let context = RequestContext {
            presented: Some(verified.token.id()),
            signed_by_old_key: verified.signed_by_old_key,
            transport: self.presented.transport(),
            ..self.context()
        };
        let state = State::Unmodified {
            base,
            discarded: false,
        };
        self.session(context, state)
    }

    fn without_session(
        &self,
        superseded: Option<(SessionToken, Since)>,
    ) -> Result<Session, SessionError> {
        let mut context = self.context();
        if superseded.is_some() {
            context.transport = self.presented.transport();
        }
        let token = Some(context.new_token(&self.config)?);
        let new = NewSession {
            token,
            ..context.new_session(&self.config)
        };
        let state = match superseded {
            Some((token, since)) => {
                let draft = Draft::of(new.initial.clone());
                State::Superseded {
                    token,
                    since,
                    new,
                    draft,
                    ended: false,
                }
            }
            None => State::Uninitialized {
                new,
                discarded: false,
            },
        };
        Ok(self.session(context, state))
    }

    fn session(&self, context: RequestContext, state: State) -> Session {
        Session::new(Shared::new(self.config.clone(), context, state))
    }

    /// A request without a session.
    fn context(&self) -> RequestContext {
        RequestContext {
            cookie: self.cookie.clone(),
            parts: self.parts.clone(),
            presented: None,
            signed_by_old_key: false,
            transport: self.presented.begins(),
            secure: self.secure,
            safe_method: self.safe_method,
            has_response: true,
            nested: self.nested,
        }
    }

    /// The tokens to look up if the first opens nothing.
    fn others(&self, first: &SessionToken) -> Others {
        let mut others = Others::new();
        for verified in self.verified() {
            let is_same = |seen: &Verified| seen.token == verified.token;
            if verified.token == *first || others.iter().any(is_same) {
                continue;
            }
            if others.len() == MAX_LOOKUPS - 1 {
                tracing::debug!(
                    cookie = self.cookie.name(),
                    "more signed session cookies than are looked up"
                );
                break;
            }
            others.push(verified);
        }
        others
    }

    /// The tokens whose signature is right, in the order sent.
    fn verified(&self) -> impl Iterator<Item = Verified> {
        let (name, transport) = (self.cookie.name(), self.presented.transport());
        self.presented.texts(name).filter_map(move |text| {
            let Config { format, keys, .. } = &*self.config;
            format.read_token(transport, name, &text, keys)
        })
    }
}
