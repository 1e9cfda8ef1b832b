//! Connections that break under an operation: what is sent again, and what is in doubt.

use session_core::StoreErrorKind::{self, Timeout, Unavailable};
use session_redis::{RedisConfig, RedisStore};
use test_support::FakeRedis;

use crate::{Operation, assert_fails};

/// Closes the connection instead of replying.
const LOST: &str = "";
const APPLIED: &str = ":1\r\n";
const ABSENT: &str = ":0\r\n";
const OTHER_VERSION: &str = "*2\r\n$13\r\n\x02versionBbody\r\n:1000\r\n";
const NOT_A_RECORD: &str = "*2\r\n$6\r\nothers\r\n:1000\r\n";

fn lazy(fake: &FakeRedis) -> RedisStore {
    let options = "connections=1&breaker_failures=100";
    let config = RedisConfig::from_url(&format!("redis://{}?{options}", fake.addr()));
    RedisStore::lazy(config.expect("a URL")).expect("a store")
}

/// Runs an operation against these replies, and asserts its answer and the number of commands.
async fn assert_answer(operation: Operation, replies: &[&str], answer: &str, commands: usize) {
    let fake = FakeRedis::with_replies(replies).await;
    let result = operation.run(&lazy(&fake)).await;
    let context = format!("{operation:?} with {replies:?}");
    assert_eq!(result.expect(&context), answer, "{context}");
    assert_eq!(fake.commands(), commands, "{context}");
}

async fn assert_error(
    operation: Operation,
    replies: &[&str],
    kind: StoreErrorKind,
    commands: usize,
) -> String {
    let fake = FakeRedis::with_replies(replies).await;
    let result = operation.run(&lazy(&fake)).await;
    let context = format!("{operation:?} with {replies:?}");
    let error = result.expect_err(&context);
    assert_eq!(error.kind(), kind, "{context}");
    assert_eq!(fake.commands(), commands, "{context}");
    assert_fails::<()>(Err(error), kind)
}

#[tokio::test]
async fn a_create_is_never_sent_twice() {
    let cause = assert_error(Operation::Create, &[LOST, APPLIED], Timeout, 1).await;
    assert!(
        cause.ends_with("the write may have been applied"),
        "{cause}"
    );
}

#[tokio::test]
async fn a_create_whose_script_is_unknown_is_sent_as_source() {
    let unknown = "-NOSCRIPT No matching script.\r\n";
    assert_answer(Operation::Create, &[unknown, APPLIED], "Created", 2).await;
    assert_error(Operation::Create, &[unknown, LOST, APPLIED], Timeout, 2).await;
}

#[tokio::test]
async fn a_load_is_repeated_once() {
    let absent = ["_\r\n", ":-2\r\n"];
    let replies = [&[LOST][..], &absent].concat();
    assert_answer(Operation::Load, &replies, "None", 3).await;
    let cause = assert_error(Operation::Load, &[LOST, LOST], Unavailable, 2).await;
    assert!(cause.starts_with("connection to Redis failed"), "{cause}");
}

#[tokio::test]
async fn a_save_is_repeated_once_and_a_foreign_version_leaves_it_in_doubt() {
    let save = Operation::Save;
    assert_answer(save, &[LOST, APPLIED], "Saved", 2).await;
    assert_answer(save, &[LOST, ABSENT], "Gone", 2).await;
    assert_answer(save, &[OTHER_VERSION], "Conflict", 1).await;
    let cause = assert_error(save, &[LOST, OTHER_VERSION], Timeout, 2).await;
    assert!(cause.contains("another write followed"), "{cause}");
    assert_error(save, &[LOST, NOT_A_RECORD], Timeout, 2).await;
}

#[tokio::test]
async fn a_touch_is_repeated_once_and_its_second_answer_holds() {
    let touch = Operation::Touch;
    assert_answer(touch, &[LOST, APPLIED], "Touched", 2).await;
    assert_answer(touch, &[LOST, ABSENT], "Gone", 2).await;
    assert_answer(touch, &[LOST, OTHER_VERSION], "Conflict", 2).await;
}

#[tokio::test]
async fn a_conditional_destroy_that_finds_nothing_the_second_time_is_in_doubt() {
    let destroy = Operation::DestroyExpected;
    assert_answer(destroy, &[LOST, APPLIED], "Destroyed", 2).await;
    assert_answer(destroy, &[LOST, OTHER_VERSION], "Conflict", 2).await;
    assert_answer(destroy, &[ABSENT], "Gone", 1).await;
    let cause = assert_error(destroy, &[LOST, ABSENT], Timeout, 2).await;
    assert!(cause.contains("the record is absent now"), "{cause}");
}

#[tokio::test]
async fn an_unconditional_destroy_is_repeated_once() {
    assert_answer(Operation::Destroy, &[LOST, APPLIED], "Destroyed", 2).await;
    assert_answer(Operation::Destroy, &[LOST, ABSENT], "Destroyed", 2).await;
}

#[tokio::test]
async fn every_write_that_fails_after_a_lost_reply_is_in_doubt() {
    for operation in [
        Operation::Save,
        Operation::Touch,
        Operation::Destroy,
        Operation::DestroyExpected,
    ] {
        for second in [
            LOST,
            "-OOM command not allowed\r\n",
            "-READONLY You can't write against a read only replica.\r\n",
            "-LOADING Redis is loading the dataset in memory\r\n",
            "-NOPERM this user has no permissions\r\n",
            "-MOVED 1 127.0.0.1:1\r\n",
            "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
            "+what\r\n",
        ] {
            assert_error(operation, &[LOST, second], Timeout, 2).await;
        }
    }
}

#[tokio::test]
async fn an_unexpected_reply_leaves_every_write_in_doubt() {
    for operation in Operation::ALL {
        let kind = match operation {
            Operation::Load => Unavailable,
            _ => Timeout,
        };
        for reply in ["+what\r\n", ":7\r\n", "*0\r\n"] {
            let fake = FakeRedis::with_reply(reply).await;
            let cause = assert_fails(operation.run(&lazy(&fake)).await, kind);
            assert!(cause.contains("unexpected reply"), "{cause}");
        }
    }
}
