//! The sessions that an index lists under a label. Their records decide which of them there are.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    body::Contents,
    config::Config,
    error::{SessionError, SessionErrorKind},
    event,
    id::SessionId,
    index::{AnyIndex, Index},
    indexing,
    label::Label,
    listing::IndexEntry,
    lookup,
    outcome::EndReason,
    record::{Loaded, Version},
    state::Current,
    store::{Destroy, Destroyed},
    store_error::{StoreError, StoreErrorKind},
};

/// How many calls to the store are in flight at a time.
const CONCURRENCY: usize = 32;

/// The index.
///
/// # Errors
///
/// If the sessions are not listed.
pub(crate) fn index(config: &Config) -> Result<&AnyIndex, SessionError> {
    config.index.as_ref().ok_or_else(SessionError::no_index)
}

/// All entries of a label, in the order in which the sessions were listed.
pub(crate) async fn entries(
    config: &Config,
    label: &Label,
) -> Result<Vec<IndexEntry>, SessionError> {
    let index = index(config)?;
    Ok(index.entries(&label.key(), 0, usize::MAX).await?)
}

/// What is stored under the id of an entry.
enum Found {
    /// Nothing, so the session has ended for good.
    Absent,
    /// A session that does not have the label any more.
    Unlabelled,
    /// A session that has it and can be used.
    Living(Current),
    /// A session that has it, or had it when it was listed, and cannot be used through this
    /// instance: it is too old, or written by a release that this one cannot read.
    Unusable(Version),
    /// Something else than a record.
    Corrupt(StoreError),
}

/// The sessions of entries that are alive and have the label, in the same order. The entries of
/// sessions that have ended or do not have it are removed.
pub(crate) async fn living(
    config: &Config,
    label: &Label,
    entries: Vec<IndexEntry>,
) -> Result<Vec<(IndexEntry, Current)>, SessionError> {
    let look = |entry: IndexEntry| async move {
        Ok(match find(config, label, &entry.id).await? {
            Found::Living(current) => Some((entry, current)),
            Found::Unusable(_) | Found::Corrupt(_) => None,
            Found::Absent | Found::Unlabelled => {
                remove(config, label, &entry).await?;
                None
            }
        })
    };
    let looked = stream::iter(entries).map(look).buffered(CONCURRENCY);
    looked
        .try_filter_map(|member| async move { Ok::<_, SessionError>(member) })
        .try_collect()
        .await
}

async fn find(config: &Config, label: &Label, id: &SessionId) -> Result<Found, SessionError> {
    match config.records.load(id).await {
        Ok(Some(loaded)) => Ok(found(config, label, id, loaded)),
        Ok(None) => Ok(Found::Absent),
        Err(error) if error.kind() == StoreErrorKind::Corrupt => Ok(Found::Corrupt(error)),
        Err(error) => Err(error.into()),
    }
}

fn found(config: &Config, label: &Label, id: &SessionId, loaded: Loaded) -> Found {
    let version = loaded.record.version();
    let Ok(current) = lookup::decode(config, id, loaded) else {
        return Found::Unusable(version);
    };
    let contents = &current.body.contents;
    if !label.is_on(contents) {
        return Found::Unlabelled;
    }
    let absolute = config.policy.timeouts.absolute(&contents.lifetime);
    let age = current.body.age(config.now().wall);
    match absolute.is_some_and(|absolute| age >= absolute) {
        true => Found::Unusable(version),
        false => Found::Living(current),
    }
}

/// Ends the sessions of entries, as far as they have the label, and removes the entries. Returns
/// the ids of those that it ended.
pub(crate) async fn end(
    config: &Config,
    label: &Label,
    entries: Vec<IndexEntry>,
) -> Result<Vec<SessionId>, SessionError> {
    let end = |entry: IndexEntry| async move {
        let reason = EndReason::Revoked;
        let ended = end_and_forget(config, label, &entry.id, reason, Some(label)).await?;
        remove(config, label, &entry).await?;
        Ok(ended.then_some(entry.id))
    };
    let ended = stream::iter(entries).map(end).buffer_unordered(CONCURRENCY);
    ended
        .try_filter_map(|id| async move { Ok::<_, SessionError>(id) })
        .try_collect()
        .await
}

