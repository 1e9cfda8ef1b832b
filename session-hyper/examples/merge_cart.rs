//! A visitor fills a cart, logs in, and finds the cart of the last visit merged with it.
//!
//! ```text
//! cargo run -p session-hyper --example merge_cart --features axum -- 3000
//!
//! curl -b jar -c jar --data 'product=tea' localhost:3000/cart    # {"tea":1}
//! curl -b jar -c jar --data 'user=ann' localhost:3000/login      # {"tea":1}
//! curl -b phone -c phone --data 'product=mug' localhost:3000/cart
//! curl -b phone -c phone --data 'user=ann' localhost:3000/login  # {"mug":1,"tea":1}
//!
//! cargo test -p session-hyper --example merge_cart --features axum
//! ```
//!
//! The data of an anonymous session survives `log_in`, so a cart that exists in sessions alone
//! needs none of this. Here the service also keeps the cart of a user beyond a session, in a
//! database. How to merge is a rule of the application: this one takes the larger count of each
//! product, so that a login that is sent twice, or that comes back to the same cart, adds nothing.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Form, Json, Router, extract::State, routing::post};
use serde::Deserialize;
use session_hyper::{
    Key, MemoryStore, SessionLayer, Sessions, SigningKeys,
    axum::{Session, SessionRejection},
};
use tokio::net::TcpListener;

/// How many of each product.
type Cart = BTreeMap<String, u32>;

const CART: Key<Cart> = Key::new("cart");

/// The carts of users, in the place of a database.
#[derive(Clone, Default)]
struct Carts(Arc<Mutex<HashMap<String, Cart>>>);

impl Carts {
    /// Merges a cart with that of the user, and returns the result.
    fn merge(&self, user: &str, cart: &Cart) -> Cart {
        let mut carts = self.lock();
        let stored = carts.entry(user.to_owned()).or_default();
        *stored = merge(stored, cart);
        stored.clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Cart>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The larger count of each product. The result does not depend on the order or the number of
/// merges.
fn merge(stored: &Cart, other: &Cart) -> Cart {
    let mut merged = stored.clone();
    for (product, &count) in other {
        let merged = merged.entry(product.clone()).or_default();
        *merged = count.max(*merged);
    }
    merged
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(3000), |port| port.parse())?;
    let sessions = Sessions::builder(MemoryStore::new())
        .signing_keys(SigningKeys::random()?)
        .build()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(sessions, Carts::default())).await?;
    Ok(())
}

fn app(sessions: Sessions, carts: Carts) -> Router {
    Router::new()
        .route("/cart", post(add))
        .route("/login", post(log_in))
        .layer(SessionLayer::new(sessions))
        .with_state(carts)
}

#[derive(Deserialize)]
struct Add {
    product: String,
}

async fn add(
    State(carts): State<Carts>,
    session: Session,
    Form(Add { product }): Form<Add>,
) -> Result<Json<Cart>, SessionRejection> {
    let cart = session.update(CART, move |cart| {
        let mut cart = cart.unwrap_or_default();
        *cart.entry(product.clone()).or_default() += 1;
        cart
    })?;
    if let Some(user) = session.principal() {
        carts.merge(&user, &cart);
    }
    Ok(Json(cart))
}

#[derive(Deserialize)]
struct Login {
    user: String,
}

/// A real service checks a password first.
async fn log_in(
    State(carts): State<Carts>,
    session: Session,
    Form(Login { user }): Form<Login>,
) -> Result<Json<Cart>, SessionRejection> {
    // an anonymous session keeps its cart; if somebody else was logged in, this one is empty
    session.log_in(&user)?;
    let stored = carts.merge(&user, &session.get(CART)?.unwrap_or_default());
    // `update` and not `insert`: a request of another tab may add to the cart at this moment
    let cart = session.update(CART, move |cart| merge(&stored, &cart.unwrap_or_default()))?;
    Ok(Json(cart))
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, header},
    };
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    struct Test(Router);

    impl Test {
        fn new() -> Self {
            let sessions = Sessions::builder(MemoryStore::new())
                .signing_keys(SigningKeys::random().expect("entropy"))
                .build()
                .expect("valid options");
            Self(app(sessions, Carts::default()))
        }

        /// Sends a form with a cookie, and keeps the one that the response sets. Returns the cart.
        async fn send(&self, cookie: &mut String, path: &str, form: &str) -> String {
            let request = Request::post(path)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::COOKIE, cookie.as_str())
                .body(Body::from(form.to_owned()))
                .expect("a request");
            let response = self.0.clone().oneshot(request).await.expect("infallible");
            let (head, body) = response.into_parts();
            if let Some(set) = head.headers.get(header::SET_COOKIE) {
                let pair = set.to_str().expect("ascii").split(';').next();
                *cookie = pair.expect("a cookie").to_owned();
            }
            let body = body.collect().await.expect("a body").to_bytes();
            String::from_utf8(body.to_vec()).expect("text")
        }
    }

    #[tokio::test]
    async fn an_anonymous_cart_is_merged_with_the_stored_one() {
        let test = Test::new();
        let (mut laptop, mut phone) = (String::new(), String::new());
        test.send(&mut laptop, "/cart", "product=tea").await;
        let cart = test.send(&mut laptop, "/login", "user=ann").await;
        assert_eq!(cart, r#"{"tea":1}"#);
        test.send(&mut laptop, "/cart", "product=tea").await;

        for product in ["tea", "mug"] {
            let form = format!("product={product}");
            test.send(&mut phone, "/cart", &form).await;
        }
        let merged = r#"{"mug":1,"tea":2}"#;
        assert_eq!(test.send(&mut phone, "/login", "user=ann").await, merged);
        // sent twice, it adds nothing
        assert_eq!(test.send(&mut phone, "/login", "user=ann").await, merged);
    }

    #[tokio::test]
    async fn the_cart_of_one_user_is_not_given_to_another() {
        let test = Test::new();
        let mut browser = String::new();
        test.send(&mut browser, "/cart", "product=tea").await;
        test.send(&mut browser, "/login", "user=ann").await;
        let cart = test.send(&mut browser, "/login", "user=bob").await;
        assert_eq!(cart, "{}");
    }
}
