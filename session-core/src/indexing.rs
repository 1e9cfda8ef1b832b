//! Tells the index about the sessions that a request writes, touches and ends.

use std::time::Duration;

use futures_util::future::try_join_all;

use crate::{
    body::Contents,
    clock::Millis,
    config::Config,
    error::SessionError,
    id::SessionId,
    index::Index,
    label::Label,
    listing::{Listed, Listing, Nonce},
};

/// An index keeps a key for this many times the life of a session. It hears of a longer life at
/// best effort: if it misses one extension, its entry still outlives the session.
const TTL_FACTOR: u32 = 2;

/// What a write has to be listed under before it is acknowledged, the principal first.
pub(crate) fn listings(
    config: &Config,
    id: SessionId,
    contents: &Contents,
    must_list: impl Fn(&Label) -> bool,
    ttl: Duration,
    now: Millis,
) -> Result<Vec<Listing>, SessionError> {
    if config.index.is_none() || !contents.is_labelled() {
        return Ok(Vec::new());
    }
    let labels = Label::all(contents).filter(must_list);
    labels
        .map(|label| listing(config, label, id, ttl, now))
        .collect()
}

/// Whether a write should tell the index that the session lives: it extends the life, or no write
/// has told it for so long that a touch would be due. A session that is written often gets no
/// touches.
pub(crate) fn is_refresh_due(
    config: &Config,
    contents: &Contents,
    listed_at: Option<Millis>,
    extends: bool,
    now: Millis,
) -> bool {
    if config.index.is_none() || !contents.is_labelled() {
        return false;
    }
    let touch_after = config.policy.timeouts.touch_after(&contents.lifetime);
    let is_long_ago = |at: Millis| now.since(at).max(at.since(now)) > touch_after;
    extends || listed_at.is_none_or(is_long_ago)
}

fn listing(
    config: &Config,
    label: Label,
    id: SessionId,
    ttl: Duration,
    now: Millis,
) -> Result<Listing, SessionError> {
    let nonce = Nonce::generate(&*config.entropy)?;
    let ttl = ttl.saturating_mul(TTL_FACTOR);
    Ok(Listing::new(
        label.key(),
        id,
        nonce,
        now.to_system_time(),
        ttl,
    ))
}

/// Lists a session. The answer is that of the first listing.
pub(crate) async fn put(config: &Config, listings: &[Listing]) -> Result<Listed, SessionError> {
    let Some(index) = &config.index else {
        return Err(SessionError::no_index());
    };
    let puts = listings.iter().map(|listing| index.put(listing));
    let listed = try_join_all(puts).await.map_err(SessionError::from_write)?;
    // there is at least one listing
    Ok(listed.first().copied().unwrap_or(Listed::new(0, 0)))
}

/// The session lives on. What is `listed` already is left out.
pub(crate) fn refresh(
    config: &Config,
    id: SessionId,
    contents: &Contents,
    listed: &[Listing],
    ttl: Duration,
    now: Millis,
) {
    let Some(index) = &config.index else { return };
    let is_listed = |label: &Label| {
        let key = label.key();
        listed.iter().any(|listing| listing.key == key)
    };
    for label in Label::all(contents).filter(|label| !is_listed(label)) {
        match listing(config, label, id, ttl, now) {
            Ok(listing) => index.refresh(listing),
            // the next touch tries again
            Err(error) => tracing::debug!(session.id = %id, %error, "index not refreshed"),
        }
    }
}

/// A session has ended.
pub(crate) fn forget(config: &Config, id: SessionId, contents: &Contents) {
    forget_but(config, id, contents, None);
}

/// A session has ended, whose entry under one label is removed by somebody else.
pub(crate) fn forget_but(
    config: &Config,
    id: SessionId,
    contents: &Contents,
    removed: Option<&Label>,
) {
    let Some(index) = &config.index else { return };
    for label in Label::all(contents).filter(|label| Some(label) != removed) {
        index.forget(label.key(), id);
    }
}
