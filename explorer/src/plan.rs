//! Which cases there are, in an order that is always the same, so that an exploration can go on
//! where another ended.

use crate::{
    case::{Case, Configuration, Indexing, Situation},
    choose::{SITUATIONS, pairs, pick, triple, triples, unordered},
    near::Near,
    script::{Party, Script},
    users::Users,
    verb::Verb,
};

const CONFIGURATIONS: [Configuration; 5] = [
    Configuration::Persistent,
    Configuration::Rolling,
    Configuration::OldKey,
    Configuration::Resave,
    Configuration::OwnCookie,
];

/// How many histories one case may take; the rest is left out.
pub(crate) const MAX_HISTORIES: u64 = 200_000;

/// How the names of the parts with near caches begin.
pub const NEAR: &str = "near cache";
/// How the names of the parts about the sessions of a user begin.
pub const USERS: &str = "users";

/// All cases, part by part.
#[derive(Debug)]
pub struct Plan {
    /// Of up to one verb, up to two, and up to three.
    scripts: [Vec<Script>; 3],
    /// Of up to two verbs, rare ones among them.
    rare: Vec<Script>,
    users: Users,
    near: Near,
}

/// Cases that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Two requests of up to two verbs.
    Pairs,
    /// The same, when a touch is due.
    Due,
    /// The same, served by one instance.
    OneInstance,
    /// The same, with one fault.
    Faults,
    /// The same, and time passes once.
    Time,
    /// A user and an attacker.
    Attacker,
    /// The same, with one fault.
    AttackerFaults,
    /// The same, and time passes once.
    AttackerTime,
    /// One request of up to three verbs, with two faults.
    Alone,
    /// Three requests of up to one verb.
    ShortTriples,
    /// Two requests with other options, when a touch is due.
    Options,
    /// Two requests with rare verbs.
    Rare,
    /// The same, and time passes once.
    RareTime,
    /// Two requests of up to three verbs.
    LongPairs,
    /// The same, with one fault.
    LongFaults,
    /// The sessions of a user: two who log in, list and end them.
    Users,
    /// The same, when a touch is due.
    UsersDue,
    /// The same, with one fault.
    UsersFaults,
    /// Two, and a user may have one or two sessions.
    Limits,
    /// The same, with one fault.
    LimitFaults,
    /// Three who log in, list and end sessions.
    UserTriples,
    /// Two requests of up to two verbs, and sessions are listed.
    ListedPairs,
    /// Two instances with a near cache serve a request each.
    Near,
    /// The same, when a touch is due.
    NearDue,
    /// The same, with one fault.
    NearFaults,
    /// The same, and time passes once.
    NearTime,
    /// One instance with a near cache serves two requests, with one fault.
    NearOneInstance,
    /// Two instances with a near cache serve a user and an attacker.
    NearAttacker,
    /// Two instances with a near cache serve three requests of up to one verb.
    NearTriples,
    /// The same, with one fault.
    NearTripleFaults,
    /// Two instances with a near cache serve a request of up to two verbs each.
    NearPairs,
    /// The same, with one fault.
    NearPairFaults,
}

/// A part, and which of its cases the gate runs.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The part.
    pub part: Part,
    /// What it is called.
    pub name: &'static str,
    /// The gate runs one case out of so many.
    pub stride: usize,
    /// It runs so many histories of each at most.
    pub most: u64,
}

/// The parts, in the order in which a deep exploration runs them.
pub const SECTIONS: &[Section] = &[
    section(Part::Pairs, "pairs", 1),
    section(Part::Due, "pairs, touch due", 5),
    section(Part::OneInstance, "pairs, one instance", 7),
    section(Part::Alone, "alone, two faults", 2),
    section(Part::ShortTriples, "short triples", 1),
    section(Part::Attacker, "attacker", 3),
    section(Part::AttackerTime, "attacker, time passes", 17),
    section(Part::Time, "pairs, time passes", 29),
    section(Part::Options, "pairs, options", 61),
    section(Part::Rare, "pairs, rare verbs", 23),
    section(Part::RareTime, "rare verbs, time passes", 67),
    section(Part::Faults, "pairs, one fault", 17),
    section(Part::AttackerFaults, "attacker, one fault", 29),
    section(Part::LongPairs, "long pairs", 499),
    section(Part::LongFaults, "long pairs, one fault", 5_003),
    section(Part::Users, "users", 1).up_to(500),
    section(Part::Limits, "users, limits", 1).up_to(1_000),
    section(Part::UserTriples, "users, triples", 29).up_to(500),
    section(Part::UsersFaults, "users, one fault", 11).up_to(500),
    section(Part::LimitFaults, "users, limits, one fault", 17).up_to(500),
    section(Part::UsersDue, "users, touch due", 11).up_to(200),
    section(Part::ListedPairs, "users, any pairs", 97).up_to(200),
    section(Part::Near, "near cache", 1),
    section(Part::NearTriples, "near cache, triples", 7).up_to(200),
    section(Part::NearFaults, "near cache, one fault", 5).up_to(500),
    section(Part::NearTime, "near cache, time passes", 7).up_to(500),
    section(Part::NearOneInstance, "near cache, one instance", 5).up_to(500),
    section(Part::NearAttacker, "near cache, attacker", 5),
    section(Part::NearDue, "near cache, touch due", 5).up_to(500),
    section(Part::NearPairs, "near cache, any pairs", 997).up_to(200),
    section(Part::NearPairFaults, "near cache, any fault", 2_003).up_to(200),
    section(Part::NearTripleFaults, "near cache, triple fault", 97).up_to(200),
];

