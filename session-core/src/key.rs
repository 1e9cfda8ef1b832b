//! The names of values in a session, with or without a type.

use std::{borrow::Borrow, fmt, marker::PhantomData};

/// The name of a value together with its type, declared in one place.
///
/// ```
/// use session_core::Key;
///
/// const VIEWS: Key<u32> = Key::new("views");
/// assert_eq!(VIEWS.name(), "views");
/// ```
pub struct Key<T: ?Sized> {
    name: &'static str,
    value: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> Key<T> {
    /// Declares a key.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    /// Returns the name under which the value is stored.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T: ?Sized> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Key<T> {}

impl<T: ?Sized> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.name)
    }
}

impl<T: ?Sized> AsRef<str> for Key<T> {
    fn as_ref(&self) -> &str {
        self.name
    }
}

/// The name of a value of type `T`: a [`Key<T>`], or a string, which fits any type.
pub trait AsKey<T: ?Sized> {
    /// Returns the name under which the value is stored.
    fn name(&self) -> &str;
}

impl<T: ?Sized> AsKey<T> for Key<T> {
    fn name(&self) -> &str {
        self.name
    }
}

impl<T: ?Sized> AsKey<T> for &str {
    fn name(&self) -> &str {
        self
    }
}

impl<T: ?Sized> AsKey<T> for &String {
    fn name(&self) -> &str {
        self
    }
}

/// The name under which a value of type `V` can be stored: a [`Key`] of a type that borrows as `V`,
/// or a string. A `Key<String>` therefore takes a `&str`.
pub trait KeyFor<V: ?Sized> {
    /// Returns the name under which the value is stored.
    fn name(&self) -> &str;
}

impl<T: Borrow<V>, V: ?Sized> KeyFor<V> for Key<T> {
    fn name(&self) -> &str {
        self.name
    }
}

impl<V: ?Sized> KeyFor<V> for &str {
    fn name(&self) -> &str {
        self
    }
}

impl<V: ?Sized> KeyFor<V> for &String {
    fn name(&self) -> &str {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_strings_name_values() {
        fn name<T: ?Sized>(key: impl AsKey<T>) -> String {
            key.name().to_owned()
        }
        fn name_for<V: ?Sized>(key: impl KeyFor<V>) -> String {
            key.name().to_owned()
        }
        const USER: Key<String> = Key::new("user");
        assert_eq!(name::<String>(USER), "user");
        assert_eq!(name_for::<String>(USER), "user");
        assert_eq!(name_for::<str>(USER), "user", "borrowed");
        assert_eq!(name::<u32>(&"views".to_owned()), "views");
        assert_eq!(format!("{USER:?} {}", USER.as_ref()), "Key(\"user\") user");
    }
}
