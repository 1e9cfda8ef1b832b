//! The sessions of one service: begins and finishes them around a request, and opens them outside of one.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, Response, Uri, header, request::Parts};

use crate::{
    Clock, SessionId,
    builder::{Builder, CookieFn, IdSource, OriginalUri},
    commit::{self, Outcome},
    cookie::CookieOptions,
    cookie_header::{self, CookieSpec},
    error::{SessionError, SessionErrorKind},
    format::{Format, Verified},
    handle::{Begun, SessionHandle},
    plan::{Asked, CookieStep},
    policy::{OnGone, Policy, Undecodable},
    session::{Origin, Session},
    sign::SigningKeys,
    state::{Fresh, State, Stored},
    store::{AnyStore, Loaded, StoreErrorKind},
    token::{Entropy, Secret, SessionToken},
    transport::Proxy,
};

/// The sessions of a service: the store, the keys and every option. Cheap to clone.
///
/// An adapter calls [`begin`](Self::begin) with the request and [`finish`](Self::finish) with the response, and that is all there
/// is to one:
///
/// ```
/// # #[cfg(feature = "memory")]
/// # async fn serve(request: http::Request<()>) -> Result<http::Response<String>, Box<dyn std::error::Error>> {
/// use session_core::{Key, MemoryStore, Sessions, SigningKeys};
///
/// const VIEWS: Key<u32> = Key::new("views");
///
/// let sessions = Sessions::builder(MemoryStore::default()).signing_keys(SigningKeys::random()?).build()?;
///
/// let handle = sessions.begin(&request);
/// let session = handle.load().await?;
/// let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
/// let mut response = http::Response::new(format!("{views} views"));
/// sessions.finish(&handle, &mut response).await?;
/// # Ok(response)
/// # }
/// ```
#[derive(Clone)]
pub struct Sessions(Arc<Config>);

pub(crate) struct Config {
    pub(crate) store: AnyStore,
    pub(crate) keys: SigningKeys,
    pub(crate) cookie: Arc<CookieSpec>,
    pub(crate) cookie_fn: Option<CookieFn>,
    pub(crate) proxy: Proxy,
    pub(crate) policy: Policy,
    pub(crate) id_source: Option<IdSource>,
    pub(crate) original_uri: Option<OriginalUri>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) format: Box<dyn Format>,
    pub(crate) queues: Queues,
}

/// Where commits of this process wait for each other once they have met somebody on the same session. Without a conflict nobody
/// waits; with one, the crowd on a busy session becomes a line, so that each gets through in a few attempts.
#[derive(Debug)]
pub(crate) struct Queues([tokio::sync::Mutex<()>; 64]);

impl Default for Queues {
    fn default() -> Self {
        Self(std::array::from_fn(|_| tokio::sync::Mutex::new(())))
    }
}

impl Queues {
    pub(crate) async fn wait(&self, id: &SessionId) -> tokio::sync::MutexGuard<'_, ()> {
        self.0[usize::from(id.to_bytes()[0]) % self.0.len()]
            .lock()
            .await
    }
}

impl Sessions {
    /// Starts with a store; see [`Builder`] for the options.
    pub fn builder(store: impl Into<AnyStore>) -> Builder {
        Builder::new(store.into())
    }

    pub(crate) fn new(config: Config) -> Self {
        Self(Arc::new(config))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0
    }

    /// Whether these are the same sessions, and not others with equal options.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The name of the cookie.
    pub fn cookie_name(&self) -> &str {
        self.0.cookie.name()
    }

    /// Takes note of the request's cookies. No I/O, no cryptography: both wait until somebody loads the session.
    pub fn begin<B>(&self, request: &Request<B>) -> SessionHandle {
        let config = &*self.0;
        let original = config
            .original_uri
            .as_ref()
            .and_then(|find| find(request.extensions()));
        let uri = original.as_ref().unwrap_or(request.uri());
        let snapshot = (config.id_source.is_some() || config.cookie_fn.is_some())
            .then(|| Box::new(snapshot(request, uri)));
        let (cookie, unusable) = match (&config.cookie_fn, &snapshot) {
            (Some(options), Some(parts)) => match options(parts).check() {
                Ok(spec) => (Arc::new(spec), None),
                Err(error) => (config.cookie.clone(), Some(error.to_string())),
            },
            _ => (config.cookie.clone(), None),
        };
        SessionHandle::new(Begun {
            in_scope: cookie.covers(uri.path()),
            headers: cookie_header::headers(request.headers()),
            secure: config.proxy.secure(request.extensions(), request.headers()),
            sessions: self.clone(),
            cookie,
            unusable,
            request: snapshot,
        })
    }

