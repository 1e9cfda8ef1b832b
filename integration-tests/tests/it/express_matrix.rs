//! The golden matrix of express-session (rows E136–E159): what a request asks of the store, in order, and whether its response
//! carries `Set-Cookie`, for every setting of `resave`, `saveUninitialized`, `rolling`, `cookie.maxAge` and `unset`.
//!
//! Each case states both sides, and the table is held to both: what sessions here do must be what [`Case::ours`] says, and where
//! that differs from express-session for any setting at all, [`Case::differs`] must say why; where it never differs, it must say
//! nothing. `get` stands for `load`, `set` for `create` or `save`.

use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use integration_tests::keys;
use session_core::{
    CookieOptions, Key, MemoryStore, Session, SessionError, SessionId, Sessions, Unset,
    testing::{Call, ManualClock, TestStore},
};

const VALUE: Key<u32> = Key::new("value");
const HOUR: Duration = Duration::from_secs(3600);

/// The options that decide, by their names in express-session.
#[derive(Clone, Copy, Debug)]
struct Options {
    resave: bool,
    save_uninitialized: bool,
    rolling: bool,
    max_age: bool,
    unset_destroys: bool,
}

/// What the request brings.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Brings {
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
enum Verb {
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

struct Case {
    row: &'static str,
    brings: Brings,
    verbs: &'static [Verb],
    /// What express-session does.
    express: fn(Options) -> String,
    /// What is done here.
    ours: fn(Options) -> String,
    /// Why it is not the same; empty where it is.
    differs: &'static str,
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

fn cases() -> Vec<Case> {
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

/// E135–E159
#[tokio::test]
async fn every_case_under_every_setting() {
    let mut wrong = vec![];
    let (clock, mut checked) = (ManualClock::default(), 0);
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    for case in cases() {
        let mut differs = false;
        for options in settings() {
            let (express, ours) = ((case.express)(options), (case.ours)(options));
            differs |= in_words_of_express(&ours) != express;
            let seen = run(&store, &clock, options, case.brings, case.verbs)
                .await
                .expect("the store answers");
            if seen != ours {
                wrong.push(format!(
                    "{}: {seen:?} instead of {ours:?} with {options:?}",
                    case.row
                ));
            }
            checked += 1;
        }
        assert_eq!(
            differs,
            !case.differs.is_empty(),
            "{}: is the difference stated, and is there one?",
            case.row
        );
    }
    assert!(
        wrong.is_empty(),
        "{} of {checked} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(checked, cases().len() * 32);
}

/// E145 as it is configured by default: a touch is written when a tenth of the idle timeout has passed, not at every request.
#[tokio::test]
async fn touches_are_throttled_unless_every_one_is_asked_for() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = Sessions::builder(store.clone())
        .signing_keys(keys())
        .clock(clock.clone())
        .idle_timeout(HOUR)
        .build();
    let sessions = sessions.expect("legal options");
    let cookie = begin_session(&sessions).await;
    let mut calls = String::new();
    for _ in 0..20 {
        clock.advance(HOUR / 20);
        store.take_calls();
        visit(&sessions, Some(&cookie), &[])
            .await
            .expect("the store answers");
        calls += if store.take_calls().contains(&Call::Touch) {
            "T"
        } else {
            "."
        };
    }
    assert_eq!(
        calls, "..T..T..T..T..T..T..",
        "at 5 % each, a touch is due when more than 10 % would be regained"
    );
}

fn settings() -> impl Iterator<Item = Options> {
    (0..32u8).map(|bits| Options {
        resave: bits & 1 != 0,
        save_uninitialized: bits & 2 != 0,
        rolling: bits & 4 != 0,
        max_age: bits & 8 != 0,
        unset_destroys: bits & 16 != 0,
    })
}

/// Does one case and writes down what was seen of it.
async fn run(
    store: &TestStore,
    clock: &ManualClock,
    options: Options,
    brings: Brings,
    verbs: &[Verb],
) -> Result<String, SessionError> {
    let sessions = sessions(store, clock, options);
    let cookie = match brings {
        Brings::Nothing => None,
        Brings::Session => Some(begin_session(&sessions).await),
        Brings::Ended => {
            let cookie = begin_session(&sessions).await;
            sessions.revoke(&presented(&sessions, &cookie)).await?;
            Some(cookie)
        }
        Brings::Forged => Some(format!(
            "{}=v1.{}.{}",
            sessions.cookie_name(),
            "A".repeat(43),
            "A".repeat(43)
        )),
    };
    clock.advance(Duration::from_secs(1));
    store.take_calls();
    let response = visit(&sessions, cookie.as_deref(), verbs).await?;
    let mut seen: Vec<_> = store.take_calls().into_iter().map(word).collect();
    seen.extend(
        response
            .headers()
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|set| {
                let set = set.to_str().expect("ascii");
                if set.contains("Max-Age=0") {
                    "removal"
                } else {
                    "SC"
                }
            }),
    );
    Ok(seen.join(" "))
}

fn sessions(store: &TestStore, clock: &ManualClock, options: Options) -> Sessions {
    let cookie = CookieOptions::new().max_age(options.max_age.then_some(HOUR));
    Sessions::builder(store.clone())
        .signing_keys(keys())
        .clock(clock.clone())
        .idle_timeout(HOUR)
        .touch_after(Duration::ZERO)
        .cookie(cookie)
        .resave(options.resave)
        .save_uninitialized(options.save_uninitialized)
        .rolling(options.rolling)
        .unset(if options.unset_destroys {
            Unset::Destroy
        } else {
            Unset::Discard
        })
        .build()
        .expect("legal options")
}

/// Stores a session and gives its cookie.
async fn begin_session(sessions: &Sessions) -> String {
    let response = visit(sessions, None, &[Verb::Write])
        .await
        .expect("the store answers");
    let set = response.headers()[header::SET_COOKIE]
        .to_str()
        .expect("ascii");
    set.split(';').next().expect("a pair").to_owned()
}

/// One request, from its cookie to the headers of its response.
async fn visit(
    sessions: &Sessions,
    cookie: Option<&str>,
    verbs: &[Verb],
) -> Result<Response<()>, SessionError> {
    let handle = sessions.begin(&request(cookie));
    let session = handle.load().await?;
    for verb in verbs {
        act(&session, *verb).await?;
    }
    let mut response = Response::new(());
    let _ = sessions.finish(&handle, &mut response).await?;
    Ok(response)
}

async fn act(session: &Session, verb: Verb) -> Result<(), SessionError> {
    match verb {
        Verb::MaxAge => session.set_max_age(Some(2 * HOUR))?,
        Verb::Touch => session.touch(),
        Verb::Write => drop(session.update(VALUE, |value| value.unwrap_or(0) + 1)?),
        Verb::RemoveLast => drop(session.remove(VALUE)?.expect("there is one")),
        Verb::Save => drop(session.save().await?),
        Verb::Reload => session.reload().await?,
        Verb::Regenerate => session.regenerate()?,
        Verb::Destroy => session.destroy(),
        Verb::Unset => session.unset(),
    }
    Ok(())
}

fn request(cookie: Option<&str>) -> Request<()> {
    let mut request = Request::new(());
    if let Some(cookie) = cookie {
        request.headers_mut().insert(
            header::COOKIE,
            HeaderValue::from_str(cookie).expect("ascii"),
        );
    }
    request
}

fn presented(sessions: &Sessions, cookie: &str) -> SessionId {
    sessions
        .begin(&request(Some(cookie)))
        .presented_id()
        .expect("signed")
}

fn word(call: Call) -> &'static str {
    match call {
        Call::Load => "load",
        Call::Create => "create",
        Call::Save => "save",
        Call::Touch => "touch",
        Call::Destroy => "destroy",
    }
}

fn in_words_of_express(ours: &str) -> String {
    let words = ours.split_whitespace().map(|word| match word {
        "load" => "get",
        "create" | "save" => "set",
        same => same,
    });
    words.collect::<Vec<_>>().join(" ")
}
