//! actix-session, set as its documentation shows, over one multiplexed connection: signed cookie,
//! and the life of the state extended by every request.

use actix_session::{
    Session, SessionGetError, SessionInsertError, SessionMiddleware,
    config::{BrowserSession, CookieContentSecurity, TtlExtensionPolicy},
    storage::RedisSessionStore,
};
use actix_web::{
    App, HttpResponse, HttpServer, Responder, ResponseError,
    cookie::{Key, time::Duration},
    web::{self, Query},
};
use bench_scene::{
    ANONYMOUS, Arguments, IDLE_SECONDS, IN, Login, NOBODY, OUT, Profile, SIGNING_KEY, TEXT,
};

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::read()?;
    let store = RedisSessionStore::new(arguments.redis).await?;
    let idle = Duration::seconds(IDLE_SECONDS.try_into()?);
    let app = move || {
        let lifecycle = BrowserSession::default()
            .state_ttl(idle)
            .state_ttl_extension_policy(TtlExtensionPolicy::OnEveryRequest);
        let sessions = SessionMiddleware::builder(store.clone(), Key::from(&SIGNING_KEY))
            .session_lifecycle(lifecycle)
            .cookie_content_security(CookieContentSecurity::Signed)
            .build();
        App::new()
            .wrap(sessions)
            .route("/anonymous", web::get().to(async || text(ANONYMOUS)))
            .route("/read", web::get().to(read))
            .route("/write", web::post().to(write))
            .route("/login", web::post().to(login))
            .route("/logout", web::post().to(logout))
    };
    Ok(HttpServer::new(app)
        .workers(1)
        .bind(("127.0.0.1", arguments.port))?
        .run()
        .await?)
}

async fn read(session: Session) -> Result<impl Responder, Failed> {
    let Some(user) = session.get::<String>("user")? else {
        return Ok(nobody());
    };
    let views = session.get("views")?.unwrap_or(0);
    Ok(text(bench_scene::page(&user, views)))
}

async fn write(session: Session) -> Result<impl Responder, Failed> {
    let Some(user) = session.get::<String>("user")? else {
        return Ok(nobody());
    };
    let views = session.get("views")?.unwrap_or(0) + 1;
    session.insert("views", views)?;
    Ok(text(bench_scene::page(&user, views)))
}

async fn login(session: Session, login: Query<Login>) -> Result<impl Responder, Failed> {
    let profile = Profile::for_login(&login);
    session.renew();
    session.insert("user", profile.user)?;
    session.insert("roles", profile.roles)?;
    session.insert("cart", profile.cart)?;
    session.insert("views", profile.views)?;
    Ok(text(IN))
}

async fn logout(session: Session) -> impl Responder {
    session.purge();
    text(OUT)
}

fn text(body: impl Into<String>) -> HttpResponse {
    HttpResponse::Ok().content_type(TEXT).body(body.into())
}

fn nobody() -> HttpResponse {
    HttpResponse::Unauthorized().content_type(TEXT).body(NOBODY)
}

#[derive(Debug)]
struct Failed;

impl From<SessionGetError> for Failed {
    fn from(_: SessionGetError) -> Self {
        Self
    }
}

impl From<SessionInsertError> for Failed {
    fn from(_: SessionInsertError) -> Self {
        Self
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the session failed")
    }
}

impl ResponseError for Failed {}
