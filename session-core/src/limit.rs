//! How many sessions a principal may have.
//!
//! A login counts once it is listed. The sequence numbers of the index order concurrent logins: of
//! those that exceed the limit together, each sees the ones that were listed before it, and each is
//! acknowledged only afterwards. So there are never more acknowledged sessions than allowed, unless
//! the index lost entries.

use std::cmp::Reverse;

use futures_util::future::try_join_all;

use crate::{
    answer::Verdict,
    config::Config,
    error::SessionError,
    id::SessionId,
    label::Label,
    listing::Listed,
    members,
    outcome::EndReason,
    policy::{SessionLimit, WhenFull},
};

/// Whether a principal may have one more session, beside the one that logs in.
pub(crate) async fn has_room(
    config: &Config,
    limit: SessionLimit,
    principal: &str,
    own: Option<SessionId>,
) -> Result<bool, SessionError> {
    let label = Label::Principal(principal.into());
    let mut others = members::entries(config, &label).await?;
    others.retain(|entry| Some(entry.id) != own);
    if (others.len() as u64) < limit.max {
        return Ok(true);
    }
    let living = members::living(config, &label, others).await?;
    Ok((living.len() as u64) < limit.max)
}

/// Enforces the limit for a session that is listed. If it exceeds the limit, it is ended.
pub(crate) async fn enforce(
    config: &Config,
    limit: SessionLimit,
    principal: Option<&str>,
    own: SessionId,
    listed: Listed,
) -> Result<Verdict, SessionError> {
    let Some(principal) = principal else {
        return Ok(Verdict::Within);
    };
    let label = Label::Principal(principal.into());
    let entries = members::entries(config, &label).await?;
    let mut others = members::living(config, &label, entries).await?;
    let listed_and_living = others.len();
    others.retain(|(entry, _)| entry.id != own);
    if others.len() == listed_and_living {
        // It was ended meanwhile, perhaps for a newer one. Its entry was then removed, and its new
        // number says nothing about which session is older.
        return Ok(Verdict::Within);
    }
    match limit.when_full {
        WhenFull::EvictOldest => {
            others.sort_unstable_by_key(|(entry, _)| Reverse(entry.sequence));
            let newer = others
                .iter()
                .take_while(|(entry, _)| entry.sequence > listed.sequence);
            // a newer login ends this session, if it is one too many, before it is acknowledged
            let kept = limit.max.saturating_sub(1).max(newer.count() as u64);
            let kept = usize::try_from(kept).unwrap_or(usize::MAX);
            let oldest = others.iter().skip(kept);
            let ends = oldest
                .map(|(entry, _)| members::end_one(config, &label, &entry.id, EndReason::Evicted));
            let ended = try_join_all(ends).await?;
            tracing::debug!(ended = ended.len(), "sessions beyond the limit ended");
            Ok(Verdict::Within)
        }
        WhenFull::Reject => {
            let older = others
                .iter()
                .filter(|(entry, _)| entry.sequence < listed.sequence);
            if (older.count() as u64) < limit.max {
                return Ok(Verdict::Within);
            }
            members::end_one(config, &label, &own, EndReason::Evicted).await?;
            Ok(Verdict::Exceeded)
        }
    }
}
