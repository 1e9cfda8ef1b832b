//! What a Redis server receives: commands and round trips, as the server counts them.

use std::{collections::BTreeMap, fmt};

use redis::{Connection, FromRedisValue};

use crate::redis::{Redis, query};

/// Measures a server over one connection, so that measuring costs the same each time.
pub struct Meter(Connection);

/// What a server received while operations ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured<T> {
    /// The result of the operations.
    pub result: T,
    /// How often each command was run, including commands in scripts.
    pub commands: BTreeMap<String, u64>,
    /// How often the server has read from a socket: once for each round trip, if operations run one
    /// after another.
    pub round_trips: u64,
}

impl Meter {
    /// Connects to a server.
    pub fn new(server: &Redis) -> Self {
        Self(server.connect().expect("the server answers"))
    }

    /// Runs operations, and counts the commands that the server received meanwhile from all its
    /// clients.
    pub async fn measure<T>(&mut self, operations: impl Future<Output = T>) -> Measured<T> {
        // the server reads the end of connections that were closed before
        for _ in 0..2 {
            let _ = self.reads();
        }
        let () = self.query(&["CONFIG", "RESETSTAT"]);
        let before = self.reads();
        let result = operations.await;
        // the request for the second number is itself read
        let round_trips = self.reads() - before - 1;
        Measured {
            result,
            commands: self.commands(),
            round_trips,
        }
    }

    fn reads(&mut self) -> u64 {
        let stats: String = self.query(&["INFO", "stats"]);
        let field = |line: &str| {
            let value = line.trim().strip_prefix("total_reads_processed:")?;
            value.parse().ok()
        };
        stats
            .lines()
            .find_map(field)
            .expect("a Redis of version 6 or later")
    }

    fn commands(&mut self) -> BTreeMap<String, u64> {
        let stats: String = self.query(&["INFO", "commandstats"]);
        let line = |line: &str| {
            let (name, fields) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
            let calls = fields.strip_prefix("calls=")?.split(',').next()?;
            Some((name.to_owned(), calls.parse().ok()?))
        };
        let mut commands: BTreeMap<_, _> = stats.lines().filter_map(line).collect();
        // those of the meter; Redis 6 does not count subcommands apart
        commands.retain(|name, _| !["config", "config|resetstat", "info"].contains(&name.as_str()));
        commands
    }

    fn query<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        query(&mut self.0, words).expect("the server answers")
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_the_operations_send_is_measured() {
        let server = Redis::with_password("secret");
        let mut meter = Meter::new(&server);
        for _ in 0..20 {
            let measured = meter.measure(async {}).await;
            assert_eq!(
                (measured.commands, measured.round_trips),
                (BTreeMap::new(), 0)
            );
        }
        let mut client = server.connect().expect("a connection");
        let measured = meter
            .measure(async { query::<()>(&mut client, &["SET", "key", "value"]) })
            .await;
        assert_eq!(measured.result, Ok(()));
        assert_eq!(measured.commands, BTreeMap::from([("set".to_owned(), 1)]));
        assert_eq!(measured.round_trips, 1);
    }
}
