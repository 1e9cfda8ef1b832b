//! The loaded session, as a handler holds it: its values.

mod attributes;
mod authentication;
mod lifecycle;
mod tags;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec,
    error::{SessionError, SessionErrorKind},
    key::{AsKey, KeyFor},
    op::{self, Op, Update, UpdateFn},
    shared::Shared,
    state::State,
    token::SessionToken,
    verbs::Verb,
};

/// How often an update is computed again because a clone of the session concurrently wrote the same
/// name.
const UPDATE_ATTEMPTS: u32 = 100;

/// A loaded session.
///
/// Clones are the same session. Accessors are synchronous: changes go to the store together, when
/// the response is committed or [`save`](Self::save) is called. If a concurrent request wrote to
/// the session, the changes made here are applied again to what it wrote, so that neither request
/// loses any.
///
/// # Examples
///
/// A cart that two tabs fill at the same time keeps the items of both, because the function runs
/// again on the newer cart:
///
/// ```
/// use session_core::{Key, Session, SessionError};
///
/// const CART: Key<Vec<String>> = Key::new("cart");
///
/// fn add_to_cart(session: &Session, item: String) -> Result<usize, SessionError> {
///     let cart = session.update(CART, move |cart| {
///         let mut cart = cart.unwrap_or_default();
///         cart.push(item.clone());
///         cart
///     })?;
///     Ok(cart.len())
/// }
/// ```
#[derive(Clone)]
pub struct Session(Arc<Shared>);