const fn section(part: Part, name: &'static str, stride: usize) -> Section {
    Section {
        part,
        name,
        stride,
        most: MAX_HISTORIES,
    }
}

impl Section {
    const fn up_to(self, most: u64) -> Self {
        Self { most, ..self }
    }
}

impl Default for Plan {
    fn default() -> Self {
        let rare: Vec<Verb> = Verb::COMMON.iter().chain(Verb::RARE).copied().collect();
        Self {
            scripts: [1, 2, 3].map(|len| Script::all(Verb::COMMON, len)),
            rare: Script::all(&rare, 2),
            users: Users::default(),
            near: Near::default(),
        }
    }
}

impl Plan {
    fn up_to(&self, verbs: usize) -> &[Script] {
        &self.scripts[verbs - 1]
    }

    /// How many cases a part has.
    pub fn cases(&self, part: Part) -> usize {
        let pairs = |scripts: &[Script]| pairs(scripts.len());
        let short = pairs(self.up_to(2));
        match part {
            Part::Pairs | Part::Due | Part::OneInstance | Part::Faults | Part::Time => {
                SITUATIONS.len() * short
            }
            Part::Attacker | Part::AttackerFaults | Part::AttackerTime => {
                self.up_to(2).len().pow(2)
            }
            Part::Alone => SITUATIONS.len() * self.up_to(3).len(),
            Part::ShortTriples => SITUATIONS.len() * triples(self.up_to(1).len()),
            Part::Options => CONFIGURATIONS.len() * SITUATIONS.len() * pairs(&self.rare),
            Part::Rare | Part::RareTime => SITUATIONS.len() * pairs(&self.rare),
            Part::Users | Part::UsersDue | Part::UsersFaults => self.users.pairs(),
            Part::Limits | Part::LimitFaults => self.users.limited_pairs(),
            Part::UserTriples => self.users.triples(),
            Part::ListedPairs => 2 * SITUATIONS.len() * short,
            Part::Near
            | Part::NearDue
            | Part::NearFaults
            | Part::NearTime
            | Part::NearOneInstance => self.near.pairs(),
            Part::NearAttacker => self.near.attacked(),
            Part::NearTriples | Part::NearTripleFaults => self.near.triples(),
            Part::NearPairs | Part::NearPairFaults => self.near.all_pairs(),
            Part::LongPairs | Part::LongFaults => SITUATIONS.len() * pairs(self.up_to(3)),
        }
    }

