//! The attributes of the cookie.

use super::*;

/// `HttpOnly`, `Secure`, `SameSite=Lax`, and the prefix `__Host-`, which requires them.
#[tokio::test]
async fn the_default_attributes_are_safe() -> TestResult {
    let site = Site::new(|b| b);
    let answer = site
        .visit(get(None), async |session| session.insert(VALUE, &1))
        .await?;
    let (_, attributes) = answer.set_cookies()[0]
        .split_once("; ")
        .expect("attributes");
    let mut attributes: Vec<_> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
    assert!(answer.pair().starts_with("__Host-id="));
    Ok(())
}

/// The time left is that of the store, the whole is that of the configuration.
#[tokio::test]
async fn max_age_is_the_time_left_and_original_max_age_the_whole() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    for seconds in [0, 1, 10] {
        site.clock.advance(Duration::from_secs(seconds));
        let (_, session) = site.open(get(&*cookie)).await?;
        assert_eq!(
            session.max_age(),
            site.stored(&cookie).await.expect("alive").ttl
        );
        assert_eq!(session.original_max_age(), Some(HOUR));
    }
    let browser_session = site.beside(|b| b);
    let (_, session) = browser_session.open(get(None)).await?;
    assert_eq!(
        (session.max_age(), session.original_max_age()),
        (None, None)
    );
    session.set_max_age(Some(2 * HOUR))?;
    assert_eq!(
        (session.max_age(), session.original_max_age()),
        (Some(2 * HOUR), Some(2 * HOUR))
    );
    Ok(())
}

/// Both are computed from the expiry in the store.
#[tokio::test]
async fn a_persistent_cookie_has_max_age_and_expires() -> TestResult {
    let site = Site::new(|b| {
        b.cookie(CookieOptions::new().max_age(HOUR))
            .rolling(true)
            .touch_after(Duration::ZERO)
    });
    let mut cookie = site.begin().await?;
    for write in [true, false, true, false] {
        site.clock.advance(Duration::from_millis(1500));
        let answer = site.visit(get(&*cookie), async |session| {
            if write {
                session.update(VALUE, |_| 2).map(drop)
            } else {
                Ok(())
            }
        });
        let answer = answer.await?;
        let ttl = site
            .stored(&cookie)
            .await
            .expect("alive")
            .ttl
            .expect("a time to live");
        assert_eq!(ttl, HOUR);
        assert_eq!(answer.max_age(), Some(ttl.as_secs()));
        let expires_at = session_core::Clock::now(&site.clock) + ttl;
        let expires = answer
            .cookie()
            .expires_datetime()
            .expect("a date")
            .unix_timestamp()
            .unsigned_abs();
        assert_eq!(
            expires,
            expires_at.duration_since(UNIX_EPOCH)?.as_secs(),
            "truncated to the second"
        );
        let text = answer.set_cookies()[0]
            .split("Expires=")
            .nth(1)
            .expect("a date")
            .split(';')
            .next()
            .expect("a date");
        assert!(
            text.len() == 29 && text.ends_with(" GMT") && text.as_bytes()[3] == b',',
            "{text}"
        );
        cookie = answer.pair();
    }
    Ok(())
}

/// It is part of the record, and not a difference of two clocks.
#[tokio::test]
async fn the_lifetime_does_not_drift() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.visit(get(&*cookie), async |session| {
        session.set_max_age(Some(Duration::from_millis(60_001)))
    })
    .await?;
    for n in 0..500 {
        site.clock.advance(Duration::from_millis(7));
        site.visit(get(&*cookie), async |session| session.insert(VALUE, &n))
            .await?;
        let (_, session) = site.open(get(&*cookie)).await?;
        assert_eq!(
            session.original_max_age(),
            Some(Duration::from_millis(60_001))
        );
    }
    Ok(())
}

/// Neither requests nor the idle timeout extend it.
#[tokio::test]
async fn an_absolute_deadline_does_not_slide() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    let deadline = session_core::Clock::now(&site.clock) + 2 * HOUR;
    site.visit(get(&*cookie), async |session| {
        session.set_expires_at(deadline)
    })
    .await?;
    for (minutes, left) in [(30, 3600), (60, 3600), (90, 1800), (110, 600)] {
        site.clock.advance(
            deadline.duration_since(session_core::Clock::now(&site.clock))?
                + Duration::from_secs(minutes * 60)
                - 2 * HOUR,
        );
        let answer = site.visit(get(&*cookie), async |session| {
            assert_eq!(session.idle_timeout(), HOUR);
            session
                .update(VALUE, |value| value.unwrap_or(0) + 1)
                .map(drop)
        });
        assert_eq!(
            answer.await?.max_age(),
            Some(left),
            "after {minutes} minutes"
        );
    }
    site.clock.advance(Duration::from_secs(600));
    assert_eq!(site.value(&cookie, VALUE).await?, None);
    Ok(())
}

