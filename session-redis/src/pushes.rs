//! What a server sends without being asked, in the order of the protocol.

use std::sync::Arc;

use redis::{PushInfo, PushKind};

use crate::{feed::FeedEnd, tracking::Tracking};

/// Called when the server closes a connection.
pub(crate) type OnDisconnect = Arc<dyn Fn() + Send + Sync>;

/// Where the messages of one connection go. The driver of the connection owns this, so it is
/// dropped when the driver ends, however that happens.
pub(crate) struct Pushes {
    on_disconnect: OnDisconnect,
    tracking: Arc<Tracking>,
}

impl Pushes {
    pub(crate) fn new(on_disconnect: OnDisconnect, tracking: Arc<Tracking>) -> Self {
        Self {
            on_disconnect,
            tracking,
        }
    }

    /// Called by the driver, before it reads on.
    pub(crate) fn receive(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Invalidate => self.tracking.on_invalidation(&push.data),
            // the redis crate reports a closed connection so, before a request fails
            PushKind::Disconnection => {
                self.tracking.finish(FeedEnd::ConnectionLost);
                (self.on_disconnect)();
            }
            _ => {}
        }
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        self.tracking.finish(FeedEnd::ConnectionLost);
    }
}
