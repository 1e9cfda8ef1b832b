//! The option that says how tokens may travel.

use crate::body::Transport;

/// How clients present the tokens of their sessions, and get new ones.
///
/// A token is accepted only on the transport that its session began with:
/// [`guide::bearer`](crate::guide::bearer) has the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transports {
    /// In a cookie. `Authorization` headers are not looked at.
    #[default]
    Cookie,
    /// In a cookie, or in the `Authorization` header if the client asks for that when its session
    /// begins.
    CookieAndBearer,
    /// In the `Authorization` header. Cookies are neither read nor set.
    Bearer,
}

impl Transports {
    pub(crate) fn include(self, transport: Transport) -> bool {
        match (self, transport) {
            (Self::CookieAndBearer, _)
            | (Self::Cookie, Transport::Cookie)
            | (Self::Bearer, Transport::Bearer) => true,
            (Self::Cookie, Transport::Bearer) | (Self::Bearer, Transport::Cookie) => false,
        }
    }

    /// The transport of a session that begins with a request whose client presents no token.
    pub(crate) fn of_new_session(self, asks_for_bearer: impl FnOnce() -> bool) -> Transport {
        match self {
            Self::Cookie => Transport::Cookie,
            Self::CookieAndBearer if asks_for_bearer() => Transport::Bearer,
            Self::CookieAndBearer => Transport::Cookie,
            Self::Bearer => Transport::Bearer,
        }
    }
}
