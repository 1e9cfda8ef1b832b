//! Pages that explain one subject each, and tables to look things up in.

#[doc = include_str!("../docs/renewal.md")]
pub mod renewal {}

#[doc = include_str!("../docs/merging.md")]
pub mod merging {}

#[doc = include_str!("../docs/cookies.md")]
pub mod cookies {}

#[doc = include_str!("../docs/bearer.md")]
pub mod bearer {}

#[doc = include_str!("../docs/users.md")]
pub mod users {}

#[doc = include_str!("../docs/near_cache.md")]
pub mod near_cache {}

#[doc = include_str!("../docs/security.md")]
pub mod security {}

#[doc = include_str!("../docs/testing.md")]
pub mod testing {}

#[doc = include_str!("../docs/verbs.md")]
pub mod verbs {}

#[doc = include_str!("../docs/errors.md")]
pub mod errors {}
