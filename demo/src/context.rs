//! What the handlers share.

use std::{sync::Arc, time::Duration};

use session_hyper::{Proxy, Sessions};
use tokio_util::sync::CancellationToken;

use crate::users::Users;

#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) sessions: Sessions,
    pub(crate) users: Users,
    /// The name that this instance shows.
    pub(crate) instance: Arc<str>,
    /// How old the login may be at most to change the password.
    pub(crate) fresh_within: Duration,
    /// Which proxies say whom a request comes from.
    pub(crate) proxy: Proxy,
    /// Cancelled when the server shuts down. What would go on for longer than a request ends then.
    pub(crate) shutdown: CancellationToken,
}
