//! Entry points of fuzz targets. They panic if a property does not hold.

use crate::{config::RedisConfig, connect_error::ConnectError, store::RedisStore};

/// Stands for a password. It is made of characters that are not percent-encoded.
const CANARY: &str = "hunter2";

/// Parses any bytes as a store URL.
///
/// No input panics, and neither an error nor the `Debug` output of what is parsed contains a
/// password. As the password of arbitrary text is not known, the text is parsed again with a
/// recognizable word at each place in its passwords.
pub fn store_url(bytes: &[u8]) {
    assert_no_password(&String::from_utf8_lossy(bytes), printed);
}

/// Panics if `print` shows a password of the URL.
fn assert_no_password(url: &str, print: impl Fn(&str) -> String) {
    let _ = print(url);
    if url.contains(CANARY) {
        return;
    }
    for password in password_ranges(url) {
        // a long password is sampled, so that a long input takes no longer than many short ones
        let step = password.len() / 64 + 1;
        let positions = (password.start..=password.end).step_by(step);
        for at in positions.filter(|at| url.is_char_boundary(*at)) {
            let (before, after) = url.split_at(at);
            let url = format!("{before}{CANARY}{after}");
            let printed = print(&url);
            assert!(!printed.contains(CANARY), "{url:?} prints {printed}");
        }
    }
}

/// Returns what the parsers and the types show of a URL.
fn printed(url: &str) -> String {
    match RedisConfig::from_url(url) {
        Ok(config) => {
            let config_text = format!("{config:?}");
            match RedisStore::lazy(config) {
                Ok(store) => format!("{config_text} {store:?}"),
                Err(error) => format!("{config_text} {}", chain(&error)),
            }
        }
        Err(error) => chain(&ConnectError::from(error)),
    }
}

fn chain(error: &ConnectError) -> String {
    let mut text = format!("{error:?}");
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        text.push_str(&format!(" {error}"));
        next = error.source();
    }
    text
}

/// Returns where the passwords of a URL stand, as a person sees it who has not percent-encoded
/// them: from the first colon behind the scheme to the last `@`, and behind the first
/// `sentinel_password=` of the query.
fn password_ranges(url: &str) -> Vec<std::ops::Range<usize>> {
    let mut ranges = vec![];
    let Some(authority) = url.find("://").map(|at| at + 3) else {
        return ranges;
    };
    let colon = url[authority..].find(':').map(|at| authority + at + 1);
    let at = url[authority..].rfind('@').map(|at| authority + at);
    if let (Some(start), Some(end)) = (colon, at)
        && start <= end
    {
        ranges.push(start..end);
    }
    let parameter = "sentinel_password=";
    if let Some(at) = url.find(parameter)
        && url[..at].ends_with(['?', '&'])
    {
        let start = at + parameter.len();
        ranges.push(start..start);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passwords_are_found_where_a_person_would_write_them() {
        for (url, passwords) in [
            ("redis://app:secret@h", vec!["secret"]),
            ("redis://app:se/c?r@et@h", vec!["se/c?r@et"]),
            ("redis://h", vec![]),
            ("h:1@h", vec![]),
            ("redis+sentinel://h/s?sentinel_password=secret", vec![""]),
        ] {
            let found: Vec<_> = password_ranges(url)
                .into_iter()
                .map(|range| &url[range])
                .collect();
            assert_eq!(found, passwords, "{url}");
        }
    }

    #[test]
    #[should_panic(expected = "prints")]
    fn a_password_that_is_printed_is_found() {
        assert_no_password("redis://app:secret@h", str::to_owned);
    }

    proptest! {
        #[test]
        fn no_bytes_reveal_a_password(bytes: Vec<u8>) {
            store_url(&bytes);
        }

        #[test]
        fn no_url_reveals_a_password(
            scheme in "(redis|rediss|valkey)(\\+(unix|sentinel|cluster))?",
            rest in "[a-z0-9:/?#@,%=&\\[\\].+é]{0,40}",
            query in "(\\?(db=1&)?sentinel_password=[a-z&=%]{0,8})?",
        ) {
            store_url(format!("{scheme}://{rest}{query}").as_bytes());
        }
    }
}
