//! Puts operations that are ready at the same time into one pipeline.
//!
//! ```text
//!  request ─┐
//!  request ─┼─► queue ─► collect ─► carry: one write, one deadline ─► each gets its replies
//!  request ─┘
//! ```
//!
//! A multiplexed connection writes as soon as it is handed a command, and on a busy runtime that is a system call for each, which
//! costs more than all else that a load does. Here they are shared. Nobody waits for a timer, nor for company that may not come:
//! where the server has nothing to do yet, an operation is sent at once; where it has, those come along that can run at this moment.

use std::{
    future::{Future, poll_fn},
    mem,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection};
use smallvec::SmallVec;
use tokio::{
    runtime::{self, Handle},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::error::Failure;

/// The most operations of one pipeline. Replies are handed out when the last is there, and the server can work on one pipeline
/// while the next is filled. What breaks the connection leaves the outcome of all of them unknown.
const MOST: usize = 12;

/// Where operations get on. Clones lead to the same connection, which is let go when the last of them is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Batcher {
    // not bounded here: whoever waits holds a turn of its lane, and who has been dropped is thrown out with the next batch
    queue: mpsc::UnboundedSender<Parcel>,
    response_timeout: Duration,
    runtime: runtime::Id,
}

/// A reply to each command of an operation.
pub(crate) type Values = SmallVec<[Value; 2]>;

/// The commands of one operation, and who waits for the replies.
struct Parcel {
    commands: Vec<Cmd>,
    replies: oneshot::Sender<Result<Values, Failure>>,
}

impl Batcher {
    /// Begins to serve a connection, on the runtime that this is called on.
    pub(crate) fn start(connection: MultiplexedConnection, response_timeout: Duration) -> Self {
        let (queue, parcels) = mpsc::unbounded_channel();
        tokio::spawn(collect(parcels, connection, response_timeout));
        Self {
            queue,
            response_timeout,
            runtime: Handle::current().id(),
        }
    }

    /// Sends commands once and waits for their replies, `patience` at most.
    ///
    /// Dropped, it leaves the connection in step: what is in no pipeline yet is not sent, and replies to what is are thrown away.
    pub(crate) async fn send(
        &self,
        commands: Vec<Cmd>,
        patience: Duration,
    ) -> Result<Values, Failure> {
        let (replies, outcome) = oneshot::channel();
        self.queue
            .send(Parcel { commands, replies })
            .map_err(|_| Failure::Ended)?;
        let outcome = if patience == self.response_timeout && Handle::current().id() == self.runtime
        {
            // the deadline of the batch is ours too
            outcome.await
        } else {
            // A runtime that nobody drives at the moment keeps no deadline. In a box, because it is rare and would make the future
            // of every operation larger.
            Box::pin(timeout(patience, outcome))
                .await
                .map_err(|_| Failure::TimedOut)?
        };
        outcome.unwrap_or_else(|_| {
            Err(Failure::Lost {
                text: "its runtime has ended".to_owned(),
            })
        })
    }
}

/// Fills pipelines until the last batcher is dropped.
async fn collect(
    mut queue: mpsc::UnboundedReceiver<Parcel>,
    connection: MultiplexedConnection,
    response_timeout: Duration,
) {
    let under_way = Arc::new(());
    let mut batch = Vec::with_capacity(MOST);
    while queue.recv_many(&mut batch, MOST).await > 0 {
        if Arc::strong_count(&under_way) > 1 {
            let_others_go_first().await;
        }
        while batch.len() < MOST
            && let Ok(parcel) = queue.try_recv()
        {
            batch.push(parcel);
        }
        let batch = mem::replace(&mut batch, Vec::with_capacity(MOST));
        let (connection, under_way) = (connection.clone(), under_way.clone());
        tokio::spawn(async move {
            carry(batch, connection, response_timeout).await;
            drop(under_way);
        });
    }
}

/// Goes to the back of the run queue, once. `tokio::task::yield_now` would wait for its worker to be idle, which may be long where a
/// handler blocks; from the queue, another worker can take over.
fn let_others_go_first() -> impl Future<Output = ()> {
    let mut first = true;
    poll_fn(move |cx| {
        if mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
}

/// Sends a batch, and deals out the replies or the failure.
async fn carry(
    batch: Vec<Parcel>,
    mut connection: MultiplexedConnection,
    response_timeout: Duration,
) {
    let mut pipeline = Pipeline::with_capacity(2 * batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    // whoever has been dropped meanwhile wants nothing any more
    for Parcel { commands, replies } in batch
        .into_iter()
        .filter(|parcel| !parcel.replies.is_closed())
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
        Ok(Ok(_)) => Err(Failure::nonsense()),
        Ok(Err(error)) => Err(Failure::from(&error)),
        Err(_) => Err(Failure::TimedOut),
    };
    let mut values = values.map(Vec::into_iter);
    for (count, replies) in waiting {
        let own = match &mut values {
            // taken in full before one is looked at: what an error left behind would answer somebody else
            Ok(values) => own(values.by_ref().take(count).collect()),
            Err(failure) => Err(failure.clone()),
        };
        // an error means that it was dropped
        let _ = replies.send(own);
    }
}

/// The replies to one operation, or the first error among them.
fn own(values: Values) -> Result<Values, Failure> {
    values
        .into_iter()
        .map(|value| value.extract_error().map_err(|error| Failure::from(&error)))
        .collect()
}
