//! OpenID Connect Back-Channel Logout 1.0: the identity provider ends sessions of this service.
//!
//! When a user logs out at the provider, it sends a signed *logout token* to an endpoint of every
//! service. The service verifies the token and ends the sessions that it names: those that began
//! with one session at the provider (`sid`), or all sessions of the user (`sub`). The browser takes
//! no part in it, so it does not matter which instance gets the token, or which one serves the
//! user: the sessions are ended in the store that all instances share.
//!
//! ```text
//! cargo run -p session-hyper --example oidc_logout --features axum -- 3000 provider.pem
//!
//! curl -i -b jar -c jar --data 'sub=ann&sid=s1' localhost:3000/login  # what the callback does
//! curl -i -b jar -c jar localhost:3000/                               # hello, ann
//! curl -i --data "logout_token=$TOKEN" localhost:3000/logout          # sent by the provider
//! curl -i -b jar -c jar localhost:3000/                               # 401
//!
//! cargo test -p session-hyper --example oidc_logout --features axum
//! ```
//!
//! `provider.pem` has the public key (P-256) of the provider. A real service fetches the keys from
//! the provider's `jwks_uri`, and logs users in after it has verified an ID token.

mod verifier;

use std::{error::Error, net::Ipv4Addr, sync::Arc};

use axum::{
    Form, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::json;
use session_hyper::{
    MemoryStore, SessionLayer, Sessions, SigningKeys,
    axum::{Authenticated, Session, SessionRejection},
};
use tokio::net::TcpListener;

use verifier::{Subject, Verifier};

/// The tag with the session at the provider.
const SID: &str = "sid";
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(3000), |port| port.parse())?;
    let key = arguments
        .next()
        .ok_or("expected the file of a public key")?;
    let verifier = Verifier::new(DecodingKey::from_ec_pem(&std::fs::read(key)?)?);
    // several instances need one store, with `store::connect(&url)`
    let sessions = Sessions::builder(MemoryStore::new())
        .signing_keys(SigningKeys::random()?)
        .build()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(sessions, verifier)).await?;
    Ok(())
}

fn app(sessions: Sessions, verifier: Verifier) -> Router {
    let provider = Provider {
        sessions: sessions.clone(),
        verifier: Arc::new(verifier),
    };
    Router::new()
        .route("/", get(home))
        .route("/login", post(log_in))
        .layer(SessionLayer::new(sessions))
        // the provider has no session, so this route needs no layer
        .route("/logout", post(back_channel_logout).with_state(provider))
}

async fn home(user: Authenticated) -> String {
    format!("hello, {}\n", user.principal)
}

/// What a verified ID token says.
#[derive(Deserialize)]
struct IdToken {
    sub: String,
    sid: Option<String>,
}

/// A real service gets here with a code, and verifies the ID token that it gets for it.
///
/// `sub` is unique within the issuer only. A service with several providers puts the issuer into
/// the principal and into the tag.
async fn log_in(session: Session, Form(token): Form<IdToken>) -> Result<(), SessionRejection> {
    session.log_in(&token.sub)?;
    if let Some(sid) = &token.sid {
        session.set_tag(SID, sid)?;
    }
    Ok(())
}

#[derive(Clone)]
struct Provider {
    sessions: Sessions,
    verifier: Arc<Verifier>,
}

#[derive(Deserialize)]
struct LogoutRequest {
    logout_token: String,
}

/// The endpoint that is registered at the provider as `backchannel_logout_uri`.
async fn back_channel_logout(
    State(provider): State<Provider>,
    Form(request): Form<LogoutRequest>,
) -> Response {
    let (status, body) = match provider.log_out(&request.logout_token).await {
        Ok(_) => (StatusCode::OK, String::new()),
        // also if the store fails (§2.8): the provider may then send the token again
        Err(description) => {
            let body = json!({"error": "invalid_request", "error_description": description});
            (StatusCode::BAD_REQUEST, body.to_string())
        }
    };
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_TYPE, "application/json"),
    ];
    (status, headers, body).into_response()
}

