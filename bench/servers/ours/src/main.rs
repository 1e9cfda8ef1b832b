//! This project's sessions, as its README shows them: signed cookie, idle timeout of one hour,
//! everything else by default.
//!
//! By default a read writes the new expiry when a tenth of the idle timeout has passed since it was
//! last written. The variants that end in `-touch` write it at every request, as most peers do.
//! Those that end in `-near` have a near cache, and those that end in `-miss` one without room: it
//! keeps nothing, and every read asks Redis to announce the next change.

mod on_axum;
mod on_hyper;

use std::time::Duration;

use anyhow::bail;
use bench_scene::{Arguments, IDLE_SECONDS, Item, Profile, SIGNING_KEY};
use session_hyper::{Key, NearCache, SessionError, Sessions, SigningKeys, store};

const ROLES: Key<Vec<String>> = Key::new("roles");
const CART: Key<Vec<Item>> = Key::new("cart");
const VIEWS: Key<u64> = Key::new("views");
const FILLER: Key<String> = Key::new("filler");

fn main() -> anyhow::Result<()> {
    bench_scene::run(serve)
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let words: Vec<_> = arguments.variant.split('-').collect();
    let (framework, store, option) = match words[..] {
        [framework, store] => (framework, store, None),
        [framework, store, option] => (framework, store, Some(option)),
        _ => bail!(
            "no variant {:?}: expected FRAMEWORK-STORE, and perhaps -touch, -near or -miss",
            arguments.variant
        ),
    };
    let url = match store {
        "memory" => "memory:",
        "redis" => &arguments.redis,
        other => bail!("no store {other:?}: expected memory or redis"),
    };
    let mut builder = Sessions::builder(store::connect(url).await?)
        .signing_keys(SigningKeys::new([SIGNING_KEY])?)
        .idle_timeout(Duration::from_secs(IDLE_SECONDS));
    builder = match option {
        None => builder,
        Some("touch") => builder.touch_after(Duration::ZERO),
        Some("near") => builder.near_cache(NearCache::new()),
        Some("miss") => builder.near_cache(NearCache::new().max_bytes(1)),
        Some(other) => bail!("no option {other:?}: expected touch, near or miss"),
    };
    let sessions = builder.build()?;
    match framework {
        "hyper" => on_hyper::serve(&arguments, sessions).await,
        "axum" => on_axum::serve(&arguments, sessions).await,
        other => bail!("no framework {other:?}: expected hyper or axum"),
    }
}

/// The page of a session, or nothing if nobody is logged in.
fn read(session: &session_hyper::Session) -> Result<Option<String>, SessionError> {
    let Some(user) = session.principal() else {
        return Ok(None);
    };
    Ok(Some(bench_scene::page(
        &user,
        session.get(VIEWS)?.unwrap_or(0),
    )))
}

fn write(session: &session_hyper::Session) -> Result<Option<String>, SessionError> {
    let Some(user) = session.principal() else {
        return Ok(None);
    };
    let views = session.update(VIEWS, |views| views.unwrap_or(0) + 1)?;
    Ok(Some(bench_scene::page(&user, views)))
}

fn login(session: &session_hyper::Session, profile: &Profile) -> Result<(), SessionError> {
    session.log_in(&profile.user)?;
    session.insert(ROLES, &profile.roles)?;
    session.insert(CART, &profile.cart)?;
    session.insert(VIEWS, &profile.views)?;
    if !profile.filler.is_empty() {
        session.insert(FILLER, &profile.filler)?;
    }
    Ok(())
}
