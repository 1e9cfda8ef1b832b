//! Who is measured, and on what.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A route of `bench-scene`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Route {
    Anonymous,
    Read,
    Write,
    Login,
    Logout,
}

impl Route {
    /// The one that needs no session first, and the one that ends them last.
    pub(crate) const ALL: [Self; 5] = [
        Self::Anonymous,
        Self::Read,
        Self::Write,
        Self::Login,
        Self::Logout,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Read => "read",
            Self::Write => "write",
            Self::Login => "login",
            Self::Logout => "logout",
        }
    }

    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Anonymous | Self::Read => "GET",
            Self::Write | Self::Login | Self::Logout => "POST",
        }
    }

    /// Whether requests carry the cookie of a session.
    pub(crate) fn has_cookie(self) -> bool {
        match self {
            Self::Anonymous | Self::Login => false,
            Self::Read | Self::Write | Self::Logout => true,
        }
    }
}

/// What a server is to the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// No sessions.
    Plain,
    /// Written by hand for the bench: what one round trip costs.
    Anchor,
    Ours,
    Peer,
    /// Signed tokens instead of sessions: neither write nor logout.
    Token,
}

/// How a server is started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// A binary of this workspace.
    Binary(&'static str),
    /// `express/server.js`.
    Node,
}

/// A server as it is measured.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) program: Program,
    pub(crate) variant: &'static str,
    /// How it is set, for the reader.
    pub(crate) set: &'static str,
}

impl Server {
    pub(crate) fn routes(&self) -> &'static [Route] {
        match self.role {
            Role::Plain => &Route::ALL[..1],
            Role::Token => &[Route::Anonymous, Route::Read, Route::Login],
            Role::Anchor | Role::Ours | Role::Peer => &Route::ALL,
        }
    }

    /// Whether its sessions lie in Redis.
    pub(crate) fn is_remote(&self) -> bool {
        match self.role {
            Role::Plain | Role::Token => false,
            Role::Anchor | Role::Ours | Role::Peer => {
                !self.name.ends_with("memory") || self.name == "axum_session no memory"
            }
        }
    }
}

/// The server by this name.
pub(crate) fn named(name: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.name == name)
}

/// The ceiling, run around every measurement.
pub(crate) const HYPER: Server = Server {
    name: "hyper",
    role: Role::Plain,
    program: Program::Binary("bench-plain"),
    variant: "hyper",
    set: "no sessions: the ceiling",
};

/// Everybody else.
pub(crate) const SERVERS: &[Server] = &[
    Server {
        set: "no sessions: the ceiling, measured as if it were any other",
        ..HYPER
    },
    Server {
        name: "axum",
        variant: "axum",
        set: "no sessions",
        ..HYPER
    },
    Server {
        name: "by hand",
        role: Role::Anchor,
        variant: "getex",
        set: "one axum handler for one service: unsigned, a read is one `GETEX`, a write one `SET` more",
        ..HYPER
    },
    ours(
        "ours hyper memory",
        "hyper-memory",
        "signed, in-process store",
    ),
    ours(
        "ours axum memory",
        "axum-memory",
        "signed, in-process store",
    ),
    ours(
        "ours hyper",
        "hyper-redis",
        "signed, sliding by default: the expiry is written once per tenth of the idle timeout",
    ),
    ours("ours axum", "axum-redis", "the same, on axum"),
    ours(
        "ours hyper touch",
        "hyper-redis-touch",
        "`touch_after(0)`: the expiry is written at every request",
    ),
    ours(
        "ours hyper near",
        "hyper-redis-near",
        "a near cache: a read is answered from the process while Redis announces changes",
    ),
    ours("ours axum near", "axum-redis-near", "the same, on axum"),
    ours(
        "ours hyper near miss",
        "hyper-redis-miss",
        "a near cache without room: each read asks Redis to announce the next change",
    ),
    Server {
        name: "token HS256",
        role: Role::Token,
        program: Program::Binary("bench-jwt"),
        variant: "hs256",
        set: "no sessions: a JWT with user and counter is verified (jsonwebtoken, aws-lc), on hyper",
    },
    Server {
        name: "token RS256",
        role: Role::Token,
        program: Program::Binary("bench-jwt"),
        variant: "rs256",
        set: "the same with a key of 2048 bits",
    },
    peer(
        "tower-sessions",
        "bench-tower-sessions",
        "documented",
        "signed, as documented: a read does not extend the session",
    ),
    peer(
        "tower-sessions sliding",
        "bench-tower-sessions",
        "sliding",
        "signed, `with_always_save(true)`: the way to extend it",
    ),
    peer(
        "actix-session",
        "bench-actix-session",
        "documented",
        "signed, one connection, the expiry extended at every request",
    ),
    peer(
        "axum_session",
        "bench-axum-session",
        "documented",
        "signed, `OptIn`, answered from the memory of the process for an hour",
    ),
    peer(
        "axum_session no memory",
        "bench-axum-session",
        "no-memory",
        "the same with memory lifetime 0: Redis is asked",
    ),
    Server {
        name: "express-session",
        role: Role::Peer,
        program: Program::Node,
        variant: "documented",
        set: "connect-redis, `resave: false`, `saveUninitialized: false`",
    },
];

const fn ours(name: &'static str, variant: &'static str, set: &'static str) -> Server {
    Server {
        name,
        role: Role::Ours,
        program: Program::Binary("bench-ours"),
        variant,
        set,
    }
}

const fn peer(
    name: &'static str,
    binary: &'static str,
    variant: &'static str,
    set: &'static str,
) -> Server {
    Server {
        name,
        role: Role::Peer,
        program: Program::Binary(binary),
        variant,
        set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_without_redis_are_told_apart() {
        let local: Vec<_> = SERVERS
            .iter()
            .filter(|server| !server.is_remote())
            .map(|server| server.name)
            .collect();
        assert_eq!(
            local,
            [
                "hyper",
                "axum",
                "ours hyper memory",
                "ours axum memory",
                "token HS256",
                "token RS256"
            ]
        );
    }
}
