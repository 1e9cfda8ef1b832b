//! The cases, each with what express-session does and what is done here.

/// The options that decide, by their names in express-session.
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
    /// The cookie of a session that has ended meanwhile.
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
    pub(super) row: &'static str,
    pub(super) brings: Brings,
    pub(super) verbs: &'static [Verb],
    /// What express-session does.
    pub(super) express: fn(Options) -> String,
    /// What is done here.
    pub(super) ours: fn(Options) -> String,
    /// Why it is not the same; empty where it is.
    pub(super) differs: &'static str,
}

const NOTHING_STORED: &str = "nothing is stored, so there is nothing to destroy (E74, E77)";
const LIFETIME_CHANGED: &str = "a change of lifetime is a change, and the browser is told (E65)";
const COOKIE_IN_STEP: &str = "when the life in the store is extended, so is that of a persistent cookie (E95); a cookie goes out with a save only, \
     which proves that nobody has renewed the token meanwhile";
const ONE_WRITE: &str = "a save gives full life, so no touch follows it (E91, E92)";
const SAVE_OF_NOTHING: &str =
    "an explicit save of what has not changed extends its life in one call (E91, E92)";
const CREATED_FIRST: &str =
    "the new session is created before the old one is destroyed, and written once (E83, E85)";
const COOKIE_REMOVED: &str =
    "a session that ends takes its cookie with it (E81), and is destroyed once (E79)";

/// The calls, and `SC` where the cookie is set.
fn sc(calls: &str, set: bool) -> String {
    let set = if set { "SC" } else { "" };
    [calls, set].join(" ").trim().to_owned()
}