    /// Writes what the request did to its session, and then the headers that tell the browser.
    ///
    /// Call it with every response, before its head leaves. On an error nothing has been added to the response; answer with
    /// an error of your own instead, and leave the cookie alone but for [`SessionHandle::settled_cookie`]. Afterwards the
    /// session is closed: a later write is an error.
    ///
    /// # Errors
    ///
    /// When the store fails, when the bound of replays is reached, when a conflict was to be an error, or when the session
    /// is gone and [`OnGone::Reject`] says so.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, it leaves the old record or the new one, whole.
    pub async fn finish<B>(
        &self,
        handle: &SessionHandle,
        response: &mut Response<B>,
    ) -> Result<Outcome, SessionError> {
        match self.try_finish(handle, response) {
            Finished::Done(finished) => finished,
            Finished::Unsettled(unsettled) => unsettled.finish(response).await,
        }
    }

    /// Does what [`finish`](Self::finish) does as far as that asks nothing of the store, which is all of it for most requests.
    ///
    /// For adapters that care about the size of their futures.
    pub fn try_finish<B>(&self, handle: &SessionHandle, response: &mut Response<B>) -> Finished {
        handle.close();
        let Some(session) = handle.loaded() else {
            if handle.asked() {
                // it depends on the cookie all the same, if only on what could not be found out about it
                vary_by_cookie(response.headers_mut());
            }
            return Finished::Done(Ok(Outcome::Untouched));
        };
        let commits = self
            .0
            .policy
            .commit_if
            .as_ref()
            .is_none_or(|commit_if| commit_if(response.status()));
        let outcome = if commits {
            commit::try_commit(session, Asked::Finish)
        } else {
            Some(Outcome::Untouched)
        };
        match outcome {
            Some(outcome) => Finished::Done(tell(session, outcome, response)),
            None => Finished::Unsettled(Unsettled(session.clone())),
        }
    }

    /// Opens a session outside a request, by a token that a request handed over ([`Session::token`]): for WebSockets, event
    /// streams and jobs. `None` where the token opens nothing. Write with [`Session::save`].
    ///
    /// # Errors
    ///
    /// As [`SessionHandle::load`].
    pub async fn open(&self, token: &SessionToken) -> Result<Option<Session>, SessionError> {
        let found = self.find(token).await?;
        Ok(found.map(|stored| {
            let state = State::Unmodified {
                stored,
                discarded: false,
            };
            Session::new(self.clone(), Origin::outside(self.0.cookie.clone()), state)
        }))
    }

    /// Ends a session by its id, whoever holds its token. That there was none is success.
    ///
    /// # Errors
    ///
    /// When the store fails; the session may then live on.
    pub async fn revoke(&self, id: &SessionId) -> Result<(), SessionError> {
        self.0.store.destroy(id).await?;
        tracing::info!(session.id = %id, "session revoked");
        Ok(())
    }

