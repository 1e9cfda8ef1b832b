//! A Redis server that keeps one record and acknowledges everything else.

use std::{
    env, fs,
    io::Write,
    ops::Range,
    path::PathBuf,
    process,
    sync::{Arc, Mutex},
    time::Duration,
};

use session_redis::{RedisConfig, RedisStore};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

/// A server on a unix socket, which is removed on drop.
pub(crate) struct FakeRedis {
    socket: PathBuf,
}

impl FakeRedis {
    /// Serves on the current runtime and reports `remaining` as the time to live of the record.
    pub(crate) fn start(remaining: Duration) -> Self {
        let socket = env::temp_dir().join(format!("profile-{}.sock", process::id()));
        let listener = UnixListener::bind(&socket).expect("a socket");
        let ttl = format!(":{}\r\n", remaining.as_millis());
        let record = Arc::new(Mutex::new(b"$-1\r\n".to_vec()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, record.clone(), ttl.clone()));
            }
        });
        Self { socket }
    }

    /// A store that connects to this server. It does not remember which sessions have ended, because
    /// one is ended again and again here.
    pub(crate) fn store(&self) -> RedisStore {
        let config = RedisConfig::unix(&self.socket).ended_journal(Duration::ZERO);
        RedisStore::lazy(config).expect("a valid configuration")
    }
}

impl Drop for FakeRedis {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
    }
}

async fn serve(mut stream: UnixStream, record: Arc<Mutex<Vec<u8>>>, ttl: String) {
    let (mut received, mut replies, mut arguments) = (Vec::new(), Vec::new(), Vec::new());
    while stream
        .read_buf(&mut received)
        .await
        .is_ok_and(|read| read > 0)
    {
        let mut start = 0;
        while let Some(end) = command(&received, start, &mut arguments) {
            start = end;
            let argument = |n: usize| arguments.get(n).map(|range| &received[range.clone()]);
            let mut record = record.lock().expect("not poisoned");
            match argument(0).unwrap_or_default() {
                b"GET" => replies.extend_from_slice(&record),
                b"PTTL" => replies.extend_from_slice(ttl.as_bytes()),
                // the first script stores the record: script, number of keys, key, record
                b"EVAL" | b"EVALSHA" => {
                    // the keys of the index follow that of the session
                    let lists = argument(2).is_some_and(|keys| keys != b"1");
                    let body = argument(if lists { 5 } else { 4 });
                    if record.starts_with(b"$-1")
                        && let Some(body) = body
                    {
                        record.clear();
                        let _ = write!(record, "${}\r\n", body.len());
                        record.extend_from_slice(body);
                        record.extend_from_slice(b"\r\n");
                    }
                    replies.extend_from_slice(match lists {
                        // the number of the entry, and how many there are
                        true => b"*2\r\n:1\r\n:1\r\n",
                        false => b":1\r\n",
                    });
                }
                b"PEXPIRE" | b"UNLINK" => replies.extend_from_slice(b":1\r\n"),
                b"HELLO" => replies.extend_from_slice(b"%1\r\n+proto\r\n:3\r\n"),
                _ => replies.extend_from_slice(b"+OK\r\n"),
            }
        }
        received.drain(..start);
        if stream.write_all(&replies).await.is_err() {
            return;
        }
        replies.clear();
    }
}

/// Finds the arguments of the command that begins at `start`, and its end; `None` if it is not
/// complete.
fn command(input: &[u8], start: usize, arguments: &mut Vec<Range<usize>>) -> Option<usize> {
    arguments.clear();
    let (count, mut at) = number(input, start, b'*')?;
    for _ in 0..count {
        let (length, begin) = number(input, at, b'$')?;
        arguments.push(begin..begin + length);
        at = begin + length + 2;
    }
    (at <= input.len()).then_some(at)
}

/// Reads the number of a line such as `$12`, and where the next line begins.
fn number(input: &[u8], at: usize, sign: u8) -> Option<(usize, usize)> {
    let line = input.get(at..)?;
    let length = line.iter().position(|&byte| byte == b'\r')?;
    assert_eq!(line[0], sign, "a command is an array of bulk strings");
    let digits = str::from_utf8(&line[1..length]).expect("digits");
    Some((digits.parse().expect("a number"), at + length + 2))
}
