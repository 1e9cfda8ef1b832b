//! Extractors that reject a request unless somebody is logged in.

use std::{ops::Deref, time::Duration};

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use super::{rejection::SessionRejection, session::Session};
use crate::ext::SessionRequestExt;

/// Extracts the session of a user who is logged in, and who that is. Any other request is rejected
/// with 401.
///
/// # Examples
///
/// ```
/// use session_hyper::axum::Authenticated;
///
/// async fn account(user: Authenticated) -> String {
///     format!("account of {}", user.principal)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Authenticated {
    /// Who is logged in.
    pub principal: String,
    /// The session.
    pub session: session_core::Session,
}

impl Deref for Authenticated {
    type Target = session_core::Session;

    fn deref(&self) -> &session_core::Session {
        &self.session
    }
}

impl<S: Sync> FromRequestParts<S> for Authenticated {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, SessionRejection> {
        let Session(session) = Session::from_request_parts(parts, state).await?;
        let principal = session.require_login()?;
        Ok(Self { principal, session })
    }
}

/// Extracts what [`Authenticated`] does if the user logged in less than `SECONDS` ago. An older
/// login is rejected with 403 and `{"error":"reauthenticate"}`, and a request without one with 401.
///
/// For operations that ask for the password again, such as changing it (OWASP ASVS 5.0, 7.5.1 and
/// 7.5.3). The user authenticates again by another
/// [`log_in`](session_core::Session::log_in) as the same principal. A near cache is not asked: a
/// session that has just ended on another instance is rejected.
///
/// # Examples
///
/// ```
/// use session_hyper::axum::Fresh;
///
/// async fn delete_account(Fresh(user): Fresh<300>) -> String {
///     format!("deleted the account of {}", user.principal)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Fresh<const SECONDS: u64>(pub Authenticated);

impl<const SECONDS: u64> Deref for Fresh<SECONDS> {
    type Target = Authenticated;

    fn deref(&self) -> &Authenticated {
        &self.0
    }
}

impl<const SECONDS: u64, S: Sync> FromRequestParts<S> for Fresh<SECONDS> {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, SessionRejection> {
        let session = parts.session().load_fresh().await?;
        let principal = session.require_fresh(Duration::from_secs(SECONDS))?;
        Ok(Self(Authenticated { principal, session }))
    }
}