    /// The live session that this token opens.
    pub(crate) async fn find(&self, token: &SessionToken) -> Result<Option<Stored>, SessionError> {
        let config = &*self.0;
        let id = token.id();
        let undecodable = |error: SessionError| match config.policy.undecodable {
            Undecodable::StartFresh => {
                tracing::warn!(session.id = %id, %error, "undecodable session left alone; the request starts fresh");
                Ok(None)
            }
            Undecodable::Fail => Err(error),
        };
        let loaded = match config.store.load(&id).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => {
                tracing::debug!(session.id = %id, "no such session");
                return Ok(None);
            }
            Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                return undecodable(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        let stored = match self.stored(token, loaded) {
            Ok(stored) => stored,
            Err(error) => return undecodable(error),
        };
        if stored.superseded() {
            tracing::info!(session.id = %id, "token with a superseded or wrong secret refused");
            return Ok(None);
        }
        let age = stored.record.age(stored.seen_at);
        if config
            .policy
            .timeouts
            .absolute(&stored.record.contents.life)
            .is_some_and(|absolute| age >= absolute)
        {
            tracing::debug!(session.id = %id, "session is past its absolute timeout");
            return Ok(None);
        }
        Ok(Some(stored))
    }

    /// Decodes what the store holds.
    pub(crate) fn stored(
        &self,
        token: &SessionToken,
        loaded: Loaded,
    ) -> Result<Stored, SessionError> {
        let record = self.0.format.decode(&loaded.record).map_err(|error| {
            SessionError::because(
                SessionErrorKind::Corrupt,
                "stored session cannot be decoded",
                error,
            )
        })?;
        let seen_at = self.0.clock.now();
        Ok(Stored {
            token: token.clone(),
            record: Arc::new(record),
            ttl: loaded.ttl,
            seen_at,
            touch: false,
            written: false,
        })
    }

    /// Reads a cookie value, if it is well-formed and signed.
    pub(crate) fn verify(&self, name: &str, value: &str) -> Option<Verified> {
        self.0.format.read_cookie(name, value, &self.0.keys)
    }

    /// The name and the birth of a new session.
    pub(crate) fn fresh(&self, origin: &Origin) -> Result<Fresh, SessionError> {
        let created_at = crate::clock::to_millis(self.0.clock.now());
        Ok(Fresh {
            token: self.name(origin)?,
            created_at,
            initial: origin.initial(&self.0.policy),
        })
    }

    /// A new token.
    pub(crate) fn name(&self, origin: &Origin) -> Result<SessionToken, SessionError> {
        let entropy = &*self.0.entropy;
        let id = match (&self.0.id_source, &origin.request) {
            (Some(source), Some(request)) => source(request)?,
            (Some(source), None) => source(&Request::new(()).into_parts().0)?,
            (None, _) => return Ok(SessionToken::generate(entropy)?),
        };
        Ok(SessionToken::new(id, Secret::generate(entropy)?))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("cookie", &self.0.cookie)
            .field("keys", &self.0.keys)
            .finish_non_exhaustive()
    }
}

/// How far a request could be finished without the store.
#[derive(Debug)]
#[must_use]
pub enum Finished {
    /// Wholly.
    Done(Result<Outcome, SessionError>),
    /// The session has to be written first.
    Unsettled(Unsettled),
}

/// The rest of a request that has to be finished.
#[derive(Debug)]
#[must_use = "the session has not been written yet"]
pub struct Unsettled(Session);

impl Unsettled {
    /// Writes the session and adds the headers to the response.
    ///
    /// # Errors
    ///
    /// As [`Sessions::finish`], and as cancel safe.
    pub async fn finish<B>(self, response: &mut Response<B>) -> Result<Outcome, SessionError> {
        let outcome = commit::commit(&self.0, Asked::Finish).await?;
        tell(&self.0, outcome, response)
    }
}

/// Adds the headers that tell the browser and caches about the session.
fn tell<B>(
    session: &Session,
    outcome: Outcome,
    response: &mut Response<B>,
) -> Result<Outcome, SessionError> {
    if let (Outcome::Gone, OnGone::Reject(status)) = (outcome, session.policy().on_gone) {
        return Err(SessionError::new(
            SessionErrorKind::Rejected(status),
            "the session has ended meanwhile",
        ));
    }
    let cookie = session.cookie_header();
    let headers = response.headers_mut();
    vary_by_cookie(headers);
    let cache = if cookie.is_some() {
        "no-store"
    } else {
        "private"
    };
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static(cache));
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    Ok(outcome)
}

/// The request without its body, for the functions of the configuration that want to see it.
fn snapshot<B>(request: &Request<B>, uri: &Uri) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = uri.clone();
    parts.version = request.version();
    parts.headers = request.headers().clone();
    parts.extensions = request.extensions().clone();
    parts
}

/// The response depends on the cookie, also where it depended on its absence.
fn vary_by_cookie(headers: &mut HeaderMap) {
    let names = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .any(|name| name.trim() == "*" || name.trim().eq_ignore_ascii_case("cookie"))
    };
    if !headers.get_all(header::VARY).iter().any(names) {
        headers.append(header::VARY, HeaderValue::from_static("Cookie"));
    }
}

/// What a session of its own options is written with.
pub(crate) fn session_options(cookie: &CookieSpec, state: &State) -> CookieOptions {
    cookie.with(&state.contents().cookie)
}

/// The header that tells the browser what has become of the session.
pub(crate) fn cookie_header(
    config: &Config,
    origin: &Origin,
    state: &State,
    step: CookieStep,
) -> Option<HeaderValue> {
    let overrides = &state.contents().cookie;
    match (step, state.token(), state.created_at()) {
        // the browser has, or is about to get, the new token from the request that renewed
        (CookieStep::Set, ..) if state.superseded() || !state.is_stored() => None,
        (CookieStep::Set, Some(token), Some(created_at)) => {
            let life = &state.contents().life;
            let now = config.clock.now();
            let lasts = config
                .policy
                .timeouts
                .persistent(life)
                .then(|| match state.ends_at() {
                    // what the store was told, so that cookie and key end together
                    Some(at) => (at.duration_since(now).unwrap_or_default(), at),
                    None => {
                        let age = now
                            .duration_since(crate::clock::from_millis(created_at))
                            .unwrap_or_default();
                        let ttl = config.policy.timeouts.ttl(life, age);
                        (ttl, now.checked_add(ttl).unwrap_or(now))
                    }
                });
            let value = config
                .format
                .cookie_value(origin.cookie.name(), token, &config.keys);
            origin.cookie.set(overrides, value, lasts, origin.secure)
        }
        (CookieStep::Remove, ..) => origin.cookie.remove(overrides, origin.secure),
        (CookieStep::Set | CookieStep::Keep, ..) => None,
    }
}
