//! Free ports of the loopback interface.
//!
//! A port is free when these functions return. Another process may take it before the caller
//! listens on it, so whoever starts a server on it tries again if that happened.

use std::net::TcpListener;

/// The address that every server listens on.
pub const HOST: &str = "127.0.0.1";

/// A port that nobody listens on.
pub fn free() -> u16 {
    let listener = TcpListener::bind((HOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound listener").port()
}

/// A port for a cluster node, which also listens on a second port, 10 000 above the first.
pub fn free_for_cluster() -> u16 {
    loop {
        let port = free() % 40_000 + 10_000;
        let is_free = |port| TcpListener::bind((HOST, port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}
