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

/// The idle timeout is the business of the store, so the cookie need not be set again.
#[tokio::test]
async fn a_persistent_cookie_lasts_until_the_absolute_timeout() -> TestResult {
    let site = Site::new(|b| b.cookie(CookieOptions::new().max_age(HOUR)));
    let began_at = session_core::Clock::now(&site.clock);
    let mut answer = site
        .visit(get(None), async |session| session.insert(VALUE, &1))
        .await?;
    for age in [Duration::ZERO, HOUR / 2] {
        assert_eq!(answer.max_age(), Some((ABSOLUTE - age).as_secs()));
        let ttl = site.stored(&answer.pair()).await.expect("alive").ttl;
        assert_eq!(ttl, Some(HOUR));
        let expires = answer.cookie().expires_datetime().expect("a date");
        assert_eq!(
            expires.unix_timestamp().unsigned_abs(),
            (began_at + ABSOLUTE).duration_since(UNIX_EPOCH)?.as_secs()
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
        let cookie = answer.pair();
        site.clock.advance(HOUR / 2);
        answer = site
            .visit(get(&*cookie), async |session| session.renew())
            .await?;
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
    let answer = site
        .visit(get(&*cookie), async |session| {
            session.set_expires_at(deadline)
        })
        .await?;
    assert_eq!(answer.max_age(), Some(2 * 3600));
    for left in [90, 60, 30, 10].map(|minutes| Duration::from_secs(minutes * 60)) {
        let now = session_core::Clock::now(&site.clock);
        site.clock.advance(deadline.duration_since(now)? - left);
        let answer = site.visit(get(&*cookie), async |session| {
            assert_eq!(session.idle_timeout(), HOUR);
            session.update(VALUE, |value| value.unwrap_or(0) + 1)?;
            assert_eq!(session.max_age(), Some(left.min(HOUR)));
            Ok(())
        });
        assert!(answer.await?.set_cookies().is_empty());
        let ttl = site.stored(&cookie).await.expect("alive").ttl;
        assert_eq!(ttl, Some(left.min(HOUR)));
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
            (answer.kind(), answer.max_age()),
            (OutcomeKind::Destroyed, Some(0))
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
            (answer.kind(), answer.set_cookies().len()),
            (OutcomeKind::Saved, 0)
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
        "Max-Age=43200",
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

/// Any lifetime can be stored, and browsers accept 400 days.
#[tokio::test]
async fn a_lifetime_is_written_up_to_400_days() -> TestResult {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let site = Site::new(|b| b.absolute_timeout(None));
    for (absolute, written) in [
        (Some(50 * DAY), 50),
        (Some(1000 * DAY), 400),
        (Some(Duration::MAX), 400),
        (None, 400),
    ] {
        let cookie = site.begin().await?;
        let answer = site
            .visit(get(&*cookie), async |session| {
                session.set_max_age(Some(40 * DAY))?;
                session.set_absolute_timeout(absolute)
            })
            .await?;
        assert_eq!(answer.max_age(), Some(written * DAY.as_secs()));
        assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
        let ttl = site.stored(&cookie).await.expect("alive").ttl;
        assert_eq!(ttl, Some(40 * DAY));
    }
    Ok(())
}

/// Later responses keep the overrides. All other attributes are those of the current
/// configuration.
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
            .visit(get(&*cookie), async |session| session.renew())
            .await?;
        assert_eq!(answer.cookie().same_site(), Some(cookie::SameSite::Strict));
        assert_eq!(answer.cookie().http_only(), http_only);
        let ttl = site.stored(&cookie).await.expect("alive").ttl;
        assert_eq!(ttl, Some(2 * HOUR));
    }
    Ok(())
}
