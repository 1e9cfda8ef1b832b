//! Encodes what was decided to be written, as it is sent to the store.

use std::sync::Arc;

use crate::{
    attempted::Attempted,
    body::{Body, Secrets},
    clock::Now,
    decide::{Create, Lists, Save, SecretChange},
    error::{SessionError, SessionErrorKind},
    indexing,
    label::Label,
    record::{Record, Version},
    secret::Secret,
    shared::Shared,
    token::SessionToken,
};

/// Encodes a new session.
pub(crate) fn create(
    shared: &Shared,
    create: &Create<'_>,
    now: Now,
) -> Result<Arc<Attempted>, SessionError> {
    let Create {
        new,
        token,
        contents,
        login,
        ttl,
    } = create;
    let (config, id) = (&shared.config, token.id());
    let listings = indexing::listings(config, id, contents, |_| true, *ttl, now.wall)?;
    let body = Body {
        secrets: Secrets::one(token.secret().hash()),
        created_at: new.created_at,
        authenticated_at: login.map(|login| login.at),
        renewed_at: None,
        listed_at: (!listings.is_empty()).then_some(now.wall),
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
        refreshes: false,
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
        lists,
    } = save;
    let (config, id, listed_at) = (&shared.config, base.token.id(), base.body.listed_at);
    let listings = match lists {
        Lists::Nothing => Vec::new(),
        Lists::All => indexing::listings(config, id, contents, |_| true, *ttl, now.wall)?,
        Lists::Tags(draft) => {
            let must_list = |label: &Label| draft.sets(label) || !label.is_on(base.contents());
            indexing::listings(config, id, contents, must_list, *ttl, now.wall)?
        }
    };
    let refreshes = indexing::is_refresh_due(config, contents, listed_at, *extends, now.wall);
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
        listed_at: match refreshes {
            true => Some(now.wall),
            false => listed_at,
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
        logs_in: login.is_some(),
        only_extends: *only_extends,
        reissue: *reissue,
        refreshes,
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