pub(super) fn cases() -> Vec<Case> {
    use Verb::*;
    let mut cases = vec![];
    for (row, verbs) in [
        ("E136 ro", &[] as &[_]),
        ("E136 conly", &[MaxAge]),
        ("E136 touch()", &[Touch]),
    ] {
        cases.push(Case {
            row,
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
            row: "E137 mod",
            brings: Brings::Nothing,
            verbs: &[Write],
            express: |_| sc("set", true),
            ours: |_| sc("create", true),
            differs: "",
        },
        Case {
            row: "E138 save() only",
            brings: Brings::Nothing,
            verbs: &[Save],
            express: |o| sc("set", o.save_uninitialized),
            ours: |_| sc("create", true),
            differs: "an explicit save sends the cookie of what it stored (E93)",
        },
        Case {
            row: "E139 mod+save",
            brings: Brings::Nothing,
            verbs: &[Write, Save],
            express: |_| sc("set", true),
            ours: |_| sc("create", true),
            differs: "",
        },
        Case {
            row: "E140 savemod",
            brings: Brings::Nothing,
            verbs: &[Save, Write],
            express: |_| sc("set set", true),
            ours: |_| sc("create save", true),
            differs: "",
        },
        Case {
            row: "E141 regenerate",
            brings: Brings::Nothing,
            verbs: &[Regenerate],
            express: |_| sc("destroy set", true),
            ours: |_| sc("create", true),
            differs: NOTHING_STORED,
        },
        Case {
            row: "E142 regenerate+mod+save",
            brings: Brings::Nothing,
            verbs: &[Regenerate, Write, Save],
            express: |_| sc("destroy set set", true),
            ours: |_| sc("create", true),
            differs: "nothing is stored, so there is nothing to destroy (E77); a regenerated session is written once (E85)",
        },
        Case {
            row: "E143 destroy",
            brings: Brings::Nothing,
            verbs: &[Destroy],
            express: |_| sc("destroy", false),
            ours: |_| sc("", false),
            differs: NOTHING_STORED,
        },
        Case {
            row: "E144 =null",
            brings: Brings::Nothing,
            verbs: &[Unset],
            express: |o| sc(if o.unset_destroys { "destroy" } else { "" }, false),
            ours: |_| sc("", false),
            differs: NOTHING_STORED,
        },
        Case {
            row: "E144 mod, =null",
            brings: Brings::Nothing,
            verbs: &[Write, Unset],
            express: |o| sc(if o.unset_destroys { "destroy" } else { "" }, false),
            ours: |_| sc("", false),
            differs: NOTHING_STORED,
        },
    ]);
    for (row, verbs) in [("E145 ro", &[] as &[_]), ("E145 touch()", &[Touch])] {
        cases.push(Case {
            row,
            brings: Brings::Session,
            verbs,
            express: |o| sc(if o.resave { "get set" } else { "get touch" }, o.rolling),
            ours: |o| {
                let told = o.rolling || o.max_age;
                sc(
                    if o.resave || told {
                        "load save"
                    } else {
                        "load touch"
                    },
                    told,
                )
            },
            differs: COOKIE_IN_STEP,
        });
    }
    cases.extend([
        Case {
            row: "E145 conly",
            brings: Brings::Session,
            verbs: &[MaxAge],
            express: |o| sc(if o.resave { "get set" } else { "get touch" }, o.rolling),
            ours: |_| sc("load save", true),
            differs: LIFETIME_CHANGED,
        },
        Case {
            row: "E146 mod",
            brings: Brings::Session,
            verbs: &[Write],
            express: |o| sc("get set", o.rolling || o.max_age),
            ours: |o| sc("load save", o.rolling || o.max_age),
            differs: "",
        },
        Case {
            row: "E147 save() only",
            brings: Brings::Session,
            verbs: &[Save],
            express: |o| sc("get set touch", o.rolling),
            ours: |o| sc("load touch", o.rolling || o.max_age),
            differs: SAVE_OF_NOTHING,
        },
        Case {
            row: "E148 mod+save",
            brings: Brings::Session,
            verbs: &[Write, Save],
            express: |o| sc("get set touch", o.rolling || o.max_age),
            ours: |o| sc("load save", o.rolling || o.max_age),
            differs: ONE_WRITE,
        },
        Case {
            row: "E149 savemod",
            brings: Brings::Session,
            verbs: &[Save, Write],
            express: |o| sc("get set set", o.rolling || o.max_age),
            ours: |o| sc("load touch save", o.rolling || o.max_age),
            differs: SAVE_OF_NOTHING,
        },
        Case {
            row: "E150 reload",
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
                let told = o.rolling || o.max_age;
                sc(
                    if o.resave || told {
                        "load load save"
                    } else {
                        "load load touch"
                    },
                    told,
                )
            },
            differs: COOKIE_IN_STEP,
        },
    ]);
    for (row, verbs) in [
        ("E151 regenerate", &[Regenerate] as &[_]),
        ("E151 regenerate+mod", &[Regenerate, Write]),
    ] {
        cases.push(Case {
            row,
            brings: Brings::Session,
            verbs,
            express: |_| sc("get destroy set", true),
            ours: |_| sc("load create destroy", true),
            differs: CREATED_FIRST,
        });
    }
    cases.extend([
        Case {
            row: "E152 regenerate+mod+save",
            brings: Brings::Session,
            verbs: &[Regenerate, Write, Save],
            express: |_| sc("get destroy set set", true),
            ours: |_| sc("load create destroy", true),
            differs: CREATED_FIRST,
        },
        Case {
            row: "E153 destroy",
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
            row: "E154 =null",
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
            row: "E154 mod, =null",
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
            row: "E155 ro",
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
            row: "E156 mod",
            brings: Brings::Ended,
            verbs: &[Write],
            express: |_| sc("get set", true),
            ours: |_| sc("load create", true),
            differs: "",
        },
        Case {
            row: "E157 ro",
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
            row: "E157 mod",
            brings: Brings::Forged,
            verbs: &[Write],
            express: |_| sc("set", true),
            ours: |_| sc("create", true),
            differs: "",
        },
        // E158, a store without `touch`, cannot be: the trait asks for it
        Case {
            row: "E159 last key deleted",
            brings: Brings::Session,
            verbs: &[RemoveLast],
            express: |o| sc("get set", o.rolling || o.max_age),
            ours: |o| sc("load save", o.rolling || o.max_age),
            differs: "",
        },
    ]);
    cases
}
