//! Explores the interleavings of requests on the real code of session-core.
//!
//! A [`Case`] is a few concurrent requests: each a [`Script`] of calls on its session, sent by a
//! browser, by another device of the user, or by an attacker who knows the token that the browser
//! began with; an administrator lists and ends sessions without a request. The explorer runs
//! them in every order of their store calls, of sending them and of delivering their responses,
//! with the faults that the case allows, and checks after each history that the
//! [promises](Invariant) of the design hold. What it judges by are the records in the store, opened
//! through the public API, the cookies of the browser, and errors; not what the library reports
//! about itself.
//!
//! ```
//! use explorer::{Case, Explorer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let case: Case = "anonymous,faults=1: log_in(ann) | write save".parse()?;
//! let mut explorer = Explorer::default();
//! let explored = explorer.explore(&case, u64::MAX);
//! if let Some(failure) = explored.failure {
//!     panic!("{}\n{failure}", explorer.timeline(&case, &failure.path));
//! }
//! assert!(explored.histories > 100);
//! # Ok(())
//! # }
//! ```
//!
//! # Running it
//!
//! | command | what it explores |
//! |---|---|
//! | `cargo run --release -p explorer` | a selection from every part of the [`Plan`]: the gate |
//! | `… -- --deep --minutes 60` | everything, in order; prints where `--from` goes on |
//! | `… -- --deep --shard 1/4` | one case out of four, to share the work |
//! | `… -- --triples --seed 7 --minutes 10` | random histories of three requests |
//! | `… -- --case 'anonymous: renew \| write'` | one case |
//! | `… -- --case '…' --replay 0.2.1` | one history, as a table; a failure prints this command |
//! | `… -- --users` | only what is about the sessions of a user |
//! | `… -- --near` | only what is about instances with a near cache |
//! | `… -- --flaws` | stores that break their contract, which the explorer must notice |
//! | `cargo run --release -p explorer --bin defects` | the same for defects of session-core |
//!
//! The gate runs about 2.4 million histories. The defects are in `explorer/defects`, and
//! `docs/EXPLORER.md` shows which promise each of them breaks. `cargo xtask explore` passes its
//! options to the first program, and `cargo xtask explore --defects` runs the second.
//!
//! # How histories are found
//!
//! A history is a list of choices. At each step the explorer lists what can happen next: a process
//! continues from the [point](point()) at which it waits, one of the faults of that point happens
//! instead, or time passes, by more than the grace of a renewal. It goes through all choices depth
//! first and runs each history from the beginning. Two events whose [`Footprint`]s do not conflict
//! lead to the same history in either order; only one order is run. Randomness is counted and time
//! stands still, so that a list of choices always gives the same history.
//!
//! With near caches, what each instance keeps is something that its requests share, and every
//! announcement to an instance is an event. After each event that can matter, the explorer looks up
//! on every instance what the tokens open that a client holds, without a call of the store.
//!
//! # Extending it
//!
//! * **A store**: [`Explorer::new`] takes a function that makes the empty store of each history
//!   from its clock. The explorer puts scheduling points and faults around it. The store must not
//!   wait for anything but points.
//! * **A scheduling point** anywhere in what is explored: [`point("name").await`](point()).
//!   [`reach`] takes an [`Event`] with a [`Footprint`], if the point concerns something that only
//!   some of the processes share, and with [`Fault`]s.
//! * **A process** beside the requests, such as a message that arrives later: [`spawn`].
//! * **A verb**: a variant of [`Verb`], its call in `verb.rs`, and what it promises in `claims.rs`.
//! * **An invariant**: a file in `invariants/` and a line in `invariants.rs`.
//! * **A configuration or a situation**: a variant in `case.rs`, and how it begins in `stage.rs`.
//! * **A call on the sessions of a user**: a variant of [`Deed`].
//! * **Cases**: a part of the plan in `plan.rs`, those about the sessions of a user in `users.rs`, and
//!   those with near caches in `near.rs`, with the share of it that the gate runs.

mod acknowledged;
mod browser;
mod call;
mod campaign;
mod case;
mod choose;
mod claims;
mod deed;
mod directory;
mod evidence;
mod executor;
mod explorer;
mod fault;
mod feeds;
mod flawed_store;
mod footprint;
mod glimpse;
mod history;
mod hits;
mod invariants;
mod knowledge;
mod map_index;
mod map_store;
mod near;
mod observer;
mod operation;
mod oracle;
mod outcome;
mod plan;
mod point;
mod principal;
mod request;
mod scheduled_index;
mod scheduled_store;
mod script;
mod search;
mod setup;
mod stage;
mod surroundings;
mod timeline;
mod users;
mod verb;
mod view;
mod whose;

pub use browser::{Jar, SetCookie};
pub use call::{Call, Effect, IndexCall, IndexOp, Op};
pub use campaign::{Effort, Position, Report, Totals, deep, gate, triples};
pub use case::{Case, Configuration, Indexing, Limit, Situation};
pub use deed::{Deed, Done};
pub use explorer::{Explored, Explorer, Failure, MakeStore};
pub use fault::Fault;
pub use feeds::{Announcement, Heard, Told};
pub use flawed_store::{Flaw, FlawedStore};
pub use footprint::Footprint;
pub use glimpse::Glimpse;
pub use history::{Applied, Called, Happened, History, LookedUp, RequestLog};
pub use invariants::{Invariant, Violation};
pub use map_store::MapStore;
pub use plan::{NEAR, Part, Plan, SECTIONS, Section, USERS};
pub use point::{Event, point, reach, spawn};
pub use principal::Principal;
pub use script::{Party, Script};
pub use session_core::SessionErrorKind;
pub use surroundings::ManualClock;
pub use timeline::timeline;
pub use verb::Verb;
pub use view::{Seen, View};
pub use whose::Whose;
