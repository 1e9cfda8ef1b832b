//! What sessions cost a Redis server besides the requests: memory, the stream to replicas, the
//! copy-on-write of a save, and their expiry.

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use session_core::{Record, SessionId, Store, Version, Write};
use session_redis::RedisStore;
use test_support::{Place, Redis, wait_until};
use tokio::time::{sleep, sleep_until};

use crate::{Failure, print_table};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The number of sessions whose memory is measured
    #[arg(long, default_value_t = 200_000)]
    sessions: u64,
    /// The size of their records, in bytes
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Sessions that expire per second, for four seconds
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 25_000, 50_000, 100_000])]
    expirations: Vec<u64>,
}

const HOUR: Duration = Duration::from_secs(3600);
/// Operations in flight while a server is filled.
const TASKS: u64 = 64;
/// How long sessions expire at a rate.
const SPREAD: Duration = Duration::from_secs(4);
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// `active-expire-effort`: the default, and the most.
const EFFORTS: [u32; 2] = [1, 10];

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let rows = memory(options).await?;
    print_table(&["what", "figure"], &rows);
    let mut rows = Vec::new();
    for effort in EFFORTS {
        for rate in &options.expirations {
            rows.push(expiry(effort, *rate, options.bytes).await?);
        }
    }
    println!();
    print_table(
        &[
            "active-expire-effort",
            "expirations/s",
            "CPU of Redis",
            "most that were overdue",
            "last one gone after",
        ],
        &rows,
    );
    Ok(())
}

/// The memory of sessions, their replication, and a save while they are written to.
async fn memory(options: &Options) -> Result<Vec<Vec<String>>, Failure> {
    let (count, bytes) = (options.sessions, options.bytes);
    let server = Redis::start();
    let store = RedisStore::connect(&server.url()).await?;
    let empty: u64 = info(&server, "used_memory")?;
    fill(&store, count, bytes, |_| HOUR).await?;
    let full: u64 = info(&server, "used_memory")?;
    let key = format!("session:{}", id(0));
    let usage: u64 = server.command(&["MEMORY", "USAGE", &key]);

    let address = server.addr();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let replica = Redis::in_place(&Place::loopback(), &["--replicaof", &host, &port]);
    wait_until("the replica is in sync", || {
        let info: String = replica.command(&["INFO", "replication"]);
        info.contains("master_link_status:up")
    });
    let before: u64 = info(&server, "master_repl_offset")?;
    save(&store, count, bytes).await?;
    let stream = (info::<u64>(&server, "master_repl_offset")? - before) / count;
    drop(replica);

    // every session is written while the snapshot is written
    let used: u64 = info(&server, "used_memory")?;
    let () = server.command(&["CONFIG", "SET", "rdb-key-save-delay", "100"]);
    let _: String = server.command(&["BGSAVE"]);
    save(&store, count, bytes).await?;
    let written = Instant::now();
    // the process that writes the snapshot reports about once a second
    wait_until("what was copied is known", || {
        let age: Option<f64> = info(&server, "current_cow_size_age").ok();
        age.is_some_and(|age| age < written.elapsed().as_secs_f64())
    });
    if info::<u64>(&server, "rdb_bgsave_in_progress")? == 0 {
        return Err("the snapshot was done before the writes".into());
    }
    let copied: u64 = info(&server, "current_cow_size")?;
    Ok([
        ("sessions", count.to_string()),
        ("bytes of a record", bytes.to_string()),
        ("`MEMORY USAGE` of one", format!("{usage} bytes")),
        (
            "`used_memory` for each",
            format!("{} bytes", (full - empty) / count),
        ),
        (
            "stream to a replica for each save",
            format!("{stream} bytes"),
        ),
        (
            "copied during a snapshot in which every session is written",
            format!(
                "{:.0} % of used_memory",
                100.0 * copied as f64 / used as f64
            ),
        ),
    ]
    .map(|(what, figure)| vec![what.to_owned(), figure])
    .into())
}

