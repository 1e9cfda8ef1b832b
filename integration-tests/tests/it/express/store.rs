//! Sessions and the store.

use super::*;

#[tokio::test]
async fn each_request_has_a_copy_of_its_own() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let ((_, one), (_, two)) = (
        site.open(get(&*cookie)).await?,
        site.open(get(&*cookie)).await?,
    );
    one.insert(VALUE, &2)?;
    assert_eq!((one.get(VALUE)?, two.get(VALUE)?), (Some(2), Some(1)));
    assert_eq!(site.value(&cookie, VALUE).await?, Some(1));
    Ok(())
}

/// A concurrent write is kept.
#[tokio::test]
async fn a_touch_changes_the_expiry_alone() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    let (reading, session) = site.open(get(&*cookie)).await?;
    session.touch()?;
    site.visit(get(&*cookie), async |session| session.insert(VALUE, &2))
        .await?;
    let before = site.stored(&cookie).await.expect("stored");
    site.clock.advance(HOUR / 2);
    site.finish(&reading).await?;
    let after = site.stored(&cookie).await.expect("stored");
    assert_eq!((after.record, after.ttl), (before.record, Some(HOUR)));
    Ok(())
}
