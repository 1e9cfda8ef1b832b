//! The headers of a response, set from what is committed.

use http::{Extensions, HeaderMap, HeaderValue, Response, header};
use smallvec::SmallVec;

use crate::{
    error::{SessionError, SessionErrorKind},
    headers::{Credential, CredentialPlan, HeaderPlan, headers},
    outcome::Outcome,
    policy::OnLost,
    set_cookie,
    shared::Shared,
};

/// The `Set-Cookie` lines that session layers have added to a response. A layer that replaces the
/// response keeps them, because what they tell the client is committed.
#[derive(Clone, Debug, Default)]
struct SessionCookies(SmallVec<[HeaderValue; 1]>);

/// Sets the headers of a response whose request is committed.
pub(crate) fn finish<B>(
    shared: &Shared,
    outcome: Outcome,
    response: &mut Response<B>,
) -> Result<Outcome, SessionError> {
    if let Some(loss) = outcome.lost {
        match shared.config.policy.on_lost {
            OnLost::Discard => {}
            OnLost::ByMethod if shared.request.safe_method => {}
            OnLost::ByMethod => return Err(loss.into()),
            OnLost::Reject(status) => {
                return Err(SessionError::with_source(
                    SessionErrorKind::Rejected(status),
                    "changes of the session were lost",
                    SessionError::from(loss),
                ));
            }
        }
    }
    let cookie = cookie(shared);
    let headers = response.headers_mut();
    vary_by_cookie(headers);
    match &cookie {
        Some(_) => keep_out_of_shared_caches(headers),
        None => {
            headers
                .entry(header::CACHE_CONTROL)
                .or_insert(HeaderValue::from_static("private"));
        }
    }
    if let Some(cookie) = cookie {
        if shared.request.nested {
            keep(cookie.clone(), response);
        }
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(outcome)
}

/// Sets the headers of an error response that replaces another.
pub(crate) fn reject<B>(
    shared: Option<&Shared>,
    accessed: bool,
    replaced: Option<&Extensions>,
    response: &mut Response<B>,
) {
    let inner = replaced.and_then(|extensions| extensions.get::<SessionCookies>());
    let inner_cookies = inner.into_iter().flat_map(|cookies| &cookies.0).cloned();
    for cookie in inner_cookies.chain(shared.and_then(cookie)) {
        if shared.is_some_and(|shared| shared.request.nested) {
            keep(cookie.clone(), response);
        }
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    let headers = response.headers_mut();
    if headers.contains_key(header::SET_COOKIE) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if accessed || inner.is_some() {
        vary_by_cookie(headers);
    }
}

/// The `Set-Cookie` of what is committed.
fn cookie(shared: &Shared) -> Option<HeaderValue> {
    let config = &*shared.config;
    let request = shared.request.facts();
    if shared.cell.read_credential(Credential::is_unchanged) {
        return None;
    }
    let now = config.now();
    let timeouts = &config.policy.timeouts;
    let HeaderPlan { credential } = shared
        .cell
        .read_credential(|credential| headers(credential, timeouts, now));
    let spec = &*shared.request.cookie;
    match credential {
        CredentialPlan::Keep => None,
        CredentialPlan::Set {
            token,
            cookie,
            max_age,
            transport: _,
        } => {
            let value = config
                .format
                .cookie_value(spec.name(), &token, &config.keys);
            set_cookie::issue(spec, &cookie, value, max_age, now.wall, request.secure)
        }
        CredentialPlan::End {
            cookie,
            transport: _,
        } => set_cookie::remove(spec, &cookie, request.secure),
    }
}

/// Tells a surrounding session layer about a cookie.
fn keep<B>(cookie: HeaderValue, response: &mut Response<B>) {
    let extensions = response.extensions_mut();
    let cookies = extensions.get_or_insert_default::<SessionCookies>();
    cookies.0.push(cookie);
}

/// A response that carries a token must not be stored by a shared cache (RFC 9111 §3), which would
/// hand it to other users.
fn keep_out_of_shared_caches(headers: &mut HeaderMap) {
    let is_private = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').map(str::trim).any(|directive| {
            directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("private")
        })
    };
    let values = headers.get_all(header::CACHE_CONTROL);
    if values.iter().any(is_private) {
        return;
    }
    if values.iter().next().is_some() {
        tracing::warn!(
            "Cache-Control replaced by no-store, because the response sets a session cookie"
        );
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// The response depends on the cookie, also if there was none.
pub(crate) fn vary_by_cookie(headers: &mut HeaderMap) {
    let names = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .any(|name| name.trim() == "*" || name.trim().eq_ignore_ascii_case("cookie"))
    };
    if !headers.get_all(header::VARY).iter().any(names) {
        headers.append(header::VARY, HeaderValue::from_static("Cookie"));
    }
}
