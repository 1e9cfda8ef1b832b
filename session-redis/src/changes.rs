//! What announces changes of sessions, as a capability of the store.

use std::sync::{Arc, Weak};

use session_core::{Changes, Listener, SessionId, StoreError, Watched};

use crate::{
    announcer::Announcer,
    command::{Command, Operation},
    config::RedisConfig,
    ended::EndedIds,
    router::Router,
};

/// Loads sessions so that Redis announces their next change.
#[derive(Clone)]
pub(crate) struct RedisChanges {
    router: Arc<Router>,
    config: Arc<RedisConfig>,
    announcer: Arc<Announcer>,
    ended: EndedIds,
}

impl RedisChanges {
    pub(crate) fn new(
        router: Arc<Router>,
        config: Arc<RedisConfig>,
        announcer: Arc<Announcer>,
        ended: EndedIds,
    ) -> Self {
        Self {
            router,
            config,
            announcer,
            ended,
        }
    }
}

impl Changes for RedisChanges {
    async fn load(&self, id: &SessionId) -> Result<Watched, StoreError> {
        let key = [&self.config.prefix, id.as_str()].concat();
        let command = Command::new(&key, Operation::TrackedLoad);
        let begun = self.ended.begin();
        let watched = self.router.run(command).await?.into_watched()?;
        let loaded = self.ended.loaded(id, begun, watched.loaded);
        Ok(Watched::new(loaded, watched.feed))
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.announcer.add(listener);
    }
}
