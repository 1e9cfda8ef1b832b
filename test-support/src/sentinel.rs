//! A primary and a replica, watched by sentinels.

use std::{net::SocketAddr, time::Duration};

use redis::RedisResult;

use crate::{authority::Certificates, place::Place, port::HOST, redis::Redis, wait::wait_until};

/// Either server may have to give the other one a copy, at once.
const OPTIONS: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

/// A primary, a replica and three sentinels.
#[derive(Debug)]
pub struct Sentinels {
    /// The primary at the beginning, and its replica.
    pub servers: [Redis; 2],
    /// The sentinels.
    pub sentinels: [Redis; 3],
}

impl Sentinels {
    /// The name of the primary in the configuration of the sentinels.
    pub const SERVICE: &'static str = "sessions";

    /// Starts all of them and waits until a failover is possible. A primary is down after a second
    /// of silence.
    pub fn start() -> Self {
        Self::with_down_after(Duration::from_secs(1))
    }

    /// As [`start`](Self::start), with another `down-after-milliseconds`. On a busy machine a short
    /// one makes sentinels fail over from a primary that is only slow.
    pub fn with_down_after(down_after: Duration) -> Self {
        let place = Place::loopback();
        let primary = Redis::in_place(&place, &OPTIONS);
        let address = primary.addr();
        Self::of(primary, address, &place, down_after)
    }

    /// Starts the replica and the sentinels of a primary, in this place. `address` is where they
    /// reach the primary, and what they say to others.
    pub fn of(primary: Redis, address: SocketAddr, place: &Place, down_after: Duration) -> Self {
        let [host, port] = [address.ip().to_string(), address.port().to_string()];
        let options = [&OPTIONS[..], &["--replicaof", &host, &port]].concat();
        let replica = Redis::in_place(place, &options);
        let configuration = configuration(address, down_after);
        let sentinels = [(); 3].map(|()| Redis::sentinel(place, &configuration));
        Self::wait_until_complete([primary, replica], sentinels)
    }

    /// As [`start`](Self::start), but all of them speak TLS with each other.
    pub(crate) fn with_tls(certificates: &Certificates) -> Self {
        let tls = certificates.options().into_iter();
        let tls: Vec<_> = tls.chain([("tls-replication", "yes".to_owned())]).collect();
        let mut options: Vec<_> = tls
            .iter()
            .flat_map(|(name, value)| [format!("--{name}"), value.clone()])
            .collect();
        options.extend(OPTIONS.map(str::to_owned));
        let primary = Redis::with_tls_port(&options);
        let port = primary.tls_port().expect("a TLS port");
        options.extend(["--replicaof", HOST, &port.to_string()].map(str::to_owned));
        let replica = Redis::with_tls_port(&options);
        let address = ([127, 0, 0, 1], port).into();
        let mut configuration = configuration(address, Duration::from_secs(1));
        for (name, value) in &tls {
            configuration.push_str(&format!("{name} {value}\n"));
        }
        let sentinels = [(); 3].map(|()| Redis::tls_sentinel(&configuration));
        Self::wait_until_complete([primary, replica], sentinels)
    }

    fn wait_until_complete(servers: [Redis; 2], sentinels: [Redis; 3]) -> Self {
        let group = Self { servers, sentinels };
        wait_until("the sentinels know the replica and each other", || {
            group.is_complete()
        });
        group
    }

    /// The URL of a store on them.
    pub fn url(&self) -> String {
        let addresses: Vec<_> = self
            .sentinels
            .iter()
            .map(|sentinel| sentinel.addr().to_string())
            .collect();
        format!("redis+sentinel://{}/{}", addresses.join(","), Self::SERVICE)
    }

    /// The server that the sentinels name as the primary.
    pub fn primary(&self) -> &Redis {
        let port = primary_port(&self.sentinels[0]).expect("the sentinel answers");
        self.servers
            .iter()
            .find(|server| server.tls_port().unwrap_or(server.port()) == port)
            .expect("the sentinels watch these servers")
    }

    /// Requests a failover and waits until all sentinels name another primary.
    pub fn fail_over(&self) {
        let before = primary_port(&self.sentinels[0]).expect("the sentinel answers");
        wait_until("a sentinel accepts the failover", || {
            self.sentinels[0]
                .try_command::<String>(&["SENTINEL", "FAILOVER", Self::SERVICE])
                .is_ok()
        });
        self.wait_for_failover(before);
    }

    /// Waits until all sentinels name a primary other than the one on this port.
    pub fn wait_for_failover(&self, before: u16) {
        wait_until("all sentinels name another primary", || {
            self.sentinels
                .iter()
                .all(|sentinel| primary_port(sentinel).is_ok_and(|port| port != before))
        });
    }

    /// A failover needs a synchronized replica, and a majority of sentinels that know each other.
    fn is_complete(&self) -> bool {
        let knows_all = |sentinel: &Redis| {
            let Ok(state) =
                sentinel.try_command::<Vec<String>>(&["SENTINEL", "MASTER", Self::SERVICE])
            else {
                return false;
            };
            let has = |field: &str, value: &str| state.chunks(2).any(|pair| pair == [field, value]);
            has("num-slaves", "1") && has("num-other-sentinels", "2")
        };
        self.sentinels.iter().all(knows_all) && self.servers[1].is_synced_replica()
    }
}

fn configuration(primary: SocketAddr, down_after: Duration) -> String {
    let service = Sentinels::SERVICE;
    let (host, port) = (primary.ip(), primary.port());
    format!(
        "sentinel monitor {service} {host} {port} 2\n\
         sentinel down-after-milliseconds {service} {}\n\
         sentinel failover-timeout {service} 4000\n",
        down_after.as_millis()
    )
}

fn primary_port(sentinel: &Redis) -> RedisResult<u16> {
    let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinels::SERVICE];
    let (_, port): (String, u16) = sentinel.try_command(&words)?;
    Ok(port)
}
