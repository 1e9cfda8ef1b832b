//! What a token opens.

use std::sync::Arc;

use crate::{
    body::{Body, Transport},
    changes::{Changes, Watched},
    clock::Millis,
    config::Config,
    error::{SessionError, SessionErrorKind},
    id::SessionId,
    log_limit,
    near_cache::NearRecords,
    policy::{LoadMode, OnDecodeError},
    record::Loaded,
    state::{Base, Current, Since},
    store_error::{StoreError, StoreErrorKind},
    token::SessionToken,
};

/// What a token opens.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// A session.
    Found(Arc<Base>),
    /// A session whose secret was replaced.
    Superseded(Since),
    /// Nothing.
    NotFound,
}

/// A token that may open a session, and how it was presented.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'t> {
    pub(crate) token: &'t SessionToken,
    /// One that a client presents opens only a session of the transport that it came by.
    pub(crate) transport: Option<Transport>,
    pub(crate) mode: LoadMode,
}

/// Looks a token up among the records that are kept in the process.
///
/// They may only confirm the token: whatever speaks against it, the store is to be asked.
pub(crate) fn look_up_kept(config: &Config, candidate: Candidate<'_>) -> Option<Arc<Base>> {
    let near = config.records.near()?;
    let token = match candidate.mode {
        LoadMode::Normal | LoadMode::Peek => candidate.token,
        LoadMode::Fresh => return None,
    };
    let now = config.now();
    let opened = near.get(&token.id(), now.monotonic).filter(|kept| {
        let judgement = candidate.judge(config, kept.body(), now.wall);
        matches!(judgement, Judgement::Opens)
    });
    near.count(opened.is_some());
    let current = opened?.current(now.monotonic);
    Some(Base::kept(token.clone(), current, candidate.mode.extends()))
}

/// Looks a token up in the store.
pub(crate) async fn look_up(
    config: &Config,
    candidate: Candidate<'_>,
) -> Result<Lookup, SessionError> {
    let id = candidate.token.id();
    let read = match config.records.near() {
        Some(near) => load_and_keep(config, near, &id).await,
        None => load(config, &id).await,
    };
    let current = match read {
        Ok(Some(current)) => current,
        Ok(None) => {
            tracing::debug!(session.id = %id, "session not found");
            return Ok(Lookup::NotFound);
        }
        Err(error)
            if error.kind() == SessionErrorKind::Corrupt
                && config.policy.on_decode_error == OnDecodeError::StartNew =>
        {
            let message = "stored session cannot be decoded; the request starts a new one";
            log_limit::warn(&id, &error, message);
            return Ok(Lookup::NotFound);
        }
        Err(error) => return Err(error),
    };
    let now = Millis::of(config.clock.now());
    Ok(match candidate.judge(config, &current.body, now) {
        Judgement::Opens => {
            let extends = candidate.mode.extends();
            Lookup::Found(Base::opened(candidate.token.clone(), current, extends))
        }
        Judgement::Superseded => {
            tracing::info!(session.id = %id, "session token is superseded or has a wrong secret");
            Lookup::Superseded(since(config, &current.body, now))
        }
        Judgement::OtherTransport => {
            tracing::info!(session.id = %id, "session token was presented on another transport");
            Lookup::NotFound
        }
        Judgement::TooOld => {
            tracing::debug!(session.id = %id, "session is past its absolute timeout");
            Lookup::NotFound
        }
    })
}

/// What a record says about a token.
enum Judgement {
    Opens,
    Superseded,
    OtherTransport,
    TooOld,
}

impl Candidate<'_> {
    fn judge(&self, config: &Config, body: &Body, now: Millis) -> Judgement {
        if self
            .transport
            .is_some_and(|transport| transport != body.transport)
        {
            return Judgement::OtherTransport;
        }
        let absolute = config.policy.timeouts.absolute(&body.contents.lifetime);
        if absolute.is_some_and(|absolute| body.age(now) >= absolute) {
            return Judgement::TooOld;
        }
        match body.secrets.contain(&self.token.secret().hash()) {
            true => Judgement::Opens,
            false => Judgement::Superseded,
        }
    }
}

/// The time of the renewal comes from the clock of the instance that wrote it; one in the future
/// counts as just now.
fn since(config: &Config, body: &Body, now: Millis) -> Since {
    match body.renewed_at {
        Some(renewed_at) if now.since(renewed_at) < config.policy.supersede_grace => {
            Since::JustBeforeLoad
        }
        Some(_) | None => Since::LongBeforeLoad,
    }
}

/// Reads a record from the store, and decodes it.
pub(crate) async fn load(config: &Config, id: &SessionId) -> Result<Option<Current>, SessionError> {
    match config.records.load(id).await {
        Ok(Some(loaded)) => decode(config, id, loaded).map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

/// The same, and keeps the record if its next change is announced.
async fn load_and_keep(
    config: &Config,
    near: &NearRecords,
    id: &SessionId,
) -> Result<Option<Current>, SessionError> {
    let ticket = near.begin(id, &*config.clock);
    let Watched { loaded, feed } = near.changes().load(id).await.map_err(unreadable)?;
    let Some(loaded) = loaded else {
        return Ok(None);
    };
    let body_bytes = loaded.record.body().len();
    let current = decode(config, id, loaded)?;
    if let Some(feed) = feed {
        near.keep(*id, ticket, current.clone(), body_bytes, feed);
    }
    Ok(Some(current))
}

/// What an error of a load means.
pub(crate) fn unreadable(error: StoreError) -> SessionError {
    match error.kind() {
        StoreErrorKind::Corrupt => SessionError::with_source(
            SessionErrorKind::Corrupt,
            "stored session cannot be decoded",
            error,
        ),
        _ => error.into(),
    }
}

/// Decodes a record.
pub(crate) fn decode(
    config: &Config,
    id: &SessionId,
    loaded: Loaded,
) -> Result<Current, SessionError> {
    let version = loaded.record.version();
    let body = config
        .format
        .decode(id, version, loaded.record.body())
        .map_err(|error| {
            SessionError::with_source(
                SessionErrorKind::Corrupt,
                "stored session cannot be decoded",
                error,
            )
        })?;
    Ok(Current {
        version,
        body,
        ttl: loaded.ttl,
        seen_at: config.clock.monotonic(),
    })
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use http::{Request, Response};

    use super::*;
    use crate::{memory::MemoryStore, sessions::Sessions, sign::SigningKeys};

    /// The signature is checked before, and covers the transport; the record has the last word.
    #[tokio::test]
    async fn a_token_opens_nothing_on_another_transport_than_that_of_the_record() {
        let sessions = Sessions::builder(MemoryStore::new())
            .signing_keys(SigningKeys::random().expect("entropy"))
            .build()
            .expect("valid options");
        let handle = sessions.begin(&Request::new(()));
        let session = handle.load().await.expect("memory");
        session.log_in("ann").expect("accepted");
        let _ = sessions.finish(&handle, &mut Response::new(())).await;
        let token = session.token().expect("stored");
        for (transport, opens) in [
            (None, true),
            (Some(Transport::Cookie), true),
            (Some(Transport::Bearer), false),
        ] {
            let candidate = Candidate {
                token: &token,
                transport,
                mode: LoadMode::Normal,
            };
            let lookup = look_up(sessions.config(), candidate).await;
            let found = matches!(lookup, Ok(Lookup::Found(_)));
            assert_eq!(found, opens, "{transport:?}");
        }
    }
}
