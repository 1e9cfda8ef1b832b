//! The pages and their forms, and what each does to the session.

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde::de::IgnoredAny;
use session_hyper::{Key, Session, SessionError, SessionRequestExt};

use crate::{
    account, body,
    cart::{self, CART, Product},
    context::Context,
    csrf::{self, Audience},
    device_pages::{self, Devices, Note},
    pages::{self, Home},
    rejection::{HandlerError, Rejection},
    reply::{self, Reply},
    users::{Credentials, Login},
};

const TEXT: &str = "text/plain; charset=utf-8";
/// How the parts of pages are cached that are the same for everybody.
const PUBLIC: &str = "public, max-age=300";

/// Page views in this session.
const VIEWS: Key<u64> = Key::new("views");

/// Responds to a request for a page. A session error is returned to the session service.
pub(crate) async fn respond(
    context: Context,
    request: Request<Incoming>,
) -> Result<Reply, SessionError> {
    match route(&context, request).await {
        Ok(reply) => Ok(reply),
        Err(HandlerError::Rejected(rejection)) => {
            Ok(rejection.respond_with(reply::html(pages::rejected(&rejection))))
        }
        Err(HandlerError::Session(error)) => Err(error),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Live,
    Ready,
    Style,
    Script,
    Home,
    Session,
    Devices,
    LogIn,
    AddToCart,
    EndDevice,
    Reauthenticate,
    ChangePassword,
    Press(Button),
}

/// A form without fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Button {
    LogOut,
    EmptyCart,
    Renew,
    Regenerate,
    Clear,
    EndOthers,
    EndAll,
}

