//! Puts operations that are ready at the same time into one pipeline.
//!
//! ```text
//!  request ─┐
//!  request ─┼─► queue ─► collect ─► flush: one write, one deadline ─► each gets its replies
//!  request ─┘
//! ```
//!
//! A multiplexed connection writes each command as it is handed over. On a busy runtime that is a
//! system call for each, which costs more than everything else that a load does. Here the commands
//! share it. An idle connection sends at once; a busy one batches whatever is ready. There is no
//! timer.

use std::{
    fmt,
    future::{Future, poll_fn},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use redis::{Cmd, Pipeline, Value};
use tokio::{
    runtime::{self, Handle},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    admission::Permit,
    connection::Connection,
    failure::Failure,
    feed::ConnectionFeed,
    reply::{Values, take_replies},
    tracking::Tracking,
};

/// The most operations in one pipeline. Replies are handed out when the last one has arrived, and
/// the server can work on one pipeline while the next is filled. If the connection breaks, the
/// outcome of all of them is unknown.
const MAX_BATCH: usize = 12;

/// The command that lets the next one use a slot that the node imports.
pub(crate) const ASKING: &str = "ASKING";

/// A connection that batches. Clones share it; it is closed when the last of them is dropped.
///
/// If the future of an operation is dropped, its replies are discarded, so other operations are not
/// affected.
#[derive(Clone)]
pub(crate) struct Batcher {
    // Unbounded here: every waiting operation holds a permit of its node, and the next batch leaves
    // out those that were dropped.
    queue: mpsc::UnboundedSender<Queued>,
    shared: Arc<Shared>,
    tracking: Option<Arc<Tracking>>,
    runtime: runtime::Id,
}

/// How a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchEnd {
    /// All of its operations were answered, perhaps with errors.
    Replied { took: Duration, operations: usize },
    /// There was no reply within the whole response timeout.
    TimedOut,
    /// The connection or its runtime is gone, or the replies are not those of Redis.
    Lost,
}

/// Told how each pipeline ended. Callers that give up change nothing about that.
pub(crate) type Observer = Arc<dyn Fn(BatchEnd) + Send + Sync>;

/// What the pipelines of a connection share.
struct Shared {
    response_timeout: Duration,
    observer: Observer,
    /// How many pipelines are in flight.
    in_flight: AtomicUsize,
    /// Changes when a pipeline is sent or ends: by that, other runtimes know that something drives
    /// the one of the connection.
    progress: AtomicU64,
}

/// The commands of one operation, and where its replies go.
struct Queued {
    commands: Vec<Cmd>,
    /// Sends `ASKING` before each command, because it holds for one only.
    asking: bool,
    replies: oneshot::Sender<Result<Values, Failure>>,
    /// Held until there are replies or none are expected any more, also if the caller gives up.
    permit: Option<Permit>,
}

impl Batcher {
    /// Starts to serve a connection, on the current runtime.
    pub(crate) fn start(
        connection: Connection,
        response_timeout: Duration,
        observer: Observer,
    ) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            response_timeout,
            observer,
            in_flight: AtomicUsize::new(0),
            progress: AtomicU64::new(0),
        });
        let tracking = connection.tracking().cloned();
        tokio::spawn(collect(queued, connection, shared.clone()));
        Self {
            queue,
            shared,
            tracking,
            runtime: Handle::current().id(),
        }
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        !self.shared.is_busy()
    }

    /// What announces changes of what is read on the connection from now on.
    pub(crate) fn feed(&self) -> Option<Arc<ConnectionFeed>> {
        self.tracking.as_ref()?.feed()
    }

    /// The server does not track what is read.
    pub(crate) fn refuse_tracking(&self, server: impl fmt::Display, failure: &Failure) {
        if let Some(tracking) = &self.tracking {
            tracking.refuse(server, failure);
        }
    }

    /// Sends commands once, and waits for their replies for `limit` at most. An error among them is
    /// the failure of all.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, commands that are not in a pipeline yet are not sent, and the
    /// replies to others are discarded.
    pub(crate) async fn send(
        &self,
        commands: Vec<Cmd>,
        asking: bool,
        limit: Duration,
        permit: Option<Permit>,
    ) -> Result<Values, Failure> {
        let values = self.send_all(commands, asking, limit, permit).await?;
        take_replies(values)
    }

    /// As [`send`](Self::send), but some of the replies may be errors.
    pub(crate) async fn send_all(
        &self,
        commands: Vec<Cmd>,
        asking: bool,
        limit: Duration,
        permit: Option<Permit>,
    ) -> Result<Values, Failure> {
        let (replies, result) = oneshot::channel();
        let progress = self.shared.progress.load(Ordering::Relaxed);
        let queued = Queued {
            commands,
            asking,
            replies,
            permit,
        };
        self.queue.send(queued).map_err(|_| {
            (self.shared.observer)(BatchEnd::Lost);
            Failure::Closed
        })?;
        let full = limit == self.shared.response_timeout;
        let at_home = Handle::current().id() == self.runtime;
        let result = if full && at_home {
            // the deadline of the batch is the deadline of this operation
            result.await
        } else {
            // boxed, because this is rare and would enlarge the future of every operation
            Box::pin(timeout(limit, result)).await.map_err(|_| {
                // the runtime of the connection keeps no deadline while nothing drives it
                if full && self.shared.is_still_at(progress) {
                    (self.shared.observer)(BatchEnd::TimedOut);
                }
                Failure::TimedOut
            })?
        };
        result.unwrap_or_else(|_| {
            (self.shared.observer)(BatchEnd::Lost);
            Err(Failure::Lost {
                text: "the runtime of the connection ended".to_owned(),
            })
        })
    }
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher")
            .field("idle", &self.is_idle())
            .finish_non_exhaustive()
    }
}