/// How well Redis keeps up with sessions that expire at this rate and are never asked for again.
async fn expiry(effort: u32, rate: u64, bytes: usize) -> Result<Vec<String>, Failure> {
    let server = Redis::with_options(&["--active-expire-effort", &effort.to_string()]);
    let store = RedisStore::connect(&server.url()).await?;
    let count = rate * SPREAD.as_secs();
    // the server is filled by then
    let start = Instant::now() + Duration::from_secs(4) + Duration::from_micros(40) * count as u32;
    let step = SPREAD / count as u32;
    fill(&store, count, bytes, move |number| {
        start + step * number as u32 - Instant::now()
    })
    .await?;
    if Instant::now() > start {
        return Err("the machine is too slow to fill the server in time".into());
    }
    sleep_until(start.into()).await;
    let before = cpu(&server)?;
    let mut most_overdue = 0;
    let mut cpu_while_expiring = None;
    loop {
        let size: u64 = server.command(&["DBSIZE"]);
        let since = start.elapsed();
        let alive = count.saturating_sub((since.as_secs_f64() * rate as f64) as u64);
        most_overdue = most_overdue.max(size.saturating_sub(alive));
        if since >= SPREAD {
            let used = cpu(&server)? - before;
            cpu_while_expiring.get_or_insert(used / since.as_secs_f64());
        }
        if size == 0 {
            let late = since.saturating_sub(SPREAD);
            return Ok(vec![
                effort.to_string(),
                rate.to_string(),
                format!("{:.0} %", 100.0 * cpu_while_expiring.unwrap_or_default()),
                format!(
                    "{most_overdue} ({:.0} %)",
                    100.0 * most_overdue as f64 / count as f64
                ),
                format!("{:.1} s", late.as_secs_f64()),
            ]);
        }
        sleep(SAMPLE_EVERY).await;
    }
}

/// Creates sessions that live as long as `ttl` of their number says.
async fn fill(
    store: &RedisStore,
    count: u64,
    bytes: usize,
    ttl: impl Fn(u64) -> Duration + Send + Sync + 'static,
) -> Result<(), Failure> {
    let ttl = Arc::new(ttl);
    each(count, {
        let store = store.clone();
        move |number| {
            let (store, ttl) = (store.clone(), ttl.clone());
            async move {
                let record = record(bytes);
                let write = Write::new(&record, ttl(number));
                store.create(&id(number), write).await.map(drop)
            }
        }
    })
    .await
}

/// Writes to every session once.
async fn save(store: &RedisStore, count: u64, bytes: usize) -> Result<(), Failure> {
    each(count, {
        let store = store.clone();
        move |number| {
            let store = store.clone();
            async move {
                let record = record(bytes);
                let write = Write::new(&record, HOUR);
                let saved = store.save(&id(number), record.version(), write).await;
                saved.map(drop)
            }
        }
    })
    .await
}

/// Runs an operation for each number, some of them concurrently.
async fn each<F>(
    count: u64,
    operation: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), session_core::StoreError>> + Send,
{
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let operation = operation.clone();
        tasks.spawn(async move {
            for number in (task..count).step_by(TASKS as usize) {
                operation(number).await?;
            }
            Ok::<_, session_core::StoreError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

fn id(number: u64) -> SessionId {
    let mut bytes = [0; SessionId::BYTES];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(bytes)
}

fn record(bytes: usize) -> Record {
    Record::new(Version::from_bytes(*b"of a siz"), vec![7; bytes])
}

/// The CPU time of the server, in seconds.
fn cpu(server: &Redis) -> Result<f64, Failure> {
    Ok(info::<f64>(server, "used_cpu_user")? + info::<f64>(server, "used_cpu_sys")?)
}

/// A field of `INFO`.
fn info<T: FromStr>(server: &Redis, field: &str) -> Result<T, Failure> {
    let info: String = server.command(&["INFO", "everything"]);
    let value = info
        .lines()
        .find_map(|line| line.trim().strip_prefix(field)?.strip_prefix(':'));
    let value = value.and_then(|value| value.parse().ok());
    value.ok_or_else(|| format!("INFO has no number {field}").into())
}
