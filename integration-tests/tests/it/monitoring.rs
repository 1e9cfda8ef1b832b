//! What operators see: the files in deploy/ match what the code emits, an outage does not flood the
//! log, and an instance that starts during one says so.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::service::{Service, service_fn};
use integration_tests::LogBuffer;
use session_core::{
    SessionError, Store, StoreErrorKind,
    testing::{Call, TestStore},
};
use session_hyper::{SessionRequestExt, SessionService, store};
use test_support::{Browser, Demo, Redis, eventually, port, recorder::Recorded};

use crate::visit::{request, sessions, visit};

const KEYS: &str = "a signing key of at least 32 bytes";

async fn load(request: Request<String>) -> Result<Response<String>, SessionError> {
    request.session().load().await?;
    Ok(Response::new(String::new()))
}

/// Everything that sessions and the Redis store report, without a server.
async fn emitted() -> Recorded {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let service = SessionService::new(sessions(&TestStore::default()), service_fn(load));
    let response = service.call(Request::new(String::new())).await;
    assert!(response.is_ok());
    for scheme in ["redis", "redis+cluster"] {
        let url = format!("{scheme}://127.0.0.1:{}", port::free());
        assert!(!store::lazy(&url).expect("a URL").health().await.ready);
    }
    recorded.clone()
}

/// What is emitted or may be: retries need a server.
fn known(recorded: &Recorded) -> BTreeSet<String> {
    &recorded.described() | &recorded.emitted()
}

fn deployed(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    fs::read_to_string(path.join(name)).expect("a file")
}

/// A metric as a query names it, and the labels that it must have, as `key=value`.
#[derive(Debug, PartialEq)]
struct Selector {
    name: String,
    labels: Vec<String>,
}

/// Finds the metrics of sessions in queries.
fn selectors(text: &str) -> Vec<Selector> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    text.match_indices("session_")
        .filter(|(at, _)| !text[..*at].ends_with(is_name))
        .map(|(at, _)| {
            let rest = &text[at..];
            let (name, rest) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
            let of_histogram = ["_bucket", "_sum", "_count"];
            let suffix = of_histogram
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix));
            let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let labels = braces.map_or("", |(labels, _)| labels).split(',');
            let equal = labels.filter_map(|label| label.split_once("=\""));
            let equal = equal.filter(|(key, _)| !key.ends_with('!'));
            let equal = equal.map(|(key, value)| format!("{key}={}", value.trim_matches('"')));
            Selector {
                name: suffix.unwrap_or(name).to_owned(),
                labels: equal.collect(),
            }
        })
        .collect()
}

#[test]
fn metrics_are_found_in_queries() {
    let selector = |name: &str, labels: &[&str]| Selector {
        name: name.to_owned(),
        labels: labels.iter().map(ToString::to_string).collect(),
    };
    let text = r#"rate(session_a_bucket{job=~"x|y",result="ok"}[5m]) / my_session_x + session_b"#;
    let expected = [
        selector("session_a", &["result=ok"]),
        selector("session_b", &[]),
    ];
    assert_eq!(selectors(text), expected);
}

#[track_caller]
fn assert_emitted(file: &str, found: &[Selector], recorded: &Recorded) -> BTreeSet<String> {
    let known = known(recorded);
    for Selector { name, labels } in found {
        assert!(known.contains(name), "{file}: nothing emits {name}");
        let is_emitted = |label: &&str| recorded.has_label(name, label);
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        // the outcomes of requests depend on the requests
        if name != "session_commits_total" {
            let missing: Vec<_> = labels.iter().filter(|label| !is_emitted(label)).collect();
            assert!(
                missing.is_empty(),
                "{file}: {name} has no labels {missing:?}"
            );
        }
    }
    found.iter().map(|selector| selector.name.clone()).collect()
}

