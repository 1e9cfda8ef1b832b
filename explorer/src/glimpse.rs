//! What the instances with a near cache would answer from it, whether somebody asks or not.

use session_core::{SessionToken, Sessions};

use crate::{feeds::Feeds, point, view::Seen};

/// What an instance would have answered without the store after an event, and the store had
/// something else.
#[derive(Clone, Debug)]
pub struct Glimpse {
    /// The event.
    pub step: u32,
    /// The instance.
    pub instance: usize,
    /// The token that was looked up.
    pub token: SessionToken,
    /// The session that it opened; `None` if it opened none.
    pub seen: Option<Seen>,
}

/// Looks at what instances keep.
#[derive(Debug)]
pub(crate) struct Watcher<'s> {
    pub(crate) feeds: &'s Feeds,
    pub(crate) instances: &'s [Sessions],
    /// The tokens that were valid at the beginning.
    pub(crate) tokens: Vec<SessionToken>,
}

impl Watcher<'_> {
    /// Looks a token up on every instance. `stored` is what it opens in the store.
    pub(crate) fn look(
        &self,
        token: &SessionToken,
        stored: Option<Seen>,
        step: u32,
        into: &mut Vec<Glimpse>,
    ) {
        for (instance, sessions) in self.instances.iter().enumerate() {
            let opened = self
                .feeds
                .watching(|| point::run_to_end(sessions.open(token)));
            // who watches cannot ask the store
            let Ok(opened) = opened else { continue };
            let seen = opened.as_ref().map(Seen::of);
            if seen != stored {
                into.push(Glimpse {
                    step,
                    instance,
                    token: token.clone(),
                    seen,
                });
            }
        }
    }
}
