//! Creating and loading sessions.

use super::*;

/// A request without a cookie makes no store call.
#[tokio::test]
async fn a_session_is_loaded_when_the_handler_asks_for_it() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let handle = site.sessions.begin(&get(&*cookie));
    let answer = site.finish(&handle).await?;
    assert_eq!(
        (answer.kind(), answer.response.headers().len()),
        (OutcomeKind::Untouched, 0)
    );
    assert_eq!(site.store.take_calls(), []);

    let (handle, session) = site.open(get(&*cookie)).await?;
    assert_eq!((session.get(VALUE)?, session.is_new()), (Some(1), false));
    handle.load().await?;
    assert_eq!(site.store.take_calls(), [Call::Load], "once");

    let ((_, one), (_, two)) = (site.open(get(None)).await?, site.open(get(None)).await?);
    assert_ne!(one.id(), two.id());
    assert_eq!(site.store.take_calls(), []);
    Ok(())
}

/// Even if it is signed.
#[tokio::test]
async fn an_id_that_is_not_stored_is_never_adopted() -> TestResult {
    let site = Site::new(|b| b);
    let planted = site.begin().await?;
    site.sessions
        .end(&site.id(&planted).expect("signed"))
        .await?;
    let answer = site
        .visit(get(&*planted), async |session| session.insert(VALUE, &7))
        .await?;
    assert_eq!(answer.kind(), OutcomeKind::Created);
    assert_ne!(site.id(&answer.pair()), site.id(&planted));
    assert!(site.stored(&planted).await.is_none());
    Ok(())
}

/// To the millisecond.
#[tokio::test]
async fn an_expired_session_is_replaced_by_a_new_one() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.clock.advance(HOUR - Duration::from_millis(1));
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    site.clock.advance(Duration::from_millis(1));
    let (_, session) = site.open(get(&*cookie)).await?;
    assert!(session.is_new() && session.id() != site.id(&cookie));
    assert!(site.stored(&cookie).await.is_none());
    Ok(())
}

/// The record is not overwritten.
#[tokio::test]
async fn a_record_that_cannot_be_decoded_starts_a_new_session_or_fails_as_configured() -> TestResult
{
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let id = site.id(&cookie).expect("signed");
    let strict = site.beside(|b| b.on_decode_error(OnDecodeError::Fail));
    for garbage in [&b""[..], b"null", b"{\"cookie\":null}", &[1; 60]] {
        site.sessions.end(&id).await?;
        let garbage = Record::new(Version::from_bytes([9; 8]), garbage.to_vec());
        let write = Write::new(&garbage, HOUR);
        let _ = site.store.inner().create(&id, write).await?;
        assert_eq!(
            kind(strict.open(get(&*cookie)).await),
            SessionErrorKind::Corrupt
        );
        let answer = site
            .visit(get(&*cookie), async |session| session.insert(VALUE, &7))
            .await?;
        assert_ne!(site.id(&answer.pair()), Some(id));
        assert_eq!(
            site.stored(&cookie).await.expect("left alone").record,
            garbage
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_session_without_data_is_stored() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site
        .visit(get(None), async |session| session.regenerate())
        .await?
        .pair();
    let (_, session) = site.open(get(&*cookie)).await?;
    assert!(!session.is_new() && session.names().is_empty());
    Ok(())
}

#[tokio::test]
async fn the_absolute_timeout_holds_even_if_the_store_keeps_the_record() -> TestResult {
    let clock = ManualClock::default();
    let store = TestStore::default(); // by the system's clock, which does not move here
    let sessions = Sessions::builder(store.clone())
        .signing_keys(keys())
        .clock(clock.clone())
        .absolute_timeout(HOUR)
        .build()?;
    let site = Site {
        store,
        clock,
        sessions,
    };
    let cookie = site.begin().await?;
    site.clock.advance(HOUR - SECOND);
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    site.clock.advance(SECOND);
    assert!(
        site.stored(&cookie).await.is_some(),
        "the store still has it"
    );
    assert_eq!(site.value(&cookie, VALUE).await?, None);
    Ok(())
}

/// Stores on a network have timeouts of their own besides.
#[tokio::test]
async fn a_load_that_hangs_can_be_dropped_and_repeated() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let handle = site.sessions.begin(&get(&*cookie));
    let gate = site.store.hold(Call::Load);
    tokio::select! {
        biased;
        _ = handle.load() => panic!("held"),
        () = gate.arrived() => {}
    }
    assert!(handle.loaded().is_none());
    assert_eq!(handle.load().await?.get(VALUE)?, Some(1));
    Ok(())
}
