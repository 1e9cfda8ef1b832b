//! tower-sessions, set as its documentation shows: a pool of six connections, `OnInactivity`; and
//! signed.
//!
//! As documented a read does not extend the session. The variant `sliding` has
//! `with_always_save(true)`, which is the way to have it extended.

use anyhow::bail;
use axum::{
    Router,
    extract::Query,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bench_scene::{
    ANONYMOUS, Arguments, IDLE_SECONDS, IN, Login, NOBODY, OUT, Profile, SIGNING_KEY,
};
use time::Duration;
use tower_sessions::{Expiry, Session, SessionManagerLayer, cookie::Key, session};
use tower_sessions_redis_store::{RedisStore, fred::prelude::*};

fn main() -> anyhow::Result<()> {
    bench_scene::run(serve)
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let always_save = match arguments.variant.as_str() {
        "documented" => false,
        "sliding" => true,
        other => bail!("no variant {other:?}: expected documented or sliding"),
    };
    let pool = Pool::new(Config::from_url(&arguments.redis)?, None, None, None, 6)?;
    pool.connect();
    pool.wait_for_connect().await?;
    let idle = Duration::seconds(IDLE_SECONDS.try_into()?);
    let layer = SessionManagerLayer::new(RedisStore::new(pool))
        .with_always_save(always_save)
        .with_expiry(Expiry::OnInactivity(idle))
        .with_signed(Key::from(&SIGNING_KEY));
    let app = Router::new()
        .route("/anonymous", get(|| async { ANONYMOUS }))
        .route("/read", get(read))
        .route("/write", post(write))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(layer);
    Ok(axum::serve(arguments.listen().await?, app).await?)
}

async fn read(session: Session) -> Result<Response, Failed> {
    let Some(user) = session.get::<String>("user").await? else {
        return Ok(nobody());
    };
    let views = session.get("views").await?.unwrap_or(0);
    Ok(bench_scene::page(&user, views).into_response())
}

async fn write(session: Session) -> Result<Response, Failed> {
    let Some(user) = session.get::<String>("user").await? else {
        return Ok(nobody());
    };
    let views = session.get("views").await?.unwrap_or(0) + 1;
    session.insert("views", views).await?;
    Ok(bench_scene::page(&user, views).into_response())
}

async fn login(session: Session, Query(login): Query<Login>) -> Result<&'static str, Failed> {
    let profile = Profile::for_login(&login);
    session.cycle_id().await?;
    session.insert("user", profile.user).await?;
    session.insert("roles", profile.roles).await?;
    session.insert("cart", profile.cart).await?;
    session.insert("views", profile.views).await?;
    Ok(IN)
}

async fn logout(session: Session) -> Result<&'static str, Failed> {
    session.flush().await?;
    Ok(OUT)
}

fn nobody() -> Response {
    (StatusCode::UNAUTHORIZED, NOBODY).into_response()
}

struct Failed;

impl From<session::Error> for Failed {
    fn from(_: session::Error) -> Self {
        Self
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
