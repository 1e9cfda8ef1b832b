//! Explores the interleavings of requests on the real code of session-core.

mod browser;
mod case;
mod claims;
mod executor;
mod explorer;
mod fault;
mod footprint;
mod history;
mod invariants;
mod map_store;
mod oracle;
mod point;
mod request;
mod scheduled_store;
mod script;
mod search;
mod stage;
mod surroundings;
mod timeline;
mod verb;

pub use browser::{Jar, SetCookie};
pub use case::{Case, Configuration, Situation};
pub use explorer::{Explored, Explorer, Failure, MakeStore};
pub use fault::Fault;
pub use footprint::Footprint;
pub use history::{Applied, Called, Happened, History, RequestLog, Seen, View};
pub use invariants::{Invariant, Violation};
pub use map_store::MapStore;
pub use point::{Event, point, reach, spawn};
pub use scheduled_store::{Call, Effect, Op};
pub use script::{Party, Script};
pub use surroundings::ManualClock;
pub use timeline::timeline;
pub use verb::{Principal, Verb};
