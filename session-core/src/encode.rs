//! Encodes what was decided to be written, as it is sent to the store.

use std::sync::Arc;

use crate::{
    attempted::Attempted,
    body::{Body, Secrets},
    clock::Now,
    decide::{Create, Save, SecretChange},
    error::{SessionError, SessionErrorKind},
    indexing,
    record::{Record, Version},
    secret::Secret,
    shared::Shared,
    token::SessionToken,
};

/// Encodes a new session.
pub(crate) fn create(shared: &Shared, create: &Create<'_>) -> Result<Arc<Attempted>, SessionError> {
    let Create {
        new,
        token,
        contents,
        login,
        ttl,
    } = create;
    let now = shared.config.now().wall;
    let id = token.id();
    let listings = indexing::listings(&shared.config, id, None, contents, false, *ttl, now)?;
    let body = Body {
        secrets: Secrets::one(token.secret().hash()),
        created_at: new.created_at,
        authenticated_at: login.map(|login| login.at),
        renewed_at: None,
        transport: shared.request.facts().transport,
        contents: Arc::clone(contents),
        unknown: Vec::new(),
    };
    Ok(Arc::new(Attempted {
        record: record(shared, token, &body)?,
        token: (*token).clone(),
        expected: None,
        body,
        ttl: *ttl,
        opens: true,
        renews: true,
        logs_in: login.is_some(),
        only_extends: false,
        reissue: false,
        listings,
        extends: false,
    }))
}

/// Encodes a changed session.
pub(crate) fn save(
    shared: &Shared,
    save: &Save<'_>,
    now: Now,
) -> Result<Arc<Attempted>, SessionError> {
    let Save {
        base,
        contents,
        login,
        secret,
        ttl,
        only_extends,
        reissue,
        extends,
    } = save;
    let (config, id, stored) = (&shared.config, base.token.id(), Some(&**base.contents()));
    let logs_in = login.is_some();
    let listings = indexing::listings(config, id, stored, contents, logs_in, *ttl, now.wall)?;
    let renews = *secret != SecretChange::Keep;
    let token = match renews {
        true => SessionToken::new(base.token.id(), Secret::generate(&*shared.config.entropy)?),
        false => base.token.clone(),
    };
    let body = Body {
        secrets: secret.apply(base.body.secrets, token.secret()),
        created_at: base.body.created_at,
        authenticated_at: login.map(|login| login.at).or(base.body.authenticated_at),
        renewed_at: if renews {
            Some(now.wall)
        } else {
            base.body.renewed_at
        },
        transport: base.body.transport,
        contents: Arc::clone(contents),
        unknown: base.body.unknown.clone(),
    };
    Ok(Arc::new(Attempted {
        record: record(shared, &token, &body)?,
        token,
        expected: Some(base.version),
        body,
        ttl: *ttl,
        opens: renews || !base.is_superseded(),
        renews,
        logs_in,
        only_extends: *only_extends,
        reissue: *reissue,
        extends: *extends && listings.is_empty(),
        listings,
    }))
}

fn record(shared: &Shared, token: &SessionToken, body: &Body) -> Result<Record, SessionError> {
    let version = Version::generate(&*shared.config.entropy)?;
    let bytes = shared
        .config
        .format
        .encode(&token.id(), version, body)
        .map_err(|error| {
            SessionError::with_source(SessionErrorKind::Encode, "session cannot be encoded", error)
        })?;
    Ok(Record::new(version, bytes))
}
