//! A server that greets like Redis and then gives scripted replies, for errors that a real server
//! cannot be made to give.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What identifies it in the replies to `INFO`.
const IDENTITY: &str = "run_id:fake\r\nmaster_replid:fake\r\n";

/// A fake Redis server. It ends when it is dropped.
///
/// `HELLO`, `PING`, `UNWATCH` and `INFO` are answered as Redis does; every other command takes the next
/// reply of the script. An empty reply, and the end of the script, close the connection instead.
#[derive(Debug)]
pub struct FakeRedis {
    addr: SocketAddr,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Script {
    replies: VecDeque<String>,
    /// Given to every command instead of the replies.
    always: Option<String>,
    /// Given to `HELLO`.
    hello: Option<String>,
    /// How many connections have sent `HELLO`.
    hellos: usize,
    commands: usize,
}

impl FakeRedis {
    /// Starts a server that gives these replies, one to each command.
    pub async fn with_replies(replies: &[&str]) -> Self {
        Self::start(Script {
            replies: replies.iter().map(ToString::to_string).collect(),
            ..Script::default()
        })
        .await
    }

    /// Starts a server that gives the same reply to every command.
    pub async fn with_reply(reply: &str) -> Self {
        Self::start(Script {
            always: Some(reply.to_owned()),
            ..Script::default()
        })
        .await
    }

    /// Starts a server that gives this reply to `HELLO`, and `reply` to every other command.
    pub async fn with_hello(hello: &str, reply: &str) -> Self {
        Self::start(Script {
            always: Some(reply.to_owned()),
            hello: Some(hello.to_owned()),
            ..Script::default()
        })
        .await
    }

    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        let script = Arc::new(Mutex::new(script));
        let accepting = tokio::spawn({
            let script = script.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, script.clone()));
                }
            }
        });
        Self {
            addr,
            script,
            accepting,
        }
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Gives this reply to every command from now on.
    pub fn set_reply(&self, reply: &str) {
        lock(&self.script).always = Some(reply.to_owned());
    }

    /// How many times `HELLO` was received.
    pub fn hellos(&self) -> usize {
        lock(&self.script).hellos
    }

    /// How many commands took a reply of the script, or would have.
    pub fn commands(&self) -> usize {
        lock(&self.script).commands
    }
}

impl Drop for FakeRedis {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let words = read_command(&mut stream).await?;
        let reply = match words.first()?.as_str() {
            "HELLO" => {
                let mut script = lock(&script);
                script.hellos += 1;
                let hello = script.hello.clone();
                hello.unwrap_or_else(|| "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned())
            }
            "PING" | "UNWATCH" => "+OK\r\n".to_owned(),
            "INFO" => format!("${}\r\n{IDENTITY}\r\n", IDENTITY.len()),
            _ => {
                let mut script = lock(&script);
                script.commands += 1;
                match &script.always {
                    Some(reply) => reply.clone(),
                    None => script.replies.pop_front().unwrap_or_default(),
                }
            }
        };
        if reply.is_empty() {
            return None;
        }
        stream.write_all(reply.as_bytes()).await.ok()?;
    }
}

/// Reads one command, an array of strings. `None` if the stream ends or holds anything else.
async fn read_command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = read_length(stream).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; read_length(stream).await?];
        stream.read_exact(&mut word).await.ok()?;
        stream.read_u16().await.ok()?;
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Some(words)
}

async fn read_length(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim().get(1..)?.parse().ok()
}
