//! Every combination of a cookie, an `Authorization` header, the wish for a bearer session, and the
//! transports that are accepted.

use http::header;
use session_core::{
    MemoryStore, Session, Sessions, Transport, Transports,
    testing::{Call, ManualClock, TestStore},
};

use crate::client::{Client, Sent, finish, forged, log_in, sent, with};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InCookie {
    Nothing,
    Forged,
    Ended,
    Superseded,
    Live,
    /// The text of a live token of the other transport.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InAuthorization {
    Nothing,
    Basic,
    /// The token of another service.
    Other,
    /// The text of a live token of the other transport.
    Foreign,
    Forged,
    Ended,
    Superseded,
    Live,
    Twice,
}

/// Tokens of one transport.
struct Tokens {
    ended: String,
    superseded: String,
    live: String,
}

impl Tokens {
    async fn of(sessions: &Sessions, name: &str, transport: Transport) -> Self {
        let client = |token: &str| match transport {
            Transport::Bearer => Client::default().bearer(token),
            _ => Client::default().cookie(token),
        };
        let ended = log_in(sessions, name, transport).await;
        client(&ended).send(sessions, Session::log_out).await;
        let superseded = log_in(sessions, name, transport).await;
        let renewed = client(&superseded).send(sessions, Session::renew).await;
        assert_ne!(sent(&renewed), Sent::Nothing);
        let live = log_in(sessions, name, transport).await;
        Self {
            ended,
            superseded,
            live,
        }
    }
}

/// What is expected of a request, by the rules of the documentation.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    principal: Option<&'static str>,
    /// The transport of the session, and of one that begins with the request.
    transport: Transport,
    loads: usize,
}

fn expected(
    transports: Transports,
    cookie: InCookie,
    authorization: InAuthorization,
    asks: bool,
) -> Expected {
    let takes_bearer = transports != Transports::Cookie;
    let takes_cookies = transports != Transports::Bearer;
    let anonymous = Expected {
        principal: None,
        transport: match transports {
            Transports::CookieAndBearer if asks => Transport::Bearer,
            Transports::Bearer => Transport::Bearer,
            _ => Transport::Cookie,
        },
        loads: 0,
    };
    // a token of a session decides the request
    if takes_bearer {
        let bearer = |principal, loads| Expected {
            principal,
            transport: Transport::Bearer,
            loads,
        };
        match authorization {
            InAuthorization::Live => return bearer(Some("bob"), 1),
            InAuthorization::Superseded | InAuthorization::Ended => return bearer(None, 1),
            InAuthorization::Forged | InAuthorization::Twice => return bearer(None, 0),
            InAuthorization::Nothing
            | InAuthorization::Basic
            | InAuthorization::Other
            | InAuthorization::Foreign => {}
        }
    }
    if !takes_cookies {
        return anonymous;
    }
    match cookie {
        InCookie::Live | InCookie::Superseded => Expected {
            principal: (cookie == InCookie::Live).then_some("ann"),
            transport: Transport::Cookie,
            loads: 1,
        },
        InCookie::Ended => Expected {
            loads: 1,
            ..anonymous
        },
        InCookie::Nothing | InCookie::Forged | InCookie::Foreign => anonymous,
    }
}

#[tokio::test]
async fn every_combination_of_credentials_follows_the_rules() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let timed = |transports| {
        let builder = with(&store, transports).clock(clock.clone());
        builder.build().expect("valid options")
    };
    let of_both = timed(Transports::CookieAndBearer);
    let mut combinations = 0;
    for transports in [
        Transports::Cookie,
        Transports::CookieAndBearer,
        Transports::Bearer,
    ] {
        let sessions = timed(transports);
        for in_cookie in [
            InCookie::Nothing,
            InCookie::Forged,
            InCookie::Ended,
            InCookie::Superseded,
            InCookie::Live,
            InCookie::Foreign,
        ] {
            for in_authorization in [
                InAuthorization::Nothing,
                InAuthorization::Basic,
                InAuthorization::Other,
                InAuthorization::Foreign,
                InAuthorization::Forged,
                InAuthorization::Ended,
                InAuthorization::Superseded,
                InAuthorization::Live,
                InAuthorization::Twice,
            ] {
                for asks in [false, true] {
                    let case = format!("{transports:?} {in_cookie:?} {in_authorization:?} {asks}");
                    let cookie = Tokens::of(&of_both, "ann", Transport::Cookie).await;
                    let bearer = Tokens::of(&of_both, "bob", Transport::Bearer).await;
                    let mut client = Client::default();
                    if asks {
                        client = client.asks();
                    }
                    client = match in_cookie {
                        InCookie::Nothing => client,
                        InCookie::Forged => client.cookie(&forged(&cookie.live)),
                        InCookie::Ended => client.cookie(&cookie.ended),
                        InCookie::Superseded => client.cookie(&cookie.superseded),
                        InCookie::Live => client.cookie(&cookie.live),
                        InCookie::Foreign => client.cookie(&bearer.live),
                    };
                    client = match in_authorization {
                        InAuthorization::Nothing => client,
                        InAuthorization::Basic => {
                            client.with(header::AUTHORIZATION, "Basic YW5uOmFubg==")
                        }
                        InAuthorization::Other => client.bearer("eyJhbGciOiJIUzI1NiJ9.e30.x"),
                        InAuthorization::Foreign => client.bearer(&cookie.live),
                        InAuthorization::Forged => client.bearer(&forged(&bearer.live)),
                        InAuthorization::Ended => client.bearer(&bearer.ended),
                        InAuthorization::Superseded => client.bearer(&bearer.superseded),
                        InAuthorization::Live => client.bearer(&bearer.live),
                        InAuthorization::Twice => client.bearer(&bearer.live).bearer(&bearer.live),
                    };
                    check(&store, &sessions, &client, &case, {
                        expected(transports, in_cookie, in_authorization, asks)
                    })
                    .await;
                    combinations += 1;
                }
            }
        }
    }
    assert_eq!(combinations, 3 * 6 * 9 * 2);
}

async fn check(
    store: &TestStore,
    sessions: &Sessions,
    client: &Client,
    case: &str,
    expected: Expected,
) {
    store.take_calls();
    let (handle, session) = client.begin(sessions).await;
    let calls = store.take_calls();
    assert!(calls.iter().all(|call| *call == Call::Load), "{case}");
    let principal = session.principal();
    let found = (principal.as_deref(), session.transport(), calls.len());
    let Expected {
        principal,
        transport,
        loads,
    } = expected;
    assert_eq!(found, (principal, transport, loads), "{case}");

    // a login of somebody else begins a session on the same transport, and works on that alone
    session.log_in("eve").expect("accepted");
    let sent = sent(&finish(sessions, &handle).await);
    let (right, wrong) = match (&sent, transport) {
        (Sent::Bearer(token), Transport::Bearer) => (
            Client::default().bearer(token),
            Client::default().cookie(token),
        ),
        (Sent::Cookie(token), Transport::Cookie) => (
            Client::default().cookie(token),
            Client::default().bearer(token),
        ),
        _ => panic!("{case}: {sent:?}"),
    };
    let principal = right.principal(sessions).await;
    assert_eq!(principal.as_deref(), Some("eve"), "{case}");
    assert_eq!(wrong.principal(sessions).await, None, "{case}");
}
