//! Whether an operation is sent again, and what is in doubt by then.
//!
//! A broken connection is followed by one more attempt, a missed deadline by none: a server that
//! hangs needs no second request. A create is not sent again if it may have been applied. What
//! proves that nothing was applied is no attempt that counts: a connection that was closed before
//! is skipped, a script is sent as source, and redirections of a cluster are followed up to
//! [`MAX_REDIRECTIONS`] times.
//!
//! An attempt that arrives late, after a later one was answered, changes nothing: the version that
//! a save or a conditional destroy expects is gone, and ids are not used twice.

use std::time::Duration;

use crate::{
    address::Address,
    backoff::exponential,
    command::{Command, SendMode},
    failure::{Failure, RetryAction},
    script::ScriptForm,
};

/// How often a cluster may redirect an operation, with pauses from [`FIRST_PAUSE`] that double:
/// 0.3 s in all.
const MAX_REDIRECTIONS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// What the attempts to carry out one operation have led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempts {
    writes: bool,
    repeatable: bool,
    in_doubt: bool,
    retried: bool,
    redirections: u32,
    mode: SendMode,
}

/// What a failed attempt was sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One server. `replaced` says that the connection is no longer used.
    Server { replaced: bool },
    /// This node of a cluster.
    ClusterNode(Address),
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GiveUp,
    Retry,
    /// Retry after this pause, before jitter.
    RetryAfter(Duration),
}

impl Attempts {
    pub(crate) fn new(command: &Command<'_>) -> Self {
        Self {
            writes: command.writes(),
            repeatable: command.is_repeatable(),
            in_doubt: false,
            retried: false,
            redirections: 0,
            mode: SendMode::default(),
        }
    }

    /// How to send the next attempt.
    pub(crate) fn mode(&self) -> &SendMode {
        &self.mode
    }

    /// Whether a write may have been applied.
    pub(crate) fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Adds a failed attempt.
    pub(crate) fn after(mut self, failure: &Failure, target: &Target) -> (Self, Next) {
        self.in_doubt |= self.writes && failure.may_be_applied();
        let next = match (failure.retry_action(), target) {
            (RetryAction::GiveUp | RetryAction::SuspectPrimary, _) => Next::GiveUp,
            (RetryAction::NextConnection, _) => Next::Retry,
            (RetryAction::Reconnect, _) if !self.repeatable => Next::GiveUp,
            (RetryAction::Reconnect, _) => self.retry_once(),
            (RetryAction::SendSource, _) => {
                match std::mem::replace(&mut self.mode.script, ScriptForm::Source) {
                    ScriptForm::Hash => Next::Retry,
                    ScriptForm::Source => Next::GiveUp,
                }
            }
            (RetryAction::FindPrimary, Target::Server { replaced: true }) => self.retry_once(),
            (
                RetryAction::FindPrimary
                | RetryAction::Moved(_)
                | RetryAction::Ask(_)
                | RetryAction::Wait,
                Target::Server { .. },
            ) => Next::GiveUp,
            (RetryAction::Ask(to), Target::ClusterNode(replied)) => {
                self.mode.asking = Some(to.from(replied));
                self.redirect(Next::Retry)
            }
            (RetryAction::Moved(_), Target::ClusterNode(_)) => {
                self.mode.asking = None;
                let next = match self.redirections {
                    0 => Next::Retry,
                    _ => self.pause(),
                };
                self.redirect(next)
            }
            (RetryAction::FindPrimary | RetryAction::Wait, Target::ClusterNode(_)) => {
                self.mode.asking = None;
                let next = self.pause();
                self.redirect(next)
            }
        };
        (self, next)
    }

    fn retry_once(&mut self) -> Next {
        if std::mem::replace(&mut self.retried, true) {
            Next::GiveUp
        } else {
            Next::Retry
        }
    }

    fn pause(&self) -> Next {
        Next::RetryAfter(exponential(FIRST_PAUSE, self.redirections + 1))
    }

