//! Real servers on free loopback ports, each ended by its id when its guard goes, also in a panic.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use redis::{Connection, FromRedisValue};
use session_core::{
    Created, Destroy, Destroyed, Loaded, Saved, SessionId, Store, StoreError, Touched, Version,
    Write,
};
use session_redis::RedisStore;
use tempfile::TempDir;

const HOST: &str = "127.0.0.1";

/// One process and its directory. Nothing is persisted.
pub(crate) struct Server {
    port: u16,
    directory: TempDir,
    options: Vec<String>,
    process: Mutex<Child>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts with further options, `--name value …`.
    pub(crate) fn with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        // another process may take the port in between
        for _ in 0..10 {
            let port = if options.contains(&"--cluster-enabled".to_owned()) {
                free_cluster_port()
            } else {
                free_port()
            };
            let directory = TempDir::new().expect("a directory");
            let process = spawn(port, directory.path(), &options);
            let server = Self {
                port,
                directory,
                options: options.clone(),
                process: Mutex::new(process),
            };
            if server.is_ready() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> String {
        format!("{HOST}:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub(crate) fn kill(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = process.kill();
        let _ = process.wait();
    }

    pub(crate) fn restart(&self) {
        self.kill();
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) =
            spawn(self.port, self.directory.path(), &self.options);
        assert!(self.is_ready(), "redis-server does not start again");
    }

    /// Stops the process without ending it, as a machine that hangs.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .id();
        let sent = Command::new("kill")
            .args([signal, &id.to_string()])
            .status()
            .expect("kill");
        assert!(sent.success());
    }

    /// Does a command on a connection of its own.
    pub(crate) fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).expect("a reply")
    }

    pub(crate) fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        cmd.query(&mut self.admin()?)
    }

    fn admin(&self) -> redis::RedisResult<Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(5))
    }

    fn is_ready(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            let ended = self
                .process
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .try_wait();
            if !matches!(ended, Ok(None)) {
                return false;
            }
            match self.try_command::<redis::Value>(&["PING"]) {
                Ok(_) => return true,
                // it asks for a password, so it is there
                Err(error) if matches!(error.code(), Some("NOAUTH")) => return true,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((HOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A cluster node talks to others on a second port, ten thousand above the first.
fn free_cluster_port() -> u16 {
    loop {
        let port = free_port() % 40_000 + 10_000;
        if [port, port + 10_000]
            .into_iter()
            .all(|port| TcpListener::bind((HOST, port)).is_ok())
        {
            return port;
        }
    }
}

fn spawn(port: u16, directory: &Path, options: &[String]) -> Child {
    let log = File::create(directory.join("log")).expect("a log file");
    let sentinel = options.iter().any(|option| option == "--sentinel");
    let mut command = Command::new("redis-server");
    if sentinel {
        // a sentinel writes what it learns into its file
        let config = directory.join("sentinel.conf");
        if !config.exists() {
            std::fs::write(&config, options[1].as_bytes()).expect("a configuration");
        }
        command.arg(config).arg("--sentinel");
    }
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        HOST,
        "--dir",
        &directory.to_string_lossy(),
    ]);
    if !sentinel {
        command
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
                "redis.sock",
            ])
            .args(options);
    }
    let errors = log.try_clone().expect("a log file");
    match command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            panic!("redis-server cannot be run ({error}): install the Debian package redis-server")
        }
    }
}

/// Three primaries that share the slots, without replicas.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::of(3, 0)
    }

    /// So many nodes, with so many replicas for each primary.
    pub(crate) fn of(nodes: usize, replicas: usize) -> Self {
        let nodes: Vec<Server> = (0..nodes)
            .map(|_| {
                let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
                Server::with(&[&options[..], &["--repl-diskless-sync-delay", "0"]].concat())
            })
            .collect();
        let cluster = Self { nodes };
        let addresses: Vec<String> = cluster.nodes.iter().map(Server::address).collect();
        let replicas = replicas.to_string();
        let mut words = vec![
            "--cluster",
            "create",
            "--cluster-yes",
            "--cluster-replicas",
            &replicas,
        ];
        words.extend(addresses.iter().map(String::as_str));
        cli(&words);
        let begun = Instant::now();
        // a replica that has no copy yet is never promoted
        while !cluster.nodes.iter().all(|node| {
            let (state, replication): (String, String) = (
                node.command(&["CLUSTER", "INFO"]),
                node.command(&["INFO", "replication"]),
            );
            state.contains("cluster_state:ok") && !replication.contains("master_link_status:down")
        }) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "the cluster does not form"
            );
            thread::sleep(Duration::from_millis(50));
        }
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(Server::address).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }
}

/// Runs `redis-cli` and expects it to succeed.
pub(crate) fn cli(words: &[&str]) {
    let output = Command::new("redis-cli")
        .args(words)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("redis-cli cannot be run ({error}): install the Debian package redis-tools")
    });
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// A primary, a replica and three sentinels.
pub(crate) struct Sentinels {
    pub(crate) servers: [Server; 2],
    pub(crate) sentinels: Vec<Server>,
}

impl Sentinels {
    pub(crate) fn start() -> Self {
        let primary = Server::start();
        let replica = Server::with(&[
            "--replicaof",
            HOST,
            &primary.port().to_string(),
            "--repl-diskless-sync-delay",
            "0",
        ]);
        let config = format!(
            "sentinel monitor sessions {HOST} {} 2\nsentinel down-after-milliseconds sessions 1000\n\
             sentinel failover-timeout sessions 4000\n",
            primary.port()
        );
        let sentinels = (0..3)
            .map(|_| Server::with(&["--sentinel", &config]))
            .collect();
        let all = Self {
            servers: [primary, replica],
            sentinels,
        };
        let begun = Instant::now();
        // a failover needs a replica and each other, which they find by themselves
        while !all.sentinels.iter().all(|sentinel| {
            let state: std::collections::HashMap<String, String> =
                sentinel.command(&["SENTINEL", "MASTER", "sessions"]);
            state["num-slaves"] == "1" && state["num-other-sentinels"] == "2"
        }) || !all.servers[1]
            .command::<String>(&["INFO", "replication"])
            .contains("master_link_status:up")
        {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "the sentinels do not meet"
            );
            thread::sleep(Duration::from_millis(50));
        }
        all
    }

    pub(crate) fn url(&self) -> String {
        let addresses: Vec<String> = self.sentinels.iter().map(Server::address).collect();
        format!("redis+sentinel://{}/sessions", addresses.join(","))
    }
}

/// Servers that tests share as long as one of them holds them.
pub(crate) struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    pub(crate) fn get(&self, start: impl FnOnce() -> T) -> Arc<T> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(start());
            *shared = Arc::downgrade(&started);
            started
        })
    }
}

/// A store that keeps its servers running.
#[expect(dead_code, reason = "the servers are only kept")]
pub(crate) struct Kept<T>(pub(crate) RedisStore, pub(crate) Arc<T>);

impl<T: Send + Sync + 'static> Store for Kept<T> {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        self.0.load(id).await
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        self.0.create(id, write).await
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        self.0.save(id, expected, write).await
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        self.0.touch(id, expected, ttl).await
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        self.0.destroy(id, options).await
    }
}
