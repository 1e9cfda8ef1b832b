//! Opens byte streams to servers: TCP, TLS or a Unix socket.
//!
//! The redis crate opens streams too, but makes a TLS configuration for each, and so never resumes
//! a TLS session.

use std::{
    io::{Error, ErrorKind, Result},
    time::Duration,
};

use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::JoinSet,
};

use crate::address::Address;

/// How long a connection may be idle before TCP probes it: less than the time after which common
/// routers forget a connection.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A stream of any kind.
pub(crate) type BoxStream = Box<dyn ByteStream>;

/// See [`BoxStream`].
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Connects to all addresses of a host at once, and keeps the connection that is made first: one
/// address that drops packets does not use up the time of the others.
pub(crate) async fn connect_tcp(server: &Address, user_timeout: Duration) -> Result<TcpStream> {
    let mut attempts = JoinSet::new();
    for address in lookup_host((&*server.host, server.port)).await? {
        attempts.spawn(TcpStream::connect(address));
    }
    let mut error = Error::new(ErrorKind::NotFound, "the host has no address");
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(stream)) => {
                set_options(&stream, user_timeout)?;
                return Ok(stream);
            }
            Ok(Err(refused)) => error = refused,
            Err(aborted) => error = aborted.into(),
        }
    }
    Err(error)
}

#[cfg(unix)]
pub(crate) async fn connect_unix(path: &std::path::Path) -> Result<BoxStream> {
    Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
}

#[cfg(not(unix))]
pub(crate) async fn connect_unix(_: &std::path::Path) -> Result<BoxStream> {
    Err(ErrorKind::Unsupported.into())
}

/// Small writes are sent at once, and an idle connection is kept open, or found to be dead. The
/// spare connection is idle as long as all is well.
fn set_options(stream: &TcpStream, user_timeout: Duration) -> Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE / 4))?;
    // a peer that acknowledges nothing for so long is dead; by default Linux tries for 15 minutes
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(user_timeout))?;
    #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
    let _ = user_timeout;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_host_is_reached_on_whichever_address_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        // may be `::1` as well, where nobody listens
        let host = "localhost".to_owned();
        let stream = connect_tcp(&Address { host, port }, KEEPALIVE).await;
        let peer = stream.expect("a connection").peer_addr();
        assert_eq!(peer.expect("an address"), ([127, 0, 0, 1], port).into());
    }

    #[tokio::test]
    async fn a_connection_that_is_refused_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let host = "127.0.0.1".to_owned();
        let refused = connect_tcp(&Address { host, port }, KEEPALIVE).await;
        let error = refused.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn writes_are_not_delayed_and_a_dead_peer_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let host = "127.0.0.1".to_owned();
        let limit = Duration::from_secs(7);
        let stream = connect_tcp(&Address { host, port }, limit).await;
        let stream = stream.expect("a connection");
        assert!(stream.nodelay().expect("an option"));
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(limit));
    }
}
