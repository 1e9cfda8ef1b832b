//! Credentials of sessions that a test needs and no browser has begun.

use http::{HeaderValue, Request, Response, header};

use crate::{
    bearer,
    body::Transport,
    error::{SessionError, SessionErrorKind},
    request_scheme::RequestScheme,
    session::Session,
    sessions::Sessions,
};

impl Sessions {
    /// Stores a session that `begin` has written to, and returns the value of the `Cookie` header
    /// that presents it. For the tests of an application, behind the feature `testing`.
    ///
    /// The session goes through a request over TLS for the cookie's path, and through the ordinary
    /// commit: whatever handlers can do to a session, `begin` can do too.
    ///
    /// # Errors
    ///
    /// If `begin` or the commit fails, `begin` ends the session, or cookies are not accepted.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use http::{Request, header};
    /// use session_core::{MemoryStore, Sessions, SigningKeys};
    ///
    /// let sessions = Sessions::builder(MemoryStore::new())
    ///     .signing_keys(SigningKeys::random()?)
    ///     .build()?;
    /// let cookie = sessions.test_cookie(|session| session.log_in("ann")).await?;
    ///
    /// // a request of the user, for the service that is tested
    /// let request = Request::get("/account").header(header::COOKIE, cookie).body(())?;
    /// # let session = sessions.begin(&request).load().await?;
    /// # assert_eq!(session.principal().as_deref(), Some("ann"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn test_cookie<T>(
        &self,
        begin: impl FnOnce(&Session) -> Result<T, SessionError>,
    ) -> Result<HeaderValue, SessionError> {
        let response = self.begin_session(Transport::Cookie, begin).await?;
        let line = response.headers().get(header::SET_COOKIE);
        let line = line.ok_or_else(SessionError::gone)?.as_bytes();
        let pair = line.split(|byte| *byte == b';').next().unwrap_or_default();
        header_value(pair)
    }

    /// Stores a session that `begin` has written to, and returns the value of the `Authorization`
    /// header that presents it. Apart from that it is [`test_cookie`](Self::test_cookie).
    ///
    /// # Errors
    ///
    /// If `begin` or the commit fails, `begin` ends the session, or bearer tokens are not accepted.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use http::{Request, header};
    /// use session_core::{MemoryStore, Sessions, SigningKeys, Transports};
    ///
    /// let sessions = Sessions::builder(MemoryStore::new())
    ///     .signing_keys(SigningKeys::random()?)
    ///     .transports(Transports::CookieAndBearer)
    ///     .build()?;
    /// let bearer = sessions.test_bearer(|session| session.log_in("ann")).await?;
    ///
    /// let request = Request::get("/account").header(header::AUTHORIZATION, bearer).body(())?;
    /// # let session = sessions.begin(&request).load().await?;
    /// # assert_eq!(session.principal().as_deref(), Some("ann"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn test_bearer<T>(
        &self,
        begin: impl FnOnce(&Session) -> Result<T, SessionError>,
    ) -> Result<HeaderValue, SessionError> {
        let response = self.begin_session(Transport::Bearer, begin).await?;
        let token = response.headers().get(bearer::SESSION_TOKEN);
        let token = token.ok_or_else(SessionError::gone)?;
        header_value(&[b"Bearer ", token.as_bytes()].concat())
    }

    /// Carries out a request that begins a session on this transport.
    async fn begin_session<T>(
        &self,
        transport: Transport,
        begin: impl FnOnce(&Session) -> Result<T, SessionError>,
    ) -> Result<Response<()>, SessionError> {
        let config = self.config();
        if !config.transports.include(transport) {
            return Err(SessionError::new(
                SessionErrorKind::Config,
                "the option transports does not accept such credentials",
            ));
        }
        let mut request = Request::new(());
        // a path that passed the checks of the cookie is a URI
        let path = config.cookie.options().path.parse();
        *request.uri_mut() = path.unwrap_or_default();
        request.extensions_mut().insert(RequestScheme::Tls);
        if transport == Transport::Bearer {
            bearer::ask(request.headers_mut());
        }
        let handle = self.begin(&request);
        let session = handle.load().await?;
        begin(&session)?;
        // stored even if nothing was written to it, and whatever `commit_if` says
        let _ = session.save().await?;
        let mut response = Response::new(());
        let _ = self.finish(&handle, &mut response).await?;
        Ok(response)
    }
}

/// A header value that `Debug` does not print.
fn header_value(bytes: &[u8]) -> Result<HeaderValue, SessionError> {
    let mut value = HeaderValue::from_bytes(bytes).map_err(|error| {
        let detail = "session token cannot be written into a header";
        SessionError::with_source(SessionErrorKind::Config, detail, error)
    })?;
    value.set_sensitive(true);
    Ok(value)
}
