//! What it costs Redis to announce changes to instances: for each key that an instance has read
//! (the default mode of `CLIENT TRACKING`, which the store uses), and for all keys of a prefix
//! (broadcast).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Args;
use test_support::Redis;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};

use crate::{Failure, print_table};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The number of instances
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 50, 200])]
    instances: Vec<usize>,
    /// The number of sessions
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// How often each of them is read and written
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

const PREFIX: &str = "session:";
/// Commands in one pipeline.
const BATCH: usize = 32;
/// The bytes of a record.
const BYTES: usize = 300;
/// An echo of this ends the replies to a pipeline.
const END: &[u8] = b"end-of-the-replies";
/// How long a pipeline may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Who is told of the change of a key.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Nobody,
    /// So many instances that have read it.
    Readers(usize),
    /// Every instance.
    Broadcast,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (name, mode) in [
        ("none", Mode::Nobody),
        ("by key, read by one", Mode::Readers(1)),
        ("by key, read by two", Mode::Readers(2)),
        ("by key, read by all", Mode::Readers(usize::MAX)),
        ("broadcast", Mode::Broadcast),
    ] {
        let mut row = vec![name.to_owned()];
        for instances in &options.instances {
            let cost = write_cost(mode, *instances, options).await?;
            row.push(format!("{cost:.1} µs"));
        }
        rows.push(row);
    }
    let counts = options.instances.iter().map(|n| format!("{n} instances"));
    let head: Vec<_> = ["tracking".to_owned()].into_iter().chain(counts).collect();
    let head: Vec<_> = head.iter().map(String::as_str).collect();
    print_table(&head, &rows);
    println!();
    let rows = other_costs(options).await?;
    print_table(&["what", "CPU of Redis"], &rows);
    Ok(())
}

/// The CPU of Redis for one write, in microseconds.
async fn write_cost(mode: Mode, instances: usize, options: &Options) -> Result<f64, Failure> {
    let server = Redis::start();
    let mut writer = Client::connect(&server).await?;
    fill(&mut writer, options.sessions).await?;
    let mut readers = Vec::new();
    for _ in 0..instances {
        let mut reader = Client::connect(&server).await?;
        match mode {
            Mode::Nobody => {}
            Mode::Readers(_) => {
                reader
                    .send(&["CLIENT TRACKING ON OPTIN".to_owned()])
                    .await?
            }
            Mode::Broadcast => {
                let tracking = format!("CLIENT TRACKING ON BCAST PREFIX {PREFIX}");
                reader.send(&[tracking]).await?;
            }
        }
        readers.push(reader);
    }
    let mut used = 0.0;
    for round in 0..options.rounds {
        if let Mode::Readers(count) = mode {
            for offset in 0..count.min(instances) {
                read_all(&mut readers, offset, options.sessions).await?;
            }
        }
        let before = cpu(&server)?;
        let writes = (0..options.sessions).map(|n| {
            // another time to live each time, as that of a touch is
            let ttl = 3_600_000 + round;
            format!("PEXPIRE {PREFIX}{n} {ttl}")
        });
        writer.send_in_batches(writes.collect()).await?;
        used += cpu(&server)? - before;
    }
    let heard: u64 = readers.iter().map(|reader| reader.pushes()).sum();
    let told = match mode {
        Mode::Nobody => 0,
        Mode::Readers(count) => count.min(instances),
        Mode::Broadcast => instances,
    };
    if told > 0 && heard == 0 {
        return Err("no change was announced".into());
    }
    Ok(1e6 * used / (options.rounds * options.sessions) as f64)
}

/// Each key is read by one of the readers.
async fn read_all(readers: &mut [Client], offset: usize, keys: usize) -> Result<(), Failure> {
    let instances = readers.len();
    for (number, reader) in readers.iter_mut().enumerate() {
        let own = (0..keys).filter(|key| (key + offset) % instances == number);
        let loads = own.flat_map(|key| {
            let key = format!("{PREFIX}{key}");
            ["CLIENT CACHING YES".to_owned(), format!("GET {key}")]
        });
        reader.send_in_batches(loads.collect()).await?;
    }
    Ok(())
}

