//! Whether a store can serve, for readiness probes and for whoever is on call.

/// What a store reports about itself: [`Store::health`](crate::Store::health).
///
/// ```
/// use session_core::{Health, HealthPart, PartState};
///
/// let health = Health::of([
///     HealthPart::new("10.0.0.1:6379", PartState::Ready),
///     HealthPart::new("10.0.0.2:6379", PartState::Down).because("connection refused"),
/// ]);
/// assert!(!health.ready);
/// assert_eq!(health.down().count(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether every session can be read and written.
    pub ready: bool,
    /// The parts of the store, such as the nodes of a cluster.
    pub parts: Vec<HealthPart>,
}

/// One part of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthPart {
    /// What operators call it, such as its address.
    pub name: String,
    /// Whether it can be used.
    pub state: PartState,
    /// Why it cannot be used. It contains neither tokens nor passwords.
    pub reason: Option<String>,
}

/// Whether a part of a store can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartState {
    /// It can.
    Ready,
    /// It cannot.
    Down,
    /// The store does not know.
    Unknown,
}

impl Health {
    /// A store of these parts, which is ready unless one of them is down.
    pub fn of(parts: impl IntoIterator<Item = HealthPart>) -> Self {
        let parts: Vec<_> = parts.into_iter().collect();
        Self {
            ready: parts.iter().all(|part| part.state != PartState::Down),
            parts,
        }
    }

    /// A store that does not report its health. It counts as ready.
    pub fn unknown() -> Self {
        Self::of([HealthPart::new("store", PartState::Unknown)])
    }

    /// The parts that are down.
    pub fn down(&self) -> impl Iterator<Item = &HealthPart> {
        self.parts
            .iter()
            .filter(|part| part.state == PartState::Down)
    }
}

impl HealthPart {
    /// A part of this name in this state.
    pub fn new(name: impl Into<String>, state: PartState) -> Self {
        Self {
            name: name.into(),
            state,
            reason: None,
        }
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_ready_unless_a_part_is_down() {
        let part = |state| HealthPart::new("a", state);
        for (states, ready) in [
            (&[][..], true),
            (&[PartState::Ready, PartState::Unknown], true),
            (&[PartState::Ready, PartState::Down], false),
        ] {
            let health = Health::of(states.iter().copied().map(part));
            assert_eq!(health.ready, ready, "{states:?}");
            assert_eq!(health.down().count(), usize::from(!ready));
        }
        assert!(Health::unknown().ready);
    }

    #[cfg(feature = "testing")]
    #[tokio::test]
    async fn wrappers_report_the_health_of_the_store_inside() {
        use std::sync::Arc;

        use crate::{AnyStore, MemoryStore, Sessions, SigningKeys, Store, testing::TestStore};

        let expected = MemoryStore::new().health().await;
        assert_eq!(
            expected,
            Health::of([HealthPart::new("memory", PartState::Ready)])
        );
        let store = AnyStore::new(Arc::new(TestStore::new(MemoryStore::new())));
        assert_eq!(store.health().await, expected);
        let keys = SigningKeys::random().expect("entropy");
        let sessions = Sessions::builder(store).signing_keys(keys).build();
        let sessions = sessions.expect("valid options");
        assert_eq!(sessions.health().await, expected);
    }
}
