//! A store of your own: a map under a lock, and the suite that tests it against the contract.
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
//! `MemoryStore` is this with a limit on memory. What matters in any store is the shape of the
//! answers: no operation writes where another record is or where none is left, and a lost race is a
//! value with the record that won.

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
    Applied, Created, Destroy, Destroyed, Key, Loaded, Record, Saved, SessionError, SessionId,
    SessionRequestExt, SessionService, Sessions, SigningKeys, Store, StoreError, Touched, Version,
    Write,
};
use tokio::net::TcpListener;

/// Keeps every session until it expires. Clones share their sessions.
#[derive(Clone, Debug, Default)]
struct MapStore(Arc<Mutex<HashMap<SessionId, Stored>>>);

#[derive(Debug)]
struct Stored {
    record: Record,
    expires_at: Instant,
}

impl Stored {
    fn new(write: Write<'_>) -> Self {
        Self {
            record: write.record.clone(),
            expires_at: Instant::now() + write.ttl,
        }
    }

    fn loaded(&self) -> Loaded {
        let ttl = self.expires_at.saturating_duration_since(Instant::now());
        Loaded::new(self.record.clone(), ttl)
    }
}

impl MapStore {
    /// Locks the map and removes what has expired. Each operation holds the lock once, which makes
    /// it atomic, and awaits nothing while it does.
    fn live(&self) -> MutexGuard<'_, HashMap<SessionId, Stored>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // simple, and slow with many sessions
        sessions.retain(|_, stored| stored.expires_at > now);
        sessions
    }
}

impl Store for MapStore {
    async fn load(&self, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
        Ok(self.live().get(id).map(Stored::loaded))
    }

    async fn create(&self, id: &SessionId, write: Write<'_>) -> Result<Created, StoreError> {
        Ok(match self.live().entry(*id) {
            Entry::Vacant(entry) => {
                entry.insert(Stored::new(write));
                Created::Created(Applied::new())
            }
            Entry::Occupied(_) => Created::Taken,
        })
    }

    async fn save(
        &self,
        id: &SessionId,
        expected: Version,
        write: Write<'_>,
    ) -> Result<Saved, StoreError> {
        let mut sessions = self.live();
        // not an insert: a session that has ended stays ended
        let Some(stored) = sessions.get_mut(id) else {
            return Ok(Saved::Gone);
        };
        let version = stored.record.version();
        if version == expected {
            *stored = Stored::new(write);
        } else if version != write.record.version() {
            return Ok(Saved::Conflict(stored.loaded()));
        }
        // a save whose answer was lost may be repeated: it finds its own version
        Ok(Saved::Saved(Applied::new()))
    }

    async fn touch(
        &self,
        id: &SessionId,
        expected: Version,
        ttl: Duration,
    ) -> Result<Touched, StoreError> {
        Ok(match self.live().get_mut(id) {
            None => Touched::Gone,
            Some(stored) if stored.record.version() != expected => {
                Touched::Conflict(stored.loaded())
            }
            Some(stored) => {
                stored.expires_at = Instant::now() + ttl;
                Touched::Touched(Applied::new())
            }
        })
    }

    async fn destroy(&self, id: &SessionId, options: Destroy) -> Result<Destroyed, StoreError> {
        let mut sessions = self.live();
        let stored = match (sessions.entry(*id), options.expected) {
            (Entry::Occupied(stored), _) => stored,
            (Entry::Vacant(_), Some(_)) => return Ok(Destroyed::Gone),
            (Entry::Vacant(_), None) => return Ok(Destroyed::Destroyed(Applied::new())),
        };
        let version = stored.get().record.version();
        if options.expected.is_some_and(|expected| expected != version) {
            return Ok(Destroyed::Conflict(stored.get().loaded()));
        }
        stored.remove();
        Ok(Destroyed::Destroyed(Applied::new()))
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
    // stores it before the response is sent, so that the count includes this session
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
