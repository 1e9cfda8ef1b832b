//! Long runs against real Redis servers, for faults that a short test rarely meets. Each scenario
//! prints its figures, and ends with an error if a promise was broken.
//!
//! ```text
//! cargo run --release -p integration-tests --bin soak -- updates
//! ```
//!
//! The counts of a scenario are flags. With the defaults a scenario takes minutes. Servers are
//! started on free ports of the loopback interface and end with the run.

mod coherence;
mod failover;
mod failover_servers;
mod isolation;
mod load;
mod outage;
mod overload;
mod probes;
mod races;
mod recovery;
mod revocation;
mod sizing;
mod topology;
mod tracking;
mod updates;
mod user_history;
mod users;
mod users_redis;
mod users_worker;
mod visits;
mod worker;

use std::{error::Error, process::ExitCode};

use clap::Parser;

/// The scenarios.
#[derive(Debug, Parser)]
#[command(name = "soak")]
enum Scenario {
    /// Many processes update shared sessions concurrently; the sums must be exact
    Updates(updates::Options),
    /// The same, while a process is killed and Redis is killed and started again
    Outage(outage::Options),
    /// Slow writes race with logout, renew and regenerate; no session that ended may come back
    Races(races::Options),
    /// How long each outage of each topology lasts for a service that is not restarted
    Recovery(recovery::Options),
    /// Failovers lose acknowledged logouts; none may come back while those who ended them live
    Failover(failover::Options),
    /// One server fails; sessions on the others must not notice, and its own must be served again
    Isolation(isolation::Options),
    /// More requests than Redis can serve; as many as it can must be served, and in time
    Overload(overload::Options),
    /// Users log in and out, and their sessions are ended at once, while instances are killed
    Users(users::Options),
    /// One of the processes of `users`, which starts it
    #[command(hide = true)]
    UsersWorker(users_worker::Options),
    /// Near caches of many processes must never show what changed longer ago than the lease
    Coherence(coherence::Options),
    /// One of the processes of `coherence`, which starts it
    #[command(hide = true)]
    CoherenceWorker(coherence::worker::Options),
    /// How long after a logout on one instance the streams of its session on another are closed
    Revocation(revocation::Options),
    /// One of the processes of `revocation`, which starts it
    #[command(hide = true)]
    Instance(Box<demo::options::Options>),
    /// The memory, replication, snapshots and expiry of sessions
    Sizing(sizing::Options),
    /// What it costs Redis to announce changes of sessions to instances
    Tracking(tracking::Options),
    /// One of the processes of `updates` and `outage`, which start it
    #[command(hide = true)]
    Worker(worker::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Scenario::parse() {
        Scenario::Updates(options) => updates::run(&options).await,
        Scenario::Outage(options) => outage::run(&options).await,
        Scenario::Races(options) => races::run(&options).await,
        Scenario::Recovery(options) => recovery::run(&options).await,
        Scenario::Failover(options) => failover::run(&options).await,
        Scenario::Isolation(options) => isolation::run(&options).await,
        Scenario::Overload(options) => overload::run(&options).await,
        Scenario::Users(options) => users::run(&options).await,
        Scenario::UsersWorker(options) => users_worker::run(&options).await,
        Scenario::Coherence(options) => coherence::run(&options).await,
        Scenario::CoherenceWorker(options) => coherence::worker::run(&options).await,
        Scenario::Revocation(options) => revocation::run(&options).await,
        Scenario::Instance(options) => revocation::Instance::serve(&options).await,
        Scenario::Sizing(options) => sizing::run(&options).await,
        Scenario::Tracking(options) => tracking::run(&options).await,
        Scenario::Worker(options) => worker::run(&options).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            eprintln!("soak: {text}");
            ExitCode::FAILURE
        }
    }
}

/// What ends a run: a broken promise, or a server that cannot be used.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Prints a table, as Markdown.
pub(crate) fn print_table(head: &[&str], rows: &[Vec<String>]) {
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}
