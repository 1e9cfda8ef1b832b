//! Sessions around requests, through the public API: commits, conflicts, faults and time.

mod bearer;
mod client;
mod confirm;
mod conflicts;
mod cookies;
mod credentials;
mod doubt;
mod events;
mod freshness;
mod lifecycle;
mod lifetimes;
mod logins;
mod lookup;
mod near_cache;
mod peek;
mod superseded;
mod test_kit;
mod unchanged;
mod updates;
mod users;
mod visit;
mod watching;
