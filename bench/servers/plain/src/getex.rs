//! The anchor: what a careful developer writes by hand for one service. Unsigned, whole-record
//! writes, the last writer wins; what it leaves out is what a library is for. One `GETEX` for a
//! read, one more `SET` for a write.

use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bench_scene::{ANONYMOUS, Arguments, IDLE_SECONDS, IN, Login, NOBODY, OUT, Profile};
use redis::{AsyncCommands, Expiry, aio::MultiplexedConnection};

pub(crate) async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let redis = redis::Client::open(arguments.redis.as_str())?
        .get_multiplexed_async_connection()
        .await?;
    let app = Router::new()
        .route("/anonymous", get(|| async { ANONYMOUS }))
        .route("/read", get(read))
        .route("/write", post(write))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .with_state(redis);
    Ok(axum::serve(arguments.listen().await?, app).await?)
}

async fn read(
    State(mut redis): State<MultiplexedConnection>,
    headers: HeaderMap,
) -> Result<String, Failed> {
    let Some(profile) = load(&mut redis, sid(&headers)).await? else {
        return Err(Failed::Nobody);
    };
    Ok(bench_scene::page(&profile.user, profile.views))
}

async fn write(
    State(mut redis): State<MultiplexedConnection>,
    headers: HeaderMap,
) -> Result<String, Failed> {
    let Some(mut profile) = load(&mut redis, sid(&headers)).await? else {
        return Err(Failed::Nobody);
    };
    profile.views += 1;
    let _: () = redis
        .set_ex(sid(&headers), serde_json::to_vec(&profile)?, IDLE_SECONDS)
        .await?;
    Ok(bench_scene::page(&profile.user, profile.views))
}

async fn login(
    State(mut redis): State<MultiplexedConnection>,
    Query(login): Query<Login>,
) -> Result<Response, Failed> {
    let sid = format!("{:032x}", rand::random::<u128>());
    let _: () = redis
        .set_ex(
            &sid,
            serde_json::to_vec(&Profile::for_login(&login))?,
            IDLE_SECONDS,
        )
        .await?;
    let cookie = format!("sid={sid}; HttpOnly; SameSite=Lax; Secure; Path=/");
    Ok(([(header::SET_COOKIE, cookie)], IN).into_response())
}

async fn logout(
    State(mut redis): State<MultiplexedConnection>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let _: () = redis.del(sid(&headers)).await?;
    Ok((
        [(
            header::SET_COOKIE,
            "sid=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0",
        )],
        OUT,
    )
        .into_response())
}

async fn load(redis: &mut MultiplexedConnection, sid: &str) -> Result<Option<Profile>, Failed> {
    if sid.is_empty() {
        return Ok(None);
    }
    let stored: Option<Vec<u8>> = redis.get_ex(sid, Expiry::EX(IDLE_SECONDS)).await?;
    Ok(stored
        .map(|stored| serde_json::from_slice(&stored))
        .transpose()?)
}

fn sid(headers: &HeaderMap) -> &str {
    let cookies = headers
        .get(header::COOKIE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    cookies
        .split("; ")
        .find_map(|pair| pair.strip_prefix("sid="))
        .unwrap_or_default()
}

enum Failed {
    Nobody,
    Store,
}

impl From<redis::RedisError> for Failed {
    fn from(_: redis::RedisError) -> Self {
        Self::Store
    }
}

impl From<serde_json::Error> for Failed {
    fn from(_: serde_json::Error) -> Self {
        Self::Store
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Self::Nobody => (StatusCode::UNAUTHORIZED, NOBODY).into_response(),
            Self::Store => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}
