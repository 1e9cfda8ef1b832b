//! axum_session with its redis pool: signed, `OptIn`, so that visitors get no session.
//!
//! By default sessions are answered from the memory of the process for an hour, and other
//! instances' writes are not seen. The variant `no-memory` asks Redis at every request.

use anyhow::bail;
use axum::{
    Router,
    extract::Query,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_session::{Key, Session, SessionConfig, SessionLayer, SessionMode, SessionStore};
use axum_session_redispool::SessionRedisPool;
use bench_scene::{
    ANONYMOUS, Arguments, IDLE_SECONDS, IN, Login, NOBODY, OUT, Profile, SIGNING_KEY,
};
use redis_pool::RedisPool;
use time::Duration;

type RedisSession = Session<SessionRedisPool>;

fn main() -> anyhow::Result<()> {
    bench_scene::run(serve)
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = SessionConfig::default()
        .with_mode(SessionMode::OptIn)
        .with_lifetime(Duration::seconds(IDLE_SECONDS.try_into()?))
        .with_key(Key::from(&SIGNING_KEY));
    config = match arguments.variant.as_str() {
        "documented" => config,
        "no-memory" => config.with_memory_lifetime(Duration::ZERO),
        other => bail!("no variant {other:?}: expected documented or no-memory"),
    };
    let pool = RedisPool::from(redis::Client::open(arguments.redis.as_str())?);
    let store = SessionStore::<SessionRedisPool>::new(Some(pool.into()), config).await?;
    let app = Router::new()
        .route("/anonymous", get(|| async { ANONYMOUS }))
        .route("/read", get(read))
        .route("/write", post(write))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(SessionLayer::new(store));
    Ok(axum::serve(arguments.listen().await?, app).await?)
}

async fn read(session: RedisSession) -> Response {
    let Some(user) = session.get::<String>("user") else {
        return nobody();
    };
    let views = session.get("views").unwrap_or(0);
    bench_scene::page(&user, views).into_response()
}

async fn write(session: RedisSession) -> Response {
    let Some(user) = session.get::<String>("user") else {
        return nobody();
    };
    let views = session.get("views").unwrap_or(0) + 1;
    session.set("views", views);
    bench_scene::page(&user, views).into_response()
}

async fn login(session: RedisSession, Query(login): Query<Login>) -> &'static str {
    let profile = Profile::for_login(&login);
    session.renew();
    session.set_store(true);
    session.set("user", profile.user);
    session.set("roles", profile.roles);
    session.set("cart", profile.cart);
    session.set("views", profile.views);
    IN
}

async fn logout(session: RedisSession) -> &'static str {
    session.destroy();
    OUT
}

fn nobody() -> Response {
    (StatusCode::UNAUTHORIZED, NOBODY).into_response()
}
