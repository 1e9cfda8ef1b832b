//! The cookies of one client, as a browser keeps them.

use session_core::SessionToken;

/// A `Set-Cookie` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCookie {
    /// Name, path and partition: what tells two cookies apart.
    key: Key,
    value: String,
    /// It tells the browser to forget the cookie.
    pub removes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    name: String,
    path: String,
    domain: String,
    partitioned: bool,
}

impl SetCookie {
    /// Parses a line of a response.
    pub fn parse(line: &str) -> Self {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts
            .next()
            .and_then(|pair| pair.split_once('='))
            .unwrap_or_default();
        let mut cookie = Self {
            key: Key {
                name: name.into(),
                path: String::new(),
                domain: String::new(),
                partitioned: false,
            },
            value: value.into(),
            removes: false,
        };
        for attribute in parts {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            if name.eq_ignore_ascii_case("path") {
                cookie.key.path = value.into();
            } else if name.eq_ignore_ascii_case("domain") {
                cookie.key.domain = value.into();
            } else if name.eq_ignore_ascii_case("partitioned") {
                cookie.key.partitioned = true;
            } else if name.eq_ignore_ascii_case("max-age") {
                cookie.removes = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0);
            }
        }
        cookie
    }

    /// The token that it carries.
    pub fn token(&self) -> Option<SessionToken> {
        if self.removes {
            return None;
        }
        token(&self.value)
    }
}

/// The token in the value of a session cookie: between the format and the signature.
fn token(value: &str) -> Option<SessionToken> {
    value.split('.').nth(1)?.parse().ok()
}

/// The cookies that one client holds.
#[derive(Clone, Debug, Default)]
pub struct Jar(Vec<SetCookie>);

impl Jar {
    /// Applies the lines of a response.
    pub fn apply(&mut self, lines: &[SetCookie]) {
        for line in lines {
            self.0.retain(|held| held.key != line.key);
            if !line.removes {
                self.0.push(line.clone());
            }
        }
    }

    /// The value of the `Cookie` header; `None` if there is no cookie.
    pub fn header(&self) -> Option<String> {
        let pairs = self.0.iter();
        let pairs = pairs.map(|cookie| format!("{}={}", cookie.key.name, cookie.value));
        let header = pairs.collect::<Vec<_>>().join("; ");
        (!header.is_empty()).then_some(header)
    }

    /// The session tokens that it holds.
    pub fn tokens(&self) -> impl Iterator<Item = SessionToken> {
        self.0.iter().filter_map(SetCookie::token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(lines: &[&str]) -> Option<String> {
        let mut jar = Jar::default();
        for line in lines {
            jar.apply(&[SetCookie::parse(line)]);
        }
        jar.header()
    }

    #[test]
    fn the_line_that_is_delivered_last_wins() {
        assert_eq!(jar(&["a=1; Path=/", "a=2; Path=/"]).as_deref(), Some("a=2"));
        assert_eq!(jar(&["a=1; Path=/", "a=; Path=/; Max-Age=0"]), None);
        assert_eq!(jar(&[]), None);
    }

    #[test]
    fn a_removal_with_other_attributes_leaves_the_cookie() {
        let kept = jar(&["a=1; Path=/; Partitioned", "a=; Path=/; Max-Age=0"]);
        assert_eq!(kept.as_deref(), Some("a=1"));
    }
}
