//! For applications that use another session library: its names beside those of this one.

#[doc = include_str!("../docs/migrating-from-express.md")]
pub mod from_express {}

#[doc = include_str!("../docs/migrating-from-tower-sessions.md")]
pub mod from_tower_sessions {}
