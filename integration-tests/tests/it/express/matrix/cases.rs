//! The cases: what a request does, and its store calls in express-session and here.

/// The options that make a difference, by their names in express-session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) resave: bool,
    pub(super) save_uninitialized: bool,
    pub(super) rolling: bool,
    pub(super) max_age: bool,
    pub(super) unset_destroys: bool,
}

/// What the request brings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Brings {
    /// No cookie.
    Nothing,
    /// The cookie of a stored session, one second old.
    Session,
    /// The cookie of a session that was destroyed.
    Ended,
    /// A cookie with a bad signature.
    Forged,
}

/// What the handler does with its session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    /// Changes the lifetime of the cookie and nothing else.
    MaxAge,
    Touch,
    Write,
    RemoveLast,
    Save,
    Reload,
    Regenerate,
    Destroy,
    /// `req.session = null`.
    Unset,
}

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) brings: Brings,
    pub(super) verbs: &'static [Verb],
    /// What express-session does.
    pub(super) express: fn(Options) -> String,
    /// What this crate does.
    pub(super) ours: fn(Options) -> String,
    /// The reason for a difference; empty if there is none.
    pub(super) differs: &'static str,
}

const NOTHING_STORED: &str = "nothing is stored, so there is nothing to destroy";
const LIFETIME_CHANGED: &str = "a change of the lifetime is a change, and sets the cookie";
const COOKIE_ONCE: &str = "a persistent cookie is set when its token is new, and not with each change, so that a late response \
     cannot replace the cookie of a login";
const ONE_WRITE: &str =
    "a save resets the idle timeout, so no touch follows it; a persistent cookie is not set again";
const SAVE_OF_NOTHING: &str =
    "an explicit save of an unmodified session resets its idle timeout in one call";
const CREATED_FIRST: &str =
    "the new session is created before the old one is destroyed, and written once";
const COOKIE_REMOVED: &str =
    "the cookie of a session that ends is removed, and the session is destroyed once";

/// The calls, and `SC` if the cookie is set.
fn sc(calls: &str, set: bool) -> String {
    let set = if set { "SC" } else { "" };
    [calls, set].join(" ").trim().to_owned()
}

