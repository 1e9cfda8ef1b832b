//! The cases with near caches: what the requests on two instances do.

use crate::{
    case::{Case, Situation},
    choose::{SITUATIONS, pairs, pick, unordered},
    principal::Principal,
    script::{Party, Script},
    verb::Verb,
};

/// The situations in which the instances keep a session.
const KEPT: [Situation; 2] = [Situation::Anonymous, Situation::LoggedIn];

/// What the requests do in the cases with near caches.
#[derive(Debug)]
pub(crate) struct Near {
    /// One call at most.
    single: Vec<Script>,
    /// These, and some that save early or ask for what is stored.
    short: Vec<Script>,
    /// Everything of up to two calls.
    all: Vec<Script>,
}

impl Default for Near {
    fn default() -> Self {
        let (ann, bob) = (Verb::LogIn(Principal::Ann), Verb::LogIn(Principal::Bob));
        let single = [
            Verb::Write,
            Verb::Destroy,
            Verb::Renew,
            ann,
            Verb::Fresh,
            Verb::Update,
            bob,
            Verb::Regenerate,
            Verb::Touch,
        ];
        let single = Script::all(&single, 1);
        let two = [
            [Verb::Read, Verb::Fresh],
            [Verb::Write, Verb::Fresh],
            [Verb::Fresh, Verb::Write],
            [Verb::Fresh, Verb::Destroy],
            [Verb::RequireUnchanged, Verb::Write],
            [Verb::RequireUnchanged, Verb::Destroy],
            [Verb::Write, Verb::Save],
            [Verb::Destroy, Verb::Save],
            [Verb::Renew, Verb::Save],
            [ann, Verb::Save],
            [Verb::Write, Verb::Reload],
        ];
        let two = two.map(|verbs| Script(verbs.to_vec()));
        let all: Vec<Verb> = Verb::COMMON.iter().chain(Verb::OF_NEAR).copied().collect();
        Self {
            short: single.iter().cloned().chain(two).collect(),
            single,
            all: Script::all(&all, 2),
        }
    }
}

fn case(situation: Situation, scripts: impl IntoIterator<Item = Script>) -> Case {
    Case {
        near: true,
        ..Case::new(situation, scripts)
    }
}

fn pair_of(scripts: &[Script], index: usize) -> Case {
    let (situation, rest) = pick(&SITUATIONS, index);
    let (one, other) = unordered(rest);
    case(situation, [scripts[one].clone(), scripts[other].clone()])
}

impl Near {
    /// How many pairs of short scripts there are.
    pub(crate) fn pairs(&self) -> usize {
        SITUATIONS.len() * pairs(self.short.len())
    }

    /// One of them.
    pub(crate) fn pair(&self, index: usize) -> Case {
        pair_of(&self.short, index)
    }

    /// How many pairs of scripts of up to two calls there are.
    pub(crate) fn all_pairs(&self) -> usize {
        SITUATIONS.len() * pairs(self.all.len())
    }

    /// One of them.
    pub(crate) fn any_pair(&self, index: usize) -> Case {
        pair_of(&self.all, index)
    }

    /// How many pairs of a user and an attacker there are.
    pub(crate) fn attacked(&self) -> usize {
        self.short.len() * self.short.len()
    }

    /// One of them.
    pub(crate) fn attack(&self, index: usize) -> Case {
        let (user, attacker) = pick(&self.short, index);
        let mut case = case(Situation::Anonymous, [user]);
        let script = self.short[attacker].by_attacker();
        case.requests.push((Party::Attacker, script));
        case
    }

    /// How many triples there are: the first and the third are served by one instance.
    pub(crate) fn triples(&self) -> usize {
        KEPT.len() * self.single.len() * pairs(self.single.len())
    }

    /// One of them.
    pub(crate) fn triple(&self, index: usize) -> Case {
        let (situation, rest) = pick(&KEPT, index);
        let (alone, rest) = pick(&self.single, rest);
        let (one, other) = unordered(rest);
        let [one, other] = [one, other].map(|index| self.single[index].clone());
        case(situation, [one, alone, other])
    }

    /// A triple that is drawn at random.
    pub(crate) fn any_triple(&self, mut draw: impl FnMut(usize) -> usize) -> Case {
        let situation = KEPT[draw(KEPT.len())];
        let mut case = case(
            situation,
            (0..3).map(|_| self.all[draw(self.all.len())].clone()),
        );
        case.faults = u8::from(draw(2) == 0);
        case.advances = u8::from(draw(4) == 0);
        case.due = draw(4) == 0;
        case.one_instance = draw(8) == 0;
        if draw(4) == 0 {
            let script = case.requests[2].1.by_attacker();
            case.requests[2] = (Party::Attacker, script);
        }
        case
    }
}