/// Fills pipelines until the last batcher is dropped.
async fn collect(
    mut queue: mpsc::UnboundedReceiver<Queued>,
    connection: Connection,
    shared: Arc<Shared>,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while queue.recv_many(&mut batch, MAX_BATCH).await > 0 {
        if shared.is_busy() {
            yield_to_ready_tasks().await;
        }
        while batch.len() < MAX_BATCH
            && let Ok(queued) = queue.try_recv()
        {
            batch.push(queued);
        }
        let batch = mem::replace(&mut batch, Vec::with_capacity(MAX_BATCH));
        let pipeline = InFlight::new(shared.clone());
        // boxed, because a spawn moves a future several times, and this one is large
        tokio::spawn(Box::pin(pipeline.flush(batch, connection.clone())));
    }
}

/// Goes to the back of the run queue once. `tokio::task::yield_now` would wait until its worker is
/// idle, which takes long if a handler blocks it; from the run queue, another worker can take over.
fn yield_to_ready_tasks() -> impl Future<Output = ()> {
    let mut first = true;
    poll_fn(move |cx| {
        if mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
}

/// A pipeline that is sent and not answered.
struct InFlight(Arc<Shared>);

impl InFlight {
    fn new(shared: Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        shared.progress.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }

    /// Sends a batch, and hands out the replies or the failure.
    async fn flush(self, batch: Vec<Queued>, mut connection: Connection) {
        let mut pipeline = Pipeline::with_capacity(2 * batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        // nobody waits for the replies of an operation that was dropped
        for Queued {
            commands,
            asking,
            replies,
            permit,
        } in batch
            .into_iter()
            .filter(|queued| !queued.replies.is_closed())
        {
            waiting.push((commands.len(), asking, replies, permit));
            for command in commands {
                if asking {
                    pipeline.cmd(ASKING);
                }
                pipeline.add_command(command);
            }
        }
        if pipeline.is_empty() {
            return;
        }
        let sent_at = Instant::now();
        let response_timeout = self.0.response_timeout;
        let values = timeout(response_timeout, connection.send(&pipeline)).await;
        let values = values.unwrap_or(Err(Failure::TimedOut));
        (self.0.observer)(match &values {
            Ok(_) | Err(Failure::Server(_)) => BatchEnd::Replied {
                took: sent_at.elapsed(),
                operations: waiting.len(),
            },
            Err(Failure::TimedOut) => BatchEnd::TimedOut,
            Err(
                Failure::Lost { .. }
                | Failure::Closed
                | Failure::NotSent { .. }
                | Failure::NoServer { .. },
            ) => BatchEnd::Lost,
        });
        let mut values = values.map(Vec::into_iter);
        for (count, asking, replies, permit) in waiting {
            let own = match &mut values {
                Ok(values) if asking => Ok(after_asking(values, count)),
                Ok(values) => Ok(values.by_ref().take(count).collect()),
                Err(failure) => Err(failure.clone()),
            };
            drop(permit);
            // an error means that the operation was dropped
            let _ = replies.send(own);
        }
    }
}

/// Takes the replies to so many commands and leaves out those to the `ASKING` before each: an error
/// reply to that says nothing about the command, which may be applied.
fn after_asking(values: &mut impl Iterator<Item = Value>, count: usize) -> Values {
    let replies = values.by_ref().take(2 * count);
    replies.skip(1).step_by(2).collect()
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.progress.fetch_add(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Whether there was no progress. Of several operations that ask, one gets to know.
    fn is_still_at(&self, progress: u64) -> bool {
        let next = progress.wrapping_add(1);
        let (set, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        self.progress
            .compare_exchange(progress, next, set, failed)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;
    use test_support::{Redis, eventually};
    use tokio::task::JoinSet;

    use super::*;
    use crate::{
        address::Address,
        config::{RedisConfig, Role},
        endpoint::Endpoint,
    };

    const LIMIT: Duration = Duration::from_millis(200);

    /// A connection of the current runtime, and how many missed deadlines it has reported.
    async fn batcher(server: &Redis) -> (Batcher, Arc<AtomicUsize>) {
        let config = RedisConfig::from_url(&server.url()).expect("a URL");
        let address = Address {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        };
        let connection = Endpoint::Tcp(&address).connect(&config, Role::Server).await;
        let reports = Arc::new(AtomicUsize::new(0));
        let counted = reports.clone();
        let observer: Observer = Arc::new(move |end| {
            assert_eq!(end, BatchEnd::TimedOut);
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let connection = connection.expect("a connection");
        (Batcher::start(connection, LIMIT, observer), reports)
    }

    /// Sends so many commands at once, none of which is answered.
    async fn assert_unanswered(batcher: &Batcher, commands: usize) {
        let mut sends = JoinSet::new();
        for _ in 0..commands {
            let batcher = batcher.clone();
            let send = async move {
                let ping = vec![redis::cmd("PING")];
                batcher.send(ping, false, LIMIT, None).await
            };
            sends.spawn(send);
        }
        for result in sends.join_all().await {
            assert_eq!(result, Err(Failure::TimedOut));
        }
    }

    #[test]
    fn missed_deadlines_on_other_runtimes_are_one_report_if_nothing_drives_the_connection() {
        let server = Redis::start();
        let home = runtime::Builder::new_current_thread().enable_all().build();
        let home = home.expect("a runtime");
        let (batcher, reports) = home.block_on(batcher(&server));
        let other = runtime::Runtime::new().expect("a runtime");
        for expected in 1..4 {
            other.block_on(assert_unanswered(&batcher, 20));
            assert_eq!(reports.load(Ordering::SeqCst), expected);
        }
    }

    #[test]
    fn missed_deadlines_on_other_runtimes_are_reported_by_the_pipeline_if_something_drives_it() {
        let server = Redis::start();
        let home = runtime::Runtime::new().expect("a runtime");
        let (batcher, reports) = home.block_on(batcher(&server));
        server.pause();
        let other = runtime::Runtime::new().expect("a runtime");
        for expected in 1..4 {
            other.block_on(async {
                assert_unanswered(&batcher, 1).await;
                eventually("the pipeline has ended", async || batcher.is_idle()).await;
            });
            assert_eq!(reports.load(Ordering::SeqCst), expected);
        }
        server.resume();
    }

    fn after(replies: &[&str], count: usize) -> Result<Values, Failure> {
        let replies = replies.iter().map(|reply| {
            let reply = format!("{reply}\r\n");
            parse_redis_value(reply.as_bytes()).expect("a reply")
        });
        take_replies(after_asking(&mut replies.into_iter(), count))
    }

    #[test]
    fn the_replies_are_those_to_the_commands_and_not_to_asking() {
        let expected = Values::from_iter([Value::Int(1), Value::Int(2)]);
        assert_eq!(after(&["+OK", ":1", "+OK", ":2"], 2), Ok(expected.clone()));
        // if the slot has arrived, the commands are executed without it
        let denied = "-NOPERM this user has no permissions to run the 'asking' command";
        assert_eq!(after(&[denied, ":1", denied, ":2"], 2), Ok(expected));
        let moved = after(&[denied, "-MOVED 1 h:2", denied, ":2"], 2);
        let failure = moved.expect_err("a redirection");
        assert_eq!(failure.to_string(), "MOVED 1 h:2");
    }
}
