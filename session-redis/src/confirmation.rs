//! A write that replicas confirm: the command and `WAIT`, in one pipeline.
//!
//! `WAIT` covers the writes of its own connection only, and blocks whatever is behind it. So both
//! are sent together on a connection that is not shared.

use std::time::Duration;

use redis::{Pipeline, Value};
use session_core::Replicas;

use crate::{
    batcher::ASKING,
    command::{Command, SendMode},
    failure::Failure,
    reply::{Values, take_replies},
};

/// The command that waits for replicas.
pub(crate) const WAIT: &str = "WAIT";

/// A command, and how long to wait for the replicas.
pub(crate) struct Confirmation {
    pub(crate) pipeline: Pipeline,
    /// How long to wait for all replies.
    pub(crate) limit: Duration,
}

impl Confirmation {
    /// The time that is left for the operation also limits how long replicas are waited for. `None`
    /// if there is none: what is sent would be in doubt at once.
    pub(crate) fn new(
        command: &Command<'_>,
        replicas: Replicas,
        mode: &SendMode,
        response_timeout: Duration,
        left: Duration,
    ) -> Option<Self> {
        if left.is_zero() {
            return None;
        }
        let mut pipeline = Pipeline::new();
        for command in command.commands(mode.script) {
            if mode.asking.is_some() {
                pipeline.cmd(ASKING);
            }
            pipeline.add_command(command);
        }
        let wait = replicas
            .max_wait()
            .min(left.saturating_sub(response_timeout));
        // zero is without a limit
        let wait = wait.max(Duration::from_millis(1));
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        pipeline.cmd(WAIT).arg(replicas.count()).arg(millis);
        Some(Self {
            pipeline,
            limit: response_timeout.saturating_add(wait).min(left),
        })
    }
}

/// Returns the replies to the command, and after them that to `WAIT`. An error in the place of the
/// latter does not undo the write.
pub(crate) fn take_confirmed(mut replies: Vec<Value>, asking: bool) -> Result<Values, Failure> {
    let count = replies.pop().ok_or_else(Failure::unexpected_reply)?;
    let step = if asking { 2 } else { 1 };
    let own = replies.into_iter().skip(step - 1).step_by(step).collect();
    let mut values = take_replies(own)?;
    if let Err(error) = count.clone().extract_error() {
        tracing::warn!(%error, "Redis does not tell how many replicas have a write");
    }
    values.push(count);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;
    use session_core::{Record, Version, Write};

    use super::*;
    use crate::{address::Address, command::Operation, script::ScriptForm};

    fn mode(asking: bool) -> SendMode {
        let to = Address {
            host: "h".to_owned(),
            port: 1,
        };
        SendMode {
            script: ScriptForm::Hash,
            asking: asking.then_some(to),
        }
    }

    fn sent(confirmation: &Confirmation) -> Vec<String> {
        let commands = confirmation.pipeline.cmd_iter();
        let words = commands.map(|command| {
            let packed = String::from_utf8(command.get_packed_command()).expect("text");
            let words = packed.split("\r\n");
            let words = words.filter(|word| !word.starts_with(['*', '$']) && !word.is_empty());
            words.collect::<Vec<_>>().join(" ")
        });
        words.collect()
    }

    const RESPONSE: Duration = Duration::from_millis(500);

    #[track_caller]
    fn assert_waits(wait_ms: u64, left_ms: u64, expected_ms: u64, limit_ms: u64) {
        let command = Command::new("k", Operation::Destroy { expected: None });
        let replicas = Replicas::new(2).timeout(Duration::from_millis(wait_ms));
        let left = Duration::from_millis(left_ms);
        let made = Confirmation::new(&command, replicas, &mode(false), RESPONSE, left);
        let made = made.expect("time is left");
        let wait = format!("WAIT 2 {expected_ms}");
        assert_eq!(sent(&made), ["UNLINK k", &wait]);
        assert_eq!(made.limit, Duration::from_millis(limit_ms));
    }

    #[test]
    fn replicas_are_waited_for_within_the_time_of_the_operation() {
        assert_waits(100, 2000, 100, 600);
        assert_waits(5000, 2000, 1500, 2000);
        assert_waits(100, 400, 1, 400);
        assert_waits(0, 2000, 1, 501);
        assert_waits(100, 500, 1, 500);
        assert_waits(100, 501, 1, 501);
        assert_waits(100, 502, 2, 502);
        assert_waits(100, 1, 1, 1);
    }

    #[test]
    fn nothing_is_sent_when_no_time_is_left_and_no_wait_is_without_a_limit() {
        let command = Command::new("k", Operation::Destroy { expected: None });
        let made = |wait, left| {
            let replicas = Replicas::new(1).timeout(wait);
            Confirmation::new(&command, replicas, &mode(false), RESPONSE, left)
        };
        let (none, short) = (Duration::ZERO, Duration::from_nanos(1));
        for wait in [none, short, Duration::MAX] {
            assert!(made(wait, none).is_none());
            for left in [short, RESPONSE, RESPONSE + short] {
                let made = made(wait, left).expect("time is left");
                assert_eq!(sent(&made)[1], "WAIT 1 1");
                assert!(made.limit <= left);
            }
        }
    }

    #[test]
    fn a_node_that_imports_the_slot_is_asked_for_the_command_only() {
        let record = Record::new(Version::from_bytes(*b"versionA"), "");
        let write = Write::new(&record, RESPONSE);
        let command = Command::new("k", Operation::Create(write));
        let replicas = Replicas::new(1);
        let made = Confirmation::new(&command, replicas, &mode(true), RESPONSE, 4 * RESPONSE);
        let sent = sent(&made.expect("time is left"));
        assert_eq!((&*sent[0], &*sent[2]), ("ASKING", "WAIT 1 100"));
        assert!(sent[1].starts_with("EVALSHA "), "{sent:?}");
    }

    #[test]
    fn an_error_of_the_command_counts_and_one_of_wait_does_not() {
        let error = || parse_redis_value(b"-NOPERM no\r\n").expect("a reply");
        let (ok, one) = (Value::Okay, Value::Int(1));
        let take = |replies: &[Value], asking| take_confirmed(replies.to_vec(), asking);
        let both = Values::from_iter([one.clone(), Value::Int(2)]);
        assert_eq!(take(&[one.clone(), Value::Int(2)], false), Ok(both.clone()));
        assert_eq!(
            take(&[ok.clone(), one.clone(), Value::Int(2)], true),
            Ok(both)
        );
        let applied = take(&[one.clone(), error()], false).expect("applied");
        assert_eq!(applied.len(), 2);
        assert_eq!(applied[0], one);
        for (replies, asking) in [
            (vec![error(), one.clone()], false),
            (vec![ok, error(), one], true),
        ] {
            let failed = take(&replies, asking);
            assert!(matches!(failed, Err(Failure::Server(_))), "{failed:?}");
        }
        assert_eq!(take(&[], false), Err(Failure::unexpected_reply()));
    }
}
