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
    future::{Future, poll_fn},
    mem,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use redis::{Cmd, Pipeline, aio::MultiplexedConnection};
use tokio::{
    runtime::{self, Handle},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    failure::Failure,
    reply::{Values, take_replies},
};

/// The most operations in one pipeline. Replies are handed out when the last one has arrived, and
/// the server can work on one pipeline while the next is filled. If the connection breaks, the
/// outcome of all of them is unknown.
const MAX_BATCH: usize = 12;

/// A connection that batches. Clones share it; it is closed when the last of them is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Batcher {
    // Unbounded here: every waiting operation holds a permit of its node connection, and the next
    // batch leaves out those that were dropped.
    queue: mpsc::UnboundedSender<Queued>,
    response_timeout: Duration,
    runtime: runtime::Id,
}

/// The commands of one operation, and where its replies go.
struct Queued {
    commands: Vec<Cmd>,
    replies: oneshot::Sender<Result<Values, Failure>>,
}

impl Batcher {
    /// Starts to serve a connection, on the current runtime.
    pub(crate) fn start(connection: MultiplexedConnection, response_timeout: Duration) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(collect(queued, connection, response_timeout));
        Self {
            queue,
            response_timeout,
            runtime: Handle::current().id(),
        }
    }

    /// Sends commands once, and waits for their replies for `limit` at most.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, commands that are not in a pipeline yet are not sent, and the
    /// replies to others are discarded.
    pub(crate) async fn send(
        &self,
        commands: Vec<Cmd>,
        limit: Duration,
    ) -> Result<Values, Failure> {
        let (replies, result) = oneshot::channel();
        self.queue
            .send(Queued { commands, replies })
            .map_err(|_| Failure::Closed)?;
        let result = if limit == self.response_timeout && Handle::current().id() == self.runtime {
            // the deadline of the batch is the deadline of this operation
            result.await
        } else {
            // The runtime of the connection keeps no deadline while nothing drives it. Boxed,
            // because this is rare and would enlarge the future of every operation.
            Box::pin(timeout(limit, result))
                .await
                .map_err(|_| Failure::TimedOut)?
        };
        result.unwrap_or_else(|_| {
            Err(Failure::Lost {
                text: "the runtime of the connection ended".to_owned(),
            })
        })
    }
}

/// Fills pipelines until the last batcher is dropped.
async fn collect(
    mut queue: mpsc::UnboundedReceiver<Queued>,
    connection: MultiplexedConnection,
    response_timeout: Duration,
) {
    let in_flight = Arc::new(());
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while queue.recv_many(&mut batch, MAX_BATCH).await > 0 {
        if Arc::strong_count(&in_flight) > 1 {
            yield_to_ready_tasks().await;
        }
        while batch.len() < MAX_BATCH
            && let Ok(queued) = queue.try_recv()
        {
            batch.push(queued);
        }
        let batch = mem::replace(&mut batch, Vec::with_capacity(MAX_BATCH));
        let (connection, in_flight) = (connection.clone(), in_flight.clone());
        tokio::spawn(async move {
            flush(batch, connection, response_timeout).await;
            drop(in_flight);
        });
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

/// Sends a batch, and hands out the replies or the failure.
async fn flush(
    batch: Vec<Queued>,
    mut connection: MultiplexedConnection,
    response_timeout: Duration,
) {
    let mut pipeline = Pipeline::with_capacity(2 * batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    // nobody waits for the replies of an operation that was dropped
    for Queued { commands, replies } in batch
        .into_iter()
        .filter(|queued| !queued.replies.is_closed())
    {
        waiting.push((commands.len(), replies));
        for command in commands {
            pipeline.add_command(command);
        }
    }
    let count = pipeline.len();
    if count == 0 {
        return;
    }
    let values = match timeout(
        response_timeout,
        connection.send_packed_commands(&pipeline, 0, count),
    )
    .await
    {
        Ok(Ok(values)) if values.len() == count => Ok(values),
        Ok(Ok(_)) => Err(Failure::unexpected_reply()),
        Ok(Err(error)) => Err(Failure::from_command(&error)),
        Err(_) => Err(Failure::TimedOut),
    };
    let mut values = values.map(Vec::into_iter);
    for (count, replies) in waiting {
        let own = match &mut values {
            // All of them are taken before one is looked at: what an error left behind would go to
            // the next operation.
            Ok(values) => take_replies(values.by_ref().take(count).collect()),
            Err(failure) => Err(failure.clone()),
        };
        // an error means that the operation was dropped
        let _ = replies.send(own);
    }
}
