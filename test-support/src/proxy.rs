//! A TCP proxy that injects the faults of networks.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What the proxy does to all its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Forwards everything.
    None,
    /// Closes every connection, and each new one when it is accepted.
    Cut,
    /// Keeps connections open and forwards nothing until the fault is over.
    Stall,
    /// Forwards everything, each piece after this delay.
    Delay(Duration),
    /// Forwards replies byte by byte.
    Trickle,
    /// Closes the connection instead of forwarding the reply to this Redis command. The command is
    /// carried out, but its client cannot know that. The fault is over after one reply;
    /// [`Proxy::replies_lost`] tells whether there was one.
    LoseReplyTo(&'static str),
    /// As [`LoseReplyTo`](Self::LoseReplyTo), for every reply to the command while the fault is
    /// set.
    LoseRepliesTo(&'static str),
}

/// A proxy in front of a server. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    state: watch::Sender<State>,
    replies_lost: AtomicU64,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    /// The connection that is stalled whatever the fault is.
    stalled: Option<usize>,
    connections: Vec<Arc<Connection>>,
}

#[derive(Debug, Default)]
struct Connection {
    number: usize,
    request_bytes: AtomicU64,
    /// The next reply is the one to lose.
    loses_reply: AtomicBool,
}

impl Proxy {
    /// Listens on a free port and forwards to this server.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        let shared = Arc::new(Shared {
            server,
            state: watch::Sender::new(State {
                fault: Fault::None,
                stalled: None,
                connections: Vec::new(),
            }),
            replies_lost: AtomicU64::new(0),
        });
        let accepting = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    if shared.state.borrow().fault != Fault::Cut {
                        let connection = shared.add_connection();
                        tokio::spawn(shared.clone().forward(client, connection));
                    }
                }
            }
        });
        Self {
            addr,
            shared,
            accepting,
        }
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of a store behind it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Sets the fault of all connections, open ones and new ones.
    pub fn set(&self, fault: Fault) {
        self.shared.state.send_modify(|state| state.fault = fault);
    }

    /// How many replies were lost to [`Fault::LoseReplyTo`] and [`Fault::LoseRepliesTo`].
    pub fn replies_lost(&self) -> u64 {
        self.shared.replies_lost.load(Ordering::SeqCst)
    }

    /// How many connections were accepted and forwarded, including those that have ended.
    pub fn connections(&self) -> usize {
        self.shared.state.borrow().connections.len()
    }

    /// Stalls the connection that has carried the most requests, in bytes. The others go on.
    pub fn stall_busiest(&self) {
        self.shared.state.send_modify(|state| {
            let busiest = state
                .connections
                .iter()
                .max_by_key(|connection| connection.request_bytes.load(Ordering::SeqCst))
                .expect("a connection");
            state.stalled = Some(busiest.number);
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Fault::Cut);
    }
}

impl Shared {
    fn add_connection(&self) -> Arc<Connection> {
        let mut added = None;
        self.state.send_modify(|state| {
            let connection = Arc::new(Connection {
                number: state.connections.len(),
                ..Connection::default()
            });
            state.connections.push(connection.clone());
            added = Some(connection);
        });
        added.expect("added above")
    }

    async fn forward(self: Arc<Self>, client: TcpStream, connection: Arc<Connection>) {
        let Ok(server) = TcpStream::connect(self.server).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        let mut state = self.state.subscribe();
        // either direction that ends, and a cut, end the connection
        tokio::select! {
            _ = self.forward_requests(client_read, server_write, &connection) => {}
            _ = self.forward_replies(server_read, client_write, &connection) => {}
            _ = state.wait_for(|state| state.fault == Fault::Cut) => {}
        }
    }

    async fn forward_requests(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        connection: &Connection,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let bytes = read(&mut from, &mut buffer).await?;
            match self.fault_once_not_stalled(connection).await {
                Fault::Delay(delay) => tokio::time::sleep(delay).await,
                Fault::LoseReplyTo(command) if contains_command(bytes, command) => {
                    // of concurrent requests, one loses its reply
                    let is_first = self.state.send_if_modified(|state| {
                        let is_set = state.fault == Fault::LoseReplyTo(command);
                        if is_set {
                            state.fault = Fault::None;
                        }
                        is_set
                    });
                    connection.loses_reply.store(is_first, Ordering::SeqCst);
                }
                Fault::LoseRepliesTo(command) if contains_command(bytes, command) => {
                    connection.loses_reply.store(true, Ordering::SeqCst);
                }
                Fault::None | Fault::Cut | Fault::Stall | Fault::Trickle => {}
                Fault::LoseReplyTo(_) | Fault::LoseRepliesTo(_) => {}
            }
            to.write_all(bytes).await?;
            connection
                .request_bytes
                .fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }
    }

    async fn forward_replies(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        connection: &Connection,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let bytes = read(&mut from, &mut buffer).await?;
            let fault = self.fault_once_not_stalled(connection).await;
            if connection.loses_reply.load(Ordering::SeqCst) {
                self.replies_lost.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            match fault {
                Fault::Trickle => {
                    for byte in bytes {
                        to.write_all(&[*byte]).await?;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    continue;
                }
                Fault::Delay(delay) => tokio::time::sleep(delay).await,
                Fault::None | Fault::Cut | Fault::Stall => {}
                Fault::LoseReplyTo(_) | Fault::LoseRepliesTo(_) => {}
            }
            to.write_all(bytes).await?;
        }
    }

    /// Waits while the connection is stalled, and returns the fault that holds then.
    async fn fault_once_not_stalled(&self, connection: &Connection) -> Fault {
        let mut state = self.state.subscribe();
        let flows =
            |state: &State| state.fault != Fault::Stall && state.stalled != Some(connection.number);
        let state = state.wait_for(flows).await.expect("self has the sender");
        state.fault
    }
}

