//! Options, and how they are validated.

use super::*;

#[tokio::test]
async fn the_cookie_has_the_configured_name() -> TestResult {
    assert_eq!(Site::new(|b| b).sessions.cookie_name(), "__Host-id");
    let site = Site::new(|b| b.cookie(CookieOptions::new().name("connect.sid")));
    assert_eq!(site.sessions.cookie_name(), "connect.sid");
    assert!(site.begin().await?.starts_with("connect.sid=v1."));
    Ok(())
}

/// One among several keys too.
#[test]
fn a_missing_or_empty_key_is_refused_by_build() {
    let unsigned = Sessions::builder(MemoryStore::new()).build();
    assert!(matches!(unsigned, Err(ConfigError::NoSigningKeys)));
    assert_eq!(
        SigningKeys::new::<&str>([]).err(),
        Some(SigningKeysError::Empty)
    );
    assert_eq!(
        SigningKeys::new([""]).err(),
        Some(SigningKeysError::TooShort { found: 0 })
    );
    assert_eq!(
        SigningKeys::new([KEY_A, ""]).err(),
        Some(SigningKeysError::TooShort { found: 0 })
    );
}

#[tokio::test]
async fn a_key_is_text_or_bytes() -> TestResult {
    let text = Site::new(|b| b.signing_keys(SigningKeys::new([KEY_A]).expect("key")));
    let bytes = text
        .beside(|b| b.signing_keys(SigningKeys::new([KEY_A.as_bytes().to_vec()]).expect("key")));
    let cookie = text.begin().await?;
    assert_eq!(bytes.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// When a touch is due. The cookie of a visitor is not replaced, because a concurrent login might
/// just have done so.
#[tokio::test]
async fn the_first_key_signs_all_keys_verify_and_old_signatures_of_users_are_replaced() -> TestResult
{
    let old = Site::new(|b| b.signing_keys(SigningKeys::new([KEY_A]).expect("key")));
    let both = old.beside(|b| b.signing_keys(SigningKeys::new([KEY_B, KEY_A]).expect("keys")));
    let new = old.beside(|b| b.signing_keys(SigningKeys::new([KEY_B]).expect("key")));

    let log_in = async |session: Session| {
        session.insert(VALUE, &1)?;
        session.log_in("ann")
    };
    let user = old.visit(get(None), log_in).await?.pair();
    assert_eq!(new.value(&user, VALUE).await?, None);
    let read = both.visit(get(&*user), async |_| Ok(())).await?;
    assert!(read.set_cookies().is_empty(), "no touch is due");
    old.clock.advance(HOUR / 2);
    let read = both.visit(get(&*user), async |_| Ok(())).await?;
    assert_eq!(read.kind(), OutcomeKind::Touched);
    let replaced = read.pair();
    assert_eq!(
        new.value(&replaced, VALUE).await?,
        Some(1),
        "signed by the first key"
    );
    old.clock.advance(HOUR / 2);
    let again = both.visit(get(&*replaced), async |_| Ok(())).await?;
    assert!(
        again.set_cookies().is_empty(),
        "the cookie is replaced once"
    );

    let visitor = old.begin().await?;
    old.clock.advance(HOUR / 2);
    let read = both.visit(get(&*visitor), async |_| Ok(())).await?;
    assert_eq!(read.kind(), OutcomeKind::Touched);
    assert!(read.set_cookies().is_empty());
    assert_eq!(new.value(&visitor, VALUE).await?, None);
    Ok(())
}

/// 128 random bits are the id, and 128 more the secret.
#[tokio::test]
async fn ids_are_random_and_need_no_encoding() -> TestResult {
    let site = Site::new(|b| b);
    let (one, two) = (site.begin().await?, site.begin().await?);
    let id = site.id(&one).expect("signed");
    assert_ne!(Some(id), site.id(&two));
    let plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    assert!(id.as_str().len() == 22 && plain(id.as_str()));
    let (_, value) = one.split_once('=').expect("a pair");
    assert_eq!(
        value
            .split('.')
            .map(|part| (part.len(), plain(part)))
            .collect::<Vec<_>>(),
        [(2, true), (43, true), (43, true)]
    );
    Ok(())
}

#[tokio::test]
async fn the_id_source_sees_the_request_for_new_and_for_regenerated_sessions() -> TestResult {
    let (paths, next) = (Arc::new(Mutex::new(vec![])), AtomicU8::new(1));
    let seen = paths.clone();
    let site = Site::new(|b| {
        b.id_source(move |request| {
            seen.lock()
                .expect("not poisoned")
                .push(request.uri.path().to_owned());
            Ok(SessionId::from_bytes(
                [next.fetch_add(1, Ordering::SeqCst); 16],
            ))
        })
    });
    let first = site
        .visit(get_at("/new", None), async |session| {
            session.insert(VALUE, &1)
        })
        .await?
        .pair();
    assert_eq!(site.id(&first), Some(SessionId::from_bytes([1; 16])));
    site.visit(get_at("/read", &*first), async |_| Ok(()))
        .await?;
    let second = site
        .visit(get_at("/login", &*first), async |session| {
            session.regenerate()
        })
        .await?
        .pair();
    assert_eq!(site.id(&second), Some(SessionId::from_bytes([2; 16])));
    assert_eq!(*paths.lock().expect("not poisoned"), ["/new", "/login"]);
    Ok(())
}

#[test]
fn text_that_is_not_an_id_does_not_parse() {
    for text in [
        "",
        "7",
        "undefined",
        "id with spaces; and more",
        "AAAAAAAAAAAAAAAAAAAAA",
    ]
    .map(|text| text.parse::<SessionId>())
    {
        let _: ParseIdError = text.expect_err("no id");
    }
}

/// Without a cookie, after a load, and in `regenerate`.
#[tokio::test]
async fn an_id_source_that_fails_is_the_same_error_everywhere() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let gone = site.begin().await?;
    site.sessions.end(&site.id(&gone).expect("signed")).await?;
    let failing = site.beside(|b| b.id_source(|_| Err(EntropyError::new("out of ids"))));
    assert_eq!(
        kind(failing.open(get(None)).await),
        SessionErrorKind::Entropy
    );
    assert_eq!(
        kind(failing.open(get(&*gone)).await),
        SessionErrorKind::Entropy
    );
    let (_, session) = failing.open(get(&*cookie)).await?;
    assert_eq!(kind(session.regenerate()), SessionErrorKind::Entropy);
    assert_eq!(session.get(VALUE)?, Some(1), "the session is unchanged");
    Ok(())
}

/// The session that has it is not overwritten.
#[tokio::test]
async fn an_id_that_is_taken_is_generated_again() -> TestResult {
    let next = AtomicU8::new(0);
    let site = Site::new(|b| {
        // 0, 0, 0, 1: two collisions
        b.id_source(move |_| {
            Ok(SessionId::from_bytes(
                [next.fetch_add(1, Ordering::SeqCst) / 3; 16],
            ))
        })
    });
    let first = site.begin().await?;
    let answer = site
        .visit(get(None), async |session| session.insert(VALUE, &2))
        .await?;
    assert_eq!(
        site.store.take_calls(),
        [Call::Create, Call::Create, Call::Create]
    );
    assert_eq!(
        site.id(&answer.pair()),
        Some(SessionId::from_bytes([1; 16]))
    );
    assert_eq!(site.value(&first, VALUE).await?, Some(1));

    let stuck = site.beside(|b| b.id_source(|_| Ok(SessionId::from_bytes([0; 16]))));
    let answer = stuck
        .visit(get(None), async |session| session.insert(VALUE, &3))
        .await;
    assert_eq!(kind(answer), SessionErrorKind::Entropy);
    assert_eq!(site.value(&first, VALUE).await?, Some(1));
    Ok(())
}

/// `resave`, `save_uninitialized` and `rolling` are off, and `unset` discards changes.
#[tokio::test]
async fn only_modified_sessions_are_stored_by_default() -> TestResult {
    let site = Site::new(|b| b);
    let answer = site.visit(get(None), async |_| Ok(())).await?;
    assert!(site.store.take_calls().is_empty() && answer.set_cookies().is_empty());
    let cookie = site.begin().await?;
    let answer = site.visit(get(&*cookie), async |_| Ok(())).await?;
    assert_eq!(site.store.take_calls(), [Call::Load]);
    assert!(answer.set_cookies().is_empty());
    site.visit(get(&*cookie), async |session| session.unset())
        .await?;
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    assert_eq!(Unset::default(), Unset::Discard);
    Ok(())
}

/// Each keeps its id source and its cookie.
#[tokio::test]
async fn a_store_can_be_shared_by_several_configurations() -> TestResult {
    let one = Site::new(|b| {
        b.cookie(plain_cookie().path("/one"))
            .id_source(|_| Ok(SessionId::from_bytes([1; 16])))
    });
    let two = one.beside(|b| {
        b.cookie(plain_cookie().path("/two"))
            .id_source(|_| Ok(SessionId::from_bytes([2; 16])))
    });
    for (site, path, id) in [(&one, "/one", 1), (&two, "/two", 2)] {
        let answer = site
            .visit(get_at(path, None), async |session| {
                session.insert(VALUE, &1)
            })
            .await?;
        assert_eq!(
            site.id(&answer.pair()),
            Some(SessionId::from_bytes([id; 16]))
        );
        assert_eq!(answer.cookie().path(), Some(path));
    }
    Ok(())
}

/// A session keeps the lifetime that it was created with.
#[tokio::test]
async fn cookie_options_are_computed_once_for_each_request() -> TestResult {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let site = Site::new(|b| {
        b.cookie_for(move |request| {
            count.fetch_add(1, Ordering::SeqCst);
            let remember = request.uri.query() == Some("remember");
            CookieOptions::new()
                .max_age(remember.then_some(30 * 24 * HOUR))
                .same_site(SameSite::Strict)
        })
        .absolute_timeout(60 * 24 * HOUR)
    });
    let answer = site
        .visit(get_at("/?remember", None), async |session| {
            session.insert(VALUE, &1)
        })
        .await?;
    assert_eq!(answer.max_age(), Some(60 * 24 * 3600));
    assert_eq!(answer.cookie().same_site(), Some(cookie::SameSite::Strict));
    assert_eq!(asked.swap(0, Ordering::SeqCst), 1, "for a new visitor");

    let cookie = answer.pair();
    let answer = site
        .visit(get(&*cookie), async |session| {
            assert_eq!(session.original_max_age(), Some(30 * 24 * HOUR));
            session.renew()
        })
        .await?;
    assert_eq!(
        answer.max_age(),
        Some(60 * 24 * 3600),
        "the session keeps the lifetime it began with"
    );
    let ttl = site.stored(&answer.pair()).await.expect("stored").ttl;
    assert_eq!(ttl, Some(30 * 24 * HOUR));
    assert_eq!(asked.load(Ordering::SeqCst), 2, "for a loaded session");

    let answer = site
        .visit(get(None), async |session| session.insert(VALUE, &1))
        .await?;
    assert_eq!(answer.max_age(), None);
    Ok(())
}

/// The request fails before anything is stored.
#[tokio::test]
async fn unusable_computed_cookie_options_are_a_typed_error() -> TestResult {
    let site =
        Site::new(|b| b.cookie_for(|_| CookieOptions::new().name("__Host-id").path("/below")));
    assert_eq!(
        kind(site.open(get_at("/below", None)).await),
        SessionErrorKind::Config
    );
    assert!(site.store.take_calls().is_empty());
    let response = serve(&site.sessions, get_at("/below", None), write).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    Ok(())
}

#[tokio::test]
async fn auto_is_resolved_in_computed_cookie_options_too() -> TestResult {
    let site = Site::new(|b| {
        b.cookie_for(|_| {
            plain_cookie()
                .secure(Secure::Auto)
                .same_site(SameSite::Auto)
        })
    });
    let tls = site
        .visit(over(get(None), RequestScheme::Tls), async |session| {
            session.insert(VALUE, &1)
        })
        .await?;
    assert_eq!(
        (tls.cookie().secure(), tls.cookie().same_site()),
        (Some(true), Some(cookie::SameSite::None))
    );
    let plain = site
        .visit(over(get(None), RequestScheme::Plain), async |session| {
            session.insert(VALUE, &1)
        })
        .await?;
    assert_eq!(
        (plain.cookie().secure(), plain.cookie().same_site()),
        (None, Some(cookie::SameSite::Lax))
    );
    Ok(())
}

/// Cookies that cannot be written, or that browsers reject.
#[test]
fn unusable_cookie_options_are_refused_by_build() {
    let options = CookieOptions::new;
    // each is illegal by one option alone, which the error names
    for (illegal, option) in [
        (options().name(""), "name"),
        (options().name("a b"), "name"),
        (plain_cookie().path("below"), "path"),
        (plain_cookie().path("/a;b"), "path"),
        (plain_cookie().domain("exa mple.com"), "domain"),
        (options().max_age(Duration::ZERO), "max_age"),
        (options().max_age(2 * HOUR), "max_age"),
        (
            plain_cookie()
                .secure(Secure::Never)
                .same_site(SameSite::None),
            "same_site",
        ),
    ] {
        let shown = format!("{illegal:?}");
        let built = Sessions::builder(MemoryStore::new())
            .signing_keys(keys())
            .idle_timeout(HOUR)
            .cookie(illegal)
            .build();
        let error = built.expect_err(&shown).to_string();
        assert!(error.contains(option), "{shown}: {error}");
    }
}

#[tokio::test]
async fn computed_options_without_a_max_age_make_a_browser_session_cookie() -> TestResult {
    let site = Site::new(|b| {
        b.cookie(CookieOptions::new().max_age(HOUR))
            .cookie_for(|request| {
                let remember = request.uri.query() == Some("remember");
                CookieOptions::new().max_age(remember.then_some(HOUR))
            })
    });
    let answer = site
        .visit(get(None), async |session| session.insert(VALUE, &1))
        .await?;
    assert_eq!(answer.max_age(), None);
    Ok(())
}
