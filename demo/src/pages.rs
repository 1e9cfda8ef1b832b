//! The HTML of the pages. They show the session but never its token.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use maud::{DOCTYPE, Markup, html};
use session_hyper::{Session, SessionError, SessionErrorKind, error_response};

use crate::{
    cart::{Cart, PRODUCTS},
    rejection::Rejection,
};

/// The contents of the home page.
pub(crate) struct Home<'a> {
    pub(crate) session: &'a Session,
    pub(crate) instance: &'a str,
    pub(crate) views: u64,
    pub(crate) cart: Cart,
    /// Whether to confirm a logout.
    pub(crate) logged_out: bool,
}

/// The home page.
pub(crate) fn home(home: &Home<'_>) -> Markup {
    let user = home.session.principal();
    page(
        "Tea shop",
        html! {
            @if home.logged_out && user.is_none() {
                p.note #goodbye role="status" { "Goodbye. Your session has ended here and on every instance." }
            }
            @if user.is_some() { (end_notice()) }
            section {
                h2 { "Your visit" }
                p { "Page views in this session: " strong #views { (home.views) } }
                p { "Served by instance " strong #instance { (home.instance) } }
                (facts(home.session))
                p { a href="/session" { "More about this session" } }
            }
            section {
                @match &user {
                    Some(user) => {
                        h2 { "Welcome, " span #user { (user) } }
                        p { a #devices-link href="/devices" { "Your devices and your password" } }
                        form method="post" action="/logout" { button #logout { "Log out" } }
                    }
                    None => {
                        h2 { "Log in" }
                        (login_form(""))
                    }
                }
            }
            section {
                h2 { "For sale" }
                ul.products {
                    @for product in &PRODUCTS {
                        li {
                            span { (product.name) }
                            span.price { (price(product.cents.into())) }
                            form method="post" action="/cart" {
                                button name="product" value=(product.code) aria-label={ "Add " (product.name) } { "Add" }
                            }
                        }
                    }
                }
            }
            (cart(&home.cart))
        },
    )
}

fn cart(cart: &Cart) -> Markup {
    html! {
        section {
            h2 { "Your cart" }
            @if cart.lines().next().is_none() {
                p #cart-empty { "It is empty." }
            } @else {
                table #cart {
                    @for (product, count) in cart.lines() {
                        tr {
                            td { (count) " × " (product.name) }
                            td.price { (price(u64::from(product.cents) * u64::from(count))) }
                        }
                    }
                    tr.total { td { "Total" } td.price { (price(cart.total_cents())) } }
                }
                form method="post" action="/cart/empty" { button { "Empty the cart" } }
            }
        }
    }
}

/// The page of a session, without its token.
pub(crate) fn session(session: &Session, instance: &str) -> Markup {
    let values = session.names().into_iter().map(|name| {
        // here a user clears a session that other pages cannot decode, so this page must not fail
        let value = session.get::<serde_json::Value>(&name).ok().flatten();
        (
            name,
            value.map_or("not shown".into(), |value| value.to_string()),
        )
    });
    let values: Vec<(String, String)> = values.collect();
    page(
        "Your session",
        html! {
            @if session.principal().is_some() { (end_notice()) }
            section {
                (facts(session))
                p { "Idle timeout " strong { (format_duration(session.idle_timeout())) }
                    ", longest life " strong {
                        (session.absolute_timeout().map_or("unlimited".into(), format_duration))
                    }
                    ", cookie ends " strong {
                        @match session.original_max_age() {
                            Some(age) => { "after " (format_duration(age)) }
                            None => { "with the browser" }
                        }
                    } "." }
                p { "Served by instance " strong #instance { (instance) } }
            }
            section {
                h2 { "Data" }
                @if values.is_empty() {
                    p { "None." }
                } @else {
                    table #data { @for (name, value) in &values { tr { th { (name) } td { code { (value) } } } } }
                }
            }
            section {
                h2 { "Change it" }
                (action("/session/renew", "Renew", "New token, same session and data."))
                (action("/session/clear", "Clear", "Same session, no data."))
                (action("/session/regenerate", "Regenerate", "End this session and begin an empty one, with a new id."))
                (action("/logout", "Destroy", "End this session, as a logout does."))
            }
            p { a href="/" { "Back to the shop" } }
        },
    )
}

/// The page after a failed login.
pub(crate) fn login_failed(username: &str, count: u32) -> Markup {
    page(
        "Not logged in",
        html! {
            section {
                p.note.bad #login-error role="alert" { "Wrong name or password. Failed attempts: " strong #failed { (count) } }
                (login_form(username))
            }
            p { a href="/" { "Back to the shop" } }
        },
    )
}

/// The page instead of one that is for users.
pub(crate) fn login_required() -> Markup {
    page(
        "Please log in",
        html! {
            section { (login_form("")) }
            p { a href="/" { "Back to the shop" } }
        },
    )
}

/// The page for an invalid request.
pub(crate) fn rejected(rejection: &Rejection) -> Markup {
    page(
        rejection.status.canonical_reason().unwrap_or("Error"),
        html! {
            p { "Sorry: " (rejection.message) "." }
            p { a href="/" { "To the shop" } }
        },
    )
}

/// Makes the response to a session error.
pub(crate) fn session_error(error: &SessionError) -> Response<Bytes> {
    let mut response = error_response(error);
    let page = page(
        response.status().canonical_reason().unwrap_or("Error"),
        html! {
            p { (advice(error.kind())) }
            p { a href="/" { "To the shop" } " · " a href="/session" { "Your session" } }
        },
    );
    *response.body_mut() = page.into_string().into();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

fn advice(kind: SessionErrorKind) -> &'static str {
    match kind {
        SessionErrorKind::Unavailable
        | SessionErrorKind::Overloaded
        | SessionErrorKind::Contention => {
            "Your session cannot be reached at the moment. It is not lost: please try again."
        }
        SessionErrorKind::InDoubt => {
            "It is not known whether your last change was stored. Please check before you repeat \
             it."
        }
        SessionErrorKind::Gone | SessionErrorKind::Superseded | SessionErrorKind::Rejected(_) => {
            "Your session changed in another window, and your last change was not stored. Please \
             reload the page and try again."
        }
        SessionErrorKind::Decode => {
            "A value in your session is not of the expected type. The session page can clear it."
        }
        SessionErrorKind::LimitReached => {
            "You are logged in on as many devices as allowed. Please log out on one of them first."
        }
        SessionErrorKind::Unauthenticated => "You are not logged in.",
        SessionErrorKind::NotFresh => "Please confirm your password first.",
        SessionErrorKind::OutsidePath => {
            "This page is outside of the session cookie's path, so it has no session."
        }
        _ => "Your session could not be used.",
    }
}

fn login_form(username: &str) -> Markup {
    html! {
        form #login method="post" action="/login" {
            label { "Name" input name="username" value=(username) autocomplete="username" required; }
            label { "Password" input type="password" name="password" autocomplete="current-password" required; }
            label.tick { input type="checkbox" name="remember"; "Remember me for 30 days" }
            button { "Log in" }
        }
        p.hint { "Try " code { "ann" } " with " code { "correct horse" } ", or " code { "bob" } " with " code { "battery staple" } "." }
    }
}

/// Who is logged in, and the id, the age and the remaining life of the session.
fn facts(session: &Session) -> Markup {
    let now = SystemTime::now();
    let id = session.id().map(|id| id.to_string());
    let principal = session.principal();
    let created_at = session.created_at();
    let age = created_at
        .and_then(|at| now.duration_since(at).ok())
        .unwrap_or_default();
    let left = session
        .expires_at()
        .and_then(|at| at.duration_since(now).ok());
    html! {
        dl {
            dt { "Session" } dd { code #session-id { (id.unwrap_or_default()) } }
            dt { "Logged in" } dd #principal { (principal.as_deref().unwrap_or("nobody")) }
            dt { "New" } dd #is-new { (if session.is_new() { "yes" } else { "no" }) }
            @if let Some(at) = created_at {
                dt { "Created" }
                dd { (humantime::format_rfc3339_seconds(at)) ", " (format_duration(age)) " ago" }
            }
            dt { "Time left" } dd { (left.map_or("unlimited".into(), format_duration)) }
        }
    }
}

fn action(path: &str, label: &str, hint: &str) -> Markup {
    html! { form.action method="post" action=(path) { button { (label) } span.hint { (hint) } } }
}

/// The notice to a user that the session of the page has ended. It is hidden until then.
pub(crate) fn end_notice() -> Markup {
    html! {
        p.note.bad #ended role="alert" hidden {
            "You are no longer logged in: you have logged out elsewhere, or your session has "
            "expired. " a href="/" { "Log in again" }
        }
        script src="/session.js" defer {}
    }
}

/// A page of the site.
pub(crate) fn page(title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="stylesheet" href="/style.css";
                // keeps browsers from requesting an icon
                link rel="icon" href="data:,";
            }
            body { main { h1 { (title) } (content) } }
        }
    }
}

fn price(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Formats a duration in its two largest units.
pub(crate) fn format_duration(duration: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_escaped() {
        let page = login_failed("<script>\"", 1).into_string();
        assert!(
            !page.contains("<script>") && page.contains("&lt;script&gt;"),
            "{page}"
        );
    }

    #[test]
    fn durations_and_prices_are_formatted() {
        assert_eq!(format_duration(Duration::from_millis(1_799_900)), "29m 59s");
        assert_eq!(format_duration(Duration::from_secs(43_200)), "12h");
        assert_eq!(price(1250), "12.50");
        assert_eq!(price(5), "0.05");
    }
}
