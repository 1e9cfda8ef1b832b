//! Connects to a server.

use std::{
    fmt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError,
    aio::PubSub,
};
use tokio::time::timeout;

use crate::{
    address::Address,
    config::{RedisConfig, Role},
    connection::{Connection, timed_out},
    credentials::Credentials,
    failure::Failure,
    pushes::Pushes,
    stream::{BoxStream, connect_tcp, connect_unix},
};

/// How many pipelines the redis crate queues for a connection at most. What is in flight is limited
/// before.
const MAX_BUFFER: usize = 65_536;

/// A place to connect to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Endpoint<'a> {
    Tcp(&'a Address),
    Unix(&'a Path),
}

impl fmt::Display for Endpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Remembers that a server has refused RESP3. Then no message reports a closed connection; the next
/// operation finds out.
#[derive(Debug, Default)]
pub(crate) struct Resp3Refused(AtomicBool);

impl Resp3Refused {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Endpoint<'_> {
    /// Connects for a short while, to ask for something.
    pub(crate) async fn connect(
        &self,
        config: &RedisConfig,
        role: Role,
    ) -> Result<Connection, Failure> {
        let login = config.login(role).credentials(config.connect_timeout);
        let credentials = login.await.map_err(|failure| failure.at(self))?;
        self.connect_as(config, role, &credentials, &Resp3Refused::default(), None)
            .await
    }

    /// Connects with these credentials. A server that refuses RESP3 sends no messages.
    pub(crate) async fn connect_as(
        &self,
        config: &RedisConfig,
        role: Role,
        credentials: &Credentials,
        resp3_refused: &Resp3Refused,
        mut pushes: Option<Pushes>,
    ) -> Result<Connection, Failure> {
        loop {
            let protocol = match resp3_refused.get() {
                true => ProtocolVersion::RESP2,
                false => ProtocolVersion::RESP3,
            };
            let driver = driver_config(config, protocol, pushes.take());
            let info = connection_info(config, role, credentials, protocol);
            let connect = async {
                let stream = self.open(config, role).await?;
                Connection::start(stream, &info, driver).await
            };
            let connected = timeout(config.connect_timeout, connect).await;
            match connected.unwrap_or_else(|_| Err(timed_out())) {
                Ok(connection) => return Ok(connection),
                Err(error) if protocol != ProtocolVersion::RESP2 && refuses_resp3(&error) => {
                    resp3_refused.0.store(true, Ordering::Release);
                }
                Err(error) => return Err(Failure::from_connecting(&error).at(self)),
            }
        }
    }

    /// Connects for subscriptions, with RESP2, which every server speaks.
    pub(crate) async fn connect_to_subscribe(
        &self,
        config: &RedisConfig,
        role: Role,
    ) -> Result<PubSub, Failure> {
        let login = config.login(role).credentials(config.connect_timeout);
        let credentials = login.await.map_err(|failure| failure.at(self))?;
        let info = connection_info(config, role, &credentials, ProtocolVersion::RESP2);
        let connect = async { PubSub::new(&info, self.open(config, role).await?).await };
        let connected = timeout(config.connect_timeout, connect).await;
        let connected = connected.unwrap_or_else(|_| Err(timed_out()));
        connected.map_err(|error| Failure::from_connecting(&error).at(self))
    }

    async fn open(&self, config: &RedisConfig, role: Role) -> std::io::Result<BoxStream> {
        let address = match self {
            Self::Unix(path) => return connect_unix(path).await,
            Self::Tcp(address) => address,
        };
        let stream = connect_tcp(address, config.total_timeout).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = config.tls_of(role) {
            return Ok(Box::new(tls.connect(&address.host, stream).await?));
        }
        #[cfg(not(feature = "tls"))]
        let _ = role;
        Ok(Box::new(stream))
    }
}

/// As whom to connect, and to which database.
fn connection_info(
    config: &RedisConfig,
    role: Role,
    credentials: &Credentials,
    protocol: ProtocolVersion,
) -> RedisConnectionInfo {
    let database = match role {
        Role::Server => config.database,
        Role::Sentinel => 0,
    };
    let mut info = RedisConnectionInfo::default()
        .set_protocol(protocol)
        .set_db(database.into())
        // one command less that an ACL must allow
        .set_skip_set_lib_name();
    if let Some(username) = &credentials.username {
        info = info.set_username(username);
    }
    if let Some(password) = &credentials.password {
        info = info.set_password(password.expose());
    }
    info
}

/// Returns the options of the redis crate. Its own deadlines are off, because those of the store
/// include waiting.
fn driver_config(
    config: &RedisConfig,
    protocol: ProtocolVersion,
    pushes: Option<Pushes>,
) -> AsyncConnectionConfig {
    let driver = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(config.max_in_flight.min(MAX_BUFFER));
    match (protocol, pushes) {
        (ProtocolVersion::RESP2, _) | (_, None) => driver,
        (_, Some(pushes)) => driver.set_push_sender(move |push: PushInfo| {
            pushes.receive(&push);
            Ok::<(), ()>(())
        }),
    }
}

/// Whether a server refused a connection because it does not speak RESP3: servers before Redis 6 do
/// not, and some proxies.
fn refuses_resp3(error: &RedisError) -> bool {
    let is_unknown = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.contains("unknown command") && text.contains("hello")
    };
    error.kind() == ErrorKind::RESP3NotSupported
        || error.code() == Some("NOPROTO")
        || error.detail().is_some_and(is_unknown)
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    #[test]
    fn a_refusal_of_resp3_is_told_from_other_errors() {
        for (line, expected) in [
            ("NOPROTO unsupported protocol version", true),
            (
                "ERR unknown command `HELLO`, with args beginning with: `3`",
                true,
            ),
            (
                "ERR unknown command 'HELLO', with args beginning with: '3'",
                true,
            ),
            ("ERR unknown command 'hello'", true),
            ("ERR unknown command 'SELECT'", false),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                false,
            ),
            (
                "NOAUTH HELLO must be called with the client already authenticated",
                false,
            ),
            ("LOADING Redis is loading the dataset in memory", false),
        ] {
            let reply = parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("a reply");
            let error = reply.extract_error().expect_err("an error");
            assert_eq!(refuses_resp3(&error), expected, "{line}");
        }
    }
}
