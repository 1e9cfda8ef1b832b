//! The pages and their forms: which there are, and what each does to the session.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use session_hyper::{Key, RequestSession, Session, SessionError};

use crate::{
    body,
    cart::{self, CART, Product},
    pages::{self, Home},
    reply::{self, Failure, Refusal, Reply},
    server::Context,
    users::{Credentials, FAILED_LOGINS},
};

/// Page views in this session.
const VIEWS: Key<u64> = Key::new("views");

/// Answers a request for a page. A session error is left to the session service.
pub(crate) async fn answer(context: Context, request: Request<Incoming>) -> Result<Reply, SessionError> {
    match route(&context, request).await {
        Ok(reply) => Ok(reply),
        Err(Failure::Refused(refusal)) => Ok(refusal.reply(|refusal| reply::html(pages::refused(refusal)))),
        Err(Failure::Session(error)) => Err(error),
    }
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Reply, Failure> {
    reply::refuse_forged(&request, false)?;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match (path.as_str(), &method) {
        ("/healthz", &Method::GET | &Method::HEAD) => Ok(plain("text/plain; charset=utf-8", "no-store", "ok")),
        ("/style.css", &Method::GET | &Method::HEAD) => {
            Ok(plain("text/css; charset=utf-8", "public, max-age=300", include_str!("style.css")))
        }
        ("/", &Method::GET | &Method::HEAD) => home(context, &request).await,
        ("/session", &Method::GET | &Method::HEAD) => {
            Ok(reply::html(pages::session(&request.session().load().await?, &context.instance)?))
        }
        ("/login", &Method::POST) => log_in(context, request).await,
        ("/cart", &Method::POST) => add_to_cart(request).await,
        ("/logout" | "/cart/empty" | "/session/renew" | "/session/regenerate" | "/session/clear", &Method::POST) => {
            button(&path, &request.session().load().await?)
        }
        ("/healthz" | "/style.css" | "/" | "/session", _) => Err(Refusal::method("GET, HEAD").into()),
        (
            "/login"
            | "/cart"
            | "/logout"
            | "/cart/empty"
            | "/session/renew"
            | "/session/regenerate"
            | "/session/clear",
            _,
        ) => Err(Refusal::method("POST").into()),
        _ => Err(Refusal::not_found().into()),
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
        Some(_) => Ok(reply::see_other("/")),
        None => {
            let failed = session.get(FAILED_LOGINS)?.unwrap_or(0);
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

/// A button that says all there is to say.
fn button(path: &str, session: &Session) -> Result<Reply, Failure> {
    match path {
        "/logout" => {
            session.destroy();
            // in the address and not in the session, which a word of farewell would begin anew
            return Ok(reply::see_other("/?goodbye"));
        }
        "/cart/empty" => {
            session.remove::<serde::de::IgnoredAny>(CART.name())?;
            return Ok(reply::see_other("/"));
        }
        "/session/renew" => session.renew(),
        "/session/regenerate" => session.regenerate()?,
        "/session/clear" => session.clear()?,
        _ => return Err(Refusal::not_found().into()),
    }
    Ok(reply::see_other("/session"))
}

/// Something that has nothing to do with any session.
fn plain(content_type: &'static str, cache: &'static str, text: &'static str) -> Reply {
    let mut reply = Reply::new(Full::new(Bytes::from_static(text.as_bytes())));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    reply
}
