//! The sessions that an index lists under a label. Their records decide which of them there are.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    clock::Now,
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
    state::Current,
    store::{Destroy, Destroyed, Store},
    store_error::StoreErrorKind,
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

/// The sessions of entries that are alive and have the label, in the same order. The entries of
/// others are removed.
pub(crate) async fn living(
    config: &Config,
    label: &Label,
    entries: Vec<IndexEntry>,
) -> Result<Vec<(IndexEntry, Current)>, SessionError> {
    let look = |entry: IndexEntry| async move {
        let current = load_living(config, label, &entry.id).await?;
        if current.is_none() {
            remove(config, label, &entry).await?;
        }
        Ok(current.map(|current| (entry, current)))
    };
    let looked = stream::iter(entries).map(look).buffered(CONCURRENCY);
    looked
        .try_filter_map(|member| async move { Ok::<_, SessionError>(member) })
        .try_collect()
        .await
}

/// The record of a session that is alive and has the label.
async fn load_living(
    config: &Config,
    label: &Label,
    id: &SessionId,
) -> Result<Option<Current>, SessionError> {
    let current = match lookup::load(config, id).await {
        Ok(current) => current,
        // whoever presents its token gets nothing
        Err(error) if error.kind() == SessionErrorKind::Corrupt => None,
        Err(error) => return Err(error),
    };
    let now = config.now();
    Ok(current.filter(|current| is_living(config, label, current, now)))
}

fn is_living(config: &Config, label: &Label, current: &Current, now: Now) -> bool {
    let contents = &current.body.contents;
    let absolute = config.policy.timeouts.absolute(&contents.lifetime);
    let is_over = absolute.is_some_and(|absolute| current.body.age(now.wall) >= absolute);
    !is_over && label.is_on(contents)
}

/// Ends the sessions of entries, as far as they are alive and have the label, and removes the
/// entries. Returns the ids of those that it ended.
pub(crate) async fn end(
    config: &Config,
    label: &Label,
    entries: Vec<IndexEntry>,
) -> Result<Vec<SessionId>, SessionError> {
    let end = |entry: IndexEntry| async move {
        let ended =
            end_and_forget(config, label, &entry.id, EndReason::Revoked, Some(label)).await?;
        remove(config, label, &entry).await?;
        Ok(ended.then_some(entry.id))
    };
    let ended = stream::iter(entries).map(end).buffer_unordered(CONCURRENCY);
    ended
        .try_filter_map(|id| async move { Ok::<_, SessionError>(id) })
        .try_collect()
        .await
}

/// Ends a session if it is alive and has the label. Returns whether it did. Its entries are removed
/// later.
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
    let mut current = load_living(config, label, id).await?;
    let mut in_doubt = false;
    while let Some(Current { version, body, .. }) = current {
        let ended = || {
            event::ended(config, *id, reason, body.contents.principal.as_deref());
            indexing::forget_but(config, *id, &body.contents, removed);
        };
        match config.store.destroy(id, Destroy::expecting(version)).await {
            Ok(Destroyed::Gone) if !in_doubt => return Ok(false),
            Ok(Destroyed::Destroyed(_) | Destroyed::Gone) => {
                ended();
                return Ok(true);
            }
            Ok(Destroyed::Conflict(loaded)) => {
                in_doubt = false;
                let now = config.now();
                current = Some(lookup::decode(config, id, loaded)?)
                    .filter(|current| is_living(config, label, current, now));
            }
            Err(error) if error.kind() == StoreErrorKind::Timeout && !in_doubt => {
                in_doubt = true;
                current = load_living(config, label, id).await?;
                if current.is_none() {
                    ended();
                    return Ok(true);
                }
            }
            Err(error) => return Err(SessionError::from_write(error)),
        }
        if config.clock.monotonic() >= deadline {
            let detail = "session was changed by concurrent requests until the commit deadline";
            return Err(SessionError::new(SessionErrorKind::Contention, detail));
        }
    }
    Ok(false)
}

/// Removes an entry, unless its session has been listed again.
async fn remove(config: &Config, label: &Label, entry: &IndexEntry) -> Result<(), SessionError> {
    let index = index(config)?;
    Ok(index.remove(&label.key(), &entry.id, entry.nonce).await?)
}
