//! On axum.

use axum::{
    Router,
    extract::Query,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bench_scene::{ANONYMOUS, Arguments, IN, Login, NOBODY, OUT, Profile};
use session_hyper::{
    SessionLayer, Sessions,
    axum::{Session, SessionRejection},
};

pub(crate) async fn serve(arguments: &Arguments, sessions: Sessions) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/anonymous", get(|| async { ANONYMOUS }))
        .route("/read", get(read))
        .route("/write", post(write))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(SessionLayer::new(sessions));
    Ok(axum::serve(arguments.listen().await?, app).await?)
}

async fn read(session: Session) -> Result<Response, SessionRejection> {
    Ok(page(crate::read(&session)?))
}

async fn write(session: Session) -> Result<Response, SessionRejection> {
    Ok(page(crate::write(&session)?))
}

async fn login(
    session: Session,
    Query(login): Query<Login>,
) -> Result<&'static str, SessionRejection> {
    crate::login(&session, &Profile::for_login(&login))?;
    Ok(IN)
}

async fn logout(session: Session) -> Result<&'static str, SessionRejection> {
    session.destroy()?;
    Ok(OUT)
}

fn page(page: Option<String>) -> Response {
    match page {
        Some(page) => page.into_response(),
        None => (StatusCode::UNAUTHORIZED, NOBODY).into_response(),
    }
}
