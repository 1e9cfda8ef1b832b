//! What a token opens.

use std::sync::Arc;

use crate::{
    body::Transport,
    clock::Now,
    config::Config,
    error::{SessionError, SessionErrorKind},
    id::SessionId,
    log_limit,
    policy::OnDecodeError,
    record::Loaded,
    state::{Base, Current, Since},
    store::Store,
    store_error::StoreErrorKind,
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

/// Looks a token up in the store. One that a client presents opens only a session of the transport
/// that it came by.
pub(crate) async fn look_up(
    config: &Config,
    token: &SessionToken,
    transport: Option<Transport>,
    extends: bool,
) -> Result<Lookup, SessionError> {
    let id = token.id();
    let current = match load(config, &id).await {
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
    if transport.is_some_and(|transport| transport != current.body.transport) {
        tracing::info!(session.id = %id, "session token was presented on another transport");
        return Ok(Lookup::NotFound);
    }
    let now = config.now();
    let absolute = config
        .policy
        .timeouts
        .absolute(&current.body.contents.lifetime);
    if absolute.is_some_and(|absolute| current.body.age(now.wall) >= absolute) {
        tracing::debug!(session.id = %id, "session is past its absolute timeout");
        return Ok(Lookup::NotFound);
    }
    let base = Base::read(
        token.clone(),
        Current {
            seen_at: now.monotonic,
            ..current
        },
        extends,
    );
    if base.is_superseded() {
        tracing::info!(session.id = %id, "session token is superseded or has a wrong secret");
        return Ok(Lookup::Superseded(since(config, &base, now)));
    }
    Ok(Lookup::Found(base))
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

/// Reads and decodes a record.
pub(crate) async fn load(config: &Config, id: &SessionId) -> Result<Option<Current>, SessionError> {
    match config.store.load(id).await {
        Ok(Some(loaded)) => decode(config, id, loaded).map(Some),
        Ok(None) => Ok(None),
        Err(error) if error.kind() == StoreErrorKind::Corrupt => Err(SessionError::with_source(
            SessionErrorKind::Corrupt,
            "stored session cannot be decoded",
            error,
        )),
        Err(error) => Err(error.into()),
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
            let lookup = look_up(sessions.config(), &token, transport, true).await;
            let found = matches!(lookup, Ok(Lookup::Found(_)));
            assert_eq!(found, opens, "{transport:?}");
        }
    }
}
