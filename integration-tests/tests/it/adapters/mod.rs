//! The service under hyper, tower and axum, over sockets and with streaming bodies. What needs
//! neither is tested in `session-hyper`.

mod axum;
mod hyper;
mod tower;

use session_core::Key;

const VIEWS: Key<u32> = Key::new("views");
