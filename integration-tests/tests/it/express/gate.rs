//! Which requests have a session.

use super::*;

/// Stacked services with different cookies both act. Of two with one name, the outer one acts.
#[tokio::test]
async fn several_named_sessions_live_side_by_side() -> TestResult {
    let user = Site::new(|b| b.cookie(plain_cookie().name("user")));
    let cart = Site::new(|b| b.cookie(plain_cookie().name("cart")));
    let handler = service_fn(|request: Request<()>| async move {
        request
            .session_named("user")
            .load()
            .await?
            .insert(VALUE, &1)?;
        request
            .session_named("cart")
            .load()
            .await?
            .insert(VALUE, &2)?;
        Ok::<_, SessionError>(Response::new(()))
    });
    let service = SessionService::new(cart.sessions.clone(), handler);
    let response = SessionService::new(user.sessions.clone(), service)
        .oneshot(get(None))
        .await?;
    let names: Vec<_> = set_cookies(response.headers())
        .into_iter()
        .map(|set| set.split('=').next())
        .collect();
    assert_eq!(names, [Some("cart"), Some("user")]);

    let inner = Site::new(|b| b.cookie(plain_cookie().name("user")));
    user.store.take_calls();
    let service = SessionService::new(inner.sessions.clone(), service_fn(write));
    let response = SessionService::new(user.sessions.clone(), service)
        .oneshot(get(None))
        .await?;
    assert_eq!(set_cookies(response.headers()).len(), 1);
    assert_eq!(
        (user.store.take_calls(), inner.store.take_calls()),
        (vec![Call::Create], vec![])
    );
    Ok(())
}

/// The handler may answer without its session. The cookie stays, and the next load works.
#[tokio::test]
async fn an_outage_is_an_error_and_never_an_empty_session() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    site.store.fail(Call::Load, StoreErrorKind::Unavailable);
    let response = serve(&site.sessions, get(&*cookie), |request| async move {
        request.session().load().await?;
        panic!("the load fails")
    });
    let response = response.await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(set_cookies(response.headers()).is_empty());

    // the handler answers without its session
    site.store.fail(Call::Load, StoreErrorKind::Timeout);
    let handle = site.sessions.begin(&get(&*cookie));
    assert_eq!(kind(handle.load().await), SessionErrorKind::Unavailable);
    let answer = site.finish(&handle).await?;
    assert_eq!(answer.kind(), OutcomeKind::Untouched);
    assert_eq!(
        answer.response.headers().keys().collect::<Vec<_>>(),
        [header::VARY]
    );

    // a second load calls the store again
    assert_eq!(handle.load().await?.get(VALUE)?, Some(1));
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// RFC 6265 §5.1.4. Other requests do not read the cookie, call the store, or set a cookie.
#[tokio::test]
async fn only_requests_below_the_cookie_path_have_a_session() -> TestResult {
    let site = Site::new(|b| {
        b.cookie(plain_cookie().path("/foo"))
            .express(ExpressOptions::new().save_uninitialized(true))
    });
    let cookie = site
        .visit(get_at("/foo", None), async |session| {
            session.insert(VALUE, &1)
        })
        .await?
        .pair();
    site.store.take_calls();
    for inside in [
        "/foo",
        "/foo/",
        "/foo/bar",
        "/foo?a=/",
        "http://example.com/foo/bar?q",
    ] {
        assert!(
            site.open(get_at(inside, &*cookie)).await.is_ok(),
            "{inside}"
        );
        assert_eq!(site.store.take_calls(), [Call::Load], "{inside}");
    }
    for outside in [
        "/",
        "/foobar",
        "/Foo",
        "//foo",
        "/%66oo",
        "/?/foo",
        "http://foo/bar",
        "*",
    ] {
        let handle = site.sessions.begin(&get_at(outside, &*cookie));
        assert!(!handle.in_scope(), "{outside}");
        assert_eq!(
            kind(handle.load().await),
            SessionErrorKind::OutsidePath,
            "{outside}"
        );
        let answer = site.finish(&handle).await?;
        assert_eq!(answer.response.headers().len(), 0, "{outside}");
        assert!(site.store.take_calls().is_empty(), "{outside}");
    }
    let root = Site::new(|b| b);
    assert!(
        root.sessions
            .begin(&get_at("http://example.com", None))
            .in_scope(),
        "an empty path is /"
    );
    assert!(!root.sessions.begin(&get_at("*", None)).in_scope());
    Ok(())
}

#[test]
fn the_cookie_path_is_matched_against_the_original_uri() {
    #[derive(Clone)]
    struct Original(Uri);
    let site = Site::new(|b| {
        b.cookie(plain_cookie().path("/foo/bar"))
            .original_uri(|extensions| Some(extensions.get::<Original>()?.0.clone()))
    });
    let stripped = |original: &'static str, rest: &str| {
        let mut request = get_at(rest, None);
        request
            .extensions_mut()
            .insert(Original(Uri::from_static(original)));
        site.sessions.begin(&request).in_scope()
    };
    assert!(stripped("/foo/bar", "/bar"));
    assert!(!stripped("/foo/foo/bar", "/foo/bar"));
}

/// A failed login may have to be counted. `commit_if` restricts the statuses.
#[tokio::test]
async fn every_method_and_every_status_commits() -> TestResult {
    let site = Site::new(|b| b);
    let careful = site.beside(|b| b.commit_if(|status| !status.is_server_error()));
    for method in [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
    ] {
        for status in [200, 204, 302, 304, 404, 500, 503] {
            for (site, commits) in [(&site, true), (&careful, status < 500)] {
                let mut request = get(None);
                *request.method_mut() = method.clone();
                let (handle, session) = site.open(request).await?;
                session.insert(VALUE, &1)?;
                let mut response = Response::builder().status(status).body(())?;
                let outcome = site.sessions.finish(&handle, &mut response).await?;
                assert_eq!(outcome.created, commits, "{method} {status}");
                assert_eq!(
                    set_cookies(response.headers()).len(),
                    usize::from(commits),
                    "{method} {status}"
                );
            }
        }
    }
    Ok(())
}
