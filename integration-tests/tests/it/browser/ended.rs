//! The page of a user whose session another browser ends.

use fantoccini::Client;
use serde_json::Value;

use super::{devices::Other, start_demo, visit};

const STREAM_IS_OPEN: &str = "return events?.readyState === EventSource.OPEN";
const NOTICE_IS_SHOWN: &str = "return document.querySelector('#ended')?.hidden === false";
/// The page asks for the status only if the stream was refused.
const STATUS_REQUESTS: &str = "return performance.getEntriesByType('resource')\
                               .filter(entry => entry.initiatorType === 'fetch').length";

async fn run(client: &Client, script: &str) -> Option<Value> {
    client.execute(script, vec![]).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_that_another_browser_has_ended_its_session() {
    let site = start_demo(&["--near-cache", "1MiB"]).await;
    visit(site, |visitor| async move {
        visitor.goto("/").await;
        assert_eq!(visitor.text("#ended").await, None, "nobody is logged in");
        visitor.submit_login("ann", "correct horse", false).await;
        visitor.shows("#user", "ann").await;
        let client = &visitor.client;
        visitor
            .eventually("the stream is open", || async {
                run(client, STREAM_IS_OPEN).await == Some(true.into())
            })
            .await;
        assert_eq!(run(client, NOTICE_IS_SHOWN).await, Some(false.into()));
        let views = visitor.text("#views").await;
        run(client, "window.isSamePage = true").await;

        let id = visitor.text("#session-id").await.expect("an id");
        Other::log_in(site).await.end(&id).await;
        visitor
            .eventually("the notice is shown", || async {
                run(client, NOTICE_IS_SHOWN).await == Some(true.into())
            })
            .await;
        let is_same_page = run(client, "return window.isSamePage").await;
        assert_eq!(is_same_page, Some(true.into()), "it was not loaded again");
        assert_eq!(visitor.text("#views").await, views);
        assert_eq!(run(client, STATUS_REQUESTS).await, Some(0.into()));

        visitor.click("#ended a").await;
        visitor.submit_login("ann", "correct horse", false).await;
        visitor.shows("#user", "ann").await;
        assert_eq!(run(client, NOTICE_IS_SHOWN).await, Some(false.into()));
    })
    .await;
}
