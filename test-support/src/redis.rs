//! Real Redis servers on free ports of the loopback interface, in every topology. They end with the test, by their process id.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{Connection, FromRedisValue};
use tempfile::TempDir;

/// When a server that does not come up fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// One redis-server process.
#[derive(Debug)]
pub struct Redis {
    dir: TempDir,
    port: u16,
    args: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server that keeps nothing on disk.
    pub fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// Starts a server that has every write on disk before it answers.
    pub fn durable() -> Self {
        Self::with(&[
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ])
    }

    /// Starts a server with these arguments.
    pub fn with(args: &[&str]) -> Self {
        Self::on(free_port(), args)
    }

    fn on(port: u16, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut server = Self {
            dir,
            port,
            args,
            child: None,
        };
        server.restart();
        server
    }

    /// Starts the server again, on the same port and with the same files, after [`kill`](Self::kill).
    pub fn restart(&mut self) {
        let mut command = Command::new(program("redis-server"));
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command
            .arg("--dir")
            .arg(self.dir.path())
            .args(["--loglevel", "warning"])
            .args(&self.args);
        self.child = Some(spawn(&mut command));
        self.wait_until_it_answers();
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Stops the process where it is: connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory that it runs in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The URL of a store on it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// A connection beside the ones under test.
    pub fn admin(&self) -> Connection {
        self.try_admin().expect("the server answers")
    }

    /// Sends one command and reads the answer.
    pub fn command<T: FromRedisValue>(&self, command: &[&str]) -> T {
        ask(&mut self.admin(), command).expect("the server carries it out")
    }

    /// How often each command was carried out since [`reset_counts`](Self::reset_counts), sorted, scripts' inner ones left out.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let stats: String = self.command(&["INFO", "commandstats"]);
        let mut counts: Vec<_> = stats
            .lines()
            .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
            .filter_map(|(name, rest)| {
                Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
            })
            .filter(|(name, _)| {
                !name.starts_with("config") && name != "info" && !name.starts_with("client")
            })
            .collect();
        counts.sort();
        counts
    }

    /// Begins to count anew.
    pub fn reset_counts(&self) {
        let _: String = self.command(&["CONFIG", "RESETSTAT"]);
    }

    /// Every key with its value.
    pub fn dump(&self) -> Vec<(String, Vec<u8>)> {
        let mut admin = self.admin();
        let keys: Vec<String> = ask(&mut admin, &["KEYS", "*"]).expect("keys");
        keys.into_iter()
            .filter_map(|key| Some((key.clone(), ask(&mut admin, &["GET", &key]).ok()?)))
            .collect()
    }

    fn try_admin(&self) -> redis::RedisResult<Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(5))
    }

    fn wait_until_it_answers(&self) {
        wait("redis-server to answer", || {
            let answer = self
                .try_admin()
                .and_then(|mut admin| ask::<String>(&mut admin, &["PING"]));
            match answer {
                Ok(_) => true,
                // one that wants a password is up too
                Err(error) => error.code() == Some("NOAUTH"),
            }
        });
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("running").id();
        let sent = Command::new("kill")
            .args([format!("-{name}"), id.to_string()])
            .status()
            .expect("kill");
        assert!(sent.success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A primary, a replica and three sentinels.
#[derive(Debug)]
pub struct Sentinels {
    /// The primary at the beginning, and its replica.
    pub servers: [Redis; 2],
    sentinels: Vec<(u16, TempDir, Option<Child>)>,
}

impl Sentinels {
    /// The name under which the sentinels know the primary.
    pub const SERVICE: &'static str = "sessions";

    /// Starts them and waits until the sentinels know each other and the replica.
    pub fn start() -> Self {
        let primary = Redis::with(&["--save", "", "--repl-diskless-sync-delay", "0"]);
        let port = primary.port().to_string();
        let replica = Redis::with(&["--save", "", "--replicaof", "127.0.0.1", &port]);
        let sentinels = (0..3).map(|_| sentinel(primary.port())).collect();
        let group = Self {
            servers: [primary, replica],
            sentinels,
        };
        wait("the sentinels to know the group", || group.settled());
        group
    }

    /// The URL of a store on them.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self
            .sentinels
            .iter()
            .map(|(port, ..)| format!("127.0.0.1:{port}"))
            .collect();
        format!("redis+sentinel://{}/{}", hosts.join(","), Self::SERVICE)
    }

    /// The port of the primary, as the sentinels see it.
    pub fn primary(&self) -> u16 {
        let (_, port): (String, u16) = self
            .ask(0, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::SERVICE])
            .expect("a sentinel answers");
        port
    }

    /// The server that is the primary now.
    pub fn primary_server(&mut self) -> &mut Redis {
        let port = self.primary();
        self.servers
            .iter_mut()
            .find(|server| server.port() == port)
            .expect("one of ours")
    }

    /// Asks for a failover and waits until there is another primary.
    pub fn fail_over(&self) {
        let before = self.primary();
        wait("the failover to be accepted", || {
            self.ask::<String>(0, &["SENTINEL", "FAILOVER", Self::SERVICE])
                .is_ok()
        });
        self.wait_for_another_primary(before);
    }

    /// Waits until all sentinels agree on a primary other than this.
    pub fn wait_for_another_primary(&self, before: u16) {
        wait("a failover", || {
            (0..3).all(|n| {
                let address = self.ask::<(String, u16)>(
                    n,
                    &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::SERVICE],
                );
                address.is_ok_and(|(_, port)| port != before)
            })
        });
    }

    fn settled(&self) -> bool {
        (0..3).all(|n| {
            let Ok(state) = self.ask::<Vec<String>>(n, &["SENTINEL", "MASTER", Self::SERVICE])
            else {
                return false;
            };
            let field = |name: &str| {
                state
                    .iter()
                    .position(|field| field == name)
                    .map(|at| state[at + 1].as_str())
            };
            field("num-slaves") == Some("1") && field("num-other-sentinels") == Some("2")
        })
    }

    fn ask<T: FromRedisValue>(&self, sentinel: usize, command: &[&str]) -> redis::RedisResult<T> {
        let client =
            redis::Client::open(format!("redis://127.0.0.1:{}", self.sentinels[sentinel].0))?;
        ask(
            &mut client.get_connection_with_timeout(Duration::from_secs(5))?,
            command,
        )
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        self.sentinels
            .iter_mut()
            .for_each(|(_, _, child)| end(child));
    }
}

