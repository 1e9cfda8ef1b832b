//! The methods of a session.

use super::*;

/// The handler sees the end at once, the store at the commit, the browser with the response.
#[tokio::test]
async fn destroy_removes_the_record_and_the_cookie() -> TestResult {
    let options = CookieOptions::new()
        .path("/app")
        .domain("example.com")
        .same_site(SameSite::Strict);
    let site = Site::new(|b| b.cookie(options));
    let set = site
        .visit(get_at("/app", None), async |session| {
            session.insert(VALUE, &1)
        })
        .await?;
    let cookie = set.pair();
    let answer = site.visit(get_at("/app", &*cookie), async |session| {
        session.destroy()?;
        assert_eq!((session.id(), session.get(VALUE)?), (None, None));
        Ok(())
    });
    let answer = answer.await?;
    assert_eq!(answer.kind(), OutcomeKind::Destroyed);
    let (set, removal) = (set.cookie(), answer.cookie());
    assert_eq!(
        (removal.value(), removal.max_age()),
        ("", Some(cookie::time::Duration::ZERO))
    );
    assert_eq!(
        (removal.name(), removal.path(), removal.domain()),
        (set.name(), set.path(), set.domain())
    );
    assert_eq!(
        (removal.secure(), removal.same_site()),
        (set.secure(), set.same_site())
    );
    assert!(site.stored(&cookie).await.is_none());
    Ok(())
}

#[tokio::test]
async fn a_failed_destroy_is_an_error_and_can_be_repeated() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    let response = serve(&site.sessions, get(&*cookie), |request| async move {
        request.session().load().await?.destroy()?;
        Ok(Response::new(()))
    });
    let response = response.await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        set_cookies(response.headers()).is_empty(),
        "the browser keeps its cookie, to try again"
    );
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));

    site.store.fail(Call::Destroy, StoreErrorKind::Refused);
    let answer = site.visit(get(&*cookie), async |session| {
        session.destroy()?;
        assert_eq!(kind(session.save().await), SessionErrorKind::Unavailable);
        assert_eq!(session.save().await?.kind(), OutcomeKind::Destroyed);
        Ok(())
    });
    assert_eq!(answer.await?.max_age(), Some(0));
    assert!(site.stored(&cookie).await.is_none());
    Ok(())
}

/// `destroy` is not asynchronous: the commit waits for the store.
#[tokio::test]
async fn the_response_waits_until_the_session_is_destroyed() -> TestResult {
    for unset in [false, true] {
        let site = Site::new(|b| b.express(ExpressOptions::new().unset(Unset::Destroy)));
        let cookie = site.begin().await?;
        let (handle, session) = site.open(get(&*cookie)).await?;
        match unset {
            true => session.unset()?,
            false => session.destroy()?,
        }
        let gate = site.store.hold(Call::Destroy);
        let finished = {
            let sessions = site.sessions.clone();
            tokio::spawn(async move { sessions.finish(&handle, &mut Response::new(())).await })
        };
        gate.arrived().await;
        assert!(!finished.is_finished());
        gate.open();
        assert_eq!(finished.await??.kind(), OutcomeKind::Destroyed);
    }
    Ok(())
}

/// `regenerate` makes a new id with the configured options. `renew` keeps the id and replaces the
/// secret.
#[tokio::test]
async fn regenerate_starts_an_empty_session_and_renew_keeps_the_data() -> TestResult {
    let site = Site::new(|b| b.absolute_timeout(None));
    let cookie = site.begin().await?;
    site.visit(get(&*cookie), async |session| {
        session.set_max_age(Some(48 * HOUR))
    })
    .await?;
    let answer = site.visit(get(&*cookie), async |session| {
        session.regenerate()?;
        assert!(session.is_new() && session.is_modified() && session.names().is_empty());
        assert_eq!(session.original_max_age(), None);
        Ok(())
    });
    let answer = answer.await?;
    assert_eq!(answer.max_age(), None);
    assert_ne!(site.id(&answer.pair()), site.id(&cookie));
    assert!(site.stored(&cookie).await.is_none());

    let before = site.begin().await?;
    let after = site
        .visit(get(&*before), async |session| session.renew())
        .await?
        .pair();
    assert_eq!(site.id(&after), site.id(&before), "the same session");
    assert_eq!(site.value(&after, VALUE).await?, Some(1));
    assert_eq!(
        site.value(&before, VALUE).await?,
        None,
        "the old secret opens nothing"
    );
    Ok(())
}

/// As long as the old token opens the old session.
#[tokio::test]
async fn a_regenerate_that_cannot_end_the_old_session_sets_no_cookie() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    let response = serve(&site.sessions, get(&*cookie), |request| async move {
        request.session().load().await?.regenerate()?;
        Ok(Response::new(()))
    });
    let response = response.await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(set_cookies(response.headers()).is_empty());
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));

    site.store.fail(Call::Destroy, StoreErrorKind::Unavailable);
    let answer = site.visit(get(&*cookie), async |session| {
        session.regenerate()?;
        assert_eq!(kind(session.save().await), SessionErrorKind::Unavailable);
        assert_eq!(session.save().await?.kind(), OutcomeKind::Regenerated);
        Ok(())
    });
    let new = answer.await?.pair();
    assert!(site.stored(&new).await.is_some() && site.stored(&cookie).await.is_none());
    Ok(())
}

