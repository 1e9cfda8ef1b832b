//! The headers of a response, set from what is committed.

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{self, Entry},
};
use smallvec::SmallVec;

use crate::{
    bearer,
    body::Transport,
    error::{SessionError, SessionErrorKind},
    headers::{Credential, CredentialPlan, HeaderPlan, headers},
    outcome::Outcome,
    policy::OnLost,
    set_cookie,
    shared::Shared,
    token::SessionToken,
    transports::Transports,
};

/// A header that gives the client a token, or takes it away.
type TokenHeader = (HeaderName, HeaderValue);

/// The headers with tokens that session layers have added to a response. A layer that replaces the
/// response keeps them, because what they tell the client is committed.
#[derive(Clone, Debug, Default)]
struct SessionHeaders(SmallVec<[TokenHeader; 1]>);

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
    let token = token_header(shared);
    let headers = response.headers_mut();
    vary(headers, shared.config.transports);
    match token {
        Some(token) => {
            add(token, shared.request.nested, response);
            keep_out_of_caches(response.headers_mut());
        }
        None => {
            headers
                .entry(header::CACHE_CONTROL)
                .or_insert(HeaderValue::from_static("private"));
        }
    }
    Ok(outcome)
}

/// Sets the headers of an error response that replaces another.
pub(crate) fn reject<B>(
    shared: Option<&Shared>,
    accessed: bool,
    transports: Transports,
    replaced: Option<&Extensions>,
    response: &mut Response<B>,
) {
    let inner = replaced.and_then(|extensions| extensions.get::<SessionHeaders>());
    let inner_headers = inner.into_iter().flat_map(|headers| &headers.0).cloned();
    let is_nested = shared.is_some_and(|shared| shared.request.nested);
    for token in inner_headers.chain(shared.and_then(token_header)) {
        add(token, is_nested, response);
    }
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if headers.contains_key(header::SET_COOKIE) || headers.contains_key(bearer::SESSION_TOKEN) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if accessed || inner.is_some() {
        vary(headers, transports);
    }
    if is_unauthorized && transports.include(Transport::Bearer) {
        // RFC 9110 §15.5.2 wants a challenge; a cookie has none
        headers
            .entry(header::WWW_AUTHENTICATE)
            .or_insert(HeaderValue::from_static("Bearer"));
    }
}

/// The header that tells the client what is committed about its token.
fn token_header(shared: &Shared) -> Option<TokenHeader> {
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
    let write = |transport, token: &SessionToken| {
        let (name, keys) = (spec.name(), &config.keys);
        config.format.write_token(transport, name, token, keys)
    };
    match credential {
        CredentialPlan::Keep => None,
        CredentialPlan::Set {
            token,
            cookie,
            max_age,
            transport: transport @ Transport::Cookie,
        } => {
            let text = write(transport, &token);
            set_cookie::issue(spec, &cookie, text, max_age, now.wall, request.secure)
                .map(|value| (header::SET_COOKIE, value))
        }
        CredentialPlan::Set {
            token,
            cookie,
            max_age: _,
            transport: transport @ Transport::Bearer,
        } => {
            // a token must not cross plain http, as a cookie must not
            if !request.can_set_cookie(&cookie) {
                return None;
            }
            let mut value = HeaderValue::try_from(write(transport, &token)).ok()?;
            value.set_sensitive(true);
            Some((bearer::SESSION_TOKEN, value))
        }
        CredentialPlan::End {
            cookie,
            transport: Transport::Cookie,
        } => set_cookie::remove(spec, &cookie, request.secure)
            .map(|value| (header::SET_COOKIE, value)),
        CredentialPlan::End {
            cookie: _,
            transport: Transport::Bearer,
        } => Some((bearer::SESSION_TOKEN, HeaderValue::from_static(""))),
    }
}

/// Adds a header with a token, and tells a surrounding session layer about it.
fn add<B>(token: TokenHeader, is_nested: bool, response: &mut Response<B>) {
    if is_nested {
        let extensions = response.extensions_mut();
        let kept = extensions.get_or_insert_default::<SessionHeaders>();
        kept.0.push(token.clone());
    }
    let (name, value) = token;
    response.headers_mut().append(name, value);
}

/// A response that carries a token must not be stored by a shared cache (RFC 9111 §3), which would
/// hand it to other users. One that hands a token to a script must not be stored at all: taken from
/// the cache later, it would replace a newer token.
fn keep_out_of_caches(headers: &mut HeaderMap) {
    let is_for_script = headers.contains_key(bearer::SESSION_TOKEN);
    let is_private = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').map(str::trim).any(|directive| {
            directive.eq_ignore_ascii_case("no-store")
                || !is_for_script && directive.eq_ignore_ascii_case("private")
        })
    };
    let values = headers.get_all(header::CACHE_CONTROL);
    if values.iter().any(is_private) {
        return;
    }
    if values.iter().next().is_some() {
        tracing::warn!(
            "Cache-Control replaced by no-store, because the response carries a session token"
        );
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// The response depends on the token, also if there was none.
pub(crate) fn vary(headers: &mut HeaderMap, transports: Transports) {
    for (transport, name) in [
        (Transport::Cookie, "Cookie"),
        (Transport::Bearer, "Authorization"),
    ] {
        if !transports.include(transport) {
            continue;
        }
        let value = HeaderValue::from_static(name);
        match headers.entry(header::VARY) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(entry) if varies_by(entry.iter(), name) => {}
            Entry::Occupied(mut entry) => entry.append(value),
        }
    }
}

fn varies_by<'h>(mut values: impl Iterator<Item = &'h HeaderValue>, name: &str) -> bool {
    let names = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .map(str::trim)
            .any(|listed| listed == "*" || listed.eq_ignore_ascii_case(name))
    };
    values.any(names)
}
