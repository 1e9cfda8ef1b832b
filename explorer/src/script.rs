//! The calls of one request, and all scripts up to a length.

use std::{fmt, str::FromStr};

use crate::{principal::Principal, verb::Verb};

/// Who sends a request. Each party has cookies of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// The browser of the user.
    Browser,
    /// Somebody who knows the token that the browser began with.
    Attacker,
    /// Another device of the user, which begins without a cookie.
    Phone,
    /// One more.
    Tablet,
    /// Code that no request runs in.
    Administrator,
}

/// How many parties have cookies.
pub(crate) const JARS: usize = 4;

impl Party {
    /// The number of its jar; `None` if it is no client.
    pub(crate) fn jar(self) -> Option<usize> {
        match self {
            Self::Browser => Some(0),
            Self::Attacker => Some(1),
            Self::Phone => Some(2),
            Self::Tablet => Some(3),
            Self::Administrator => None,
        }
    }
}

/// What a handler calls, in order. An empty script does not load the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Script(pub Vec<Verb>);

impl Script {
    /// All scripts of up to this many of these verbs, the short ones first, without those that
    /// equal a shorter one.
    pub fn all(verbs: &[Verb], max_len: usize) -> Vec<Self> {
        let mut scripts = vec![Self::default(), Self(vec![Verb::Read])];
        let mut last = vec![Self::default()];
        for _ in 0..max_len {
            let mut longer = Vec::new();
            for script in &last {
                for verb in verbs {
                    if script.can_go_on_with(*verb) {
                        let mut verbs = script.0.clone();
                        verbs.push(*verb);
                        longer.push(Self(verbs));
                    }
                }
            }
            scripts.extend(longer.iter().cloned());
            last = longer;
        }
        scripts
    }

    /// Whether the verb makes a difference after what stands before it.
    fn can_go_on_with(&self, verb: Verb) -> bool {
        match (verb, self.0.last()) {
            // what matters is between which saves it stands
            (Verb::RequireUnchanged, Some(last)) => *last == Verb::Save,
            (Verb::Update, _) => true,
            (verb, last) => last != Some(&verb),
        }
    }

    /// The same calls by the attacker, who can only log in as themselves.
    pub(crate) fn by_attacker(&self) -> Self {
        let verbs = self.0.iter();
        Self(
            verbs
                .map(|verb| match verb {
                    Verb::LogIn(_) => Verb::LogIn(Principal::Mallory),
                    other => *other,
                })
                .collect(),
        )
    }

    /// Whether one of the calls is a login.
    pub fn logs_in(&self) -> bool {
        self.0.iter().any(|verb| matches!(verb, Verb::LogIn(_)))
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        let verbs: Vec<_> = self.0.iter().map(Verb::to_string).collect();
        f.write_str(&verbs.join(" "))
    }
}

impl FromStr for Script {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "nothing" {
            return Ok(Self::default());
        }
        let verbs = text.split_whitespace().map(str::parse);
        Ok(Self(verbs.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_enumerated_once_and_survive_their_text() {
        let scripts = Script::all(Verb::COMMON, 2);
        let mut texts: Vec<_> = scripts.iter().map(Script::to_string).collect();
        for (script, text) in scripts.iter().zip(&texts) {
            assert_eq!(text.parse::<Script>().expect("valid"), *script);
        }
        assert!(texts.contains(&"log_in(ann) save".to_owned()));
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), scripts.len());
    }
}
