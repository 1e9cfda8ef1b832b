//! What is explored at one go: who sends which requests in which situation, and what may go wrong.

use std::{fmt, str::FromStr};

use anyhow::{Context, bail};

use crate::{
    executor::Budget,
    feeds::NEAR_INSTANCES,
    script::{Party, Script},
};

/// What the browser holds when the history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Situation {
    /// No cookie.
    Nobody,
    /// The token of an anonymous session.
    Anonymous,
    /// The token of a session in which Ann is logged in.
    LoggedIn,
}

/// How the sessions are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Configuration {
    /// The defaults.
    Plain,
    /// The cookie outlives the browser session.
    Persistent,
    /// The cookie is set again by every due touch.
    Rolling,
    /// The browser's cookie was signed by a key that is not the first any more.
    OldKey,
    /// Every request writes the session.
    Resave,
    /// The session that the browser begins with has a cookie with attributes of its own.
    OwnCookie,
}

/// How the index is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Indexing {
    /// In one step with the record.
    Transactional,
    /// By calls of its own: it is on another node.
    TwoNodes,
}

/// How many sessions a principal may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// So many.
    pub max: u8,
    /// One more is refused, rather than the oldest ended.
    pub rejects: bool,
}

/// Requests that run concurrently, and what may happen to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// What the browser holds at the beginning.
    pub situation: Situation,
    /// Long enough has passed since the last request that the next one extends the session's life.
    pub due: bool,
    /// How the sessions are configured.
    pub configuration: Configuration,
    /// How sessions are listed; `None` if they are not.
    pub indexing: Option<Indexing>,
    /// How many sessions a principal may have.
    pub limit: Option<Limit>,
    /// The index lists sessions that it need not list: one that has ended, and under the tag the
    /// one that the browser holds.
    pub stale: bool,
    /// All requests are served by one instance, rather than each by its own.
    pub one_instance: bool,
    /// The requests are served by two instances in turn, with a near cache each. Both keep the
    /// session that the browser begins with.
    pub near: bool,
    /// The requests are GET rather than POST.
    pub safe_method: bool,
    /// How many faults happen at most.
    pub faults: u8,
    /// How often time passes, each time more than the grace of a renewal.
    pub advances: u8,
    /// Who sends what.
    pub requests: Vec<(Party, Script)>,
}

impl Case {
    /// Requests of the browser alone, without faults.
    pub fn new(situation: Situation, scripts: impl IntoIterator<Item = Script>) -> Self {
        let requests = scripts.into_iter().map(|script| (Party::Browser, script));
        Self {
            situation,
            due: false,
            configuration: Configuration::Plain,
            indexing: None,
            limit: None,
            stale: false,
            one_instance: false,
            near: false,
            safe_method: false,
            faults: 0,
            advances: 0,
            requests: requests.collect(),
        }
    }

    /// The instance that serves a request.
    pub(crate) fn instance(&self, request: usize) -> usize {
        match (self.one_instance, self.near) {
            (true, _) => 0,
            (false, true) => request % NEAR_INSTANCES,
            (false, false) => request,
        }
    }

    pub(crate) fn budget(&self) -> Budget {
        Budget {
            faults: self.faults,
            advances: self.advances,
        }
    }

    /// The number of the first call of a request, among all calls of all requests.
    pub(crate) fn first_number(&self, request: usize) -> u32 {
        let before = self.requests[..request].iter();
        let calls: usize = before.map(|(_, script)| script.0.len()).sum();
        u32::try_from(calls).unwrap_or(u32::MAX)
    }
}

const SITUATIONS: [(&str, Situation); 3] = [
    ("nobody", Situation::Nobody),
    ("anonymous", Situation::Anonymous),
    ("logged_in", Situation::LoggedIn),
];
const CONFIGURATIONS: [(&str, Configuration); 6] = [
    ("plain", Configuration::Plain),
    ("persistent", Configuration::Persistent),
    ("rolling", Configuration::Rolling),
    ("old_key", Configuration::OldKey),
    ("resave", Configuration::Resave),
    ("own_cookie", Configuration::OwnCookie),
];
const INDEXINGS: [(&str, Indexing); 2] = [
    ("transactional", Indexing::Transactional),
    ("two_nodes", Indexing::TwoNodes),
];
const PARTIES: [(&str, Party); 4] = [
    ("attacker:", Party::Attacker),
    ("phone:", Party::Phone),
    ("tablet:", Party::Tablet),
    ("admin:", Party::Administrator),
];