/// Changes of concurrent requests become visible and are not changes of this one.
#[tokio::test]
async fn reload_discards_changes_and_reads_the_record() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(VALUE, &7)?;
    site.visit(get(&*cookie), async |session| session.insert(OTHER, &2))
        .await?;
    session.reload().await?;
    assert_eq!(
        (session.get(VALUE)?, session.get(OTHER)?),
        (Some(1), Some(2))
    );
    assert!(!session.is_modified());
    site.store.take_calls();
    assert_eq!(site.finish(&handle).await?.kind(), OutcomeKind::Untouched);
    assert_eq!(site.store.take_calls(), []);
    Ok(())
}

/// Each time, and the values stay readable.
#[tokio::test]
async fn reloading_a_session_that_has_ended_is_an_error() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(OTHER, &2)?;
    site.sessions
        .end(&site.id(&cookie).expect("signed"))
        .await?;
    for _ in 0..100 {
        assert_eq!(kind(session.reload().await), SessionErrorKind::Gone);
    }
    assert_eq!(
        (session.get(VALUE)?, session.get(OTHER)?),
        (Some(1), Some(2)),
        "the values are unchanged"
    );
    assert_eq!(site.finish(&handle).await?.kind(), OutcomeKind::Gone);
    let (_, new) = site.open(get(None)).await?;
    assert_eq!(kind(new.reload().await), SessionErrorKind::Gone);
    Ok(())
}

#[tokio::test]
async fn save_writes_at_once_and_the_commit_writes_only_later_changes() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(VALUE, &2)?;
    assert_eq!(session.save().await?.kind(), OutcomeKind::Saved);
    assert_eq!(
        site.value(&cookie, VALUE).await?,
        Some(2),
        "before the commit"
    );
    site.store.take_calls();
    session.insert(VALUE, &2)?;
    assert_eq!(site.finish(&handle).await?.kind(), OutcomeKind::Untouched);
    assert_eq!(site.store.take_calls(), []);

    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(VALUE, &3)?;
    let _ = session.save().await?;
    session.insert(VALUE, &4)?;
    site.store.take_calls();
    assert_eq!(site.finish(&handle).await?.kind(), OutcomeKind::Saved);
    assert_eq!(site.store.take_calls(), [Call::Save]);
    assert_eq!(site.value(&cookie, VALUE).await?, Some(4));
    Ok(())
}

/// Whether a value has changed or not.
#[tokio::test]
async fn save_resets_the_idle_timeout() -> TestResult {
    for change in [false, true] {
        let site = Site::new(|b| b);
        let cookie = site.begin().await?;
        site.clock.advance(HOUR - SECOND);
        let (_, session) = site.open(get(&*cookie)).await?;
        if change {
            session.insert(VALUE, &2)?;
        }
        let _ = session.save().await?;
        assert_eq!(site.stored(&cookie).await.expect("alive").ttl, Some(HOUR));
    }
    Ok(())
}

/// Otherwise the stored session could not be opened.
#[tokio::test]
async fn an_explicit_save_sets_the_cookie() -> TestResult {
    let site = Site::new(|b| b);
    let answer = site
        .visit(get(None), async |session| session.save().await.map(drop))
        .await?;
    assert!(site.stored(&answer.pair()).await.is_some());
    Ok(())
}

#[tokio::test]
async fn touch_resets_the_idle_timeout() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.clock.advance(SECOND);
    let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
    assert_eq!(answer.kind(), OutcomeKind::Untouched, "not due yet");
    let answer = site
        .visit(get(&*cookie), async |session| session.touch())
        .await?;
    assert_eq!(answer.kind(), OutcomeKind::Touched);
    assert_eq!(site.stored(&cookie).await.expect("alive").ttl, Some(HOUR));
    Ok(())
}

/// It lasts until the absolute timeout, and the store ends a session that is not used.
#[tokio::test]
async fn a_persistent_cookie_is_not_set_again_while_the_session_is_used() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    for (wait, touched) in [
        (HOUR / 20, false),
        (HOUR / 10, true),
        (HOUR / 20, false),
        (HOUR / 2, true),
    ] {
        site.clock.advance(wait);
        let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
        assert_eq!(answer.kind() == OutcomeKind::Touched, touched, "{wait:?}");
        assert!(answer.set_cookies().is_empty());
    }
    for n in 2..5 {
        site.clock.advance(HOUR / 2);
        let answer = site
            .visit(get(&*cookie), async |session| session.insert(VALUE, &n))
            .await?;
        assert_eq!(answer.kind(), OutcomeKind::Saved);
        assert!(answer.set_cookies().is_empty());
    }
    site.clock.advance(HOUR);
    assert_eq!(site.value(&cookie, VALUE).await?, None);
    Ok(())
}

#[tokio::test]
async fn the_cookie_of_an_early_save_lasts_until_the_absolute_timeout() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let answer = site.visit(get(None), async |session| {
        session.insert(VALUE, &1)?;
        let _ = session.save().await?;
        site.clock.advance(60 * SECOND);
        Ok(())
    });
    let left = ABSOLUTE - 60 * SECOND;
    assert_eq!(answer.await?.max_age(), Some(left.as_secs()));
    Ok(())
}

#[tokio::test]
async fn max_age_is_extended_by_a_touch_before_the_commit() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    site.clock.advance(HOUR / 2);
    let (_, session) = site.open(get(&*cookie)).await?;
    assert_eq!(session.max_age(), Some(HOUR / 2));
    session.touch()?;
    assert_eq!(session.max_age(), Some(HOUR));
    Ok(())
}
