//! One Redis server.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Connection, FromRedisValue, RedisResult};
use tempfile::TempDir;

use crate::{place::Place, port, process::Process, program, wait::wait_until};

/// A port is not reserved, so another process may take it before the server listens.
const ATTEMPTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A `redis-server` process with a directory of its own.
#[derive(Debug)]
pub struct Redis {
    directory: TempDir,
    place: Place,
    port: u16,
    /// A port that speaks TLS, beside the plain one.
    tls_port: Option<u16>,
    role: Role,
    password: Option<String>,
    process: Mutex<Option<Process>>,
}

/// What the program is started as.
#[derive(Clone, Debug)]
enum Role {
    /// A server with these options, `--name value …`.
    Server(Vec<String>),
    /// A sentinel with this configuration. A sentinel writes what it learns to its configuration
    /// file.
    Sentinel(String),
}

impl Redis {
    /// Starts a server that stores nothing on disk.
    pub fn start() -> Self {
        Self::with_options(&[])
    }

    /// Starts a server that has every write on disk before it answers, so that [`kill`](Self::kill)
    /// loses none.
    pub fn start_durable() -> Self {
        Self::with_options(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a server whose default user has a password.
    pub fn with_password(password: &str) -> Self {
        Self::with_password_and_options(password, &[])
    }

    /// Starts a server whose default user has a password, with further options.
    pub fn with_password_and_options(password: &str, options: &[&str]) -> Self {
        let options = [&["--requirepass", password], options].concat();
        let password = Some(password.to_owned());
        Self::launch(
            server(&options),
            Place::loopback(),
            password,
            port::free,
            None,
        )
    }

    /// Starts a server with further options, `--name value …`.
    pub fn with_options(options: &[&str]) -> Self {
        Self::in_place(&Place::loopback(), options)
    }

    /// Starts a server elsewhere than on the loopback interface, with further options.
    pub fn in_place(place: &Place, options: &[&str]) -> Self {
        Self::launch(server(options), place.clone(), None, port::free, None)
    }

    /// Starts a server that also listens on a port that speaks TLS.
    pub(crate) fn with_tls_port(options: &[String]) -> Self {
        let role = Role::Server(options.to_vec());
        Self::launch(role, Place::loopback(), None, port::free, Some(port::free))
    }

    /// Starts a node for a cluster whose nodes speak TLS.
    pub(crate) fn tls_cluster_node(options: &[String]) -> Self {
        let role = Role::Server(options.to_vec());
        let free = port::free_for_cluster;
        Self::launch(role, Place::loopback(), None, port::free, Some(free))
    }

    /// Starts a node for a cluster.
    pub(crate) fn cluster_node(place: &Place, options: &[&str]) -> Self {
        let free = port::free_for_cluster;
        Self::launch(server(options), place.clone(), None, free, None)
    }

    /// Starts a sentinel with this configuration.
    pub(crate) fn sentinel(place: &Place, configuration: &str) -> Self {
        let role = Role::Sentinel(configuration.to_owned());
        Self::launch(role, place.clone(), None, port::free, None)
    }

    /// Starts a sentinel that also listens on a port that speaks TLS.
    pub(crate) fn tls_sentinel(configuration: &str) -> Self {
        let role = Role::Sentinel(configuration.to_owned());
        Self::launch(role, Place::loopback(), None, port::free, Some(port::free))
    }

    fn launch(
        role: Role,
        place: Place,
        password: Option<String>,
        free_port: fn() -> u16,
        free_tls_port: Option<fn() -> u16>,
    ) -> Self {
        let mut log = String::new();
        for _ in 0..ATTEMPTS {
            let server = Self {
                directory: tempfile::tempdir().expect("a temporary directory"),
                place: place.clone(),
                port: free_port(),
                tls_port: free_tls_port.map(|free| free()),
                role: role.clone(),
                password: password.clone(),
                process: Mutex::new(None),
            };
            if server.try_start() {
                return server;
            }
            log = server.log();
        }
        panic!("redis-server does not start:\n{log}");
    }

    /// Kills the server with `SIGKILL`.
    pub fn kill(&self) {
        self.process().take();
    }

    /// Starts the server again after [`kill`](Self::kill), on the same port and with the same
    /// files.
    ///
    /// # Panics
    ///
    /// If it does not start, for example because another process has taken its port.
    pub fn restart(&self) {
        self.kill();
        assert!(
            self.try_start(),
            "redis-server does not start again:\n{}",
            self.log()
        );
    }

    /// Stops the process: connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.process().as_ref().expect("running").pause();
    }

    /// Continues a paused process.
    pub fn resume(&self) {
        self.process().as_ref().expect("running").resume();
    }

    /// Whether the server was started and not killed since.
    pub fn is_running(&self) -> bool {
        self.process().is_some()
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        (self.place.host(), self.port).into()
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port that speaks TLS, if there is one.
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// The Unix socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// The URL of a store on this server, without a password.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Runs one command on a connection of its own.
    ///
    /// # Panics
    ///
    /// If the server cannot be reached or refuses the command.
    #[track_caller]
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Runs one command on a connection of its own.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached or refuses the command.
    pub fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        query(&mut self.connect()?, words)
    }

    /// One number of `INFO`.
    fn info(&self, section: &str, field: &str) -> u64 {
        let info: String = self.command(&["INFO", section]);
        let value = info
            .lines()
            .find_map(|line| line.trim().strip_prefix(field)?.strip_prefix(':'));
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("{field} is no number in INFO {section}:\n{info}"))
    }

