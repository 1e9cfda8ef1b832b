//! The store calls of each kind of request, in order, and whether its response sets the cookie, for
//! every combination of `resave`, `saveUninitialized`, `rolling`, `cookie.maxAge` and `unset`,
//! beside those of express-session.
//!
//! What this crate does must be [`Case::ours`]. A case whose calls differ from those of
//! express-session under any setting must have a reason in [`Case::differs`], and any other case
//! must have none. `get` stands for `load`, `set` for `create` or `save`.
//!
//! A touch is due in each request with a session, as it always is in express-session.

mod cases;

use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use integration_tests::keys;
use session_core::{
    CookieOptions, ExpressOptions, Key, MemoryStore, Session, SessionError, SessionId, Sessions,
    Unset,
    testing::{Call, ManualClock, TestStore},
};

use cases::{Brings, Options, Verb, cases};

const VALUE: Key<u32> = Key::new("value");
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn every_case_makes_its_store_calls_under_every_setting() {
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
                    case.name
                ));
            }
            checked += 1;
        }
        assert_eq!(
            differs,
            !case.differs.is_empty(),
            "{}: a reason is given if and only if the calls differ",
            case.name
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

/// With the default of `touch_after`.
#[tokio::test]
async fn a_touch_is_written_after_a_tenth_of_the_idle_timeout() {
    let clock = ManualClock::default();
    let store = TestStore::new(MemoryStore::with_clock(clock.clone()));
    let sessions = Sessions::builder(store.clone())
        .signing_keys(keys())
        .clock(clock.clone())
        .idle_timeout(HOUR)
        .build();
    let sessions = sessions.expect("valid options");
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
        "a touch is due if it extends the expiry by more than a tenth"
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

/// Runs one case, and returns its calls in the words of the table.
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
            sessions.end(&presented(&sessions, &cookie)).await?;
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
    let express = ExpressOptions::new()
        .resave(options.resave)
        .save_uninitialized(options.save_uninitialized)
        .rolling(options.rolling)
        .unset(match options.unset_destroys {
            true => Unset::Destroy,
            false => Unset::Discard,
        });
    Sessions::builder(store.clone())
        .signing_keys(keys())
        .clock(clock.clone())
        .idle_timeout(HOUR)
        .touch_after(Duration::ZERO)
        .cookie(cookie)
        .express(express)
        .build()
        .expect("valid options")
}

/// Stores a session and returns its cookie.
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
        Verb::Touch => session.touch()?,
        Verb::Write => drop(session.update(VALUE, |value| value.unwrap_or(0) + 1)?),
        Verb::RemoveLast => drop(session.remove(VALUE)?.expect("there is one")),
        Verb::Save => drop(session.save().await?),
        Verb::Reload => session.reload().await?,
        Verb::Regenerate => session.regenerate()?,
        Verb::Destroy => session.destroy()?,
        Verb::Unset => session.unset()?,
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
        Call::Put => "put",
        Call::Entries => "entries",
        Call::Remove => "remove",
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