    fn redirect(&mut self, next: Next) -> Next {
        self.redirections += 1;
        if self.redirections <= MAX_REDIRECTIONS {
            next
        } else {
            Next::GiveUp
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;
    use session_core::{Record, Version, Write};

    use super::*;
    use crate::command::Operation;

    const SERVER: Target = Target::Server { replaced: false };
    const REPLACED: Target = Target::Server { replaced: true };

    fn node() -> Target {
        Target::ClusterNode(address("10.0.0.1", 6379))
    }

    fn address(host: &str, port: u16) -> Address {
        Address {
            host: host.to_owned(),
            port,
        }
    }

    fn error_reply(line: &str) -> Failure {
        let reply = parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("a reply");
        Failure::from_command(&reply.extract_error().expect_err("an error reply"))
    }

    fn lost() -> Failure {
        Failure::unexpected_reply()
    }

    fn pause(ms: u64) -> Next {
        Next::RetryAfter(Duration::from_millis(ms))
    }

    fn each_operation(mut check: impl FnMut(&Command<'_>)) {
        let version = Version::from_bytes(*b"versionA");
        let record = Record::new(version, &b""[..]);
        let (expected, ttl) = (version, Duration::from_secs(1));
        let write = Write::new(&record, ttl);
        for operation in [
            Operation::Load,
            Operation::Create(write),
            Operation::Save { expected, write },
            Operation::Touch { expected, ttl },
            Operation::Destroy { expected: None },
            Operation::Destroy {
                expected: Some(expected),
            },
        ] {
            check(&Command::new("k", operation));
        }
    }

    /// Feeds failures to every operation, and compares what follows each.
    #[track_caller]
    fn assert_next(failures: &[(Failure, Target, Next)]) {
        each_operation(|command| {
            let mut attempts = Attempts::new(command);
            for (failure, target, expected) in failures {
                let (after, next) = attempts.after(failure, target);
                assert_eq!(next, *expected, "{} after {failure:?}", command.name());
                attempts = after;
            }
            let may_be_applied = failures
                .iter()
                .any(|(failure, ..)| failure.may_be_applied());
            assert_eq!(attempts.in_doubt(), command.writes() && may_be_applied);
        });
    }

    #[test]
    fn a_broken_connection_is_retried_once_unless_the_operation_is_a_create() {
        for target in [SERVER, REPLACED, node()] {
            each_operation(|command| {
                let creates = command.name() == "create";
                let (attempts, next) = Attempts::new(command).after(&lost(), &target);
                assert_eq!(next, if creates { Next::GiveUp } else { Next::Retry });
                assert_eq!(attempts.in_doubt(), command.writes());
                let (attempts, next) = attempts.after(&lost(), &target);
                assert_eq!(next, Next::GiveUp);
                assert_eq!(attempts.in_doubt(), command.writes());
            });
        }
    }

    #[test]
    fn a_missed_deadline_is_never_retried() {
        for target in [SERVER, node()] {
            assert_next(&[(Failure::TimedOut, target, Next::GiveUp)]);
        }
    }

    #[test]
    fn a_connection_that_was_closed_does_not_count_as_an_attempt() {
        let closed = || (Failure::Closed, SERVER, Next::Retry);
        assert_next(&[closed(), closed(), closed()]);
    }

    #[test]
    fn an_unknown_script_is_sent_as_source_once() {
        let unknown = || error_reply("NOSCRIPT No matching script. Please use EVAL.");
        for target in [SERVER, node()] {
            assert_next(&[
                (unknown(), target.clone(), Next::Retry),
                (unknown(), target, Next::GiveUp),
            ]);
        }
        each_operation(|command| {
            let (attempts, _) = Attempts::new(command).after(&unknown(), &SERVER);
            assert_eq!(attempts.mode().script, ScriptForm::Source);
        });
    }

    #[test]
    fn a_read_only_server_is_left_if_another_is_looked_for() {
        let read_only = || error_reply("READONLY You can't write against a read only replica.");
        assert_next(&[(read_only(), SERVER, Next::GiveUp)]);
        assert_next(&[
            (read_only(), REPLACED, Next::Retry),
            (read_only(), REPLACED, Next::GiveUp),
        ]);
        assert_next(&[(read_only(), node(), pause(10))]);
    }

    #[test]
    fn a_cluster_redirects_at_most_five_times() {
        let moved = || error_reply("MOVED 3999 127.0.0.1:6381");
        assert_next(&[
            (moved(), node(), Next::Retry),
            (moved(), node(), pause(20)),
            (error_reply("TRYAGAIN Multiple keys"), node(), pause(40)),
            (error_reply("ASK 3999 h:1"), node(), Next::Retry),
            (
                error_reply("CLUSTERDOWN The cluster is down"),
                node(),
                pause(160),
            ),
            (moved(), node(), Next::GiveUp),
        ]);
        for not_sent in [Failure::unavailable("no connection"), Failure::overloaded()] {
            assert_next(&[(not_sent, node(), Next::GiveUp)]);
        }
        assert_next(&[(moved(), SERVER, Next::GiveUp)]);
        assert_next(&[(error_reply("ASK 3999 h:1"), SERVER, Next::GiveUp)]);
    }

    #[test]
    fn asking_holds_until_the_next_redirection() {
        each_operation(|command| {
            let ask = error_reply("ASK 3999 h:1");
            let (attempts, _) = Attempts::new(command).after(&ask, &node());
            assert_eq!(attempts.mode().asking, Some(address("h", 1)));
            let moved = error_reply("MOVED 3999 h:1");
            let (attempts, _) = attempts.after(&moved, &node());
            assert_eq!(attempts.mode().asking, None);
        });
    }

    #[test]
    fn other_error_replies_are_final() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "OOM command not allowed",
            "NOPERM this user has no permissions",
            "NOREPLICAS Not enough good replicas to write.",
            "WRONGTYPE Operation against a key",
        ] {
            for target in [SERVER, node()] {
                assert_next(&[(error_reply(line), target, Next::GiveUp)]);
            }
        }
    }

    #[test]
    fn doubt_remains_whatever_follows() {
        each_operation(|command| {
            let (attempts, _) = Attempts::new(command).after(&lost(), &node());
            for line in ["MOVED 1 h:1", "NOSCRIPT No matching script", "OOM command"] {
                let (after, _) = attempts.clone().after(&error_reply(line), &node());
                assert_eq!(after.in_doubt(), command.writes(), "{line}");
            }
        });
    }
}
