//! The sessions of one service: begins and finishes them around a request, and opens them outside
//! of one.

use std::{fmt, sync::Arc};

use http::{Request, Response, Uri, request::Parts};

#[cfg(feature = "near-cache")]
use crate::near_cache::NearCacheStats;
use crate::{
    commit,
    config::Config,
    config_error::ConfigError,
    cookie_options::CookieOptions,
    cookie_spec::CookieSpec,
    decide::Trigger,
    error::SessionError,
    event,
    handle::{RequestStart, SessionHandle},
    health::Health,
    id::SessionId,
    lookup::{self, Candidate, Lookup},
    outcome::{EndReason, Outcome},
    policy::LoadMode,
    presented::Presented,
    request_context::{self, RequestContext},
    response,
    session::Session,
    shared::Shared,
    state::State,
    store::Destroy,
    token::SessionToken,
};

/// The sessions of a service: the store, the keys and every option. Cheap to clone.
///
/// An adapter calls [`begin`](Self::begin) with the request and [`finish`](Self::finish) with the
/// response:
///
/// ```
/// # #[cfg(feature = "memory")]
/// # async fn serve(
/// #     request: http::Request<()>,
/// # ) -> Result<http::Response<String>, Box<dyn std::error::Error>> {
/// use session_core::{Key, MemoryStore, Sessions, SigningKeys};
///
/// const VIEWS: Key<u32> = Key::new("views");
///
/// let sessions = Sessions::builder(MemoryStore::new())
///     .signing_keys(SigningKeys::random()?)
///     .build()?;
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

impl Sessions {
    pub(crate) fn new(config: Config) -> Self {
        Self(Arc::new(config))
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.0
    }

    /// Whether these are the same sessions, rather than others with equal options.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the name of the cookie.
    pub fn cookie_name(&self) -> &str {
        self.0.cookie.name()
    }

    /// Begins a request. It copies the headers that may carry a token; verifying and loading wait
    /// until somebody asks for the session.
    pub fn begin<B>(&self, request: &Request<B>) -> SessionHandle {
        let config = &self.0;
        let original = config
            .original_uri
            .as_ref()
            .and_then(|find| find(request.extensions()));
        let uri = original.as_ref().unwrap_or(request.uri());
        let asks_for_head =
            config.id_source.is_some() || config.cookie_fn.is_some() || config.load_mode.is_some();
        let parts = asks_for_head.then(|| Box::new(head(request, uri)));
        let mode = match (&config.load_mode, &parts) {
            (Some(choose), Some(parts)) => choose(parts),
            _ => LoadMode::default(),
        };
        let (cookie, invalid) = match (&config.cookie_fn, &parts) {
            (Some(options), Some(parts)) => match check_cookie(config, options(parts)) {
                Ok(spec) => (Arc::new(spec), None),
                Err(error) => (config.cookie.clone(), Some(error.to_string())),
            },
            _ => (config.cookie.clone(), None),
        };
        SessionHandle::new(RequestStart {
            in_scope: cookie.covers(uri.path()),
            presented: Presented::read(request.headers(), config.transports),
            secure: config.proxy.secure(request.extensions(), request.headers()),
            mode,
            safe_method: request_context::is_safe(request.method()),
            config: config.clone(),
            cookie,
            invalid,
            parts,
            nested: false,
        })
    }

    /// Commits what the request did to its session, and then sets the response's headers.
    ///
    /// Call it with every response, before its head is sent. On an error the response is as it was;
    /// answer with an error response instead, prepared by [`reject`](Self::reject). Afterwards the
    /// session is closed: a later write is an error.
    ///
    /// # Errors
    ///
    /// If the store fails, the session could not be merged with concurrent changes before the
    /// commit deadline, a conflict is an error, or writes were lost and [`OnLost`](crate::OnLost)
    /// says so.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the old record or the new one is stored, complete.
    pub async fn finish<B>(
        &self,
        handle: &SessionHandle,
        response: &mut Response<B>,
    ) -> Result<Outcome, SessionError> {
        match begin_finish(handle, response) {
            Dispatch::Done(result) => result,
            Dispatch::Commit(session) => finish_commit(&session, response).await,
        }
    }

