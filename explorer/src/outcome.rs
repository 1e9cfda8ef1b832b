//! What a caller is told about a call of the store.

use session_core::{StoreError, StoreErrorKind};

use crate::{
    fault::Fault,
    footprint::Footprint,
    point::{self, Event},
};

/// Tells the caller what became of a call, as far as the fault allows. `told` is what the caller
/// reads and writes then.
pub(crate) async fn after<A>(
    fault: Option<Fault>,
    applied: Option<Result<A, StoreError>>,
    told: Footprint,
) -> Result<A, StoreError> {
    match fault {
        Some(fault) if fault.drops_caller() => std::future::pending().await,
        Some(Fault::Unavailable) => Err(error(StoreErrorKind::Unavailable)),
        Some(_) => Err(error(StoreErrorKind::Timeout)),
        None => {
            point::reach(Event::new("answer", told)).await;
            match applied {
                Some(result) => result,
                None => Err(error(StoreErrorKind::Timeout)),
            }
        }
    }
}

/// The store has no index, or cannot be asked.
pub(crate) fn not_reached() -> StoreError {
    error(StoreErrorKind::Unavailable)
}

fn error(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, "chosen by the explorer")
}
