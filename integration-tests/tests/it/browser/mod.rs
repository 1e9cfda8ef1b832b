//! The demo in a real browser, for what only a browser does with cookies, its history and forms.
//!
//! Headless Chromium is driven through chromedriver. The test fails if they are not installed.
//! Their Debian packages are `chromium` and `chromium-driver`.

mod devices;
mod ended;

use std::{
    net::SocketAddr,
    panic,
    time::{Duration, SystemTime},
};

use cookie::{Cookie, SameSite};
use demo::options::Options;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use test_support::ChromeDriver;
use tokio::{net::TcpListener, time};

/// Fails a test that waits longer for one change of the page.
const PATIENCE: Duration = Duration::from_secs(10);
/// Fails a test that takes longer in all.
const LIMIT: Duration = Duration::from_secs(50);
const DAY: u64 = 24 * 3600;

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_in_and_out() {
    let site = start_demo(&[]).await;
    visit(site, |visitor| async move {
        let anonymous = visitor.counts_visits().await;
        let ann = visitor.logs_in(anonymous).await;
        visitor.fills_the_cart().await;
        visitor.logs_out(ann).await;
        visitor.goes_back().await;
        visitor.is_remembered().await;
        visitor.is_not_fooled_by_another_site().await;
    })
    .await;
}

/// Opens a browser for a visitor of this site.
async fn visit<J: Future<Output = ()> + Send + 'static>(
    site: SocketAddr,
    journey: impl FnOnce(Visitor) -> J,
) {
    let driver = ChromeDriver::start();
    let client = open_browser(&driver).await;
    let visitor = Visitor {
        client: client.clone(),
        site: format!("http://{site}"),
    };
    // in a task of its own, so that the browser is closed also if it panics
    let journey = tokio::spawn(journey(visitor));
    let abort = journey.abort_handle();
    let journey = time::timeout(LIMIT, journey).await;
    abort.abort();
    client.close().await.expect("the browser closes");
    drop(driver);
    match journey.expect("the test ends in time") {
        Ok(()) => {}
        Err(failed) => panic::resume_unwind(failed.into_panic()),
    }
}

/// What a visitor does in the browser.
struct Visitor {
    client: Client,
    site: String,
}

impl Visitor {
    async fn counts_visits(&self) -> Cookie<'static> {
        self.goto("/").await;
        self.shows("#views", "1").await;
        let cookie = self.cookie().await.expect("a session cookie");
        self.client.refresh().await.expect("reloads");
        self.shows("#views", "2").await;