/// Reads what is there; an error at the end of the stream.
async fn read<'b>(from: &mut OwnedReadHalf, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    match from.read(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => Ok(&buffer[..length]),
    }
}

/// Whether a request has a word that is exactly this command. Words stand between line ends in the
/// protocol of Redis.
fn contains_command(request: &[u8], command: &str) -> bool {
    let word = format!("\r\n{command}\r\n");
    request
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the address of a server that sends back what it receives.
    async fn echo_server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        addr
    }

    /// Sends a request, and returns its echo; `None` if the connection is closed instead.
    async fn echo(client: &mut TcpStream, request: &[u8]) -> Option<Vec<u8>> {
        client.write_all(request).await.ok()?;
        let mut reply = vec![0; request.len()];
        client.read_exact(&mut reply).await.ok()?;
        Some(reply)
    }

    #[tokio::test]
    async fn the_reply_to_a_command_is_lost_once_and_its_connection_closed() {
        let proxy = Proxy::start(echo_server().await).await;
        let connect = || async { TcpStream::connect(proxy.addr()).await.expect("the proxy") };
        let (get, set) = (b"\r\nGET\r\n", b"\r\nSET\r\n");
        let (mut client, mut other) = (connect().await, connect().await);
        proxy.set(Fault::LoseReplyTo("SET"));
        assert!(echo(&mut client, get).await.is_some());
        assert_eq!(
            (echo(&mut client, set).await, proxy.replies_lost()),
            (None, 1)
        );
        assert!(echo(&mut other, set).await.is_some(), "the fault is over");
        proxy.set(Fault::LoseRepliesTo("SET"));
        for lost in [2, 3] {
            let mut client = connect().await;
            assert_eq!(
                (echo(&mut client, set).await, proxy.replies_lost()),
                (None, lost)
            );
        }
    }

    #[tokio::test]
    async fn a_cut_closes_connections_and_a_stall_keeps_them() {
        let proxy = Proxy::start(echo_server().await).await;
        let mut client = TcpStream::connect(proxy.addr()).await.expect("the proxy");
        assert!(echo(&mut client, b"1").await.is_some());
        proxy.set(Fault::Stall);
        {
            let mut stalled = std::pin::pin!(echo(&mut client, b"2"));
            let waited = tokio::time::timeout(Duration::from_millis(50), &mut stalled).await;
            assert!(waited.is_err(), "nothing is forwarded");
            proxy.set(Fault::None);
            assert_eq!(stalled.await.as_deref(), Some(&b"2"[..]));
        }
        proxy.set(Fault::Cut);
        assert_eq!(echo(&mut client, b"3").await, None);
        assert_eq!(proxy.connections(), 1);
    }

    #[tokio::test]
    async fn the_busiest_connection_is_stalled_and_the_others_go_on() {
        let proxy = Proxy::start(echo_server().await).await;
        let mut busy = TcpStream::connect(proxy.addr()).await.expect("the proxy");
        let mut other = TcpStream::connect(proxy.addr()).await.expect("the proxy");
        assert!(echo(&mut other, b"1").await.is_some());
        assert!(echo(&mut busy, b"1234").await.is_some());
        proxy.stall_busiest();
        let waited = tokio::time::timeout(Duration::from_millis(50), echo(&mut busy, b"5")).await;
        assert!(waited.is_err(), "nothing is forwarded");
        assert!(echo(&mut other, b"2").await.is_some());
    }

    #[test]
    fn a_command_is_found_as_a_whole_word_alone() {
        let request = b"*2\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n";
        assert!(contains_command(request, "evalsha"));
        assert!(!contains_command(request, "EVAL"));
        assert!(!contains_command(request, "SHA"));
    }
}
