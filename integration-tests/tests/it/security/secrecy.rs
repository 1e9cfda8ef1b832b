//! Secrecy: no output contains a token, a secret or a value.

use integration_tests::{LogBuffer, keys};
use session_core::{Session, StoreErrorKind, testing::Call};
use test_support::Browser;

use super::Tested;
use crate::visit::{finish, on_every_store, request, sessions};

on_every_store! {
    no_output_contains_a_token_a_secret_or_a_value
}

/// Runs every operation at the finest log level, with and without faults, and searches all output for all secrets.
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
    let act: [fn(&Session); 7] = [
        |session| session.insert("password", "hunter2").expect("writable"),
        |session| session.renew(),
        |session| drop(session.get::<u32>("password")),
        |session| session.regenerate().expect("entropy"),
        |session| session.set_principal(Some("ann")).expect("writable"),
        |session| session.touch(),
        |session| session.destroy(),
    ];
    let mut browser = Browser::new();
    for fault in [
        None,
        Some(Call::Load),
        Some(Call::Save),
        Some(Call::Create),
        Some(Call::Destroy),
    ] {
        let mut injected = 0;
        for act in act {
            if let Some(call) = fault {
                store.fail(call, StoreErrorKind::Unavailable);
            }
            let handle = sessions.begin(&request(&browser));
            match handle.load().await {
                Ok(session) => {
                    printed += &format!("{session:?} {:?} ", session.token());
                    act(&session);
                    secrets.extend(session.token().map(|token| token.expose()[22..].to_owned()));
                    printed += &session
                        .get::<u32>("password")
                        .map_or_else(|error| format!("{error:?} {error}"), |_| String::new());
                    match finish(&sessions, &handle, &mut browser).await {
                        Ok(_) => secrets
                            .extend(session.token().map(|token| token.expose()[22..].to_owned())),
                        Err(error) => printed += &format!("{error:?} {error} "),
                    }
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
    assert!(
        printed.contains("session created") && printed.contains("session replaced"),
        "the log is complete"
    );
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() > 10);
    for secret in secrets {
        assert!(!printed.contains(&secret), "{secret}");
    }
}
