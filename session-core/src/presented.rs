//! The tokens that a request presents, and the transport of a session that begins with it.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

use crate::{
    bearer::{self, BearerToken},
    body::Transport,
    cookie_header,
    transports::Transports,
};

/// What the headers of a request say about its session. Nothing is verified yet.
#[derive(Debug)]
pub(crate) struct Presented {
    /// The `Cookie` fields, if cookies are read.
    cookies: Vec<HeaderValue>,
    /// A token in `Authorization`. It decides the request: cookies are not read, even if it is bad.
    bearer: Option<BearerToken>,
    begins: Transport,
}

impl Presented {
    /// Copies what may carry a token.
    pub(crate) fn read(headers: &HeaderMap, transports: Transports) -> Self {
        let bearer = match transports.include(Transport::Bearer) {
            true => BearerToken::find(headers),
            false => None,
        };
        // a client whose token has ended gets the next one as it got that one
        let asks_for_bearer = || bearer.is_some() || bearer::is_asked_for(headers);
        let begins = transports.of_new_session(asks_for_bearer);
        let cookies = match &bearer {
            None if transports.include(Transport::Cookie) => cookie_header::fields(headers),
            Some(_) | None => Vec::new(),
        };
        Self {
            cookies,
            bearer,
            begins,
        }
    }

    /// How the tokens travel that are presented.
    pub(crate) fn transport(&self) -> Transport {
        match &self.bearer {
            Some(_) => Transport::Bearer,
            None => Transport::Cookie,
        }
    }

    /// How the token of a session travels that begins with the request, if no token opens one.
    pub(crate) fn begins(&self) -> Transport {
        self.begins
    }

    /// The texts that may be tokens, in the order sent. `name` is that of the cookie.
    pub(crate) fn texts<'p>(&'p self, name: &'p str) -> impl Iterator<Item = Cow<'p, str>> {
        let bearer = self.bearer.as_ref().and_then(BearerToken::text);
        let cookies = cookie_header::candidates(&self.cookies, name);
        bearer.map(Cow::Borrowed).into_iter().chain(cookies)
    }
}
