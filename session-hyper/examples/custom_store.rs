//! A store of one's own: a map under a lock, and the suite that says it keeps the contract.
//!
//! ```text
//! cargo test -p session-hyper --example custom_store
//! cargo run -p session-hyper --example custom_store -- 3000
//!
//! curl -i -b jar -c jar localhost:3000/        # 1 views, 1 sessions stored
//! curl -i -b jar -c jar localhost:3000/        # 2 views, 1 sessions stored
//! curl -i localhost:3000/                      # 1 views, 2 sessions stored
//! ```
//!
//! `MemoryStore` is this with a bound, and gives memory back when sessions expire. What matters to any store is the
//! shape of each answer: nothing is stored where something else is or where nothing is any more, and a lost race is a
//! value that carries what the other wrote.

use std::{
    collections::{HashMap, hash_map::Entry},
    error::Error,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use session_hyper::{
    Created, Destroyed, Key, Loaded, RecordBytes, RequestSession, Saved, SessionError, SessionId,
    SessionService, Sessions, SigningKeys, Store, StoreError, Touched, Version,
};
use tokio::net::TcpListener;

/// Keeps every session until it expires. Clones share their sessions.
#[derive(Clone, Debug, Default)]
struct MapStore(Arc<Mutex<HashMap<SessionId, Kept>>>);

#[derive(Debug)]
struct Kept {
    record: RecordBytes,
    expires_at: Instant,
}

impl Kept {
    fn new(record: &RecordBytes, ttl: Duration) -> Self {
        Self {
            record: record.clone(),
            expires_at: Instant::now() + ttl,
        }
    }

    fn loaded(&self) -> Loaded {
        Loaded {
            record: self.record.clone(),
            ttl: Some(self.expires_at.saturating_duration_since(Instant::now())),
        }
    }
}

impl MapStore {
    /// The live sessions. One lock for each operation makes it atomic; nothing is awaited under it.
    fn live(&self) -> MutexGuard<'_, HashMap<SessionId, Kept>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // simple, and slow with many sessions
        sessions.retain(|_, kept| kept.expires_at > now);
        sessions
    }
}

impl Store for MapStore {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        Ok(self.live().get(id).map(Kept::loaded))
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Created, StoreError> {
        Ok(match self.live().entry(*id) {
            Entry::Vacant(entry) => {
                entry.insert(Kept::new(record, ttl));
                Created::Created
            }
            // the same write again, after its first reply was lost
            Entry::Occupied(entry) if entry.get().record.version() == record.version() => {
                Created::Created
            }
            Entry::Occupied(_) => Created::Taken,
        })
    }

    async fn save(
        &self,
        id: &SessionId,
        expect: Version,
        record: &RecordBytes,
        ttl: Duration,
    ) -> Result<Saved, StoreError> {
        let mut sessions = self.live();
        // never an insert: a session that has ended stays ended
        let Some(kept) = sessions.get_mut(id) else {
            return Ok(Saved::Gone);
        };
        if kept.record.version() == Some(expect) {
            *kept = Kept::new(record, ttl);
            return Ok(Saved::Saved);
        }
        Ok(if kept.record.version() == record.version() {
            Saved::Saved
        } else {
            Saved::Conflict(kept.loaded())
        })
    }

    async fn touch(&self, id: &SessionId, ttl: Duration) -> Result<Touched, StoreError> {
        let mut sessions = self.live();
        let Some(kept) = sessions.get_mut(id) else {
            return Ok(Touched::Gone);
        };
        kept.expires_at = Instant::now() + ttl;
        Ok(Touched::Touched)
    }

    async fn destroy(&self, id: &SessionId) -> Result<Destroyed, StoreError> {
        self.live().remove(id);
        Ok(Destroyed)
    }
}

const VIEWS: Key<u32> = Key::new("views");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(3000), |port| port.parse())?;
    let store = MapStore::default();
    let sessions = Sessions::builder(store.clone())
        .signing_keys(SigningKeys::random()?)
        .build()?;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let store = store.clone();
        let service = SessionService::new(
            sessions.clone(),
            service_fn(move |request| home(request, store.clone())),
        );
        tokio::spawn(async move {
            if let Err(error) = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
            {
                eprintln!("connection: {error}");
            }
        });
    }
}

async fn home(
    request: Request<Incoming>,
    store: MapStore,
) -> Result<Response<Full<Bytes>>, SessionError> {
    let session = request.session().load().await?;
    let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    // stored now and not when the response leaves, so that the count is of this request too
    let _ = session.save().await?;
    let stored = store.live().len();
    Ok(Response::new(Full::from(format!(
        "{views} views, {stored} sessions stored\n"
    ))))
}

#[cfg(test)]
mod tests {
    session_core::contract!(|| async { super::MapStore::default() });
}
