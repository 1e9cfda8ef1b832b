//! The error of a store.

use std::fmt;

/// A store could not carry out an operation.
///
/// Branch on [`kind`](Self::kind); report the cause with [`source`](std::error::Error::source).
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a store could not carry out an operation.
///
/// Every kind except [`Timeout`](Self::Timeout) promises that nothing was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached, or is not ready.
    Unavailable,
    /// The outcome is unknown: the operation may have been applied, or may still be.
    Timeout,
    /// More operations are in progress than the store accepts.
    Overloaded,
    /// The store refused the operation: missing permission, out of memory, read-only.
    Refused,
    /// The stored bytes are not a record.
    Corrupt,
}

impl StoreError {
    /// Makes an error from its kind and its cause.
    pub fn new(
        kind: StoreErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: source.into(),
        }
    }

    /// The kind, to branch on.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "session store is unavailable",
            StoreErrorKind::Timeout => "session store did not answer in time",
            StoreErrorKind::Overloaded => "session store is overloaded",
            StoreErrorKind::Refused => "session store refused the operation",
            StoreErrorKind::Corrupt => "session store holds a record that cannot be read",
        })
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