    /// Every key with its value: a string, or the fields and values of a hash one after the other.
    /// A key that expires during the call is left out.
    pub fn dump(&self) -> Vec<(String, Vec<u8>)> {
        let mut connection = self.connect().expect("the server answers");
        let keys: Vec<String> = query(&mut connection, &["KEYS", "*"]).expect("the keys");
        keys.into_iter()
            .filter_map(|key| {
                let value: Option<Vec<u8>> = match query(&mut connection, &["GET", &key]) {
                    Ok(value) => value,
                    Err(_) => {
                        let parts = query::<Vec<Vec<u8>>>(&mut connection, &["HGETALL", &key]);
                        parts.ok().map(|parts| parts.concat())
                    }
                };
                Some((key, value?))
            })
            .collect()
    }

    /// Whether this is a primary at the moment. `false` if the server does not answer: sentinels
    /// close the connections of a primary that they demote.
    pub fn is_primary(&self) -> bool {
        self.replication_contains("role:master")
    }

    /// Whether this is a replica that has the data of its primary.
    pub(crate) fn is_synced_replica(&self) -> bool {
        self.replication_contains("master_link_status:up")
    }

    fn replication_contains(&self, line: &str) -> bool {
        self.try_command::<String>(&["INFO", "replication"])
            .is_ok_and(|info| info.contains(line))
    }

    /// Waits until it is a replica that has a copy of its primary.
    pub fn wait_until_replica(&self) {
        wait_until("the server is a replica", || self.is_synced_replica());
    }

    /// Waits until an online replica has everything that was written before this call.
    pub fn wait_for_replica(&self) {
        let written = self.info("replication", "master_repl_offset");
        wait_until("a replica has every write", || {
            let info: String = self.command(&["INFO", "replication"]);
            let replicated = info
                .lines()
                .filter(|line| line.contains("state=online"))
                .find_map(|line| {
                    line.split_once(",offset=")?
                        .1
                        .split(',')
                        .next()?
                        .parse()
                        .ok()
                });
            replicated.is_some_and(|offset: u64| offset >= written)
        });
    }

    /// Sends its replicas nothing from now on, while they keep what they have. It goes on serving.
    pub fn stop_replication(&self) {
        let () = self.command(&["ACL", "SETUSER", "default", "-psync", "-sync"]);
        let _: u64 = self.command(&["CLIENT", "KILL", "TYPE", "replica"]);
        wait_until("no replica is left", || {
            self.info("replication", "connected_slaves") == 0
        });
    }

    pub(crate) fn connect(&self) -> RedisResult<Connection> {
        let login = match &self.password {
            Some(password) => format!(":{password}@"),
            None => String::new(),
        };
        redis::Client::open(format!("redis://{login}{}", self.addr()))?
            .get_connection_with_timeout(CONNECT_TIMEOUT)
    }

