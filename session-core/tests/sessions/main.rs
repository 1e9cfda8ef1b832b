//! Sessions around requests, through the public API: commits, conflicts, faults and time.

mod conflicts;
mod cookies;
mod doubt;
mod freshness;
mod lifecycle;
mod lifetimes;
mod logins;
mod lookup;
mod peek;
mod superseded;
mod unchanged;
mod updates;
mod visit;