pub(super) fn cases() -> Vec<Case> {
    use Verb::*;
    let mut cases = vec![];
    for (name, verbs) in [
        ("no cookie, read", &[] as &[_]),
        ("no cookie, lifetime changed", &[MaxAge]),
        ("no cookie, touch", &[Touch]),
    ] {
        cases.push(Case {
            name,
            brings: Brings::Nothing,
            verbs,
            express: |o| {
                if o.save_uninitialized {
                    sc("set", true)
                } else {
                    sc("", false)
                }
            },
            ours: |o| {
                if o.save_uninitialized {
                    sc("create", true)
                } else {
                    sc("", false)
                }
            },
            differs: "",
        });
    }
    cases.extend([
        Case {
            name: "no cookie, write",
            brings: Brings::Nothing,
            verbs: &[Write],
            express: |_| sc("set", true),
            ours: |_| sc("create", true),
            differs: "",
        },
        Case {
            name: "no cookie, save",
            brings: Brings::Nothing,
            verbs: &[Save],
            express: |o| sc("set", o.save_uninitialized),
            ours: |_| sc("create", true),
            differs: "an explicit save sets the cookie of the session that it stored",
        },
        Case {
            name: "no cookie, write and save",
            brings: Brings::Nothing,
            verbs: &[Write, Save],
            express: |_| sc("set", true),
            ours: |_| sc("create", true),
            differs: "",
        },
        Case {
            name: "no cookie, save and write",
            brings: Brings::Nothing,
            verbs: &[Save, Write],
            express: |_| sc("set set", true),
            ours: |_| sc("create save", true),
            differs: "",
        },
        Case {
            name: "no cookie, regenerate",
            brings: Brings::Nothing,
            verbs: &[Regenerate],
            express: |_| sc("destroy set", true),
            ours: |_| sc("create", true),
            differs: NOTHING_STORED,
        },
        Case {
            name: "no cookie, regenerate, write and save",
            brings: Brings::Nothing,
            verbs: &[Regenerate, Write, Save],
            express: |_| sc("destroy set set", true),
            ours: |_| sc("create", true),
            differs: "nothing is stored, so there is nothing to destroy; a regenerated session is written once",
        },
        Case {
            name: "no cookie, destroy",
            brings: Brings::Nothing,
            verbs: &[Destroy],
            express: |_| sc("destroy", false),
            ours: |_| sc("", false),
            differs: NOTHING_STORED,
        },
        Case {
            name: "no cookie, unset",
            brings: Brings::Nothing,
            verbs: &[Unset],
            express: |o| sc(if o.unset_destroys { "destroy" } else { "" }, false),
            ours: |_| sc("", false),
            differs: NOTHING_STORED,
        },
        Case {
            name: "no cookie, write and unset",
            brings: Brings::Nothing,
            verbs: &[Write, Unset],
            express: |o| sc(if o.unset_destroys { "destroy" } else { "" }, false),
            ours: |_| sc("", false),
            differs: NOTHING_STORED,
        },
    ]);
    for (name, verbs) in [("session, read", &[] as &[_]), ("session, touch", &[Touch])] {
        cases.push(Case {
            name,
            brings: Brings::Session,
            verbs,
            express: |o| sc(if o.resave { "get set" } else { "get touch" }, o.rolling),
            ours: |o| {
                let calls = if o.resave { "load save" } else { "load touch" };
                sc(calls, o.rolling)
            },
            differs: "",
        });
    }
    cases.extend([
        Case {
            name: "session, lifetime changed",
            brings: Brings::Session,
            verbs: &[MaxAge],
            express: |o| sc(if o.resave { "get set" } else { "get touch" }, o.rolling),
            ours: |_| sc("load save", true),
            differs: LIFETIME_CHANGED,
        },
        Case {
            name: "session, write",
            brings: Brings::Session,
            verbs: &[Write],
            express: |o| sc("get set", o.rolling || o.max_age),
            ours: |o| sc("load save", o.rolling),
            differs: COOKIE_ONCE,
        },
        Case {
            name: "session, save",
            brings: Brings::Session,
            verbs: &[Save],
            express: |o| sc("get set touch", o.rolling),
            ours: |o| sc("load touch", o.rolling),
            differs: SAVE_OF_NOTHING,
        },
        Case {
            name: "session, write and save",
            brings: Brings::Session,
            verbs: &[Write, Save],
            express: |o| sc("get set touch", o.rolling || o.max_age),
            ours: |o| sc("load save", o.rolling),
            differs: ONE_WRITE,
        },
        Case {
            name: "session, save and write",
            brings: Brings::Session,
            verbs: &[Save, Write],
            express: |o| sc("get set set", o.rolling || o.max_age),
            ours: |o| sc("load touch save", o.rolling),
            differs: SAVE_OF_NOTHING,
        },
        Case {
            name: "session, reload",
            brings: Brings::Session,
            verbs: &[Reload],
            express: |o| {
                sc(
                    if o.resave {
                        "get get set"
                    } else {
                        "get get touch"
                    },
                    o.rolling,
                )
            },
            ours: |o| {
                let last = if o.resave { "save" } else { "touch" };
                sc(&format!("load load {last}"), o.rolling)
            },
            differs: "",
        },
    ]);
    for (name, verbs) in [
        ("session, regenerate", &[Regenerate] as &[_]),
        ("session, regenerate and write", &[Regenerate, Write]),
    ] {
        cases.push(Case {
            name,
            brings: Brings::Session,
            verbs,
            express: |_| sc("get destroy set", true),
            ours: |_| sc("load create destroy", true),
            differs: CREATED_FIRST,
        });
    }
    cases.extend([
        Case {
            name: "session, regenerate, write and save",
            brings: Brings::Session,
            verbs: &[Regenerate, Write, Save],
            express: |_| sc("get destroy set set", true),
            ours: |_| sc("load create destroy", true),
            differs: CREATED_FIRST,
        },
        Case {
            name: "session, destroy",
            brings: Brings::Session,
            verbs: &[Destroy],
            express: |o| {
                sc(
                    if o.unset_destroys {
                        "get destroy destroy"
                    } else {
                        "get destroy"
                    },
                    false,
                )
            },
            ours: |_| "load destroy removal".into(),
            differs: COOKIE_REMOVED,
        },
        Case {
            name: "session, unset",
            brings: Brings::Session,
            verbs: &[Unset],
            express: |o| {
                sc(
                    if o.unset_destroys {
                        "get destroy"
                    } else {
                        "get"
                    },
                    false,
                )
            },
            ours: |o| {
                if o.unset_destroys {
                    "load destroy removal".into()
                } else {
                    sc("load", false)
                }
            },
            differs: COOKIE_REMOVED,
        },
        Case {
            name: "session, write and unset",
            brings: Brings::Session,
            verbs: &[Write, Unset],
            express: |o| {
                sc(
                    if o.unset_destroys {
                        "get destroy"
                    } else {
                        "get"
                    },
                    false,
                )
            },
            ours: |o| {
                if o.unset_destroys {
                    "load destroy removal".into()
                } else {
                    sc("load", false)
                }
            },
            differs: COOKIE_REMOVED,
        },
        Case {
            name: "ended session, read",
            brings: Brings::Ended,
            verbs: &[],
            express: |o| {
                if o.save_uninitialized {
                    sc("get set", true)
                } else {
                    sc("get", false)
                }
            },
            ours: |o| {
                if o.save_uninitialized {
                    sc("load create", true)
                } else {
                    sc("load", false)
                }
            },
            differs: "",
        },
        Case {
            name: "ended session, write",
            brings: Brings::Ended,
            verbs: &[Write],
            express: |_| sc("get set", true),
            ours: |_| sc("load create", true),
            differs: "",
        },
        Case {
            name: "forged cookie, read",
            brings: Brings::Forged,
            verbs: &[],
            express: |o| {
                if o.save_uninitialized {
                    sc("set", true)
                } else {
                    sc("", false)
                }
            },
            ours: |o| {
                if o.save_uninitialized {
                    sc("create", true)
                } else {
                    sc("", false)
                }
            },
            differs: "",
        },
        Case {
            name: "forged cookie, write",
            brings: Brings::Forged,
            verbs: &[Write],
            express: |_| sc("set", true),
            ours: |_| sc("create", true),
            differs: "",
        },
        Case {
            name: "session, last value removed",
            brings: Brings::Session,
            verbs: &[RemoveLast],
            express: |o| sc("get set", o.rolling || o.max_age),
            ours: |o| sc("load save", o.rolling),
            differs: COOKIE_ONCE,
        },
    ]);
    cases
}
