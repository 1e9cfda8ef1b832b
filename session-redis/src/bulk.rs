//! Removes many sessions, in pipelines to each node.

use session_core::{SessionId, StoreError};

use crate::{
    command::{Command, Operation},
    router::Router,
};

/// How many sessions are removed in one pipeline.
const PIPELINE: usize = 100;

/// What has become of sessions that were to be removed.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// They are absent now.
    pub(crate) absent: Vec<SessionId>,
    /// How many of these were there before.
    pub(crate) were_present: usize,
    /// They may still be there.
    pub(crate) left: Vec<SessionId>,
    /// Why, for one of them.
    pub(crate) error: Option<StoreError>,
}

/// Removes sessions, whatever their versions. A node that fails is not asked further.
pub(crate) async fn remove(router: &Router, prefix: &str, ids: &[SessionId]) -> Removal {
    let mut removal = Removal::default();
    let keys: Vec<_> = ids
        .iter()
        .map(|id| [prefix, id.as_str()].concat())
        .collect();
    let id = |key: &str| key[prefix.len()..].parse::<SessionId>().ok();
    for keys in router.group_by_node(&keys) {
        let mut pipelines = keys.chunks(PIPELINE);
        let mut failed = false;
        while !failed && let Some(keys) = pipelines.next() {
            let destroy = Operation::Destroy { expected: None };
            let commands: Vec<_> = keys.iter().map(|key| Command::new(key, destroy)).collect();
            let replies = router.run_all(&commands).await;
            for (key, reply) in keys.iter().zip(replies) {
                match reply.and_then(|reply| reply.into_count()) {
                    Ok(count) => {
                        removal.absent.extend(id(key));
                        removal.were_present += usize::from(count > 0);
                    }
                    Err(error) => {
                        removal.left.extend(id(key));
                        removal.error = Some(error);
                        failed = true;
                    }
                }
            }
        }
        removal
            .left
            .extend(pipelines.flatten().filter_map(|key| id(key)));
    }
    removal
}