fn name<T: PartialEq + Copy>(names: &[(&'static str, T)], value: T) -> &'static str {
    let found = names.iter().find(|(_, other)| *other == value);
    found.map_or("", |(name, _)| name)
}

fn named<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    let found = names.iter().find(|(other, _)| *other == name);
    found.map(|(_, value)| *value)
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(&SITUATIONS, self.situation))?;
        if self.configuration != Configuration::Plain {
            write!(f, ",{}", name(&CONFIGURATIONS, self.configuration))?;
        }
        if let Some(indexing) = self.indexing {
            write!(f, ",{}", name(&INDEXINGS, indexing))?;
        }
        if let Some(Limit { max, rejects }) = self.limit {
            let name = if rejects { "reject" } else { "evict" };
            write!(f, ",{name}={max}")?;
        }
        for (flag, set) in [
            ("stale", self.stale),
            ("due", self.due),
            ("one_instance", self.one_instance),
            ("near", self.near),
            ("get", self.safe_method),
        ] {
            if set {
                write!(f, ",{flag}")?;
            }
        }
        for (budget, count) in [("faults", self.faults), ("advances", self.advances)] {
            if count > 0 {
                write!(f, ",{budget}={count}")?;
            }
        }
        for (index, (party, script)) in self.requests.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { " | " })?;
            match party {
                Party::Browser => {}
                other => write!(f, "{} ", name(&PARTIES, *other))?,
            }
            write!(f, "{script}")?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (head, requests) = text
            .split_once(':')
            .context("a case is `situation: scripts`")?;
        let mut words = head.split(',');
        let situation = words.next().unwrap_or_default().trim();
        let situation = named(&SITUATIONS, situation)
            .with_context(|| format!("no situation is called {situation:?}"))?;
        let mut case = Self::new(situation, []);
        for word in words {
            match word.trim().split_once('=') {
                Some(("faults", count)) => case.faults = count.parse()?,
                Some(("advances", count)) => case.advances = count.parse()?,
                Some((when_full @ ("evict" | "reject"), max)) => {
                    case.limit = Some(Limit {
                        max: max.parse()?,
                        rejects: when_full == "reject",
                    });
                }
                Some(_) => bail!("unknown option {word:?}"),
                None => match word.trim() {
                    "stale" => case.stale = true,
                    "due" => case.due = true,
                    "one_instance" => case.one_instance = true,
                    "near" => case.near = true,
                    "get" => case.safe_method = true,
                    other if named(&INDEXINGS, other).is_some() => {
                        case.indexing = named(&INDEXINGS, other);
                    }
                    other => {
                        case.configuration = named(&CONFIGURATIONS, other)
                            .with_context(|| format!("unknown option {other:?}"))?;
                    }
                },
            }
        }
        for request in requests.split('|') {
            let request = request.trim();
            let mut parties = PARTIES.iter();
            let named =
                parties.find_map(|(name, party)| Some((*party, request.strip_prefix(name)?)));
            let (party, script) = named.unwrap_or((Party::Browser, request));
            case.requests.push((party, script.parse()?));
        }
        Ok(case)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_survives_its_text() {
        for text in [
            "nobody: write | read",
            "anonymous,due,one_instance,get,faults=1,advances=2: log_in(ann) save | attacker: nothing",
            "logged_in,two_nodes,evict=1,stale: set_tag | phone: log_in(ann) | admin: end_all(sid)",
            "nobody,transactional,reject=2: tablet: end_others(ann) | admin: evict(ann) list(bob)",
            "logged_in,rolling: destroy | log_in(bob) | touch",
            "anonymous,near,faults=1: fresh write | renew",
        ] {
            let case: Case = text.parse().expect("valid");
            assert_eq!(case.to_string(), text);
        }
        for text in ["x: read", "nobody,x: read", "nobody: x", "nobody"] {
            assert!(text.parse::<Case>().is_err(), "{text}");
        }
    }
}
