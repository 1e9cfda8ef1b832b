//! What the handlers share.

use std::sync::Arc;

use session_hyper::Sessions;

use crate::users::Users;

#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) sessions: Sessions,
    pub(crate) users: Users,
    /// The name that this instance shows.
    pub(crate) instance: Arc<str>,
}
