//! How the redis crate is told where and as whom to connect.

use std::{fmt, path::Path, time::Duration};

use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use crate::{address::Address, config::RedisConfig, credentials::Credentials, failure::Failure};

/// How long a connection may be idle before TCP probes it: less than the time after which common
/// routers forget a connection.
const KEEPALIVE: Duration = Duration::from_secs(60);

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
        credentials: &Credentials,
        database: u32,
    ) -> Result<ConnectionInfo, Failure> {
        let addr = match self {
            Self::Unix(path) => ConnectionAddr::Unix(path.to_path_buf()),
            Self::Tcp(Address { host, port }) if config.tls => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
            Self::Tcp(Address { host, port }) => ConnectionAddr::Tcp(host.clone(), *port),
        };
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(database.into())
            // one command less that an ACL must allow
            .set_skip_set_lib_name();
        if let Some(username) = &credentials.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &credentials.password {
            settings = settings.set_password(password.expose());
        }
        let info = addr
            .into_connection_info()
            .map_err(|error| Failure::from_connecting(&error))?;
        let info = info
            .set_redis_settings(settings)
            .set_tcp_settings(tcp_settings());
        #[cfg(feature = "tls")]
        if let Some(pem) = &config.root_certificates {
            let client = redis::Client::build_with_tls(info, root_certificates(pem))
                .map_err(|error| Failure::from_connecting(&error))?;
            return Ok(client.get_connection_info().clone());
        }
        Ok(info)
    }

    /// Connects without a pool.
    pub(crate) async fn connect(
        &self,
        config: &RedisConfig,
        credentials: &Credentials,
    ) -> Result<MultiplexedConnection, Failure> {
        let info = self.connection_info(config, credentials, 0)?;
        let connect = async {
            let client = redis::Client::open(info)?;
            let driver = driver_config(config).set_connection_timeout(Some(config.connect_timeout));
            client
                .get_multiplexed_async_connection_with_config(&driver)
                .await
        };
        connect
            .await
            .map_err(|error| Failure::from_connecting(&error).at(self))
    }
}

/// Returns the options of the redis crate. Its own deadlines are off, because those of the store
/// include waiting.
pub(crate) fn driver_config(config: &RedisConfig) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(config.max_in_flight)
}

/// Returns the options of sockets: small writes are sent at once, and an idle connection is kept
/// open, or found to be dead. The spare connection is idle as long as all is well.
pub(crate) fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 4);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
}

#[cfg(feature = "tls")]
pub(crate) fn root_certificates(pem: &[u8]) -> redis::TlsCertificates {
    redis::TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.to_vec()),
    }
}
