//! What is served when more is asked for than Redis can do.
//!
//! The way to Redis is a link with a round trip and a bandwidth, so that the capacity does not
//! depend on the machine. It is measured first: the highest open-loop rate of which 99.9 % are
//! served. A request loads its session, and one of four saves it.

use std::time::Duration;

use clap::Args;
use session_core::{Record, SessionId, Store, Version, Write};
use session_redis::{RedisConfig, RedisStore};
use test_support::{Link, Redis};

use crate::{
    Failure,
    load::{Samples, open_loop},
    print_table,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Round trips of the link, in milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [0.2, 10.0, 100.0])]
    round_trips: Vec<f64>,
    /// The bandwidth of the link, in bytes of requests per second
    #[arg(long, default_value_t = 300_000)]
    bandwidth: u32,
    /// How long each rate is kept up, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

const SESSIONS: u64 = 1000;
const TTL: Duration = Duration::from_secs(3600);
/// How often the capacity is asked for.
const FACTORS: [f64; 5] = [0.5, 1.0, 1.5, 2.0, 4.0];
/// What a link without a limit carries.
const WIDE: u32 = 100_000_000;

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for milliseconds in &options.round_trips {
        let round_trip = Duration::from_secs_f64(milliseconds / 1e3);
        let bench = Bench::start(round_trip, options.bandwidth).await?;
        let seconds = Duration::from_secs(options.seconds);
        let capacity = bench.capacity(seconds).await;
        eprintln!("{milliseconds} ms: {capacity} requests/s");
        for factor in FACTORS {
            let rate = (f64::from(capacity) * factor) as u32;
            let samples = bench.measure(rate, seconds).await;
            let mut errors = samples.errors();
            let [overloaded, late] =
                ["Overloaded", "Timeout"].map(|kind| errors.remove(kind).unwrap_or_default());
            let other: usize = errors.values().sum();
            let goodput = samples.served() as f64 / seconds.as_secs_f64();
            let (served, slowest) = (samples.success(), samples.percentile(100.0));
            rows.push(vec![
                format!("{milliseconds} ms"),
                capacity.to_string(),
                format!("{factor}"),
                format!("{:.0} %", 100.0 * goodput / f64::from(capacity)),
                format!("{served:.1} %"),
                format!("{:.0} ms", 1e3 * samples.percentile(50.0).as_secs_f64()),
                format!("{:.0} ms", 1e3 * samples.percentile(99.0).as_secs_f64()),
                format!("{:.0} ms", 1e3 * slowest.as_secs_f64()),
                overloaded.to_string(),
                late.to_string(),
                other.to_string(),
            ]);
            let enough = goodput >= 0.95 * f64::from(capacity) || factor < 2.0;
            if !enough || other > 0 || slowest > bench.total_timeout / 2 {
                broken.push(format!("{milliseconds} ms × {factor}"));
            }
        }
    }
    print_table(
        &[
            "round trip",
            "capacity (1/s)",
            "load",
            "goodput",
            "served",
            "p50",
            "p99",
            "slowest",
            "overloaded",
            "timed out",
            "other errors",
        ],
        &rows,
    );
    let wide = Bench::start(Duration::from_millis(100), WIDE).await?;
    let served = wide
        .measure(1600, Duration::from_secs(options.seconds))
        .await;
    println!(
        "1600 requests/s over 100 ms: {:.2} % served, p99 {:.0} ms",
        served.success(),
        1e3 * served.percentile(99.0).as_secs_f64()
    );
    if served.success() < 100.0 {
        broken.push("1600 requests/s over 100 ms".to_owned());
    }
    match &broken[..] {
        [] => Ok(()),
        broken => Err(format!("not as promised: {}", broken.join(", ")).into()),
    }
}

/// A server behind a link, and a store on it.
struct Bench {
    _server: Redis,
    _link: Link,
    store: RedisStore,
    total_timeout: Duration,
}

impl Bench {
    async fn start(round_trip: Duration, bandwidth: u32) -> Result<Self, Failure> {
        let server = Redis::start();
        let total_timeout = Duration::from_secs(2);
        // filled without the link
        let direct = RedisStore::connect(&server.url()).await?;
        for number in 0..SESSIONS {
            let (id, record) = session(number);
            let _ = direct.create(&id, Write::new(&record, TTL)).await?;
        }
        let link = Link::start(server.addr(), round_trip, bandwidth).await;
        let config = RedisConfig::from_url(&link.url())?
            .total_timeout(total_timeout)
            .max_in_flight(4096);
        Ok(Self {
            store: RedisStore::open(config).await?,
            _server: server,
            _link: link,
            total_timeout,
        })
    }

    /// The highest rate of which 99.9 % are served for the whole duration: about, by halving, and
    /// then step by step.
    async fn capacity(&self, seconds: Duration) -> u32 {
        let (mut served, mut refused) = (0, 8000);
        while refused - served > refused / 50 {
            let rate = u32::midpoint(served, refused);
            // the adaptation of the rate before must not count
            self.measure(rate, Duration::from_secs(1)).await;
            let probe = Duration::from_secs(3).min(seconds);
            if self.measure(rate, probe).await.success() >= 99.9 {
                served = rate;
            } else {
                refused = rate;
            }
        }
        while served > 0 && self.measure(served, seconds).await.success() < 99.9 {
            served -= served.div_ceil(100);
        }
        served
    }

    async fn measure(&self, rate: u32, duration: Duration) -> Samples {
        open_loop(rate, duration, |number| {
            let (id, record) = session(number % SESSIONS);
            let store = self.store.clone();
            let answer = async move {
                let request = async {
                    store.load(&id).await?;
                    if number.is_multiple_of(4) {
                        let write = Write::new(&record, TTL);
                        let _ = store.save(&id, record.version(), write).await?;
                    }
                    Ok::<_, session_core::StoreError>(())
                };
                request.await.err().map(|error| error.kind())
            };
            (0, answer)
        })
        .await
    }
}

fn session(number: u64) -> (SessionId, Record) {
    let mut bytes = [0; SessionId::BYTES];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let record = Record::new(Version::from_bytes(*b"overload"), vec![7; 100]);
    (SessionId::from_bytes(bytes), record)
}