/// What loads and heartbeats cost.
async fn other_costs(options: &Options) -> Result<Vec<Vec<String>>, Failure> {
    let server = Redis::start();
    let mut client = Client::connect(&server).await?;
    fill(&mut client, options.sessions).await?;
    client
        .send(&["CLIENT TRACKING ON OPTIN".to_owned()])
        .await?;
    let count = (options.sessions * options.rounds) as f64;
    let mut rows = Vec::new();
    for (name, first) in [
        ("a load", None),
        ("a load by key", Some("CLIENT CACHING YES")),
    ] {
        let before = cpu(&server)?;
        for _ in 0..options.rounds {
            let loads = (0..options.sessions).flat_map(|key| {
                let commands = [format!("GET {PREFIX}{key}"), format!("PTTL {PREFIX}{key}")];
                first.map(str::to_owned).into_iter().chain(commands)
            });
            client.send_in_batches(loads.collect()).await?;
        }
        let used = 1e6 * (cpu(&server)? - before) / count;
        rows.push(vec![name.to_owned(), format!("{used:.1} µs")]);
    }
    let before = cpu(&server)?;
    for _ in 0..options.sessions {
        client.send(&["ROLE".to_owned()]).await?;
    }
    let used = 1e6 * (cpu(&server)? - before) / options.sessions as f64;
    rows.push(vec![
        "a heartbeat, alone in a write".to_owned(),
        format!("{used:.1} µs"),
    ]);
    Ok(rows)
}

async fn fill(client: &mut Client, keys: usize) -> Result<(), Failure> {
    let value = "x".repeat(BYTES);
    let sets = (0..keys).map(|key| format!("SET {PREFIX}{key} {value} PX 3600000"));
    client.send_in_batches(sets.collect()).await
}

/// The seconds of CPU that the server has used.
fn cpu(server: &Redis) -> Result<f64, Failure> {
    let info: String = server.command(&["INFO", "cpu"]);
    let number = |field: &str| -> Option<f64> {
        let mut lines = info.lines();
        let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        value.trim().parse().ok()
    };
    let used = number("used_cpu_user").zip(number("used_cpu_sys"));
    let (user, sys) = used.ok_or("INFO has no used_cpu")?;
    Ok(user + sys)
}

/// A connection that reads all the time, as an instance does.
struct Client {
    write: OwnedWriteHalf,
    /// The ends of the replies to pipelines.
    ends: mpsc::UnboundedReceiver<()>,
    /// How many announcements have arrived.
    pushes: Arc<AtomicU64>,
}

impl Client {
    async fn connect(server: &Redis) -> Result<Self, Failure> {
        let stream = TcpStream::connect(server.addr()).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let (sender, ends) = mpsc::unbounded_channel();
        let pushes = Arc::default();
        tokio::spawn(drain(read, sender, Arc::clone(&pushes)));
        let mut client = Self {
            write,
            ends,
            pushes,
        };
        client.send(&["HELLO 3".to_owned()]).await?;
        Ok(client)
    }

    /// Sends commands as one pipeline, and waits for the replies.
    async fn send(&mut self, commands: &[String]) -> Result<(), Failure> {
        let mut text = commands.join("\r\n");
        text.push_str("\r\nECHO ");
        text.push_str(&String::from_utf8_lossy(END));
        text.push_str("\r\n");
        self.write.write_all(text.as_bytes()).await?;
        match timeout(LIMIT, self.ends.recv()).await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => Err("the server does not reply".into()),
        }
    }

    async fn send_in_batches(&mut self, commands: Vec<String>) -> Result<(), Failure> {
        for batch in commands.chunks(BATCH) {
            self.send(batch).await?;
        }
        Ok(())
    }

    fn pushes(&self) -> u64 {
        self.pushes.load(Ordering::Relaxed)
    }
}

/// Reads whatever comes, line by line.
async fn drain(read: OwnedReadHalf, ends: mpsc::UnboundedSender<()>, pushes: Arc<AtomicU64>) {
    let (mut read, mut line) = (BufReader::new(read), Vec::new());
    while let Ok(1..) = read.read_until(b'\n', &mut line).await {
        match line.trim_ascii_end() {
            END if ends.send(()).is_err() => return,
            b"invalidate" => {
                pushes.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        line.clear();
    }
}
