//! Secrecy: no output contains a token, a secret or a value.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use integration_tests::keys;
use session_core::{Session, StoreErrorKind, testing::Call};
use test_support::Browser;
use tracing_subscriber::fmt::MakeWriter;

use super::Tested;
use crate::visit::{finish, on_every_store, request, sessions};

on_every_store! {
    t17_s27_no_output_holds_a_token_a_secret_or_a_value
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// T17, S27: everything that can be done is done, at the finest log level; then every output is searched for every secret.
async fn t17_s27_no_output_holds_a_token_a_secret_or_a_value(store: Tested) {
    let log = Log::default();
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
    printed += &String::from_utf8(log.0.lock().expect("whole").clone()).expect("text");
    assert!(
        printed.contains("session created") && printed.contains("session replaced"),
        "the log was on"
    );
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() > 10);
    for secret in secrets {
        assert!(!printed.contains(&secret), "{secret}");
    }
}
