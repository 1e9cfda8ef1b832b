//! What one request costs: begin, load, act and finish on the memory store, in time and
//! allocations.
//!
//! `cargo bench -p session-core` prints both; they are figures to compare, not to promise.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use divan::{AllocProfiler, Bencher, black_box};
use http::{Request, Response, header};
use session_core::{Key, MemoryStore, Session, Sessions, SigningKeys};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const VIEWS: Key<u64> = Key::new("views");

fn main() {
    divan::main();
}

/// The memory store never waits, so neither does a request.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the memory store answers at once"),
    }
}

fn sessions() -> Sessions {
    let keys = SigningKeys::random().expect("entropy");
    Sessions::builder(MemoryStore::new())
        .signing_keys(keys)
        .build()
        .expect("legal options")
}

/// A request with the cookie of a stored session of five values.
fn signed_in(sessions: &Sessions) -> Request<()> {
    let handle = sessions.begin(&Request::new(()));
    let session = now(handle.load()).expect("memory");
    for name in ["user", "cart", "locale", "theme"] {
        session
            .insert(name, "a value of some length")
            .expect("writable");
    }
    session.insert(VIEWS, &0).expect("writable");
    let mut response = Response::new(());
    let _ = now(sessions.finish(&handle, &mut response)).expect("memory");
    let cookie = response.headers()[header::SET_COOKIE]
        .to_str()
        .expect("ascii");
    let pair = cookie.split(';').next().expect("a pair");
    Request::builder()
        .header(header::COOKIE, pair)
        .body(())
        .expect("a request")
}

fn request(bencher: Bencher<'_, '_>, stored: bool, act: Option<fn(&Session)>) {
    let sessions = sessions();
    let request = if stored {
        signed_in(&sessions)
    } else {
        Request::new(())
    };
    bencher.bench_local(|| {
        let handle = sessions.begin(black_box(&request));
        if let Some(act) = act {
            act(&now(handle.load()).expect("memory"));
        }
        let mut response = Response::new(());
        let _ = now(sessions.finish(&handle, &mut response)).expect("memory");
        response
    });
}

#[divan::bench]
fn anonymous_untouched(bencher: Bencher<'_, '_>) {
    request(bencher, false, None);
}

#[divan::bench]
fn anonymous_looked_at(bencher: Bencher<'_, '_>) {
    request(
        bencher,
        false,
        Some(|session| _ = black_box(session.get(VIEWS))),
    );
}

#[divan::bench]
fn signed_in_untouched(bencher: Bencher<'_, '_>) {
    request(bencher, true, None);
}

#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    request(
        bencher,
        true,
        Some(|session| _ = black_box(session.get(VIEWS))),
    );
}

#[divan::bench]
fn write(bencher: Bencher<'_, '_>) {
    request(
        bencher,
        true,
        Some(|session| _ = session.update(VIEWS, |views| views.unwrap_or(0) + 1)),
    );
}