impl Route {
    fn of(method: &Method, path: &str) -> Result<Self, Rejection> {
        let (route, reads) = match path {
            "/healthz" => (Self::Live, true),
            "/readyz" => (Self::Ready, true),
            "/style.css" => (Self::Style, true),
            "/session.js" => (Self::Script, true),
            "/" => (Self::Home, true),
            "/session" => (Self::Session, true),
            "/devices" => (Self::Devices, true),
            "/devices/end" => (Self::EndDevice, false),
            "/devices/end-others" => (Self::Press(Button::EndOthers), false),
            "/devices/end-all" => (Self::Press(Button::EndAll), false),
            "/reauthenticate" => (Self::Reauthenticate, false),
            "/password" => (Self::ChangePassword, false),
            "/login" => (Self::LogIn, false),
            "/cart" => (Self::AddToCart, false),
            "/logout" => (Self::Press(Button::LogOut), false),
            "/cart/empty" => (Self::Press(Button::EmptyCart), false),
            "/session/renew" => (Self::Press(Button::Renew), false),
            "/session/regenerate" => (Self::Press(Button::Regenerate), false),
            "/session/clear" => (Self::Press(Button::Clear), false),
            _ => return Err(Rejection::not_found()),
        };
        match (
            *method == Method::GET || *method == Method::HEAD,
            *method == Method::POST,
        ) {
            (true, _) if reads => Ok(route),
            (_, true) if !reads => Ok(route),
            _ => Err(Rejection::method(if reads { "GET, HEAD" } else { "POST" })),
        }
    }
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Reply, HandlerError> {
    let route = Route::of(request.method(), request.uri().path())?;
    csrf::check(&request, Audience::Browsers)?;
    match route {
        // not of the store: a restart would not bring it back
        Route::Live => Ok(plain(TEXT, "no-store", "ok")),
        Route::Ready => Ok(ready(context).await),
        Route::Style => Ok(plain(
            "text/css; charset=utf-8",
            PUBLIC,
            include_str!("style.css"),
        )),
        Route::Script => Ok(plain(
            "text/javascript; charset=utf-8",
            PUBLIC,
            include_str!("session.js"),
        )),
        Route::Home => home(context, &request).await,
        Route::Session => Ok(reply::html(pages::session(
            &request.session().load().await?,
            &context.instance,
        ))),
        Route::Devices => {
            let session = request.session().load().await?;
            let note = match request.uri().query() {
                Some("changed") => Some(Note::PasswordChanged),
                _ => None,
            };
            devices(context, &session, note).await
        }
        Route::LogIn => log_in(context, request).await,
        Route::AddToCart => add_to_cart(request).await,
        Route::EndDevice => end_device(context, request).await,
        Route::Reauthenticate => reauthenticate(context, request).await,
        Route::ChangePassword => change_password(context, request).await,
        Route::Press(button) => press(context, button, &request.session().load().await?).await,
    }
}

async fn home(context: &Context, request: &Request<Incoming>) -> Result<Reply, HandlerError> {
    let session = request.session().load().await?;
    let views = match *request.method() {
        Method::HEAD => session.get(VIEWS)?.unwrap_or(0),
        _ => session.update(VIEWS, |views| views.unwrap_or(0).saturating_add(1))?,
    };
    let home = Home {
        session: &session,
        instance: &context.instance,
        views,
        cart: session.get(CART)?.unwrap_or_default(),
        logged_out: request.uri().query() == Some("goodbye"),
    };
    Ok(reply::html(pages::home(&home)))
}

async fn log_in(context: &Context, request: Request<Incoming>) -> Result<Reply, HandlerError> {
    // before the password is hashed, so that an outage is answered at once
    let session = request.session().load().await?;
    let device = account::device(context, &request);
    let form = body::form(request).await?;
    let credentials = Credentials {
        username: form.field("username").to_owned(),
        password: form.field("password").to_owned(),
        remember: form.has("remember"),
    };
    match account::log_in(context, &session, credentials, device).await? {
        Login::Succeeded(_) => Ok(reply::see_other("/")),
        Login::Failed { count } => {
            let mut reply = reply::html(pages::login_failed(form.field("username"), count));
            *reply.status_mut() = StatusCode::UNAUTHORIZED;
            Ok(reply)
        }
    }
}

async fn add_to_cart(request: Request<Incoming>) -> Result<Reply, HandlerError> {
    let session = request.session().load().await?;
    let form = body::form(request).await?;
    let product = Product::find(form.field("product"))
        .ok_or_else(|| Rejection::new(StatusCode::BAD_REQUEST, "there is no such product"))?;
    cart::add(&session, product)?;
    Ok(reply::see_other("/"))
}

/// The devices of the user, or the login form.
async fn devices(
    context: &Context,
    session: &Session,
    note: Option<Note>,
) -> Result<Reply, HandlerError> {
    if session.principal().is_none() {
        let mut reply = reply::html(pages::login_required());
        *reply.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(reply);
    }
    let devices = Devices {
        sessions: account::list(context, session).await?,
        is_fresh: session.fresh_within(context.fresh_within),
        note,
    };
    let mut reply = reply::html(device_pages::devices(&devices));
    *reply.status_mut() = note.map_or(StatusCode::OK, Note::status);
    Ok(reply)
}

async fn end_device(context: &Context, request: Request<Incoming>) -> Result<Reply, HandlerError> {
    let session = request.session().load().await?;
    let form = body::form(request).await?;
    let is_current = session
        .id()
        .is_some_and(|id| id.as_str() == form.field("id"));
    // one that has ended in the meantime is not an error: it is gone from the list, too
    account::end(context, &session, form.field("id")).await?;
    Ok(reply::see_other(match is_current {
        true => "/?goodbye",
        false => "/devices",
    }))
}

async fn reauthenticate(
    context: &Context,
    request: Request<Incoming>,
) -> Result<Reply, HandlerError> {
    let session = request.session().load().await?;
    let form = body::form(request).await?;
    let password = form.field("password").to_owned();
    match account::reauthenticate(context, &session, password).await? {
        true => Ok(reply::see_other("/devices")),
        false => devices(context, &session, Some(Note::WrongPassword)).await,
    }
}

async fn change_password(
    context: &Context,
    request: Request<Incoming>,
) -> Result<Reply, HandlerError> {
    let session = request.session().load().await?;
    session.require_login()?;
    let form = body::form(request).await?;
    let password = form.field("password").to_owned();
    if password.is_empty() {
        return Err(Rejection::empty_password().into());
    }
    // the form was on the page for too long
    if !session.fresh_within(context.fresh_within) {
        return devices(context, &session, Some(Note::Reauthenticate)).await;
    }
    match account::change_password(context, &session, password).await? {
        true => Ok(reply::see_other("/devices?changed")),
        false => Err(Rejection::password().into()),
    }
}

async fn press(
    context: &Context,
    button: Button,
    session: &Session,
) -> Result<Reply, HandlerError> {
    match button {
        Button::LogOut => session.log_out()?,
        Button::EmptyCart => drop(session.remove::<IgnoredAny>(CART.name())?),
        Button::Renew => session.renew()?,
        Button::Regenerate => session.regenerate()?,
        Button::Clear => session.clear()?,
        Button::EndOthers => drop(account::end_others(context, session).await?),
        Button::EndAll => drop(account::end_all(context, session).await?),
    }
    Ok(reply::see_other(match button {
        // in the URL, because a flash message would begin a new session
        Button::LogOut | Button::EndAll => "/?goodbye",
        Button::EmptyCart => "/",
        Button::Renew | Button::Regenerate | Button::Clear => "/session",
        Button::EndOthers => "/devices",
    }))
}

/// Whether sessions can be read and written. Everybody can ask, so the response names no server;
/// the log does.
async fn ready(context: &Context) -> Reply {
    if context.sessions.health().await.ready {
        return plain(TEXT, "no-store", "ready");
    }
    let mut reply = plain(TEXT, "no-store", "not ready");
    *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    reply
}

/// A response that does not depend on a session.
fn plain(content_type: &'static str, cache: &'static str, text: &'static str) -> Reply {
    let mut reply = Reply::new(reply::full(text));
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_rejected(method: Method, path: &str, status: StatusCode, allow: Option<&str>) {
        let rejection = Route::of(&method, path).expect_err(path);
        assert_eq!(
            (rejection.status, rejection.allow),
            (status, allow),
            "{method} {path}"
        );
    }

    #[test]
    fn pages_are_for_get_and_forms_for_post() {
        assert_eq!(Route::of(&Method::GET, "/").ok(), Some(Route::Home));
        assert_eq!(
            Route::of(&Method::HEAD, "/session").ok(),
            Some(Route::Session)
        );
        assert_eq!(
            Route::of(&Method::POST, "/logout").ok(),
            Some(Route::Press(Button::LogOut))
        );
        check_rejected(
            Method::POST,
            "/",
            StatusCode::METHOD_NOT_ALLOWED,
            Some("GET, HEAD"),
        );
        check_rejected(
            Method::GET,
            "/logout",
            StatusCode::METHOD_NOT_ALLOWED,
            Some("POST"),
        );
        check_rejected(
            Method::OPTIONS,
            "/login",
            StatusCode::METHOD_NOT_ALLOWED,
            Some("POST"),
        );
        check_rejected(Method::GET, "/logout/", StatusCode::NOT_FOUND, None);
    }
}
