//! The source of random bytes.

use rand::{TryRng, rngs::SysRng};

/// A source of unpredictable bytes.
///
/// An implementation **must** be a cryptographically secure generator. It **must** fill the whole
/// buffer, or fail.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer.
    ///
    /// # Errors
    ///
    /// If the generator fails. No session is created then; there is no fallback to a weaker source.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        SysRng.try_fill_bytes(bytes).map_err(EntropyError::new)
    }
}

/// The random number generator failed.
#[derive(Debug, thiserror::Error)]
#[error("the random number generator failed")]
pub struct EntropyError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl EntropyError {
    /// Wraps the error of a generator.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}