/// The cookie is removed with it.
#[tokio::test]
async fn a_session_without_lifetime_left_is_destroyed() -> TestResult {
    let site = Site::new(|b| b);
    let changes: [Change; 3] = [
        |s| s.set_max_age(Some(Duration::ZERO)),
        |s| s.set_expires_at(UNIX_EPOCH),
        |s| s.set_absolute_timeout(Some(Duration::ZERO)),
    ];
    for change in changes {
        let cookie = site.begin().await?;
        let answer = site
            .visit(get(&*cookie), async |session| change(&session))
            .await?;
        assert_eq!(
            (answer.outcome, answer.max_age()),
            (Outcome::Destroyed, Some(0))
        );
        assert!(answer.set_cookies()[0].contains("Expires=Thu, 01 Jan 1970 00:00:00 GMT"));
        assert!(site.stored(&cookie).await.is_none());
        site.store.take_calls();
        let answer = site
            .visit(get(None), async |session| {
                session.insert(VALUE, &1).and_then(|()| change(&session))
            })
            .await?;
        assert!(
            answer.set_cookies().is_empty() && site.store.take_calls().is_empty(),
            "no session is stored, and no cookie removed"
        );
    }
    Ok(())
}

/// It is set again once, and not by later writes.
#[tokio::test]
async fn a_persistent_cookie_can_become_a_browser_session_cookie() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    let answer = site
        .visit(get(&*cookie), async |session| session.set_max_age(None))
        .await?;
    assert_eq!((answer.max_age(), answer.cookie().expires()), (None, None));
    for n in 2..5 {
        let answer = site
            .visit(get(&*cookie), async |session| session.insert(VALUE, &n))
            .await?;
        assert_eq!(
            (answer.outcome, answer.set_cookies().len()),
            (Outcome::Saved, 0)
        );
    }
    Ok(())
}

#[tokio::test]
async fn attributes_are_written_as_configured() -> TestResult {
    let options = CookieOptions::new()
        .name("sid")
        .path("/admin")
        .domain(".example.com")
        .http_only(false);
    let options = options
        .same_site(SameSite::None)
        .partitioned(true)
        .priority(Priority::High)
        .max_age(HOUR);
    let site = Site::new(|b| b.cookie(options));
    let answer = site
        .visit(get_at("/admin", None), async |session| {
            session.insert(VALUE, &1)
        })
        .await?;
    let (_, attributes) = answer.set_cookies()[0]
        .split_once("; ")
        .expect("attributes");
    let mut attributes: Vec<_> = attributes
        .split("; ")
        .filter(|attribute| !attribute.starts_with("Expires="))
        .collect();
    attributes.sort_unstable();
    let expected = [
        "Domain=example.com",
        "Max-Age=3600",
        "Partitioned",
        "Path=/admin",
        "Priority=High",
        "SameSite=None",
        "Secure",
    ];
    assert_eq!(attributes, expected);
    for (priority, text) in [
        (Priority::Low, "Priority=Low"),
        (Priority::Medium, "Priority=Medium"),
    ] {
        let site = Site::new(|b| b.cookie(CookieOptions::new().priority(priority)));
        let answer = site
            .visit(get(None), async |session| session.insert(VALUE, &1))
            .await?;
        assert!(answer.set_cookies()[0].ends_with(text));
    }
    for (same_site, written) in [
        (Some(SameSite::Strict), Some(cookie::SameSite::Strict)),
        (None, None),
    ] {
        let site = Site::new(|b| b.cookie(CookieOptions::new().same_site(same_site)));
        let answer = site
            .visit(get(None), async |session| session.insert(VALUE, &1))
            .await?;
        assert_eq!(answer.cookie().same_site(), written);
    }
    Ok(())
}

/// Any lifetime can be stored.
#[tokio::test]
async fn a_lifetime_is_written_up_to_400_days() -> TestResult {
    let site = Site::new(|b| b.absolute_timeout(None));
    for (max_age, written) in [
        (Duration::from_millis(3_000_000_000), 3_000_000),
        (Duration::MAX, 400 * 24 * 3600),
    ] {
        let cookie = site.begin().await?;
        let answer = site
            .visit(get(&*cookie), async |session| {
                session.set_max_age(Some(max_age))
            })
            .await?;
        assert_eq!(answer.max_age(), Some(written), "browsers accept 400 days");
        assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    }
    Ok(())
}

/// Later responses keep the overrides. All other attributes are those of the current configuration.
#[tokio::test]
async fn a_session_can_override_attributes_of_its_cookie() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let cookie = site.begin().await?;
    let own = site.begin().await?;
    let answer = site
        .visit(get(&*own), async |session| {
            session.set_cookie(|cookie| cookie.http_only(false))
        })
        .await?;
    assert_eq!(answer.cookie().http_only(), None);
    let answer = site
        .visit(get(&*own), async |session| {
            session.set_cookie(|cookie| cookie.path("/elsewhere"))
        })
        .await;
    assert_eq!(kind(answer), SessionErrorKind::Config);

    let today = CookieOptions::new()
        .max_age(2 * HOUR)
        .same_site(SameSite::Strict);
    let site = site.beside(|b| b.cookie(today).idle_timeout(2 * HOUR));
    for (cookie, http_only) in [(cookie, Some(true)), (own, None)] {
        let answer = site
            .visit(get(&*cookie), async |session| session.insert(VALUE, &2))
            .await?;
        assert_eq!(answer.max_age(), Some(2 * 3600));
        assert_eq!(answer.cookie().same_site(), Some(cookie::SameSite::Strict));
        assert_eq!(answer.cookie().http_only(), http_only);
    }
    Ok(())
}