impl Provider {
    /// Ends the sessions that a token names, and returns how many.
    async fn log_out(&self, token: &str) -> Result<u64, String> {
        let logout = self.verifier.verify(token)?;
        let ended = match &logout.subject {
            Subject::Session(sid) => self.sessions.tagged(SID, sid).end_all().await,
            Subject::User(sub) => self.sessions.of(sub).end_all().await,
        };
        ended.map_err(|error| {
            self.verifier.forget(&logout.jti);
            error.to_string()
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
    use rcgen::KeyPair;
    use serde_json::Value;
    use session_core::{
        StoreErrorKind,
        testing::{Call, TestStore},
    };
    use tower::ServiceExt;

    use super::{
        verifier::{CLIENT_ID, EVENT, ISSUER},
        *,
    };

    /// A provider, and two instances of the service on one store.
    struct Test {
        signs: EncodingKey,
        store: TestStore,
        instances: [(Sessions, Router); 2],
    }

    impl Test {
        fn new() -> Self {
            let pair = KeyPair::generate().expect("a key pair");
            let public = pair.public_key_pem();
            let store = TestStore::default();
            let keys = SigningKeys::random().expect("entropy");
            let instance = || {
                let sessions = Sessions::builder(store.clone())
                    .signing_keys(keys.clone())
                    .build()
                    .expect("valid options");
                let key = DecodingKey::from_ec_pem(public.as_bytes()).expect("a key");
                (sessions.clone(), app(sessions, Verifier::new(key)))
            };
            Self {
                signs: signing_key(&pair),
                instances: [instance(), instance()],
                store,
            }
        }

        fn sign(&self, claims: &Value) -> String {
            let header = Header::new(Algorithm::ES256);
            encode(&header, claims, &self.signs).expect("a token")
        }

        /// Logs in on one of the instances. Returns the cookie.
        async fn log_in(&self, instance: usize, form: &str) -> String {
            let response = self.post(instance, "/login", form.to_owned()).await;
            let cookie = response.headers()[header::SET_COOKIE].to_str();
            let cookie = cookie.expect("ascii").split(';').next();
            cookie.expect("a cookie").to_owned()
        }

        /// Whether somebody is logged in with this cookie, as both instances say.
        async fn is_logged_in(&self, cookie: &str) -> bool {
            let mut statuses = Vec::new();
            for (_, app) in &self.instances {
                let request = Request::get("/").header(header::COOKIE, cookie);
                let request = request.body(Body::empty()).expect("a request");
                let response = app.clone().oneshot(request).await.expect("infallible");
                statuses.push(response.status());
            }
            assert_eq!(statuses[0], statuses[1]);
            statuses[0] == StatusCode::OK
        }

        async fn send(&self, instance: usize, token: &str) -> StatusCode {
            let response = self.post(instance, "/logout", format!("logout_token={token}"));
            let response = response.await;
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
            assert!(!response.headers().contains_key(header::SET_COOKIE));
            response.status()
        }

        async fn post(&self, instance: usize, path: &str, form: String) -> Response {
            let request = Request::post(path)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::from(form))
                .expect("a request");
            let app = self.instances[instance].1.clone();
            app.oneshot(request).await.expect("infallible")
        }
    }

    fn signing_key(pair: &KeyPair) -> EncodingKey {
        EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key")
    }

    /// A valid token of all sessions of ann.
    fn claims(jti: &str) -> Value {
        let now = get_current_timestamp();
        json!({
            "iss": ISSUER, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": jti,
            "events": {EVENT: {}}, "sub": "ann",
        })
    }

    /// The valid claims with one that is changed, or removed if it is null.
    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims(name);
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value,
        }
        claims
    }

    #[tokio::test]
    async fn the_session_at_the_provider_is_ended_on_every_instance() {
        let test = Test::new();
        let ended = [
            test.log_in(0, "sub=ann&sid=s1").await,
            test.log_in(1, "sub=ann&sid=s1").await,
        ];
        let others = [
            test.log_in(0, "sub=ann&sid=s2").await,
            test.log_in(1, "sub=bob&sid=s3").await,
            test.log_in(1, "sub=ann").await,
        ];
        let token = test.sign(&with("sid", json!("s1")));
        assert_eq!(test.send(1, &token).await, StatusCode::OK);
        for cookie in &ended {
            assert!(!test.is_logged_in(cookie).await);
        }
        for cookie in &others {
            assert!(test.is_logged_in(cookie).await);
        }
    }