impl Session {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Returns the value of a name, decoded; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`SessionErrorKind::Decode`] if the stored value is not a `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Key, Session, SessionError};
    /// const THEME: Key<String> = Key::new("theme");
    ///
    /// fn theme(session: &Session) -> Result<String, SessionError> {
    ///     Ok(session.get(THEME)?.unwrap_or_else(|| "light".into()))
    /// }
    /// ```
    pub fn get<T: DeserializeOwned>(&self, key: impl AsKey<T>) -> Result<Option<T>, SessionError> {
        let value = self.value(key.name());
        value.map(|value| decode(key.name(), &value)).transpose()
    }

    /// Sets a value. Setting an equal value changes nothing.
    ///
    /// If a concurrent request sets the same name, the value of the request that commits last
    /// stays; use [`update`](Self::update) for values that are computed from the current one.
    ///
    /// # Errors
    ///
    /// If the value cannot be encoded, the session would exceed the size limit, has ended, or is
    /// closed. The session is then unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Key, Session, SessionError};
    /// const THEME: Key<String> = Key::new("theme");
    ///
    /// fn choose_theme(session: &Session, theme: &str) -> Result<(), SessionError> {
    ///     session.insert(THEME, theme)
    /// }
    /// ```
    pub fn insert<V: Serialize + ?Sized>(
        &self,
        key: impl KeyFor<V>,
        value: &V,
    ) -> Result<(), SessionError> {
        let value = encode(key.name(), value)?;
        self.call(Verb::Write(Op::Set(key.name().into(), value)))
    }

    /// Removes a value and returns it.
    ///
    /// # Errors
    ///
    /// If the session has ended or is closed, or the value is not a `T`; it is then still there.
    ///
    /// # Examples
    ///
    /// A message that is shown once:
    ///
    /// ```
    /// # use session_core::{Key, Session, SessionError};
    /// const FLASH: Key<String> = Key::new("flash");
    ///
    /// fn take_message(session: &Session) -> Result<Option<String>, SessionError> {
    ///     session.remove(FLASH)
    /// }
    /// ```
    pub fn remove<T: DeserializeOwned>(
        &self,
        key: impl AsKey<T>,
    ) -> Result<Option<T>, SessionError> {
        let name: Arc<str> = key.name().into();
        loop {
            let Some(value) = self.value(&name) else {
                self.check_writable()?;
                return Ok(None);
            };
            let decoded = decode(&name, &value)?;
            let remove = Verb::Write(Op::Remove(name.clone()));
            if self.call_if(remove, |state| {
                value_in(state, &name).as_ref() == Some(&value)
            })? {
                return Ok(Some(decoded));
            }
        }
    }

    /// Computes a value from the current one, stores it, and returns it.
    ///
    /// `update` is called again if a concurrent request wrote to the value, so it must be free of
    /// side effects and must not write to a session. The stored value can then differ from the
    /// returned one.
    ///
    /// A limit on guesses cannot be enforced by counting them here: parallel requests all read the
    /// count before any of them is committed. [`save`](Self::save) the count before the guess is
    /// checked.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get) and [`insert`](Self::insert).
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Key, Session, SessionError};
    /// const VIEWS: Key<u32> = Key::new("views");
    ///
    /// fn count_view(session: &Session) -> Result<u32, SessionError> {
    ///     session.update(VIEWS, |views| views.unwrap_or(0) + 1)
    /// }
    /// ```
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: impl AsKey<T>,
        update: impl Fn(Option<T>) -> T + Send + Sync + 'static,
    ) -> Result<T, SessionError> {
        let name: Arc<str> = key.name().into();
        let step: UpdateFn = {
            let name = name.clone();
            Arc::new(move |value| {
                let value = value.map(|value| decode::<T>(&name, value)).transpose()?;
                encode(&name, &update(value))
            })
        };
        for _ in 0..UPDATE_ATTEMPTS {
            let before = self.value(&name);
            let after = op::run(&step, before.as_ref())?;
            let value = decode(&name, &after)?;
            let update = Update::new(name.clone(), step.clone(), before.clone(), after);
            let write = Verb::Write(Op::Update(update));
            if self.call_if(write, |state| value_in(state, &name) == before)? {
                return Ok(value);
            }
        }
        let detail = format!("session value {name:?} changed each time it was updated");
        Err(SessionError::new(SessionErrorKind::Contention, detail))
    }

    /// Whether there is a value of this name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn has_cart(session: &Session) -> bool {
    ///     session.contains("cart")
    /// }
    /// ```
    pub fn contains(&self, name: impl AsRef<str>) -> bool {
        self.shared().cell.read(|state| {
            state
                .contents()
                .is_some_and(|contents| contents.data.contains(name.as_ref()))
        })
    }

    /// Returns the names of all values, sorted.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::Session;
    /// fn is_empty(session: &Session) -> bool {
    ///     session.names().is_empty()
    /// }
    /// ```
    pub fn names(&self) -> Vec<String> {
        self.shared().cell.read(|state| {
            let Some(contents) = state.contents() else {
                return Vec::new();
            };
            contents
                .data
                .iter()
                .map(|(name, _)| name.to_owned())
                .collect()
        })
    }

    /// Removes every value and keeps the session, its principal and its lifetime.
    ///
    /// # Errors
    ///
    /// If the session has ended or is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use session_core::{Session, SessionError};
    /// fn start_over(session: &Session) -> Result<(), SessionError> {
    ///     session.clear()
    /// }
    /// ```
    pub fn clear(&self) -> Result<(), SessionError> {
        let is_empty = |state: &State| {
            state
                .contents()
                .is_none_or(|contents| contents.data.is_empty())
        };
        match self.call_if(Verb::Write(Op::Clear), |state| !is_empty(state))? {
            true => Ok(()),
            false => self.check_writable(),
        }
    }

    fn value(&self, name: &str) -> Option<Bytes> {
        self.shared().cell.read(|state| value_in(state, name))
    }

    /// Whether a write would be accepted.
    fn check_writable(&self) -> Result<(), SessionError> {
        let shared = self.shared();
        if shared.cell.is_closed() {
            return Err(SessionError::closed());
        }
        shared.cell.read(|state| match state {
            State::Gone => Err(SessionError::gone()),
            State::InDoubt(_) => Err(SessionError::in_doubt()),
            State::Uninitialized { .. }
            | State::New { .. }
            | State::Unmodified { .. }
            | State::Modified { .. }
            | State::Renewed { .. }
            | State::Regenerated { .. }
            | State::Destroyed { .. }
            | State::Superseded { .. } => Ok(()),
        })
    }

    fn call(&self, verb: Verb) -> Result<(), SessionError> {
        self.call_if(verb, |_| true).map(drop)
    }

    /// Applies a call if `still` holds of the state; otherwise returns `Ok(false)`.
    fn call_if(&self, verb: Verb, still: impl Fn(&State) -> bool) -> Result<bool, SessionError> {
        if op::in_update() {
            return Err(SessionError::new(
                SessionErrorKind::Reentrant,
                "a session cannot be changed by the function of an update",
            ));
        }
        let shared = self.shared();
        let limit_bytes = shared.config.policy.max_bytes;
        shared
            .cell
            .call_if(verb, limit_bytes, still, || shared.new_session())
    }
}

impl fmt::Debug for Session {
    /// Prints the id and the names of values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self
            .shared()
            .cell
            .read(|state| state.token().map(SessionToken::id));
        f.debug_struct("Session")
            .field("id", &id)
            .field("names", &self.names())
            .finish_non_exhaustive()
    }
}

fn value_in(state: &State, name: &str) -> Option<Bytes> {
    state.contents()?.data.get(name)
}

fn encode<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<Bytes, SessionError> {
    codec::encode_value(value).map_err(|error| {
        let detail = format!("session value {name:?} cannot be encoded");
        SessionError::with_source(SessionErrorKind::Encode, detail, error)
    })
}

pub(crate) fn decode<T: DeserializeOwned>(name: &str, value: &Bytes) -> Result<T, SessionError> {
    codec::decode_value(value).map_err(|_| {
        // the decoder's own message may quote the value
        let detail = format!(
            "session value {name:?} is not a {}",
            std::any::type_name::<T>()
        );
        SessionError::new(SessionErrorKind::Decode, detail)
    })
}