    /// One case of a part. Short scripts come first.
    pub fn case(&self, part: Part, index: usize) -> Case {
        let (situation, rest) = pick(&SITUATIONS, index);
        let pair = |scripts: &[Script]| {
            let (one, other) = unordered(rest);
            Case::new(situation, [scripts[one].clone(), scripts[other].clone()])
        };
        let attacked = || {
            let scripts = self.up_to(2);
            let (user, attacker) = (index / scripts.len(), index % scripts.len());
            let mut case = Case::new(Situation::Anonymous, [scripts[user].clone()]);
            let script = scripts[attacker].by_attacker();
            case.requests.push((Party::Attacker, script));
            case
        };
        let short = self.up_to(2);
        match part {
            Part::Pairs => pair(short),
            Part::Due => Case {
                due: true,
                ..pair(short)
            },
            Part::OneInstance => Case {
                one_instance: true,
                ..pair(short)
            },
            Part::Faults => Case {
                faults: 1,
                ..pair(short)
            },
            Part::Time => Case {
                advances: 1,
                ..pair(short)
            },
            Part::Attacker => attacked(),
            Part::AttackerFaults => Case {
                faults: 1,
                ..attacked()
            },
            Part::AttackerTime => Case {
                advances: 1,
                ..attacked()
            },
            Part::Alone => Case {
                faults: 2,
                ..Case::new(situation, [self.up_to(3)[rest].clone()])
            },
            Part::ShortTriples => {
                let scripts = triple(rest).map(|index| self.up_to(1)[index].clone());
                Case::new(situation, scripts)
            }
            Part::Options => {
                let (configuration, rest) = pick(&CONFIGURATIONS, rest);
                let (one, other) = unordered(rest);
                Case {
                    configuration,
                    due: true,
                    ..Case::new(
                        situation,
                        [self.rare[one].clone(), self.rare[other].clone()],
                    )
                }
            }
            Part::Users => self.users.pair(index),
            Part::UsersDue => Case {
                due: true,
                ..self.users.pair(index)
            },
            Part::UsersFaults => Case {
                faults: 1,
                ..self.users.pair(index)
            },
            Part::Limits => self.users.limited_pair(index),
            Part::LimitFaults => Case {
                faults: 1,
                ..self.users.limited_pair(index)
            },
            Part::UserTriples => self.users.triple(index),
            Part::ListedPairs => {
                let (indexing, rest) = pick(&[Indexing::TwoNodes, Indexing::Transactional], index);
                Case {
                    indexing: Some(indexing),
                    ..self.case(Part::Pairs, rest)
                }
            }
            Part::Near => self.near.pair(index),
            Part::NearDue => Case {
                due: true,
                ..self.near.pair(index)
            },
            Part::NearFaults => Case {
                faults: 1,
                ..self.near.pair(index)
            },
            Part::NearTime => Case {
                advances: 1,
                ..self.near.pair(index)
            },
            Part::NearOneInstance => Case {
                faults: 1,
                one_instance: true,
                ..self.near.pair(index)
            },
            Part::NearAttacker => self.near.attack(index),
            Part::NearTriples => self.near.triple(index),
            Part::NearTripleFaults => Case {
                faults: 1,
                ..self.near.triple(index)
            },
            Part::NearPairs => self.near.any_pair(index),
            Part::NearPairFaults => Case {
                faults: 1,
                ..self.near.any_pair(index)
            },
            Part::Rare => pair(&self.rare),
            Part::RareTime => Case {
                advances: 1,
                ..pair(&self.rare)
            },
            Part::LongPairs => pair(self.up_to(3)),
            Part::LongFaults => Case {
                faults: 1,
                ..pair(self.up_to(3))
            },
        }
    }

    /// A case with three requests, drawn at random: of up to two verbs, with near caches, or about
    /// the sessions of a user.
    pub(crate) fn triple(&self, mut draw: impl FnMut(usize) -> usize, only: Option<&str>) -> Case {
        match (only, draw(8)) {
            (Some(NEAR), _) | (None, 0 | 1) => return self.near.any_triple(draw),
            (Some(_), _) | (None, 2 | 3) => return self.users.any_triple(draw),
            (None, _) => {}
        }
        let scripts = self.up_to(2);
        let situation = SITUATIONS[draw(SITUATIONS.len())];
        let mut case = Case::new(
            situation,
            (0..3).map(|_| scripts[draw(scripts.len())].clone()),
        );
        case.faults = u8::from(draw(2) == 0);
        case.advances = u8::from(draw(4) == 0);
        case.due = draw(4) == 0;
        case.one_instance = draw(4) == 0;
        case.safe_method = draw(8) == 0;
        if draw(3) == 0 && case.situation != Situation::Nobody {
            let script = case.requests[2].1.by_attacker();
            case.requests[2] = (Party::Attacker, script);
        }
        case
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unordered_pair_has_one_number() {
        let all: Vec<_> = (0..pairs(50)).map(unordered).collect();
        let mut distinct = all.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|(one, other)| *one < 50 && other <= one));
    }

    #[test]
    fn every_short_triple_is_there_once() {
        let plan = Plan::default();
        let cases = plan.cases(Part::ShortTriples);
        let mut all: Vec<_> = (0..cases)
            .map(|index| {
                let case = plan.case(Part::ShortTriples, index);
                let mut scripts: Vec<_> = case
                    .requests
                    .iter()
                    .map(|(_, script)| script.to_string())
                    .collect();
                scripts.sort();
                format!("{:?} {scripts:?}", case.situation)
            })
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), cases);
    }

    #[test]
    fn the_last_case_of_every_part_exists() {
        let plan = Plan::default();
        for Section { part, .. } in SECTIONS {
            let cases = plan.cases(*part);
            assert_ne!(
                plan.case(*part, 0),
                plan.case(*part, cases - 1),
                "{part:?} has more than one case"
            );
        }
    }
}
