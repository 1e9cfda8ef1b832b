//! Runs one kind of request so many times, identically, so that its instructions can be counted:
//! `profile <request> <times>`. `cargo xtask profile` runs it under callgrind.
//!
//! Entropy, time and the store are fixed, so that two runs are identical.

use std::{
    env,
    future::Future,
    hint::black_box,
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use http::{Request, Response, header};
use session_core::{
    Created, Destroyed, Entropy, EntropyError, Key, Loaded, RecordBytes, Saved, SessionId,
    Sessions, SigningKeys, Store, StoreError, Touched, Version,
};

const COUNTER: Key<u64> = Key::new("counter");
const USER: Key<String> = Key::new("user");
const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    let args: Vec<_> = env::args().collect();
    let [_, kind, times] = args.as_slice() else {
        panic!("usage: profile <request> <times>")
    };
    let times: u32 = times.parse().expect("a number");
    let sessions = sessions();
    let cookie = stored(&sessions);
    let anonymous = Request::new(());
    let signed_in = Request::builder()
        .header(header::COOKIE, cookie)
        .body(())
        .expect("a request");
    for _ in 0..times {
        match kind.as_str() {
            "anonymous" => request(&sessions, &anonymous, |_| {}),
            "untouched" => request(&sessions, &signed_in, |_| {}),
            "load" => request(&sessions, &signed_in, |handle| {
                now(handle.load()).expect("stored");
            }),
            "read" => request(&sessions, &signed_in, |handle| {
                let session = now(handle.load()).expect("stored");
                black_box(session.get(USER).expect("text"));
            }),
            "write" => request(&sessions, &signed_in, |handle| {
                let session = now(handle.load()).expect("stored");
                session
                    .update(COUNTER, |counter| counter.unwrap_or(0) + 1)
                    .expect("writable");
            }),
            "renew" => request(&sessions, &signed_in, |handle| {
                // the store ignores writes, so the token of the cookie stays valid
                now(handle.load()).expect("stored").renew();
            }),
            "create" => request(&sessions, &anonymous, |handle| {
                let session = now(handle.load()).expect("new");
                session.insert(USER, "ann").expect("writable");
            }),
            other => panic!("no request is called {other}"),
        }
    }
}

fn request(
    sessions: &Sessions,
    request: &Request<()>,
    act: impl FnOnce(&session_core::SessionHandle),
) {
    let handle = sessions.begin(black_box(request));
    act(&handle);
    let mut response = Response::new(());
    let _ = now(sessions.finish(&handle, &mut response)).expect("the store works");
    black_box(response);
}

fn sessions() -> Sessions {
    let keys = SigningKeys::new(["0123456789abcdef0123456789abcdef"]).expect("long enough");
    let builder = Sessions::builder(Slot::default())
        .signing_keys(keys)
        .idle_timeout(HOUR);
    builder
        .insecure_entropy(Counting::default())
        .clock(|| SystemTime::UNIX_EPOCH + HOUR)
        .build()
        .expect("valid options")
}

/// Stores a session of about 300 bytes, like that of the benchmark, and returns the `Cookie` header that opens it.
fn stored(sessions: &Sessions) -> String {
    let handle = sessions.begin(&Request::new(()));
    let session = now(handle.load()).expect("new");
    session.insert(USER, "user-0123456789").expect("writable");
    session
        .insert("roles", &["reader", "writer", "admin"])
        .expect("writable");
    let cart: Vec<_> = (0..5u32)
        .map(|n| (format!("article number {n}"), n, 1995))
        .collect();
    session.insert("cart", &cart).expect("writable");
    session.insert(COUNTER, &0).expect("writable");
    let mut response = Response::new(());
    let _ = now(sessions.finish(&handle, &mut response)).expect("the store works");
    let cookie = response.headers()[header::SET_COOKIE]
        .to_str()
        .expect("ascii");
    cookie.split(';').next().expect("a pair").to_owned()
}

/// Polls a future that never waits.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the store answers at once"),
    }
}

/// Bytes that are different in every call, and the same in every run.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            let next = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&next.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// Stores the first session that is created, and ignores every later write.
#[derive(Default)]
struct Slot(Mutex<Option<RecordBytes>>);

impl Store for Slot {
    async fn load(&self, _: &SessionId) -> Result<Option<Loaded>, StoreError> {
        let record = self.0.lock().expect("whole").clone();
        Ok(record.map(|record| Loaded {
            record,
            ttl: Some(HOUR),
        }))
    }

    async fn create(
        &self,
        _: &SessionId,
        record: &RecordBytes,
        _: Duration,
    ) -> Result<Created, StoreError> {
        self.0
            .lock()
            .expect("whole")
            .get_or_insert_with(|| record.clone());
        Ok(Created::Created)
    }

    async fn save(
        &self,
        _: &SessionId,
        _: Version,
        record: &RecordBytes,
        _: Duration,
    ) -> Result<Saved, StoreError> {
        black_box(record);
        Ok(Saved::Saved)
    }

    async fn touch(&self, _: &SessionId, _: Duration) -> Result<Touched, StoreError> {
        Ok(Touched::Touched)
    }

    async fn destroy(&self, _: &SessionId) -> Result<Destroyed, StoreError> {
        Ok(Destroyed)
    }
}
