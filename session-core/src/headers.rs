//! What the response tells the client about its session.

use std::{sync::Arc, time::Duration};

use crate::{
    body::{Body, Contents, Transport},
    clock::{Millis, Now},
    cookie_spec::CookieOverrides,
    id::SessionId,
    timeouts::Timeouts,
    token::SessionToken,
};

/// What the commits of a request have confirmed about the client's credential.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credential {
    issued: Option<Issued>,
    /// The session that the client presented was ended by this request; its contents have its
    /// cookie's attributes.
    ended: Option<(Arc<Contents>, Transport)>,
}

/// A token that opens a stored session and that the client has to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) token: SessionToken,
    pub(crate) contents: Arc<Contents>,
    pub(crate) began_at: Millis,
    pub(crate) transport: Transport,
}

impl Credential {
    /// Whether the client keeps what it has.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.issued.is_none() && self.ended.is_none()
    }

    /// The store has confirmed a token.
    pub(crate) fn issue(&mut self, issued: Issued) {
        self.issued = Some(issued);
    }

    /// The session of this id has ended.
    pub(crate) fn end(&mut self, id: SessionId, body: &Body, presented: Option<SessionId>) {
        self.issued.take_if(|issued| issued.token.id() == id);
        if presented == Some(id) {
            self.ended = Some((body.contents.clone(), body.transport));
        }
    }
}

/// The headers of a response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeaderPlan {
    pub(crate) credential: CredentialPlan,
}

/// What happens to the client's credential.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CredentialPlan {
    /// The client keeps what it has.
    Keep,
    /// The client gets this token.
    Set {
        token: SessionToken,
        cookie: CookieOverrides,
        /// How long the client keeps it; `None` is until the browser is closed.
        max_age: Option<Duration>,
        transport: Transport,
    },
    /// The client forgets its token.
    End {
        cookie: CookieOverrides,
        transport: Transport,
    },
}

/// Decides the headers, when the head of the response is made.
///
/// A cookie that a browser would not store is left out when it is written.
pub(crate) fn headers(credential: &Credential, timeouts: &Timeouts, now: Now) -> HeaderPlan {
    let credential = match (&credential.issued, &credential.ended) {
        (Some(issued), _) => {
            let lifetime = &issued.contents.lifetime;
            let age = now.wall.since(issued.began_at);
            CredentialPlan::Set {
                token: issued.token.clone(),
                cookie: issued.contents.cookie.clone(),
                max_age: timeouts.cookie_max_age(lifetime, age),
                transport: issued.transport,
            }
        }
        (None, Some((contents, transport))) => CredentialPlan::End {
            cookie: contents.cookie.clone(),
            transport: *transport,
        },
        (None, None) => CredentialPlan::Keep,
    };
    HeaderPlan { credential }
}
