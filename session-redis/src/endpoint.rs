//! How the redis crate is told where and as whom to connect.

use std::{fmt, path::Path, time::Duration};

use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, RedisError,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use crate::{
    address::Address,
    config::{RedisConfig, Role},
    credentials::Credentials,
    failure::Failure,
};

/// How long a connection may be idle before TCP probes it: less than the time after which common
/// routers forget a connection.
const KEEPALIVE: Duration = Duration::from_secs(60);

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

impl Endpoint<'_> {
    /// Returns where and as whom to connect.
    pub(crate) fn connection_info(
        &self,
        config: &RedisConfig,
        role: Role,
        credentials: &Credentials,
        protocol: ProtocolVersion,
    ) -> Result<ConnectionInfo, Failure> {
        let database = match role {
            Role::Server => config.database,
            Role::Sentinel => 0,
        };
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(protocol)
            .set_db(database.into())
            // one command less that an ACL must allow
            .set_skip_set_lib_name();
        if let Some(username) = &credentials.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &credentials.password {
            settings = settings.set_password(password.expose());
        }
        let info = self
            .addr(config, role)?
            .into_connection_info()
            .map_err(|error| Failure::from_connecting(&error))?;
        Ok(info
            .set_redis_settings(settings)
            .set_tcp_settings(tcp_settings(config)))
    }

    fn addr(&self, config: &RedisConfig, role: Role) -> Result<ConnectionAddr, Failure> {
        match self {
            Self::Unix(path) => Ok(ConnectionAddr::Unix(path.to_path_buf())),
            Self::Tcp(Address { host, port }) => {
                #[cfg(feature = "tls")]
                if let Some(tls) = config.tls_of(role) {
                    let addr = tls.address(host, *port);
                    return addr.map_err(|error| Failure::unavailable(error.to_string()));
                }
                #[cfg(not(feature = "tls"))]
                let _ = (config, role);
                Ok(ConnectionAddr::Tcp(host.clone(), *port))
            }
        }
    }

    /// Connects without a pool.
    pub(crate) async fn connect(
        &self,
        config: &RedisConfig,
        role: Role,
    ) -> Result<MultiplexedConnection, Failure> {
        let login = config.login(role).credentials(config.connect_timeout);
        let credentials = login.await.map_err(|failure| failure.at(self))?;
        let driver = driver_config(config).set_connection_timeout(Some(config.connect_timeout));
        let mut protocol = ProtocolVersion::RESP3;
        loop {
            let info = self.connection_info(config, role, &credentials, protocol)?;
            let connect = async {
                let client = redis::Client::open(info)?;
                client
                    .get_multiplexed_async_connection_with_config(&driver)
                    .await
            };
            match connect.await {
                Ok(connection) => return Ok(connection),
                Err(error) if protocol != ProtocolVersion::RESP2 && refuses_resp3(&error) => {
                    protocol = ProtocolVersion::RESP2;
                }
                Err(error) => return Err(Failure::from_connecting(&error).at(self)),
            }
        }
    }
}

/// Whether a server refused a connection because it does not speak RESP3: servers before Redis 6 do
/// not, and some proxies.
pub(crate) fn refuses_resp3(error: &RedisError) -> bool {
    let is_unknown = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.contains("unknown command") && text.contains("hello")
    };
    error.kind() == ErrorKind::RESP3NotSupported
        || error.code() == Some("NOPROTO")
        || error.detail().is_some_and(is_unknown)
}

/// Returns the options of the redis crate. Its own deadlines are off, because those of the store
/// include waiting.
pub(crate) fn driver_config(config: &RedisConfig) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(config.max_in_flight.min(MAX_BUFFER))
}

/// Returns the options of sockets: small writes are sent at once, and an idle connection is kept
/// open, or found to be dead. The spare connection is idle as long as all is well.
fn tcp_settings(config: &RedisConfig) -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 4);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    // a peer that acknowledges nothing for so long is dead; by default Linux tries for 15 minutes
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(config.total_timeout);
    #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
    let _ = config;
    settings
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_dead_peer_is_noticed_within_the_total_timeout() {
        let config = RedisConfig::unix("/run/redis.sock").total_timeout(Duration::from_secs(7));
        assert_eq!(
            tcp_settings(&config).user_timeout(),
            Some(Duration::from_secs(7))
        );
    }
}
