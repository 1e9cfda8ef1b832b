//! Which changes are detected.

use super::*;

/// Nested changes and a value named `cookie` are detected. Equal, reverted and reordered values are
/// not changes.
#[tokio::test]
async fn a_session_is_modified_if_a_value_differs_and_only_then() -> TestResult {
    type Nested = BTreeMap<String, BTreeMap<String, u32>>;
    fn nested(n: u32) -> Nested {
        BTreeMap::from([("a".to_owned(), BTreeMap::from([("cookie".to_owned(), n)]))])
    }
    let site = Site::new(|b| b);
    let begun = async |session: Session| {
        session.insert("nested", &nested(1))?;
        session.insert("cookie", "crumbs")?;
        session.insert(VALUE, &1)
    };
    let cookie = site.visit(get(None), begun).await?.pair();
    let changes: [(bool, Change); 9] = [
        (true, |s| s.insert("nested", &nested(2))),
        (true, |s| s.insert("cookie", "none")),
        (true, |s| s.insert("new", &())),
        (true, |s| s.remove(VALUE).map(drop)),
        (false, |s| s.insert("nested", &nested(1))),
        (false, |s| {
            s.update(VALUE, |value| value.unwrap_or_default()).map(drop)
        }),
        (false, |s| {
            s.insert(VALUE, &2).and_then(|()| s.insert(VALUE, &1))
        }),
        (false, |s| s.remove(VALUE).and_then(|_| s.insert(VALUE, &1))),
        (false, |s| s.remove::<u32>("absent").map(drop)),
    ];
    for (n, (expected, change)) in changes.into_iter().enumerate() {
        let (handle, session) = site.open(get(&*cookie)).await?;
        change(&session)?;
        assert_eq!(session.is_modified(), expected, "change {n}");
        session.discard()?;
        site.finish(&handle).await?;
        site.store.take_calls();
        if !expected {
            site.visit(get(&*cookie), async |session| change(&session))
                .await?;
            assert_eq!(site.store.take_calls(), [Call::Load], "change {n}");
        }
    }
    Ok(())
}

/// Of its lifetime, and of an attribute.
#[tokio::test]
async fn a_change_of_the_cookie_is_a_change() -> TestResult {
    let site = Site::new(|b| b.absolute_timeout(None));
    let cookie = site.begin().await?;
    let answer = site
        .visit(get(&*cookie), async |session| {
            session.set_max_age(Some(48 * HOUR))
        })
        .await?;
    assert_eq!(
        (answer.kind(), answer.max_age()),
        (OutcomeKind::Saved, Some(400 * 24 * 3600))
    );
    assert_eq!(
        site.stored(&cookie).await.expect("stored").ttl,
        Some(48 * HOUR)
    );
    let cookie = site.begin().await?;
    let answer = site
        .visit(get(&*cookie), async |session| {
            session.set_cookie(|cookie| cookie.http_only(false))
        })
        .await?;
    assert_eq!(
        (answer.kind(), answer.cookie().http_only()),
        (OutcomeKind::Saved, None)
    );
    Ok(())
}

/// The error is that of the call with the value. The session stays as it was.
#[tokio::test]
async fn a_value_that_cannot_be_encoded_is_a_typed_error() -> TestResult {
    struct Circular;
    impl serde::Serialize for Circular {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("a circle"))
        }
    }
    let site = Site::new(|b| b.max_bytes(100));
    let cookie = site.begin().await?;
    let answer = site.visit(get(&*cookie), async |session| {
        assert_eq!(
            kind(session.insert("circular", &Circular)),
            SessionErrorKind::Encode
        );
        assert_eq!(
            kind(session.insert("large", &"x".repeat(100))),
            SessionErrorKind::TooLarge
        );
        assert!(!session.is_modified());
        // JSON would turn it into null
        session.insert("nan", &f64::NAN)?;
        assert!(session.get::<f64>("nan")?.is_some_and(f64::is_nan));
        assert_eq!(kind(session.get::<u32>("nan")), SessionErrorKind::Decode);
        session.discard()
    });
    assert_eq!(answer.await?.kind(), OutcomeKind::Untouched);
    Ok(())
}