    #[tokio::test]
    async fn a_token_without_sid_ends_all_sessions_of_the_user() {
        let test = Test::new();
        let ann = [
            test.log_in(0, "sub=ann&sid=s1").await,
            test.log_in(1, "sub=ann").await,
        ];
        let bob = test.log_in(0, "sub=bob&sid=s1").await;
        let token = test.sign(&claims("1"));
        assert_eq!(test.send(0, &token).await, StatusCode::OK);
        for cookie in &ann {
            assert!(!test.is_logged_in(cookie).await);
        }
        assert!(test.is_logged_in(&bob).await);
    }

    #[tokio::test]
    async fn an_invalid_token_ends_nothing() {
        let test = Test::new();
        let cookie = test.log_in(0, "sub=ann&sid=s1").await;
        let now = get_current_timestamp();
        for claims in [
            with("iss", json!("https://evil.example")),
            with("iss", Value::Null),
            with("aud", json!(["another service"])),
            with("aud", Value::Null),
            with("exp", json!(now - 31)),
            with("exp", Value::Null),
            with("iat", json!(now - 151)),
            with("iat", json!(now + 60)),
            with("iat", Value::Null),
            with("jti", Value::Null),
            with("events", json!({})),
            with("events", json!({EVENT: true})),
            with(
                "events",
                json!({"http://schemas.openid.net/event/other": {}}),
            ),
            with("events", Value::Null),
            with("nonce", json!("n")),
            with("sub", Value::Null),
        ] {
            let status = test.send(0, &test.sign(&claims)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{claims}");
        }
        assert!(test.is_logged_in(&cookie).await);
        let token = test.sign(&with("aud", json!(["another service", CLIENT_ID])));
        assert_eq!(test.send(0, &token).await, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_token_of_somebody_else_ends_nothing() {
        let test = Test::new();
        let cookie = test.log_in(0, "sub=ann&sid=s1").await;
        let es256 = Header::new(Algorithm::ES256);
        let theirs = signing_key(&KeyPair::generate().expect("a key pair"));
        // anybody knows the public key, and may use it as a shared secret
        let confused = EncodingKey::from_secret(b"a key that everybody knows");
        let hs256 = Header::new(Algorithm::HS256);
        let id_token = Header {
            typ: Some("id_token+jwt".into()),
            ..es256.clone()
        };
        for (header, key) in [
            (&es256, &theirs),
            (&hs256, &confused),
            (&id_token, &test.signs),
        ] {
            let token = encode(header, &claims("1"), key).expect("a token");
            assert_eq!(test.send(0, &token).await, StatusCode::BAD_REQUEST);
        }
        // `{"alg":"none"}`
        let token = test.sign(&claims("2"));
        let payload = token.split('.').nth(1).expect("a payload");
        let unsigned = format!("eyJhbGciOiJub25lIn0.{payload}.");
        assert_eq!(test.send(0, &unsigned).await, StatusCode::BAD_REQUEST);
        assert!(test.is_logged_in(&cookie).await);
    }

    #[tokio::test]
    async fn a_token_is_accepted_once_unless_the_store_failed() {
        let test = Test::new();
        let token = test.sign(&claims("1"));
        test.store.fail(Call::Entries, StoreErrorKind::Unavailable);
        assert_eq!(test.send(0, &token).await, StatusCode::BAD_REQUEST);
        assert_eq!(test.send(0, &token).await, StatusCode::OK);
        // the user is back, and somebody has recorded the token
        let cookie = test.log_in(0, "sub=ann&sid=s2").await;
        assert_eq!(test.send(0, &token).await, StatusCode::BAD_REQUEST);
        assert!(test.is_logged_in(&cookie).await);
    }
}