    /// Returns whether the server answers; `false` if the process ended instead.
    fn try_start(&self) -> bool {
        *self.process() = Some(Process::spawn(&mut self.start_command()));
        let mut answers = false;
        wait_until("redis-server answers", || {
            answers = self.try_command::<redis::Value>(&["PING"]).is_ok();
            let runs = self.process().as_ref().is_some_and(Process::is_running);
            answers || !runs
        });
        answers
    }

    fn start_command(&self) -> Command {
        let directory = self.directory.path();
        let mut command = self.place.command(&program::path_of("redis-server"));
        if let Role::Sentinel(configuration) = &self.role {
            let file = directory.join("sentinel.conf");
            if !file.exists() {
                fs::write(&file, configuration).expect("a configuration file");
            }
            command.arg(file).arg("--sentinel");
        }
        command
            .args(["--port", &self.port.to_string()])
            .args(["--bind", &self.place.host().to_string()])
            // nobody else reaches the addresses of a test
            .args(["--protected-mode", "no"])
            .args(
                self.tls_port
                    .iter()
                    .flat_map(|port| ["--tls-port".to_owned(), port.to_string()]),
            )
            .arg("--dir")
            .arg(directory)
            .args(["--loglevel", "warning"]);
        if let Role::Server(options) = &self.role {
            command
                .args(["--save", "", "--appendonly", "no"])
                .args(["--unixsocket", "redis.sock"])
                .args(options);
        }
        let log = File::create(self.log_file()).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        command
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("redis.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory that it runs in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn server(options: &[&str]) -> Role {
    Role::Server(options.iter().map(ToString::to_string).collect())
}

pub(crate) fn query<T: FromRedisValue>(
    connection: &mut Connection,
    words: &[&str],
) -> RedisResult<T> {
    let (name, arguments) = words.split_first().expect("a command");
    redis::cmd(name).arg(arguments).query(connection)
}

/// Runs `redis-cli` and waits for its end.
///
/// # Panics
///
/// If it fails.
#[track_caller]
pub(crate) fn run_cli(arguments: &[&str]) {
    let output = Command::new(program::path_of("redis-cli"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("redis-cli runs");
    assert!(
        output.status.success(),
        "redis-cli {arguments:?}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durable_server_has_its_keys_after_a_restart_and_another_has_none() {
        for (server, kept) in [(Redis::start_durable(), 1), (Redis::start(), 0)] {
            let () = server.command(&["SET", "key", "value"]);
            server.kill();
            assert!(server.try_command::<()>(&["PING"]).is_err());
            server.restart();
            assert_eq!(server.command::<u64>(&["DBSIZE"]), kept);
        }
    }

    #[test]
    fn a_snapshot_brings_back_what_was_deleted_after_it() {
        let server = Redis::start();
        let () = server.command(&["SET", "session", "value"]);
        let () = server.command(&["SAVE"]);
        let () = server.command(&["DEL", "session"]);
        server.kill();
        server.restart();
        assert_eq!(server.command::<u64>(&["DBSIZE"]), 1);
    }

    /// A primary with a key, and a replica that has it.
    fn replicated() -> (Redis, Redis) {
        let primary = Redis::with_options(&["--repl-diskless-sync-delay", "0"]);
        let port = primary.port().to_string();
        let replica = Redis::with_options(&["--replicaof", port::HOST, &port]);
        let () = primary.command(&["SET", "session", "value"]);
        replica.wait_until_replica();
        primary.wait_for_replica();
        (primary, replica)
    }

    #[test]
    fn a_primary_that_restarts_empty_empties_its_replica() {
        let (primary, replica) = replicated();
        assert_eq!(replica.command::<u64>(&["DBSIZE"]), 1);
        primary.kill();
        primary.restart();
        wait_until("the replica is empty", || {
            replica.command::<u64>(&["DBSIZE"]) == 0
        });
    }

    #[test]
    fn a_replica_keeps_what_it_has_when_replication_stops() {
        let (primary, replica) = replicated();
        primary.stop_replication();
        let () = primary.command(&["DEL", "session"]);
        primary.kill();
        assert_eq!(replica.command::<u64>(&["DBSIZE"]), 1);
    }

    #[test]
    fn dump_returns_every_key_with_its_value() {
        let server = Redis::with_password("secret");
        assert_eq!(server.dump(), []);
        let () = server.command(&["SET", "key", "value"]);
        assert_eq!(server.dump(), [("key".to_owned(), b"value".to_vec())]);
    }
}