        assert_eq!(cookie.http_only(), Some(true));
        assert_eq!(cookie.secure(), Some(false), "http");
        assert_eq!(cookie.same_site(), Some(SameSite::Lax));
        assert_eq!(cookie.path(), Some("/"));
        assert_eq!(cookie.domain(), Some("127.0.0.1"));
        assert_eq!(cookie.expires(), None, "it ends with the browser");
        let seen = self
            .client
            .execute("return document.cookie", vec![])
            .await
            .expect("runs");
        assert_eq!(seen, json!(""), "scripts do not see it");
        cookie
    }

    async fn logs_in(&self, anonymous: Cookie<'static>) -> Cookie<'static> {
        let id = self.text("#session-id").await;
        self.submit_login("ann", "incorrect horse", false).await;
        self.shows("#failed", "1").await;
        assert_eq!(
            self.cookie().await.expect("cookie").value(),
            anonymous.value(),
            "nothing has changed"
        );
        self.submit_login("ann", "correct horse", false).await;
        self.shows("#user", "ann").await;

        let ann = self.cookie().await.expect("cookie");
        assert_ne!(ann.value(), anonymous.value(), "a login renews the token");
        assert_eq!(ann.expires(), None);
        assert_eq!(
            self.text("#session-id").await,
            id,
            "the login keeps the session"
        );
        ann
    }

    async fn fills_the_cart(&self) {
        self.click("button[value=tea]").await;
        self.eventually("the cart shows tea", || async {
            self.text("#cart")
                .await
                .is_some_and(|cart| cart.contains("Green tea"))
        })
        .await;
    }

    async fn logs_out(&self, ann: Cookie<'static>) {
        let id = self.text("#session-id").await;
        self.click("#logout").await;
        self.eventually("the message after the logout is shown", || async {
            self.text("#goodbye").await.is_some()
        })
        .await;
        self.is_anonymous().await;
        assert_ne!(
            self.text("#session-id").await,
            id,
            "the old session is not opened again"
        );
        let left = self.cookie().await;
        assert!(
            left.is_none_or(|left| left.value() != ann.value()),
            "the old cookie is gone"
        );
    }

    /// The page before the logout is not cached, so the browser requests it again.
    async fn goes_back(&self) {
        self.client.back().await.expect("goes back");
        let url = format!("{}/", self.site);
        self.eventually("the page before the logout is back", || async {
            self.client
                .current_url()
                .await
                .is_ok_and(|current| current.as_str() == url)
                && self.text("#views").await.is_some()
        })
        .await;
        self.is_anonymous().await;
    }

    async fn is_remembered(&self) {
        self.goto("/").await;
        self.submit_login("bob", "battery staple", true).await;
        self.shows("#user", "bob").await;
        let cookie = self.cookie().await.expect("cookie");
        let expires_at = cookie
            .expires_datetime()
            .expect("it is persistent")
            .unix_timestamp();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("clock")
            .as_secs();
        let left = u64::try_from(expires_at).expect("after 1970") - now;
        // until the absolute timeout of a login that is remembered
        assert!(
            (90 * DAY - 120..=90 * DAY + 1).contains(&left),
            "{left} seconds are left"
        );
        assert_eq!(cookie.http_only(), Some(true));
    }

    async fn is_not_fooled_by_another_site(&self) {
        let forged = format!(
            "data:text/html,<form method=post action={}/logout><button>Win a prize</button></form>",
            self.site
        );
        self.client.goto(&forged).await.expect("opens");
        self.click("button").await;
        self.shows("h1", "Forbidden").await;
        self.goto("/").await;
        self.shows("#user", "bob").await;
    }

    async fn is_anonymous(&self) {
        for (selector, present) in [
            ("#login", true),
            ("#cart-empty", true),
            ("#user", false),
            ("#cart", false),
        ] {
            assert_eq!(self.text(selector).await.is_some(), present, "{selector}");
        }
    }

    async fn submit(&self, form: &str, name: &str, value: &str) {
        let fields = self.client.form(Locator::Css(form)).await.expect(form);
        fields.set_by_name(name, value).await.expect("types");
        self.click(&format!("{form} button")).await;
    }

    async fn submit_login(&self, username: &str, password: &str, remember: bool) {
        let form = self
            .client
            .form(Locator::Css("#login"))
            .await
            .expect("the login form");
        form.set_by_name("username", username).await.expect("types");
        form.set_by_name("password", password).await.expect("types");
        if remember {
            self.click("#login [name=remember]").await;
        }
        self.click("#login button").await;
    }

    async fn goto(&self, path: &str) {
        self.client
            .goto(&format!("{}{path}", self.site))
            .await
            .expect("opens");
    }

    async fn click(&self, selector: &str) {
        let element = self
            .client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css(selector))
            .await
            .expect(selector);
        element.click().await.expect("clicks");
    }

    async fn cookie(&self) -> Option<Cookie<'static>> {
        let cookies = self.client.get_all_cookies().await.expect("cookies");
        cookies.into_iter().find(|cookie| cookie.name() == "id")
    }

    /// The text of an element; `None` if the page has no such element, or is being replaced.
    async fn text(&self, selector: &str) -> Option<String> {
        let script = "return document.querySelector(arguments[0])?.textContent ?? null";
        self.client
            .execute(script, vec![json!(selector)])
            .await
            .ok()?
            .as_str()
            .map(str::to_owned)
    }

    async fn shows(&self, selector: &str, expected: &str) {
        self.eventually(&format!("{selector} shows {expected}"), || async {
            self.text(selector).await.as_deref() == Some(expected)
        })
        .await;
    }

    async fn eventually<C: Future<Output = bool>>(&self, what: &str, condition: impl Fn() -> C) {
        let shown = time::timeout(PATIENCE, async {
            while !condition().await {
                time::sleep(Duration::from_millis(20)).await;
            }
        });
        if shown.await.is_err() {
            panic!(
                "not within {PATIENCE:?}: {what}; the page is\n{}",
                self.client.source().await.unwrap_or_default()
            );
        }
    }
}

async fn open_browser(driver: &ChromeDriver) -> Client {
    let mut builder = ClientBuilder::new(HttpConnector::new());
    let connecting = builder
        .capabilities(driver.capabilities())
        .connect(driver.url());
    time::timeout(PATIENCE * 3, connecting)
        .await
        .expect("the browser opens in time")
        .expect("the browser opens")
}

async fn start_demo(flags: &[&str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("address");
    let flags = [&["--instance", "browser-test", "--store", "memory:"], flags].concat();
    let options = Options::from_arguments(flags).expect("flags");
    tokio::spawn(async move { demo::serve(listener, options).await.expect("serves") });
    address
}
