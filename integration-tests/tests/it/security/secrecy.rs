//! Secrecy: no output contains a token, a secret or a value.

use integration_tests::{LogBuffer, keys};
use session_core::{Session, StoreErrorKind, testing::Call};
use test_support::Browser;

use crate::visit::{Act, Tested, finish, on_every_store, request, sessions};

on_every_store! {
    no_output_contains_a_token_a_secret_or_a_value
}

/// Runs every operation at the finest log level, with and without faults, and searches all output
/// for all secrets.
async fn no_output_contains_a_token_a_secret_or_a_value(store: Tested) {
    let log = LogBuffer::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let store = store.inner().emptied();
    let sessions = sessions(&store);
    let (mut secrets, mut printed) = (
        vec!["the signing key of all".to_owned(), "hunter2".to_owned()],
        String::new(),
    );
    let acts: [Act; 8] = [
        |session| session.insert("password", "hunter2"),
        Session::renew,
        |session| {
            drop(session.get::<u32>("password"));
            Ok(())
        },
        |session| session.log_in("ann"),
        |session| session.insert("password", "hunter2"),
        Session::regenerate,
        Session::touch,
        Session::destroy,
    ];
    let secret = |session: &Session| Some(session.token()?.expose()[22..].to_owned());
    let mut browser = Browser::new();
    for fault in [
        None,
        Some((Call::Load, StoreErrorKind::Unavailable)),
        Some((Call::Save, StoreErrorKind::Unavailable)),
        Some((Call::Save, StoreErrorKind::Timeout)),
        Some((Call::Create, StoreErrorKind::Timeout)),
        Some((Call::Destroy, StoreErrorKind::Unavailable)),
    ] {
        let mut injected = 0;
        for act in acts {
            if let Some((call, kind)) = fault {
                store.fail(call, kind);
            }
            let handle = sessions.begin(&request(&browser));
            match handle.load().await {
                Ok(session) => {
                    printed += &format!("{session:?} {:?} ", session.token());
                    secrets.extend(secret(&session));
                    act(&session).expect("accepted");
                    secrets.extend(secret(&session));
                    printed += &session
                        .get::<u32>("password")
                        .map_or_else(|error| format!("{error:?} {error}"), |_| String::new());
                    match finish(&sessions, &handle, &mut browser).await {
                        Ok((outcome, _)) => printed += &format!("{outcome:?} "),
                        Err(error) => printed += &format!("{error:?} {error} "),
                    }
                    secrets.extend(secret(&session));
                    printed += &format!("{session:?}");
                }
                Err(error) => printed += &format!("{error:?} {error} "),
            }
            printed += &format!(
                "{handle:?} {sessions:?} {:?} {:?}",
                keys(),
                store.inner().dump()
            );
            injected += usize::from(fault.is_some() && store.pending_faults() == 0);
            store.clear_faults();
        }
        assert_eq!(injected > 0, fault.is_some(), "{fault:?} occurred");
    }
    printed += &log.text();
    for line in ["session stored", "session ended", "injected by the test"] {
        assert!(printed.contains(line), "the log is complete: {line}");
    }
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() > 10);
    for secret in secrets {
        assert!(!printed.contains(&secret), "{secret}");
    }
}
