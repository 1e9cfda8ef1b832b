//! How many sessions a principal may have.
//!
//! A login counts once it is listed. The sequence numbers of the index order concurrent logins: of
//! those that exceed the limit together, each sees the ones that were listed before it, and each is
//! acknowledged only afterwards. So there are never more acknowledged sessions than allowed, unless
//! the index lost entries.

use std::cmp::Reverse;

use crate::{
    answer::Verdict,
    config::Config,
    error::SessionError,
    id::SessionId,
    label::Label,
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

/// A login whose session is listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListedLogin {
    pub(crate) id: SessionId,
    /// The session that this one replaces, and that ends with the login.
    pub(crate) replaces: Option<SessionId>,
    pub(crate) sequence: u64,
}

/// Enforces the limit for a session that is listed. If it exceeds the limit, it is ended.
pub(crate) async fn enforce(
    config: &Config,
    limit: SessionLimit,
    principal: Option<&str>,
    login: ListedLogin,
) -> Result<Verdict, SessionError> {
    let Some(principal) = principal else {
        return Ok(Verdict::Within);
    };
    let label = Label::Principal(principal.into());
    let entries = members::entries(config, &label).await?;
    let mut others = members::living(config, &label, entries).await?;
    let lives = others.iter().any(|(entry, _)| entry.id == login.id);
    others.retain(|(entry, _)| entry.id != login.id && Some(entry.id) != login.replaces);
    if !lives {
        // It was ended meanwhile, perhaps for a newer one. Its entry was then removed, and its new
        // number says nothing about which session is older.
        return Ok(Verdict::Within);
    }
    match limit.when_full {
        WhenFull::EvictOldest => {
            others.sort_unstable_by_key(|(entry, _)| Reverse(entry.sequence));
            let newer = others
                .iter()
                .take_while(|(entry, _)| entry.sequence > login.sequence);
            // a newer login ends this session, if it is one too many, before it is acknowledged
            let kept = limit.max.saturating_sub(1).max(newer.count() as u64);
            let kept = usize::try_from(kept).unwrap_or(usize::MAX);
            let oldest = others.iter().skip(kept).map(|(entry, _)| entry.id);
            members::evict(config, &label, oldest.collect()).await?;
            Ok(Verdict::Within)
        }
        WhenFull::Reject => {
            let older = others
                .iter()
                .filter(|(entry, _)| entry.sequence < login.sequence);
            if (older.count() as u64) < limit.max {
                return Ok(Verdict::Within);
            }
            members::end_one(config, &label, &login.id, EndReason::Evicted).await?;
            Ok(Verdict::Exceeded)
        }
    }
}
