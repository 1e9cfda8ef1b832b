//! The sessions of a user, begun on one instance and ended on another.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use test_support::{Browser, Redis};

use super::{NAMES, Site, log_in, send, session};

fn json_of(response: &Response<String>) -> Value {
    serde_json::from_str(response.body()).expect("JSON")
}

/// Whether ann is logged in, as every instance says.
async fn is_logged_in(site: &Site, browser: &mut Browser) -> bool {
    let mut seen = Vec::new();
    for instance in &site.instances {
        let shown = session(browser, instance.addr()).await;
        assert_eq!(shown["instance"], instance.name());
        seen.push(shown["principal"] == "ann");
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    seen[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_began_on_one_instance_are_ended_on_another() {
    let site = Site::start(Redis::start());
    let addr = |number: usize| site.instances[number].addr();
    let mut browsers = [(); NAMES.len()].map(|()| Browser::new());
    for (number, browser) in browsers.iter_mut().enumerate() {
        log_in(browser, addr(number)).await;
    }
    let mut ids = Vec::new();
    for browser in &mut browsers {
        ids.push(session(browser, addr(0)).await["id"].clone());
        assert!(is_logged_in(&site, browser).await);
    }
    let [first, second, third] = &mut browsers;
    let listed = json_of(&first.get(addr(1), "/api/sessions").await);
    let listed = listed.as_array().expect("a list");
    let listed_ids: Vec<_> = listed.iter().map(|listed| &listed["id"]).collect();
    assert_eq!(listed_ids, ids.iter().collect::<Vec<_>>());

    let path = format!("/api/sessions/{}", ids[1].as_str().expect("an id"));
    let response = send(first, addr(2), Method::DELETE, &path, "").await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(!is_logged_in(&site, second).await);
    assert!(is_logged_in(&site, third).await);

    log_in(second, addr(1)).await;
    let others = "/api/logout-others";
    let response = send(first, addr(0), Method::POST, others, "").await;
    assert_eq!(json_of(&response), json!({"ended": 2}));
    for ended in [&mut *second, &mut *third] {
        assert!(!is_logged_in(&site, ended).await);
    }
    assert!(is_logged_in(&site, first).await);

    log_in(second, addr(2)).await;
    let everywhere = "/api/logout-everywhere";
    let response = send(first, addr(1), Method::POST, everywhere, "").await;
    assert_eq!(json_of(&response), json!({"ended": 2}));
    for ended in [first, second] {
        assert!(!is_logged_in(&site, ended).await);
    }
}
