//! Concurrent requests.

use super::*;

/// Values of different names are merged, and updates of one name are applied one after the other.
#[tokio::test]
async fn concurrent_changes_are_both_kept() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (first, one) = site.open(get(&*cookie)).await?;
    let (second, two) = site.open(get(&*cookie)).await?;
    one.insert(OTHER, &1)?;
    one.update(VALUE, |value| value.unwrap_or(0) + 1)?;
    two.insert("third", &1)?;
    two.update(VALUE, |value| value.unwrap_or(0) + 1)?;
    site.finish(&second).await?;
    site.finish(&first).await?;
    let (_, session) = site.open(get(&*cookie)).await?;
    assert_eq!(session.names(), ["other", "third", "value"]);
    assert_eq!(session.get(VALUE)?, Some(3));
    Ok(())
}

/// With `resave` (by save) and without it (by touch).
#[tokio::test]
async fn a_concurrent_read_neither_overwrites_nor_recreates() -> TestResult {
    for (resave, writes) in [(false, Call::Touch), (true, Call::Save)] {
        let site = Site::new(|b| {
            b.express(ExpressOptions::new().resave(resave))
                .touch_after(Duration::ZERO)
        });
        let cookie = site.begin().await?;
        site.clock.advance(SECOND);
        let (reading, _) = site.open(get(&*cookie)).await?;
        site.visit(get(&*cookie), async |session| session.insert(VALUE, &2))
            .await?;
        site.store.take_calls();
        site.finish(&reading).await?;
        assert_eq!(site.store.take_calls(), [writes]);
        assert_eq!(site.value(&cookie, VALUE).await?, Some(2));

        let (reading, _) = site.open(get(&*cookie)).await?;
        site.clock.advance(SECOND);
        site.visit(get(&*cookie), async |session| session.destroy())
            .await?;
        site.store.take_calls();
        let answer = site.finish(&reading).await?;
        assert_eq!(site.store.take_calls(), [writes]);
        assert_eq!(
            (answer.kind(), answer.set_cookies().len()),
            (OutcomeKind::Untouched, 0),
            "a reader loses nothing"
        );
        assert!(site.stored(&cookie).await.is_none());
    }
    Ok(())
}

/// Neither after a destroy nor after a regenerate.
#[tokio::test]
async fn a_slow_write_does_not_bring_an_ended_session_back() -> TestResult {
    let site = Site::new(|b| b);
    let ends: [Change; 2] = [Session::destroy, Session::regenerate];
    for end in ends {
        let cookie = site.begin().await?;
        let (slow, session) = site.open(get(&*cookie)).await?;
        site.visit(get(&*cookie), async |session| end(&session))
            .await?;
        session.insert(VALUE, &2)?;
        assert_eq!(kind(session.save().await), SessionErrorKind::Gone);
        assert_eq!(kind(session.insert(VALUE, &3)), SessionErrorKind::Gone);
        let answer = site.finish(&slow).await?;
        assert_eq!(
            (answer.kind(), answer.set_cookies().len()),
            (OutcomeKind::Untouched, 0),
            "the loss is reported already"
        );
        assert!(site.stored(&cookie).await.is_none());
        assert_eq!(site.value(&cookie, VALUE).await?, None);
    }
    Ok(())
}
