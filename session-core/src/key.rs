//! Names of values in a session, with or without their type.

use std::{borrow::Borrow, fmt, marker::PhantomData};

/// The name of a value together with its type, declared once.
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

    /// The name under which the value is stored.
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

/// Something that names a value of type `T`: a [`Key<T>`], or a string for any type.
pub trait AsKey<T: ?Sized> {
    /// The name under which the value is stored.
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

/// Something that a value of type `V` can be stored under: a [`Key`] of a type that borrows as `V`, so that a
/// `Key<String>` takes a `&str`, or a string.
pub trait KeyFor<V: ?Sized> {
    /// The name under which the value is stored.
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
