//! The tokens that a request presents, and the transport of a session that begins with it.

use std::borrow::Cow;

use http::HeaderMap;

use crate::{
    bearer::{self, BearerToken},
    body::Transport,
    cookie_header::{self, Fields},
    transports::Transports,
};

/// What the headers of a request say about its session. Nothing is verified yet.
#[derive(Debug)]
pub(crate) struct Presented {
    tokens: Tokens,
    begins: Transport,
}

#[derive(Debug)]
enum Tokens {
    /// The `Cookie` fields, if cookies are read.
    Cookies(Fields),
    /// A token in `Authorization`. It decides the request: cookies are not read, even if it is bad.
    // boxed, because every request moves this
    Bearer(Box<BearerToken>),
}

impl Presented {
    /// Copies what may carry a token.
    pub(crate) fn read(headers: &HeaderMap, transports: Transports) -> Self {
        match transports {
            Transports::Cookie => Self {
                tokens: Tokens::Cookies(cookie_header::fields(headers)),
                begins: Transport::Cookie,
            },
            Transports::CookieAndBearer | Transports::Bearer => Self::find(headers, transports),
        }
    }

    /// As [`read`](Self::read), if a bearer token may be there.
    fn find(headers: &HeaderMap, transports: Transports) -> Self {
        let bearer = BearerToken::find(headers);
        // a client whose token has ended gets the next one as it got that one
        let asks_for_bearer = || bearer.is_some() || bearer::is_asked_for(headers);
        let begins = transports.of_new_session(asks_for_bearer);
        let tokens = match bearer {
            Some(bearer) => Tokens::Bearer(Box::new(bearer)),
            None if transports.include(Transport::Cookie) => {
                Tokens::Cookies(cookie_header::fields(headers))
            }
            None => Tokens::Cookies(Fields::new()),
        };
        Self { tokens, begins }
    }

    /// How the tokens travel that are presented.
    pub(crate) fn transport(&self) -> Transport {
        match &self.tokens {
            Tokens::Bearer(_) => Transport::Bearer,
            Tokens::Cookies(_) => Transport::Cookie,
        }
    }

    /// How the token of a session travels that begins with the request, if no token opens one.
    pub(crate) fn begins(&self) -> Transport {
        self.begins
    }

    /// The texts that may be tokens, in the order sent. `name` is that of the cookie.
    pub(crate) fn texts<'p>(&'p self, name: &'p str) -> impl Iterator<Item = Cow<'p, str>> {
        let (bearer, cookies) = match &self.tokens {
            Tokens::Bearer(bearer) => (bearer.text(), &[][..]),
            Tokens::Cookies(cookies) => (None, &cookies[..]),
        };
        let cookies = cookie_header::candidates(cookies, name);
        bearer.map(Cow::Borrowed).into_iter().chain(cookies)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn debug_prints_no_token() {
        for name in [header::COOKIE, header::AUTHORIZATION] {
            let mut headers = HeaderMap::new();
            let field = HeaderValue::from_static("Bearer b1.secret");
            headers.insert(&name, field);
            let presented = Presented::read(&headers, Transports::CookieAndBearer);
            let printed = format!("{presented:?}");
            assert!(!printed.contains("secret"), "{name}: {printed}");
        }
    }
}