fn sentinel(primary: u16) -> (u16, TempDir, Option<Child>) {
    let (dir, port, service) = (
        tempfile::tempdir().expect("a temporary directory"),
        free_port(),
        Sentinels::SERVICE,
    );
    let file = dir.path().join("sentinel.conf");
    let config = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {service} 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds {service} 500\nsentinel failover-timeout {service} 3000\n\
         sentinel parallel-syncs {service} 1\nloglevel warning\n",
        dir.path().display()
    );
    fs::write(&file, config).expect("writable");
    let child = spawn(
        Command::new(program("redis-server"))
            .arg(&file)
            .arg("--sentinel"),
    );
    (port, dir, Some(child))
}

/// Three primaries with a replica each.
#[derive(Debug)]
pub struct Cluster {
    /// All six nodes.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts the nodes, joins them, and waits until every one says that the cluster is up.
    pub fn start() -> Self {
        let node = |_| {
            let args = [
                "--save",
                "",
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--repl-diskless-sync-delay",
                "0",
            ];
            Redis::on(free_cluster_port(), &args)
        };
        let cluster = Self {
            nodes: (0..6).map(node).collect(),
        };
        let addrs: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| node.addr().to_string())
            .collect();
        let mut create = Command::new(program("redis-cli"));
        create.args(["--cluster", "create"]).args(&addrs).args([
            "--cluster-replicas",
            "1",
            "--cluster-yes",
        ]);
        let output = create.stdin(Stdio::null()).output().expect("redis-cli");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        cluster.wait_until_up(6);
        wait("the replicas", || {
            cluster
                .nodes
                .iter()
                .filter(|node| role(node) == "slave")
                .count()
                == 3
        });
        cluster
    }

    /// The URL of a store on it.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.addr().to_string())
            .collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The nodes that are primaries now.
    pub fn primaries(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&n| self.nodes[n].child.is_some() && role(&self.nodes[n]) == "master")
            .collect()
    }

    /// Moves so many slots from one primary to another, as an operator would.
    pub fn reshard(&self, from: usize, to: usize, slots: u32) {
        let id = |n: usize| self.nodes[n].command::<String>(&["CLUSTER", "MYID"]);
        let mut reshard = Command::new(program("redis-cli"));
        reshard.args(["--cluster", "reshard", &self.nodes[from].addr().to_string()]);
        reshard.args([
            "--cluster-from",
            &id(from),
            "--cluster-to",
            &id(to),
            "--cluster-slots",
            &slots.to_string(),
        ]);
        let output = reshard
            .arg("--cluster-yes")
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    /// Waits until so many running nodes say that the cluster is up.
    pub fn wait_until_up(&self, nodes: usize) {
        wait("the cluster to be up", || {
            let running = self.nodes.iter().filter(|node| node.child.is_some());
            running
                .filter(|node| {
                    node.command::<String>(&["CLUSTER", "INFO"])
                        .contains("cluster_state:ok")
                })
                .count()
                >= nodes
        });
    }
}

fn role(node: &Redis) -> String {
    let info: String = node.command(&["INFO", "replication"]);
    info.lines()
        .find_map(|line| line.strip_prefix("role:"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn ask<T: FromRedisValue>(connection: &mut Connection, command: &[&str]) -> redis::RedisResult<T> {
    let (name, args) = command.split_first().expect("a command");
    args.iter()
        .fold(&mut redis::cmd(name), |cmd, arg| cmd.arg(arg))
        .query(connection)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// A cluster node listens on a second port, ten thousand above the first.
fn free_cluster_port() -> u16 {
    loop {
        let port = free_port() % 40_000 + 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok()
        {
            return port;
        }
    }
}

/// The path of a program that the tests need.
///
/// # Panics
///
/// When it is not installed; the message names the package.
pub fn program(name: &str) -> String {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    match found {
        Some(path) => path.to_string_lossy().into_owned(),
        None => panic!(
            "{name} is not installed: these tests need the Debian packages redis-server, redis-sentinel, redis-tools, haproxy, \
             chromium and chromium-driver; `cargo xtask test` installs them"
        ),
    }
}

/// Starts a process that says nothing.
pub(crate) fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process")
}

/// Ends a process by its id and waits for its end.
pub(crate) fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Polls until something holds.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
