//! What a token opens.

use std::sync::Arc;

use crate::{
    body::Transport,
    changes::{Changes, Watched},
    clock::{Millis, Now},
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

/// Looks a token up. One that a client presents opens only a session of the transport that it came
/// by.
///
/// A record that is kept in the process may only confirm the token. Whatever speaks against the
/// token, the store is asked.
pub(crate) async fn look_up(
    config: &Config,
    token: &SessionToken,
    transport: Option<Transport>,
    mode: LoadMode,
) -> Result<Lookup, SessionError> {
    let id = token.id();
    let presented = Presented {
        token,
        transport,
        extends: mode.extends(),
    };
    let near = config.records.near();
    if let (Some(near), LoadMode::Normal | LoadMode::Peek) = (near, mode) {
        let now = config.now();
        let kept = near.get(&id, now.monotonic);
        let judged = kept.map(|kept| presented.judge(config, kept, now));
        near.count(matches!(judged, Some(Judgement::Opens(_))));
        if let Some(Judgement::Opens(base)) = judged {
            return Ok(Lookup::Found(base.kept()));
        }
    }
    let read = match near {
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
    // the monotonic clock was read when the store had answered
    let now = Now {
        wall: Millis::of(config.clock.now()),
        monotonic: current.seen_at,
    };
    Ok(match presented.judge(config, current, now) {
        Judgement::Opens(base) => Lookup::Found(Arc::new(base)),
        Judgement::Superseded(base) => {
            tracing::info!(session.id = %id, "session token is superseded or has a wrong secret");
            Lookup::Superseded(since(config, &base, now))
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

/// A token, and how it was presented.
struct Presented<'t> {
    token: &'t SessionToken,
    transport: Option<Transport>,
    extends: bool,
}

/// What a record says about a token.
enum Judgement {
    Opens(Base),
    Superseded(Base),
    OtherTransport,
    TooOld,
}

impl Presented<'_> {
    fn judge(&self, config: &Config, current: Current, now: Now) -> Judgement {
        let body = &current.body;
        if self
            .transport
            .is_some_and(|transport| transport != body.transport)
        {
            return Judgement::OtherTransport;
        }
        let absolute = config.policy.timeouts.absolute(&body.contents.lifetime);
        if absolute.is_some_and(|absolute| body.age(now.wall) >= absolute) {
            return Judgement::TooOld;
        }
        let base = Base::read(self.token.clone(), current, self.extends);
        match base.is_superseded() {
            true => Judgement::Superseded(base),
            false => Judgement::Opens(base),
        }
    }
}

/// The time of the renewal comes from the clock of the instance that wrote it; one in the future
/// counts as just now.
fn since(config: &Config, base: &Base, now: Now) -> Since {
    match base.body.renewed_at {
        Some(renewed_at) if now.wall.since(renewed_at) < config.policy.supersede_grace => {
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
            let lookup = look_up(sessions.config(), &token, transport, LoadMode::Normal).await;
            let found = matches!(lookup, Ok(Lookup::Found(_)));
            assert_eq!(found, opens, "{transport:?}");
        }
    }
}
