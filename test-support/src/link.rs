//! A TCP link with a round trip and a bandwidth.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// A link to a server. Unlike [`Fault::Delay`](crate::Fault::Delay) of a proxy it delays each piece
/// by itself, so that any number of them is under way. It ends when it is dropped.
#[derive(Debug)]
pub struct Link {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

/// What all connections share.
#[derive(Debug)]
struct Line {
    delay: Duration,
    /// How long a byte of a request occupies the line.
    per_byte: Duration,
    free_at: Mutex<Instant>,
}

impl Link {
    /// Listens on a free port and forwards to this server. Half of the round trip passes before a
    /// piece arrives at either end. Requests of all connections take turns on a line that carries
    /// so many bytes per second.
    pub async fn start(server: SocketAddr, round_trip: Duration, bytes_per_second: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        let line = Arc::new(Line {
            delay: round_trip / 2,
            per_byte: Duration::from_secs(1) / bytes_per_second,
            free_at: Mutex::new(Instant::now()),
        });
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(line.clone().forward(client, server));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { addr, accepting }
    }

    /// The URL of a store behind it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Line {
    async fn forward(self: Arc<Self>, client: TcpStream, server: SocketAddr) {
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        let requests = |length| self.occupy(length) + self.delay;
        let replies = |_| Instant::now() + self.delay;
        // either direction that ends ends the connection
        tokio::select! {
            _ = carry(client_read, server_write, requests) => {}
            _ = carry(server_read, client_write, replies) => {}
        }
    }

    /// Takes a turn. Returns when the last byte is on its way.
    fn occupy(&self, length: usize) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let length = u32::try_from(length).expect("a piece is small");
        *free_at = (*free_at).max(Instant::now()) + self.per_byte * length;
        *free_at
    }
}

/// Forwards each piece when `arrival` of its length says.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    arrival: impl Fn(usize) -> Instant,
) -> io::Result<()> {
    let (send, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async {
        let mut buffer = vec![0; 4096];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let _ = send.send((arrival(length), buffer[..length].to_vec()));
        }
    };
    let write = async {
        while let Some((arrival, piece)) = under_way.recv().await {
            sleep_until(arrival).await;
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::select! {
        result = read => result,
        result = write => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_are_under_way_at_the_same_time_and_share_the_line() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let (mut read, mut write) = stream.into_split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let link = Link::start(addr, Duration::from_millis(100), 10_000).await;
        let client = TcpStream::connect(link.addr).await.expect("the link");
        let (mut read, mut write) = client.into_split();
        let start = Instant::now();
        let send = async {
            for _ in 0..5 {
                write.write_all(&[0; 100]).await.expect("the link");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let mut reply = [0; 500];
        let (_, received) = tokio::join!(send, read.read_exact(&mut reply));
        received.expect("all of it");
        // five times 10 ms on the line, once the round trip
        assert!(start.elapsed() >= Duration::from_millis(150));
    }
}