    /// Opens a session outside of a request, by a token that a request handed over
    /// ([`Session::token`]): for WebSockets, event streams and jobs. `None` if the token opens
    /// nothing. Write with [`Session::save`].
    ///
    /// # Errors
    ///
    /// As [`SessionHandle::load`].
    pub async fn open(&self, token: &SessionToken) -> Result<Option<Session>, SessionError> {
        let candidate = Candidate {
            token,
            transport: None,
            mode: LoadMode::Normal,
        };
        let base = match lookup::look_up_kept(&self.0, candidate) {
            Some(base) => base,
            None => match lookup::look_up(&self.0, candidate).await? {
                Lookup::Found(base) => base,
                Lookup::Superseded(_) | Lookup::NotFound => return Ok(None),
            },
        };
        let (cookie, transport) = (self.0.cookie.clone(), base.body.transport);
        let request = RequestContext::outside(cookie, token.id(), transport);
        let state = State::Unmodified {
            base,
            discarded: false,
        };
        let shared = Shared::new(self.0.clone(), request, state);
        Ok(Some(Session::new(shared)))
    }

    /// Ends a session by its id, without holding its token. Succeeds if there is none, and is then
    /// an event all the same ([`on_event`](crate::Builder::on_event)).
    ///
    /// # Errors
    ///
    /// If the store fails; the session may then live on.
    pub async fn end(&self, id: &SessionId) -> Result<(), SessionError> {
        let _ = self
            .0
            .records
            .destroy(id, Destroy::any().confirm(self.0.policy.confirm))
            .await
            .map_err(SessionError::from_write)?;
        event::ended(self.0.observer.as_ref(), *id, EndReason::Revoked, None);
        Ok(())
    }

    /// Returns what the near cache has done so far; `None` if there is none.
    #[cfg(feature = "near-cache")]
    pub fn near_cache_stats(&self) -> Option<NearCacheStats> {
        self.0.records.near().map(|near| near.stats())
    }

    /// Reports whether the store can serve, for a readiness probe. A store that was not used yet
    /// connects now.
    ///
    /// A probe for *liveness* must not depend on the store: restarting an instance does not bring a
    /// store back.
    ///
    /// ```
    /// use http::StatusCode;
    /// use session_core::Sessions;
    ///
    /// async fn readiness(sessions: &Sessions) -> StatusCode {
    ///     match sessions.health().await.ready {
    ///         true => StatusCode::OK,
    ///         false => StatusCode::SERVICE_UNAVAILABLE,
    ///     }
    /// }
    /// ```
    pub async fn health(&self) -> Health {
        self.0.records.health().await
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

/// Checks the cookie options of one request as [`Builder::build`](crate::Builder::build) checks the
/// configured ones.
fn check_cookie(config: &Config, options: CookieOptions) -> Result<CookieSpec, ConfigError> {
    let spec = CookieSpec::check(options)?;
    config
        .policy
        .timeouts
        .check_max_age(spec.options().max_age)?;
    Ok(spec)
}

/// How the end of a request proceeds.
pub(crate) enum Dispatch {
    /// It is finished.
    Done(Result<Outcome, SessionError>),
    /// The session has to be written.
    Commit(Session),
}

/// Finishes a request as far as that needs no answer of the store.
pub(crate) fn begin_finish<B>(handle: &SessionHandle, response: &mut Response<B>) -> Dispatch {
    handle.close_session();
    let Some(session) = handle.loaded() else {
        if handle.is_accessed() {
            // the response depends on the token, even if the session could not be loaded
            response::vary(response.headers_mut(), handle.transports());
        }
        return Dispatch::Done(Ok(Outcome::UNTOUCHED));
    };
    let shared = session.shared();
    let commit_if = shared.config.policy.commit_if.as_ref();
    let commits = commit_if.is_none_or(|commit_if| commit_if(response.status()));
    let outcome = if commits {
        commit::try_commit(shared)
    } else {
        Some(Outcome::UNTOUCHED)
    };
    match outcome {
        Some(outcome) => Dispatch::Done(response::finish(shared, outcome, response)),
        None => Dispatch::Commit(session.clone()),
    }
}

/// Writes the session and sets the response's headers.
pub(crate) async fn finish_commit<B>(
    session: &Session,
    response: &mut Response<B>,
) -> Result<Outcome, SessionError> {
    let outcome = commit::commit(session.shared(), Trigger::Finish).await?;
    response::finish(session.shared(), outcome, response)
}

/// The head of a request, for the functions of the configuration that take it.
fn head<B>(request: &Request<B>, uri: &Uri) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = uri.clone();
    parts.version = request.version();
    parts.headers = request.headers().clone();
    parts.extensions = request.extensions().clone();
    parts
}
