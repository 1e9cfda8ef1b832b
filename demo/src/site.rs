//! The pages and their forms: which there are, and what each does to the session.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::de::IgnoredAny;
use session_hyper::{Key, RequestSession, Session, SessionError};

use crate::{
    body,
    cart::{self, CART, Product},
    pages::{self, Home},
    reply::{self, Failure, Refusal, Reply},
    server::Context,
    users::{Credentials, Login},
};

/// Page views in this session.
const VIEWS: Key<u64> = Key::new("views");

/// Answers a request for a page. A session error is left to the session service.
pub(crate) async fn answer(
    context: Context,
    request: Request<Incoming>,
) -> Result<Reply, SessionError> {
    match route(&context, request).await {
        Ok(reply) => Ok(reply),
        Err(Failure::Refused(refusal)) => {
            Ok(refusal.reply(|refusal| reply::html(pages::refused(refusal))))
        }
        Err(Failure::Session(error)) => Err(error),
    }
}

/// What there is to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Health,
    Style,
    Home,
    Session,
    LogIn,
    AddToCart,
    Press(Button),
}

/// A form that says all there is to say by being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Button {
    LogOut,
    EmptyCart,
    Renew,
    Regenerate,
    Clear,
}

impl Route {
    fn of(method: &Method, path: &str) -> Result<Self, Refusal> {
        let (route, reads) = match path {
            "/healthz" => (Self::Health, true),
            "/style.css" => (Self::Style, true),
            "/" => (Self::Home, true),
            "/session" => (Self::Session, true),
            "/login" => (Self::LogIn, false),
            "/cart" => (Self::AddToCart, false),
            "/logout" => (Self::Press(Button::LogOut), false),
            "/cart/empty" => (Self::Press(Button::EmptyCart), false),
            "/session/renew" => (Self::Press(Button::Renew), false),
            "/session/regenerate" => (Self::Press(Button::Regenerate), false),
            "/session/clear" => (Self::Press(Button::Clear), false),
            _ => return Err(Refusal::not_found()),
        };
        match (
            *method == Method::GET || *method == Method::HEAD,
            *method == Method::POST,
        ) {
            (true, _) if reads => Ok(route),
            (_, true) if !reads => Ok(route),
            _ => Err(Refusal::method(if reads { "GET, HEAD" } else { "POST" })),
        }
    }
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Reply, Failure> {
    let route = Route::of(request.method(), request.uri().path())?;
    reply::refuse_forged(&request, false)?;
    match route {
        Route::Health => Ok(plain("text/plain; charset=utf-8", "no-store", "ok")),
        Route::Style => Ok(plain(
            "text/css; charset=utf-8",
            "public, max-age=300",
            include_str!("style.css"),
        )),
        Route::Home => home(context, &request).await,
        Route::Session => Ok(reply::html(pages::session(
            &request.session().load().await?,
            &context.instance,
        ))),
        Route::LogIn => log_in(context, request).await,
        Route::AddToCart => add_to_cart(request).await,
        Route::Press(button) => press(button, &request.session().load().await?),
    }
}

async fn home(context: &Context, request: &Request<Incoming>) -> Result<Reply, Failure> {
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
        goodbye: request.uri().query() == Some("goodbye"),
    };
    Ok(reply::html(pages::home(&home)))
}

async fn log_in(context: &Context, request: Request<Incoming>) -> Result<Reply, Failure> {
    // before the password is looked at: an outage is not worth a hash
    let session = request.session().load().await?;
    let form = body::form(request).await?;
    let credentials = Credentials {
        username: form.field("username").to_owned(),
        password: form.field("password").to_owned(),
        remember: form.has("remember"),
    };
    match context.users.log_in(&session, credentials).await? {
        // the first page tells what came of it
        Login::Right(_) | Login::Ended => Ok(reply::see_other("/")),
        Login::Wrong { failed } => {
            let mut reply = reply::html(pages::login_failed(form.field("username"), failed));
            *reply.status_mut() = StatusCode::UNAUTHORIZED;
            Ok(reply)
        }
    }
}

async fn add_to_cart(request: Request<Incoming>) -> Result<Reply, Failure> {
    let session = request.session().load().await?;
    let form = body::form(request).await?;
    let product = Product::find(form.field("product"))
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "that is not for sale here"))?;
    cart::add(&session, product)?;
    Ok(reply::see_other("/"))
}

fn press(button: Button, session: &Session) -> Result<Reply, Failure> {
    match button {
        Button::LogOut => session.destroy(),
        Button::EmptyCart => drop(session.remove::<IgnoredAny>(CART.name())?),
        Button::Renew => session.renew(),
        Button::Regenerate => session.regenerate()?,
        Button::Clear => session.clear()?,
    }
    Ok(reply::see_other(match button {
        // in the address and not in the session, which a word of farewell would begin anew
        Button::LogOut => "/?goodbye",
        Button::EmptyCart => "/",
        Button::Renew | Button::Regenerate | Button::Clear => "/session",
    }))
}

/// Something that has nothing to do with any session.
fn plain(content_type: &'static str, cache: &'static str, text: &'static str) -> Reply {
    let mut reply = Reply::new(Full::new(Bytes::from_static(text.as_bytes())));
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
    fn refused(method: Method, path: &str, status: StatusCode, allow: Option<&str>) {
        let refusal = Route::of(&method, path).expect_err(path);
        assert_eq!(
            (refusal.status, refusal.allow),
            (status, allow),
            "{method} {path}"
        );
    }

    #[test]
    fn pages_are_read_and_forms_are_sent() {
        assert_eq!(Route::of(&Method::GET, "/").ok(), Some(Route::Home));
        assert_eq!(
            Route::of(&Method::HEAD, "/session").ok(),
            Some(Route::Session)
        );
        assert_eq!(
            Route::of(&Method::POST, "/logout").ok(),
            Some(Route::Press(Button::LogOut))
        );
        refused(
            Method::POST,
            "/",
            StatusCode::METHOD_NOT_ALLOWED,
            Some("GET, HEAD"),
        );
        refused(
            Method::GET,
            "/logout",
            StatusCode::METHOD_NOT_ALLOWED,
            Some("POST"),
        );
        refused(
            Method::OPTIONS,
            "/login",
            StatusCode::METHOD_NOT_ALLOWED,
            Some("POST"),
        );
        refused(Method::GET, "/logout/", StatusCode::NOT_FOUND, None);
    }
}
