//! The feeds of the instances that have a near cache: what each of them is still to hear, and when.

use std::{
    collections::VecDeque,
    future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use session_core::{AnyFeed, Feed, Listener, Listeners, SessionId};

use crate::{
    fault::Fault,
    footprint::{Footprint, KEPT},
    point::{self, Event},
    surroundings::ManualClock,
};

/// How many instances have a near cache.
pub(crate) const NEAR_INSTANCES: usize = 2;

/// What an instance was announced, or is to be.
#[derive(Clone, Copy, Debug)]
pub struct Announcement {
    /// The instance.
    pub instance: usize,
    /// The session whose record has changed.
    pub id: SessionId,
    /// The event that changed it.
    pub sent: u32,
    /// The event at which it arrived, or was lost with its feed.
    pub ended: Option<u32>,
    /// It was lost.
    pub lost: bool,
}

/// An instance was told what became of a call of its own, whatever that is.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The instance.
    pub instance: usize,
    /// The session that the call was about.
    pub id: SessionId,
    /// The event that applied the call, or would have.
    pub called: u32,
    /// The event at which it was told.
    pub step: u32,
    /// The call was a load that both announces the next change, and has an answer.
    pub tracks: bool,
}

/// What the instances heard in one history.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// In the order in which they were sent.
    pub announcements: Vec<Announcement>,
    /// In the order in which they were told.
    pub told: Vec<Told>,
}

/// The feeds of all instances. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Feeds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: ManualClock,
    listeners: [Listeners; NEAR_INSTANCES],
    state: Mutex<State>,
    /// Somebody only looks.
    watched: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    instances: [Instance; NEAR_INSTANCES],
    heard: Heard,
}

#[derive(Debug, Default)]
struct Instance {
    /// How many feeds have ended.
    ended: u64,
    /// The sessions whose next change is announced.
    tracked: Vec<SessionId>,
    /// The numbers of the announcements that are on their way, and when they were sent, by the
    /// clock.
    waiting: VecDeque<(usize, u64)>,
    /// How many announcements have ever been sent.
    sent: u64,
    /// A process delivers what waits.
    delivers: bool,
}

impl Instance {
    fn end(&mut self) {
        self.ended += 1;
        self.tracked.clear();
        self.waiting.clear();
    }
}

/// The place of the answer to a load among the announcements of its feed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u64);