/// Ends sessions for a newer one.
pub(crate) async fn evict(
    config: &Config,
    label: &Label,
    ids: Vec<SessionId>,
) -> Result<(), SessionError> {
    let end = |id: SessionId| async move {
        end_one(config, label, &id, EndReason::Evicted)
            .await
            .map(drop)
    };
    let ended = stream::iter(ids).map(end).buffer_unordered(CONCURRENCY);
    ended.try_collect().await
}

/// Ends a session if it has the label. Returns whether it did. Its entries are removed later.
pub(crate) async fn end_one(
    config: &Config,
    label: &Label,
    id: &SessionId,
    reason: EndReason,
) -> Result<bool, SessionError> {
    end_and_forget(config, label, id, reason, None).await
}

async fn end_and_forget(
    config: &Config,
    label: &Label,
    id: &SessionId,
    reason: EndReason,
    removed: Option<&Label>,
) -> Result<bool, SessionError> {
    let deadline = config.clock.monotonic() + config.policy.commit_deadline;
    let mut next = find(config, label, id).await?;
    // what a destroy without an answer was to remove
    let mut in_doubt: Option<Option<Arc<Contents>>> = None;
    loop {
        let (version, contents) = match next {
            Found::Living(current) => (current.version, Some(current.body.contents)),
            Found::Unusable(version) => (version, None),
            Found::Unlabelled => return Ok(false),
            Found::Corrupt(error) => return Err(error.into()),
            Found::Absent => {
                if in_doubt.is_some() {
                    // the id is not used again, and a store that remembers what was ended has not
                    // learned of it yet
                    let destroyed = config.records.destroy(id, Destroy::any()).await;
                    let _ = destroyed.map_err(SessionError::from_write)?;
                }
                let ended = in_doubt.map(|contents| tell(config, *id, reason, contents, removed));
                return Ok(ended.is_some());
            }
        };
        match config
            .records
            .destroy(
                id,
                Destroy::expecting(version).confirm(config.policy.confirm),
            )
            .await
        {
            Ok(Destroyed::Destroyed(_)) => {
                tell(config, *id, reason, contents, removed);
                return Ok(true);
            }
            Ok(Destroyed::Gone) => next = Found::Absent,
            Ok(Destroyed::Conflict(loaded)) => {
                in_doubt = None;
                next = found(config, label, id, loaded);
            }
            Err(error) if error.kind() == StoreErrorKind::Timeout && in_doubt.is_none() => {
                in_doubt = Some(contents);
                next = find(config, label, id).await?;
            }
            Err(error) => return Err(SessionError::from_write(error)),
        }
        if config.clock.monotonic() >= deadline && !matches!(next, Found::Absent) {
            let detail = "session was changed by concurrent requests until the commit deadline";
            return Err(SessionError::new(SessionErrorKind::Contention, detail));
        }
    }
}

/// Tells of a session that was ended.
fn tell(
    config: &Config,
    id: SessionId,
    reason: EndReason,
    contents: Option<Arc<Contents>>,
    removed: Option<&Label>,
) {
    let Some(contents) = contents else {
        // nobody could have used it any more
        event::ended(config.observer.as_ref(), id, reason, None);
        return;
    };
    event::ended(
        config.observer.as_ref(),
        id,
        reason,
        contents.principal.as_deref(),
    );
    indexing::forget_but(config, id, &contents, removed);
}

/// Removes an entry, unless its session has been listed again.
async fn remove(config: &Config, label: &Label, entry: &IndexEntry) -> Result<(), SessionError> {
    let index = index(config)?;
    Ok(index.remove(&label.key(), &entry.id, entry.nonce).await?)
}
