//! Puts operations that are ready at the same time into one pipeline.
//!
//! ```text
//!  request ─┐
//!  request ─┼─► queue ─► collect ─► carry: one write, one deadline ─► each gets its replies
//!  request ─┘            (yields once, so that whoever is ready gets on)
//! ```
//!
//! A multiplexed connection writes as soon as it is handed a command, and on a busy runtime that is one system call for each. What
//! a request costs here is mostly such calls, so they are shared: nobody waits for a timer or for company that may not come, only
//! for those that can run at this moment.

use std::{mem, time::Duration};

use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection};
use smallvec::SmallVec;
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
    time::timeout,
};

use crate::error::Failure;

/// The most operations of one pipeline. Replies are handed out when the last is there, and Redis can work on one pipeline while the
/// next is filled.
const MOST: usize = 8;

/// Where operations get on. Clones lead to the same connection, which is let go when the last of them is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Batcher {
    // unbounded, because those who send are: each holds a turn of its lane
    queue: mpsc::UnboundedSender<Parcel>,
    response_timeout: Duration,
}

/// A reply to each command of an operation.
pub(crate) type Values = SmallVec<[Value; 2]>;

/// The commands of one operation, and who waits for their replies.
struct Parcel {
    commands: Vec<Cmd>,
    replies: oneshot::Sender<Result<Values, Failure>>,
}

impl Batcher {
    /// Begins to serve a connection, on the runtime that this is called on.
    pub(crate) fn start(connection: MultiplexedConnection, response_timeout: Duration) -> Self {
        let (queue, parcels) = mpsc::unbounded_channel();
        tokio::spawn(collect(parcels, connection, response_timeout));
        Self { queue, response_timeout }
    }

    /// Sends commands once and waits for their replies, `patience` at most.
    ///
    /// Dropped, it leaves the connection in step: what was not sent yet is not sent, and replies to what was are thrown away.
    pub(crate) async fn send(&self, commands: Vec<Cmd>, patience: Duration) -> Result<Values, Failure> {
        let (replies, outcome) = oneshot::channel();
        self.queue.send(Parcel { commands, replies }).map_err(|_| over())?;
        let outcome = if patience < self.response_timeout {
            // in a box, because it is rare and would make the future of every operation larger
            Box::pin(timeout(patience, outcome)).await.map_err(|_| Failure::TimedOut)?
        } else {
            outcome.await
        };
        outcome.unwrap_or_else(|_| Err(over()))
    }
}

/// The runtime of the connection has ended.
fn over() -> Failure {
    Failure::Lost { text: "its runtime has ended".to_owned() }
}

async fn collect(
    mut queue: mpsc::UnboundedReceiver<Parcel>,
    connection: MultiplexedConnection,
    response_timeout: Duration,
) {
    let mut parcels = Vec::with_capacity(MOST);
    while queue.recv_many(&mut parcels, MOST).await > 0 {
        yield_now().await;
        while parcels.len() < MOST
            && let Ok(parcel) = queue.try_recv()
        {
            parcels.push(parcel);
        }
        let batch = mem::replace(&mut parcels, Vec::with_capacity(MOST));
        tokio::spawn(carry(batch, connection.clone(), response_timeout));
    }
}

async fn carry(batch: Vec<Parcel>, mut connection: MultiplexedConnection, response_timeout: Duration) {
    let mut pipeline = Pipeline::with_capacity(2 * batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    for Parcel { commands, replies } in batch {
        // nobody waits for it any more
        if replies.is_closed() {
            continue;
        }
        waiting.push((commands.len(), replies));
        for command in commands {
            pipeline.add_command(command);
        }
    }
    let count = pipeline.len();
    if count == 0 {
        return;
    }
    let values = match timeout(response_timeout, connection.send_packed_commands(&pipeline, 0, count)).await {
        Ok(Ok(values)) if values.len() == count => Ok(values),
        Ok(Ok(_)) => Err(Failure::nonsense()),
        Ok(Err(error)) => Err(Failure::from(&error)),
        Err(_) => Err(Failure::TimedOut),
    };
    match values {
        Ok(values) => {
            let mut values = values.into_iter();
            for (count, replies) in waiting {
                let own = values.by_ref().take(count).map(|value| value.extract_error()).collect::<Result<_, _>>();
                // whoever has gone meanwhile needs none
                let _ = replies.send(own.map_err(|error| Failure::from(&error)));
            }
        }
        Err(failure) => {
            for (_, replies) in waiting {
                let _ = replies.send(Err(failure.clone()));
            }
        }
    }
}