impl Feeds {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self(Arc::new(Inner {
            clock: clock.clone(),
            listeners: Default::default(),
            state: Mutex::default(),
            watched: AtomicBool::new(false),
        }))
    }

    /// All feeds end, and others begin.
    pub(crate) fn restart(&self) {
        let mut state = self.lock();
        for instance in &mut state.instances {
            instance.end();
            instance.delivers = false;
        }
    }

    /// Forgets what was heard so far.
    pub(crate) fn forget(&self) {
        self.lock().heard = Heard::default();
    }

    /// What was heard since the last time.
    pub(crate) fn take_heard(&self) -> Heard {
        std::mem::take(&mut self.lock().heard)
    }

    pub(crate) fn listen(&self, instance: usize, listener: Weak<dyn Listener>) {
        self.0.listeners[instance].add(listener);
    }

    /// Looks at what the instances keep without leaving a trace.
    pub(crate) fn watching<T>(&self, look: impl FnOnce() -> T) -> T {
        self.0.watched.store(true, Ordering::Relaxed);
        let seen = look();
        self.0.watched.store(false, Ordering::Relaxed);
        seen
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.0.watched.load(Ordering::Relaxed)
    }

    /// The next change of a record is announced to an instance, for as long as the feed lives.
    pub(crate) fn track(&self, instance: usize, id: SessionId) -> (AnyFeed, Place) {
        let mut state = self.lock();
        let state = &mut state.instances[instance];
        if !state.tracked.contains(&id) {
            state.tracked.push(id);
        }
        let feed = OneFeed {
            inner: self.0.clone(),
            instance,
            number: state.ended,
        };
        (AnyFeed::new(feed), Place(state.sent))
    }

    /// Waits until everything has arrived that was sent before.
    pub(crate) async fn arrived(&self, instance: usize, place: Place) {
        future::poll_fn(|_| {
            let state = self.lock();
            let state = &state.instances[instance];
            let waiting = u64::try_from(state.waiting.len()).unwrap_or(u64::MAX);
            match state.sent - waiting >= place.0 {
                true => Poll::Ready(()),
                // the process is polled again after each event
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// A record has changed.
    pub(crate) fn changed(&self, id: SessionId, step: u32) {
        let now = self.0.clock.millis();
        let mut idle = Vec::new();
        {
            let mut state = self.lock();
            let State { instances, heard } = &mut *state;
            for (number, instance) in instances.iter_mut().enumerate() {
                let Some(tracked) = instance.tracked.iter().position(|known| *known == id) else {
                    continue;
                };
                instance.tracked.swap_remove(tracked);
                instance.waiting.push_back((heard.announcements.len(), now));
                instance.sent += 1;
                heard.announcements.push(Announcement {
                    instance: number,
                    id,
                    sent: step,
                    ended: None,
                    lost: false,
                });
                if !std::mem::replace(&mut instance.delivers, true) {
                    idle.push(number);
                }
            }
        }
        for instance in idle {
            point::spawn("feed", self.clone().deliver(instance));
        }
    }

    /// Delivers what waits, in order.
    async fn deliver(self, instance: usize) {
        let announce = Event::new("announce", writing(instance))
            .with_faults(Fault::OF_ANNOUNCEMENTS)
            .and_after_fault(Footprint::ALL);
        loop {
            let fault = point::reach(announce).await;
            let listeners = &self.0.listeners[instance];
            if fault.is_some() {
                self.interrupt(instance);
                listeners.interrupted();
                return;
            }
            let (id, is_last) = {
                let mut state = self.lock();
                let State { instances, heard } = &mut *state;
                let waiting = &mut instances[instance].waiting;
                let Some((next, _)) = waiting.pop_front() else {
                    return;
                };
                let is_last = waiting.is_empty();
                instances[instance].delivers = !is_last;
                let announcement = &mut heard.announcements[next];
                announcement.ended = Some(point::step());
                (announcement.id, is_last)
            };
            listeners.changed(&id);
            if is_last {
                return;
            }
        }
    }

    fn interrupt(&self, instance: usize) {
        let mut state = self.lock();
        let State { instances, heard } = &mut *state;
        for (lost, _) in &instances[instance].waiting {
            let announcement = &mut heard.announcements[*lost];
            announcement.ended = Some(point::step());
            announcement.lost = true;
        }
        instances[instance].end();
        instances[instance].delivers = false;
    }

    pub(crate) fn tell(&self, told: Told) {
        self.lock().heard.told.push(told);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an instance does that changes what it keeps.
pub(crate) fn writing(instance: usize) -> Footprint {
    Footprint::writing(kept(instance))
}

/// What an instance keeps, as something that its requests share.
pub(crate) fn kept(instance: usize) -> u32 {
    KEPT + u32::try_from(instance).unwrap_or(0)
}

/// A feed of an instance. It is certain of everything that happened before the oldest announcement
/// that is on its way was sent.
struct OneFeed {
    inner: Arc<Inner>,
    instance: usize,
    number: u64,
}

impl Feed for OneFeed {
    fn silence(&self) -> Option<Duration> {
        let state = self.inner.lock();
        let instance = &state.instances[self.instance];
        if instance.ended != self.number {
            return None;
        }
        let now = self.inner.clock.millis();
        let oldest = instance.waiting.front().map_or(now, |(_, sent)| *sent);
        Some(Duration::from_millis(now - oldest))
    }
}
