//! The session object.

use super::*;

#[tokio::test]
async fn no_name_of_a_value_is_reserved() -> TestResult {
    let site = Site::new(|b| b);
    let mut names = [
        "id",
        "req",
        "cookie",
        "save",
        "reload",
        "destroy",
        "constructor",
        "toString",
        "__proto__",
        "",
    ];
    let cookie = site
        .visit(get(None), async |session| {
            names
                .iter()
                .try_for_each(|name| session.insert(*name, name))
        })
        .await?;
    let (handle, session) = site.open(get(&*cookie.pair())).await?;
    names.sort_unstable();
    assert_eq!(session.names(), names);
    for name in names {
        assert_eq!(session.get::<String>(name)?.as_deref(), Some(name));
    }
    assert!(!session.is_modified());
    assert_eq!(site.finish(&handle).await?.kind(), OutcomeKind::Untouched);
    Ok(())
}

/// The store calls are in the matrix.
#[tokio::test]
async fn unset_discards_changes_or_destroys_as_configured() -> TestResult {
    let write_and_unset = async |session: Session| {
        session.insert(VALUE, &2)?;
        session.unset()
    };
    let keep = Site::new(|b| b.express(rolling().save_uninitialized(true)));
    let cookie = keep.begin().await?;
    let answer = keep.visit(get(&*cookie), write_and_unset).await?;
    assert!(answer.set_cookies().is_empty());
    assert_eq!(keep.value(&cookie, VALUE).await?, Some(1));

    let destroy = keep.beside(|b| b.express(ExpressOptions::new().unset(Unset::Destroy)));
    let answer = destroy.visit(get(&*cookie), write_and_unset).await?;
    assert_eq!(answer.kind(), OutcomeKind::Destroyed);
    assert!(keep.stored(&cookie).await.is_none());
    destroy.store.take_calls();
    let answer = destroy.visit(get(None), write_and_unset).await?;
    assert!(answer.set_cookies().is_empty() && destroy.store.take_calls().is_empty());
    Ok(())
}

/// An outage, and a response without a load, destroy nothing.
#[tokio::test]
async fn only_the_handler_unsets_a_session() -> TestResult {
    let site = Site::new(|b| b.express(ExpressOptions::new().unset(Unset::Destroy)));
    let cookie = site.begin().await?;
    site.store.fail(Call::Load, StoreErrorKind::Unavailable);
    let handle = site.sessions.begin(&get(&*cookie));
    assert_eq!(kind(handle.load().await), SessionErrorKind::Unavailable);
    site.finish(&handle).await?;
    serve(&site.sessions, get(&*cookie), |_| async {
        Ok(Response::new(()))
    })
    .await;
    assert_eq!(site.store.take_calls(), [Call::Load]);
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}
