//! Errors in the options of a builder or a cookie.

use std::time::Duration;

/// An option that cannot be used, or two that cannot be used together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no key to sign cookies with.
    #[error("signing_keys is not set: cookies must be signed")]
    NoSigningKeys,
    /// The cookie name is not a token.
    #[error("cookie.name {name:?} is not a token (RFC 9110 §5.6.2)")]
    CookieName {
        /// The name.
        name: String,
    },
    /// The value of a cookie attribute has a form or characters that the attribute does not allow.
    #[error("{option} {value:?} is not a valid cookie attribute (RFC 6265bis §4.1.1)")]
    CookieAttribute {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// The value is longer than browsers accept.
    #[error(
        "{option} is too long: expected at most {limit_bytes} bytes, found {found_bytes} \
         (RFC 6265bis §5.6)"
    )]
    TooLong {
        /// The option.
        option: &'static str,
        /// The longest value that browsers accept.
        limit_bytes: usize,
        /// The length of the value.
        found_bytes: usize,
    },
    /// Two options that exclude each other.
    #[error("{first} and {second} exclude each other: {rule}")]
    Exclusive {
        /// One option, with its value.
        first: String,
        /// The other option, with its value.
        second: String,
        /// The reason and its source.
        rule: &'static str,
    },
    /// A duration or a number that must not be zero. Durations count in whole milliseconds.
    #[error("{option} must not be zero")]
    Zero {
        /// The option.
        option: &'static str,
    },
    /// An option that needs a list of each principal's sessions, which there is none of.
    #[error(
        "{option} needs a store that lists sessions, and `list_sessions` must not be turned off"
    )]
    NoIndex {
        /// The option.
        option: &'static str,
    },
    /// An option that needs a store that announces changes.
    #[error("{option} needs a store that announces changes, and this one does not")]
    NoChanges {
        /// The option.
        option: &'static str,
    },
    /// Sessions would expire between two touches although they are in use.
    #[error("touch_after = {touch_after:?} must be shorter than idle_timeout = {idle_timeout:?}")]
    TouchAfter {
        /// The configured `touch_after`.
        touch_after: Duration,
        /// The idle timeout that it must be shorter than.
        idle_timeout: Duration,
    },
    /// The absolute timeout would end the session before its `max_age` has passed.
    #[error(
        "cookie.max_age = {max_age:?} exceeds absolute_timeout = {absolute_timeout:?}: \
         raise absolute_timeout or set it to None"
    )]
    MaxAgeBeyondAbsolute {
        /// The configured `max_age`.
        max_age: Duration,
        /// The absolute timeout.
        absolute_timeout: Duration,
    },
    /// A cookie option that is the same for all sessions: name, path, domain or max_age.
    #[error("{option} = {value} cannot be set for one session")]
    NotPerSession {
        /// The option.
        option: &'static str,
        /// The value that was asked for.
        value: String,
    },
}
