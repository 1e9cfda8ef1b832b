//! A server that greets as Redis does and then answers as it was told.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub(crate) struct Fake {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    listening: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    replies: VecDeque<String>,
    always: Option<String>,
    asked: usize,
}

impl Fake {
    /// One reply for each command; an empty one closes the connection instead.
    pub(crate) async fn start(replies: Vec<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let replies = replies.into_iter().map(str::to_owned).collect();
        let script = Arc::new(Mutex::new(Script {
            replies,
            ..Script::default()
        }));
        let shared = script.clone();
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self {
            address,
            script,
            listening,
        }
    }

    /// From now on, this is the reply to every command.
    pub(crate) fn always(&self, reply: &str) {
        self.script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .always = Some(reply.to_owned());
    }

    /// How many commands came, greetings aside.
    pub(crate) fn asked(&self) -> usize {
        self.script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .asked
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let words = command(&mut stream).await?;
        let reply = match words.first()?.as_str() {
            "HELLO" => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
            "PING" | "UNWATCH" => "+OK\r\n".to_owned(),
            _ => {
                let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
                script.asked += 1;
                let always = script.always.clone();
                always
                    .or_else(|| script.replies.pop_front())
                    .unwrap_or_default()
            }
        };
        if reply.is_empty() {
            return None;
        }
        stream.write_all(reply.as_bytes()).await.ok()?;
    }
}

/// Reads one command, an array of strings.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = number(stream).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(stream).await?];
        stream.read_exact(&mut word).await.ok()?;
        stream.read_u16().await.ok()?;
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Some(words)
}

async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim().get(1..)?.parse().ok()
}
