//! What a service does that wants to read without a round trip and has no near cache: the user and
//! the counter are in a signed token (JWT, RFC 7519), which is verified at each request. It has no
//! logout, and no write but a new token.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use bench_scene::{ANONYMOUS, Arguments, IDLE_SECONDS, IN, NOBODY, Profile, SIGNING_KEY, TEXT};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, COOKIE, HeaderValue, SET_COOKIE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde::{Deserialize, Serialize};

fn main() -> anyhow::Result<()> {
    bench_scene::run(serve)
}

/// What is in the token: as much as `/read` needs.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    views: u64,
    exp: u64,
}

struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    header: Header,
}

impl Keys {
    fn of(variant: &str) -> anyhow::Result<Self> {
        let (algorithm, encoding, decoding) = match variant {
            "hs256" => (
                Algorithm::HS256,
                EncodingKey::from_secret(&SIGNING_KEY),
                DecodingKey::from_secret(&SIGNING_KEY),
            ),
            "rs256" => {
                let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
                (
                    Algorithm::RS256,
                    EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes())?,
                    DecodingKey::from_rsa_pem(pair.public_key_pem().as_bytes())?,
                )
            }
            other => bail!("no variant {other:?}: expected hs256 or rs256"),
        };
        Ok(Self {
            encoding,
            decoding,
            validation: Validation::new(algorithm),
            header: Header::new(algorithm),
        })
    }
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let keys = Arc::new(Keys::of(&arguments.variant)?);
    let listener = arguments.listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let keys = keys.clone();
        let service = service_fn(move |request| answer(keys.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    keys: Arc<Keys>,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/anonymous") => text(StatusCode::OK, ANONYMOUS),
        (&Method::GET, "/read") => match read(&keys, request.headers()) {
            Some(claims) => text(StatusCode::OK, bench_scene::page(&claims.sub, claims.views)),
            None => text(StatusCode::UNAUTHORIZED, NOBODY),
        },
        (&Method::POST, "/login") => {
            let expires = SystemTime::now() + Duration::from_secs(IDLE_SECONDS);
            let profile = Profile::sample();
            let claims = Claims {
                sub: profile.user,
                views: profile.views,
                exp: expires.duration_since(UNIX_EPOCH)?.as_secs(),
            };
            let token = encode(&keys.header, &claims, &keys.encoding)?;
            let cookie = format!("sid={token}; HttpOnly; SameSite=Lax; Secure; Path=/");
            let mut response = text(StatusCode::OK, IN);
            response
                .headers_mut()
                .insert(SET_COOKIE, HeaderValue::try_from(cookie)?);
            response
        }
        _ => text(StatusCode::NOT_FOUND, ""),
    })
}

fn read(keys: &Keys, headers: &HeaderMap) -> Option<Claims> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    let token = cookies
        .split("; ")
        .find_map(|pair| pair.strip_prefix("sid="))?;
    let token = decode::<Claims>(token, &keys.decoding, &keys.validation);
    Some(token.ok()?.claims)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}
