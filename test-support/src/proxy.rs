//! A proxy that does to a connection what networks do.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What the proxy does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Passes them on.
    None,
    /// Closes every connection, and each new one at once.
    Cut,
    /// Keeps connections open and passes nothing on.
    Stall,
    /// Passes everything on, each piece that much later.
    Delay(Duration),
    /// Passes replies on byte by byte.
    Trickle,
    /// Passes requests on; at the first reply the connection is closed instead.
    DropReply,
}

/// A proxy before a server. It ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    accept: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and passes on to this server.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let faults = fault.clone();
        let accept = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *faults.borrow() != Fault::Cut {
                    tokio::spawn(connection(client, server, faults.subscribe()));
                }
            }
        });
        Self {
            addr,
            fault,
            accept,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of a store behind it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Does this from now on, to open connections too.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
        self.set(Fault::Cut);
    }
}

async fn connection(client: TcpStream, server: SocketAddr, mut fault: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let requests = pass(client_read, server_write, fault.clone(), false);
    let replies = pass(server_read, client_write, fault.clone(), true);
    tokio::select! {
        () = requests => {}
        () = replies => {}
        _ = fault.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

/// Passes on in one direction until the connection ends.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut fault: watch::Receiver<Fault>,
    replies: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(len @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        // a stall holds what has arrived, until it is over
        if fault
            .wait_for(|fault| *fault != Fault::Stall)
            .await
            .is_err()
        {
            return;
        }
        let now = *fault.borrow();
        let sent = match now {
            Fault::Cut => return,
            Fault::DropReply if replies => return,
            Fault::Trickle if replies => trickle(&mut to, &buffer[..len]).await,
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                to.write_all(&buffer[..len]).await
            }
            Fault::None | Fault::Stall | Fault::DropReply | Fault::Trickle => {
                to.write_all(&buffer[..len]).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn trickle(to: &mut OwnedWriteHalf, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        to.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
