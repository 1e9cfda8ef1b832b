//! What a request brought along. It does not change while the request is served.

use std::sync::{Arc, LazyLock};

use http::{Method, request::Parts};

use crate::{
    body::{Contents, Transport},
    config::Config,
    cookie_options::Secure,
    cookie_spec::CookieSpec,
    decide::RequestFacts,
    error::SessionError,
    id::SessionId,
    policy::Policy,
    secret::Secret,
    state::NewSession,
    timeouts::LifetimeOverrides,
    token::SessionToken,
};

/// The request that a session is loaded for.
#[derive(Debug)]
pub(crate) struct RequestContext {
    pub(crate) cookie: Arc<CookieSpec>,
    /// The head of the request, if an option asks for it.
    pub(crate) parts: Option<Box<Parts>>,
    /// The session that the client's token opened.
    pub(crate) presented: Option<SessionId>,
    pub(crate) signed_by_old_key: bool,
    /// Whether the request came over TLS; `None` if that is unknown.
    pub(crate) secure: Option<bool>,
    pub(crate) safe_method: bool,
    /// Whether there is a response that can carry a token.
    pub(crate) has_response: bool,
    /// How the token of the session travels, also of one that begins with this request.
    pub(crate) transport: Transport,
    /// Another session layer surrounds this one, and may replace the response.
    pub(crate) nested: bool,
}

/// Whether requests of this method are expected to change nothing (RFC 9110 §9.2.1).
pub(crate) fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

impl RequestContext {
    /// No request at all: a session that is opened by its token.
    pub(crate) fn outside(cookie: Arc<CookieSpec>, id: SessionId, transport: Transport) -> Self {
        Self {
            cookie,
            parts: None,
            presented: Some(id),
            signed_by_old_key: false,
            secure: None,
            safe_method: false,
            has_response: false,
            transport,
            nested: false,
        }
    }

    pub(crate) fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            cookie: &self.cookie,
            secure: self.secure,
            presented: self.presented,
            signed_by_old_key: self.signed_by_old_key,
            has_response: self.has_response,
            transport: self.transport,
        }
    }

    /// A session that would begin now, without a token.
    pub(crate) fn new_session(&self, config: &Config) -> NewSession {
        NewSession {
            token: None,
            taken: 0,
            orphan: None,
            created_at: config.now().wall,
            initial: self.initial(&config.policy),
        }
    }

    /// A new token, by the configured id source.
    pub(crate) fn new_token(&self, config: &Config) -> Result<SessionToken, SessionError> {
        let entropy = &*config.entropy;
        let id = match (&config.id_source, &self.parts) {
            (Some(source), Some(parts)) => source(parts)?,
            (Some(source), None) => source(&http::Request::new(()).into_parts().0)?,
            (None, _) => return Ok(SessionToken::generate(entropy)?),
        };
        Ok(SessionToken::new(id, Secret::generate(entropy)?))
    }

    /// The contents that the configuration gives to a session that begins here.
    fn initial(&self, policy: &Policy) -> Arc<Contents> {
        static EMPTY: LazyLock<Arc<Contents>> = LazyLock::new(Arc::default);
        let options = self.cookie.options();
        let lifetime = match options.max_age {
            Some(age) if !policy.timeouts.persistent || age != policy.timeouts.idle => {
                LifetimeOverrides {
                    idle: Some(age),
                    absolute: None,
                    persistent: Some(true),
                }
            }
            None if policy.timeouts.persistent => LifetimeOverrides {
                persistent: Some(false),
                ..LifetimeOverrides::default()
            },
            Some(_) | None => LifetimeOverrides::default(),
        };
        // a session that began over TLS stays with it
        let stays_secure = options.attributes.secure == Secure::Auto && self.secure == Some(true);
        if lifetime == LifetimeOverrides::default() && !stays_secure {
            return EMPTY.clone();
        }
        let mut contents = Contents {
            lifetime,
            ..Contents::default()
        };
        if stays_secure {
            contents.cookie.secure = Some(Secure::Always);
        }
        Arc::new(contents)
    }
}