#[tokio::test]
async fn the_dashboard_shows_every_metric_and_no_other() {
    let recorded = emitted().await;
    let board: serde_json::Value =
        serde_json::from_str(&deployed("grafana.json")).expect("valid JSON");
    let panels = board["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<_> = targets.flatten().map(|target| &target["expr"]).collect();
    assert!(queries.iter().all(|query| query.is_string()), "{queries:?}");
    let queries: Vec<_> = queries.iter().filter_map(|query| query.as_str()).collect();
    // `$job` is a variable of the dashboard
    let found = selectors(&queries.join("\n"));
    let shown = assert_emitted("grafana.json", &found, &recorded);
    assert_eq!(shown, known(&recorded));
}

#[tokio::test]
async fn alerts_use_metrics_that_exist_and_none_of_the_main_ones_is_without_an_alert() {
    let recorded = emitted().await;
    let found = selectors(&deployed("alerts.yml"));
    let used = assert_emitted("alerts.yml", &found, &recorded);
    for main in [
        "session_commits_total",
        "session_redis_breaker_openings_total",
        "session_redis_connections",
        "session_redis_map_refreshes_total",
        "session_redis_operation_duration_seconds",
        "session_redis_overloads_total",
        "session_redis_timeouts_total",
    ] {
        assert!(used.contains(main), "no alert on {main}");
    }
}

/// The tables of docs/OPERATIONS.md and of session-redis.
#[tokio::test]
async fn every_metric_is_documented() {
    let known = known(&emitted().await);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    for (file, skipped) in [
        ("docs/OPERATIONS.md", ""),
        ("session-redis/src/lib.rs", "session_commits_total"),
    ] {
        let text = fs::read_to_string(root.join(file)).expect("a file");
        for name in known.iter().filter(|name| *name != skipped) {
            assert!(text.contains(&format!("`{name}`")), "{file} lacks {name}");
        }
    }
}

/// Every request of an outage fails with the same error. The static limit is shared with tests that
/// run at the same time, so the lines of this one are at most so many.
#[tokio::test]
async fn an_outage_writes_a_line_a_second_and_every_error_at_debug_level() {
    const REQUESTS: usize = 500;
    let store = TestStore::default();
    let sessions = sessions(&store);
    let mut browser = Browser::new();
    visit(&sessions, &mut browser, |session| session.insert("a", &1)).await;
    let service = SessionService::new(sessions, service_fn(load));
    let fail = async || {
        store.fail(Call::Load, StoreErrorKind::Unavailable);
        let response = service
            .call(request(&browser).map(|()| String::new()))
            .await;
        let status = response.expect("answered").status();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    };
    let log = LogBuffer::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let started_at = std::time::Instant::now();
    for _ in 0..REQUESTS {
        fail().await;
    }
    let seconds = started_at.elapsed().as_secs() as usize;
    let lines = |level: &str| {
        let text = log.text();
        let lines = text.lines().filter(|line| line.contains("session error"));
        lines.filter(|line| line.contains(level)).count()
    };
    assert_eq!(lines("ERROR") + lines("DEBUG"), REQUESTS);
    assert!(lines("ERROR") <= seconds + 1, "{}", log.text());
    eventually("a line says how many were suppressed", async || {
        fail().await;
        let text = log.text();
        let mut errors = text.lines().filter(|line| line.contains("ERROR"));
        errors.any(|line| line.contains("suppressed=") && !line.contains("suppressed=0"))
    })
    .await;
}

#[tokio::test]
async fn an_instance_starts_without_redis_and_becomes_ready_when_redis_does() {
    let server = Redis::start();
    server.kill();
    let program = env!("CARGO_BIN_EXE_instance");
    let demo = Demo::start(program, "one", &server.url(), KEYS);
    let mut browser = Browser::new();
    let mut get = async |path: &str| {
        let response = browser.get(demo.addr(), path).await;
        (response.status(), response.into_body())
    };
    let not_ready = (StatusCode::SERVICE_UNAVAILABLE, "not ready".to_owned());
    assert_eq!(get("/readyz").await, not_ready);
    assert_eq!(get("/healthz").await, (StatusCode::OK, "ok".to_owned()));
    assert_eq!(get("/style.css").await.0, StatusCode::OK);
    // a visitor without a cookie begins a session, which cannot be stored
    assert_eq!(get("/").await.0, StatusCode::SERVICE_UNAVAILABLE);

    server.restart();
    eventually("it is ready", async || {
        get("/readyz").await == (StatusCode::OK, "ready".to_owned())
    })
    .await;
    assert_eq!(get("/").await.0, StatusCode::OK);

    server.pause();
    tokio::time::timeout(Duration::from_secs(3), async {
        assert_eq!(get("/readyz").await, not_ready);
    })
    .await
    .expect("a probe of a server that hangs ends in time");
    assert_eq!(get("/healthz").await.0, StatusCode::OK);
}
