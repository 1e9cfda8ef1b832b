//! The cases about the sessions of a user: who takes part, and with which index and limit.

use crate::{
    case::{Case, Indexing, Limit, Situation},
    choose::{SITUATIONS, pairs, pick, triple, triples, unordered},
    deed::Deed,
    principal::Principal,
    script::{Party, Script},
    verb::Verb,
    whose::Whose,
};

const ANN: Whose = Whose::Of(Principal::Ann);
const INDEXINGS: [Indexing; 2] = [Indexing::TwoNodes, Indexing::Transactional];
const LIMITS: [Limit; 4] = [
    limit(1, false),
    limit(1, true),
    limit(2, false),
    limit(2, true),
];
/// Without a limit in the first place.
const ALL_LIMITS: [Option<Limit>; 5] = [
    None,
    Some(LIMITS[0]),
    Some(LIMITS[1]),
    Some(LIMITS[2]),
    Some(LIMITS[3]),
];

type Actor = (Party, Script);

const fn limit(max: u8, rejects: bool) -> Limit {
    Limit { max, rejects }
}

/// Who takes part in the cases about the sessions of a user.
#[derive(Debug)]
pub(crate) struct Users {
    /// In pairs without a limit.
    all: Vec<Actor>,
    /// In pairs with a limit.
    limited: Vec<Actor>,
    /// In triples: two logins and the end of all come first.
    three: Vec<Actor>,
}

impl Default for Users {
    fn default() -> Self {
        let log_in = Verb::LogIn(Principal::Ann);
        let one = |party, verb| (party, Script(vec![verb]));
        let browser = |verb| one(Party::Browser, verb);
        let phone = |verb| one(Party::Phone, verb);
        let admin = |deed| one(Party::Administrator, Verb::Do(deed));
        let tagged = |party| (party, Script(vec![log_in, Verb::SetTag]));
        let others = Verb::Do(Deed::EndOthers(ANN));
        Self {
            all: vec![
                browser(log_in),
                phone(log_in),
                admin(Deed::EndAll(ANN)),
                browser(Verb::LogIn(Principal::Bob)),
                browser(Verb::SetTag),
                tagged(Party::Browser),
                admin(Deed::EndAll(Whose::Tagged)),
                admin(Deed::List(ANN)),
                admin(Deed::List(Whose::Tagged)),
                admin(Deed::EndOthers(ANN)),
                admin(Deed::EndFirst(ANN)),
                admin(Deed::Evict(ANN)),
                browser(Verb::RemoveTag),
                (
                    Party::Browser,
                    Script(vec![Verb::RemoveTag, Verb::Save, Verb::SetTag]),
                ),
                browser(Verb::Destroy),
                browser(others),
                browser(Verb::Write),
                browser(Verb::Renew),
                browser(Verb::Regenerate),
                phone(Verb::LogIn(Principal::Bob)),
                tagged(Party::Phone),
                admin(Deed::EndAll(Whose::Of(Principal::Bob))),
            ],
            limited: vec![
                browser(log_in),
                phone(log_in),
                one(Party::Tablet, log_in),
                phone(Verb::LogIn(Principal::Bob)),
                browser(Verb::Destroy),
                browser(others),
                browser(Verb::Update),
                admin(Deed::EndAll(ANN)),
                admin(Deed::List(ANN)),
                admin(Deed::Evict(ANN)),
            ],
            three: vec![
                admin(Deed::EndAll(ANN)),
                phone(log_in),
                browser(log_in),
                one(Party::Tablet, log_in),
                admin(Deed::List(ANN)),
                browser(Verb::SetTag),
                browser(Verb::Destroy),
                admin(Deed::Evict(ANN)),
                admin(Deed::EndAll(Whose::Tagged)),
                browser(Verb::RemoveTag),
            ],
        }
    }
}

impl Users {
    /// How many pairs there are without a limit.
    pub(crate) fn pairs(&self) -> usize {
        INDEXINGS.len() * SITUATIONS.len() * 2 * pairs(self.all.len())
    }

    /// One of them.
    pub(crate) fn pair(&self, index: usize) -> Case {
        let (indexing, rest) = pick(&INDEXINGS, index);
        let (situation, rest) = pick(&SITUATIONS, rest);
        let (stale, rest) = pick(&[false, true], rest);
        let (one, other) = unordered(rest);
        Case {
            indexing: Some(indexing),
            stale,
            requests: vec![self.all[one].clone(), self.all[other].clone()],
            ..Case::new(situation, [])
        }
    }

    /// How many pairs there are with a limit.
    pub(crate) fn limited_pairs(&self) -> usize {
        INDEXINGS.len() * SITUATIONS.len() * LIMITS.len() * pairs(self.limited.len())
    }

    /// One of them.
    pub(crate) fn limited_pair(&self, index: usize) -> Case {
        let (indexing, rest) = pick(&INDEXINGS, index);
        let (limit, rest) = pick(&LIMITS, rest);
        let (situation, rest) = pick(&SITUATIONS, rest);
        let (one, other) = unordered(rest);
        Case {
            indexing: Some(indexing),
            limit: Some(limit),
            requests: vec![self.limited[one].clone(), self.limited[other].clone()],
            ..Case::new(situation, [])
        }
    }

    /// How many triples there are.
    pub(crate) fn triples(&self) -> usize {
        INDEXINGS.len() * TRIPLE_SITUATIONS.len() * ALL_LIMITS.len() * triples(self.three.len())
    }

    /// One of them.
    pub(crate) fn triple(&self, index: usize) -> Case {
        let (indexing, rest) = pick(&INDEXINGS, index);
        let (situation, rest) = pick(&TRIPLE_SITUATIONS, rest);
        let (limit, rest) = pick(&ALL_LIMITS, rest);
        let members = triple(rest).map(|member| self.three[member].clone());
        Case {
            indexing: Some(indexing),
            limit,
            requests: members.to_vec(),
            ..Case::new(situation, [])
        }
    }

    /// A triple that is drawn at random, with a fault in every second one.
    pub(crate) fn any_triple(&self, mut draw: impl FnMut(usize) -> usize) -> Case {
        Case {
            faults: u8::from(draw(2) == 0),
            due: draw(4) == 0,
            stale: draw(4) == 0,
            ..self.triple(draw(self.triples()))
        }
    }
}

const TRIPLE_SITUATIONS: [Situation; 2] = [Situation::Nobody, Situation::LoggedIn];
