//! What can be wrong with the options of a builder or a cookie.

/// Options that cannot be used, or not together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No key signs the cookie.
    #[error("signing_keys is not set: cookies must be signed")]
    NoSigningKeys,
    /// The cookie name is not a token of RFC 9110.
    #[error("cookie.name {name:?} is not a token (RFC 9110 §5.6.2)")]
    CookieName {
        /// The name.
        name: String,
    },
    /// A cookie attribute has characters that it cannot have.
    #[error("{option} {value:?} cannot be written into a cookie")]
    CookieAttribute {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// Longer than a browser must accept.
    #[error("{option} is too long: browsers keep {limit_bytes} bytes (RFC 6265bis §5.6)")]
    TooLong {
        /// The option.
        option: &'static str,
        /// How many bytes browsers keep.
        limit_bytes: usize,
    },
    /// Two options that cannot go together.
    #[error("{first} and {second} exclude each other: {rule}")]
    Exclusive {
        /// One option, with its value.
        first: String,
        /// The other, with its value.
        second: String,
        /// The reason and its source.
        rule: &'static str,
    },
    /// A length of time or a number that must not be zero.
    #[error("{option} must not be zero")]
    Zero {
        /// The option.
        option: &'static str,
    },
    /// Name, path, domain and max-age are not options of one session.
    #[error(
        "name, path, domain and max_age of the cookie cannot be changed for one session; use set_max_age for the lifetime"
    )]
    NotPerSession,
}
