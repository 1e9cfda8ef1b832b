//! The checked options of one service's sessions.

use std::sync::Arc;

use http::{Extensions, Uri, request::Parts};

use crate::{
    clock::{Clock, Now},
    contention::ContentionLocks,
    cookie_options::CookieOptions,
    cookie_spec::CookieSpec,
    entropy::{Entropy, EntropyError},
    event::Observer,
    format::Format,
    id::SessionId,
    index::AnyIndex,
    policy::{LoadMode, Policy},
    records::Records,
    request_scheme::Proxy,
    sign::SigningKeys,
    transports::Transports,
    watchers::Watchers,
};

pub(crate) type IdSource = Arc<dyn Fn(&Parts) -> Result<SessionId, EntropyError> + Send + Sync>;
pub(crate) type CookieFn = Arc<dyn Fn(&Parts) -> CookieOptions + Send + Sync>;
pub(crate) type LoadModeFn = Arc<dyn Fn(&Parts) -> LoadMode + Send + Sync>;
pub(crate) type OriginalUri = Arc<dyn Fn(&Extensions) -> Option<Uri> + Send + Sync>;

pub(crate) struct Config {
    pub(crate) records: Records,
    /// Lists the sessions, if the store can and the application wants it.
    pub(crate) index: Option<AnyIndex>,
    pub(crate) keys: SigningKeys,
    pub(crate) cookie: Arc<CookieSpec>,
    pub(crate) transports: Transports,
    pub(crate) cookie_fn: Option<CookieFn>,
    pub(crate) proxy: Proxy,
    pub(crate) policy: Policy,
    pub(crate) id_source: Option<IdSource>,
    pub(crate) original_uri: Option<OriginalUri>,
    pub(crate) load_mode: Option<LoadModeFn>,
    pub(crate) observer: Option<Observer>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) format: Box<dyn Format>,
    pub(crate) contention: ContentionLocks,
    pub(crate) watchers: Watchers,
}

impl Config {
    pub(crate) fn now(&self) -> Now {
        Now::of(&*self.clock)
    }
}
