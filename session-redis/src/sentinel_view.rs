//! What sentinels say about the primary, and which of it to believe.
//!
//! Sentinels learn of a failover one after the other, so they contradict each other for a while.
//! Each configuration has an epoch, and among sentinels the highest epoch wins (Redis
//! documentation, "Sentinel", *Configuration epochs*). The same rule holds here, and it holds over
//! time: the highest epoch ever seen is remembered, so that a sentinel that was cut off and still
//! has an older configuration leads nobody back to an older primary.
//!
//! Sentinels that were set up again start at epoch 0, so a lower epoch must not be ignored forever.
//! It is believed if a majority of the configured sentinels replies, each of them with a lower
//! epoch, and
//!
//! * the remembered primary has said that it is a primary no more, or
//! * this has been so for [`RESET_AFTER`].
//!
//! A replica that was promoted is the primary before any sentinel names it. It stays so while the
//! sentinel that leads the failover reports that, and for [`CONFIRM_WITHIN`] in any case.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use redis::{FromRedisValue, Value};

use crate::address::Address;

/// How long all sentinels must report a lower epoch before it is believed: longer than a failover
/// takes to become known to all of them, which is about two seconds.
const RESET_AFTER: Duration = Duration::from_secs(30);

/// How long a promoted replica is used without a sentinel that names it or reports the failover.
/// The leading sentinel notices the promotion within about a second.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// What one sentinel says about a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentinelView {
    pub(crate) primary: Address,
    pub(crate) epoch: u64,
    /// The sentinel believes that the primary is down, so a failover may be in progress.
    pub(crate) down: bool,
    /// The sentinel itself fails over. From the promotion until it has reconfigured the replicas,
    /// it reports the new epoch with the address of the old primary.
    pub(crate) failing_over: bool,
}

/// The primary to use, after the sentinels were asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Primary(Address),
    /// This is the primary, and the sentinels cannot reach it.
    Down(Address),
    /// No sentinel has said anything.
    Unknown,
}

/// The newest configuration ever seen.
#[derive(Debug, Default)]
pub(crate) struct KnownPrimary(Option<Known>);

#[derive(Debug)]
struct Known {
    address: Address,
    epoch: u64,
    /// The address is that of the epoch, not of the one before.
    settled: bool,
    /// The server has said that it is not a primary.
    demoted: bool,
    /// Since when a majority replies, and only with lower epochs.
    lower_since: Option<Instant>,
    /// The primary before, and when this one was promoted, if no sentinel has named this one yet.
    promoted: Option<(Address, Instant)>,
}

impl SentinelView {
    /// Parses the reply to `SENTINEL MASTER`.
    pub(crate) fn parse(reply: Value) -> Option<Self> {
        let fields = HashMap::<String, String>::from_redis_value(reply).ok()?;
        let flags: Vec<&str> = fields.get("flags")?.split(',').collect();
        let has = |flag| flags.contains(&flag);
        Some(Self {
            primary: Address {
                host: fields.get("ip")?.clone(),
                port: fields.get("port")?.parse().ok()?,
            },
            epoch: fields.get("config-epoch")?.parse().ok()?,
            down: has("s_down") || has("o_down") || !has("master"),
            failing_over: has("failover_in_progress"),
        })
    }
}

impl KnownPrimary {
    /// The address of the primary, if there was ever a reply.
    pub(crate) fn address(&self) -> Option<&Address> {
        self.0.as_ref().map(|known| &known.address)
    }

    /// Takes into account what a server has said about its own role.
    pub(crate) fn on_role(&mut self, server: &Address, is_primary: bool) {
        if let Some(known) = self.0.as_mut().filter(|known| known.address == *server) {
            known.demoted = !is_primary;
        }
    }

    /// A sentinel has announced that it promotes a replica of this primary, and the replica has said
    /// that it is a primary. Returns whether it is the primary to use.
    pub(crate) fn on_promotion(
        &mut self,
        primary: &Address,
        replica: &Address,
        now: Instant,
    ) -> bool {
        let Some(known) = self.0.as_mut().filter(|known| known.address == *primary) else {
            return false;
        };
        known.promoted = Some((primary.clone(), now));
        known.address = replica.clone();
        known.demoted = false;
        true
    }

    /// Takes into account the replies of one round, in which so many sentinels were asked.
    pub(crate) fn on_views(
        &mut self,
        views: &[SentinelView],
        sentinels: usize,
        now: Instant,
    ) -> Verdict {
        let Some(best) = newest(views, self.address()) else {
            return Verdict::Unknown;
        };
        if let Some(known) = &mut self.0 {
            if known.is_ahead_of(best, now) {
                return Verdict::Primary(known.address.clone());
            }
            if best.epoch < known.epoch {
                let majority = views.len() > sentinels / 2;
                if !known.is_reset(majority && !best.down, now) {
                    return Verdict::Primary(known.address.clone());
                }
            } else {
                known.lower_since = None;
                if best.epoch == known.epoch && !known.is_changed_by(best) {
                    known.settled |= known.address == best.primary && !best.failing_over;
                    let down = best.down && known.address == best.primary;
                    return Verdict::of(known.address.clone(), down);
                }
            }
        }
        self.0 = Some(Known {
            address: best.primary.clone(),
            epoch: best.epoch,
            settled: !best.failing_over,
            demoted: false,
            lower_since: None,
            promoted: None,
        });
        Verdict::of(best.primary.clone(), best.down)
    }
}

impl Known {
    /// Whether the primary was promoted, and the sentinels still name the one before.
    fn is_ahead_of(&mut self, best: &SentinelView, now: Instant) -> bool {
        let Some((before, promoted_at)) = self.promoted.take() else {
            return false;
        };
        if best.primary != before || best.epoch < self.epoch {
            // lower epochs change nothing, and say nothing about this one
            self.promoted = (best.primary == before).then_some((before, promoted_at));
            return false;
        }
        let late = now.saturating_duration_since(promoted_at) >= CONFIRM_WITHIN;
        if self.demoted || (late && !best.failing_over) {
            self.address = before;
            return false;
        }
        if best.epoch > self.epoch {
            if !best.failing_over {
                return false;
            }
            (self.epoch, self.settled) = (best.epoch, false);
        }
        self.promoted = Some((before, promoted_at));
        true
    }

    /// Whether another address of the same epoch is to be believed.
    fn is_changed_by(&self, best: &SentinelView) -> bool {
        let settles = !self.settled && !best.failing_over;
        let corrects = self.settled != best.failing_over && !best.down;
        self.address != best.primary && (settles || corrects)
    }

    /// Whether lower epochs mean that the sentinels were set up again.
    fn is_reset(&mut self, by_majority: bool, now: Instant) -> bool {
        if !by_majority {
            self.lower_since = None;
            return false;
        }
        let since = *self.lower_since.get_or_insert(now);
        self.demoted || now.saturating_duration_since(since) >= RESET_AFTER
    }
}

impl Verdict {
    fn of(address: Address, down: bool) -> Self {
        if down {
            Self::Down(address)
        } else {
            Self::Primary(address)
        }
    }
}

/// Returns the view to believe: of the highest epoch; within it, one whose address is settled and
/// that reaches the primary. If such views name several addresses, the known one stays, or else
/// the one that most of them name wins.
fn newest<'v>(views: &'v [SentinelView], known: Option<&Address>) -> Option<&'v SentinelView> {
    let rank = |view: &SentinelView| (view.epoch, !view.failing_over, !view.down);
    let highest = views.iter().map(rank).max()?;
    let best: Vec<_> = views.iter().filter(|view| rank(view) == highest).collect();
    let votes = |view: &SentinelView| {
        let same = best.iter().filter(|other| other.primary == view.primary);
        (known == Some(&view.primary), same.count())
    };
    best.iter().copied().max_by_key(|view| votes(view))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> Address {
        Address {
            host: host.to_owned(),
            port: 1,
        }
    }

    fn view(host: &str, epoch: u64) -> SentinelView {
        SentinelView {
            primary: address(host),
            epoch,
            down: false,
            failing_over: false,
        }
    }

    fn down(host: &str, epoch: u64) -> SentinelView {
        SentinelView {
            down: true,
            ..view(host, epoch)
        }
    }

    fn failing_over(host: &str, epoch: u64) -> SentinelView {
        SentinelView {
            failing_over: true,
            ..view(host, epoch)
        }
    }

    fn primary(host: &str) -> Verdict {
        Verdict::Primary(address(host))
    }

    /// Feeds rounds of replies of three sentinels, and compares the verdict on each.
    #[track_caller]
    fn assert_verdicts<const N: usize>(rounds: [(&[SentinelView], Verdict); N]) -> KnownPrimary {
        let mut known = KnownPrimary::default();
        let now = Instant::now();
        for (round, (views, expected)) in rounds.into_iter().enumerate() {
            assert_eq!(known.on_views(views, 3, now), expected, "round {round}");
        }
        known
    }

    #[test]
    fn the_newest_epoch_wins_over_the_majority() {
        let (old, new) = (view("old", 1), view("new", 2));
        assert_verdicts([(&[old.clone(), new, old], primary("new"))]);
        assert_verdicts([(&[], Verdict::Unknown)]);
    }

    #[test]
    fn within_an_epoch_one_sentinel_that_reaches_the_primary_is_enough() {
        assert_verdicts([(&[down("a", 1), view("a", 1), down("a", 1)], primary("a"))]);
        assert_verdicts([(&[down("a", 1)], Verdict::Down(address("a")))]);
    }

    #[test]
    fn within_an_epoch_the_majority_wins_and_the_known_primary_stays() {
        let (a, b) = (view("a", 1), view("b", 1));
        let two_to_one = [a.clone(), b.clone(), b.clone()];
        assert_verdicts([(&two_to_one, primary("b"))]);
        assert_verdicts([
            (&[view("a", 1)], primary("a")),
            (&two_to_one, primary("a")),
            // nobody names it any more
            (&[b.clone(), b.clone()], primary("b")),
        ]);
        assert_verdicts([(&[a], primary("a")), (&[down("a", 1), b], primary("b"))]);
    }

    #[test]
    fn an_older_epoch_never_leads_back() {
        let (old, new) = (view("old", 1), view("new", 2));
        let both_old = [old.clone(), old.clone()];
        assert_verdicts([
            (&[view("old", 1)], primary("old")),
            (&[old.clone(), new], primary("new")),
            (&[old], primary("new")),
            (&both_old, primary("new")),
            (&[], Verdict::Unknown),
            (&[down("new", 2)], Verdict::Down(address("new"))),
            (&[view("newest", 3)], primary("newest")),
        ]);
    }

    #[test]
    fn the_sentinel_that_fails_over_is_not_believed_about_the_address_of_its_new_epoch() {
        let leader = failing_over("old", 2);
        assert_verdicts([
            (&[view("old", 1)], primary("old")),
            (&[leader.clone(), view("old", 1)], primary("old")),
            (&[leader.clone(), view("new", 2)], primary("new")),
            (&[leader], primary("new")),
            (&[view("new", 2)], primary("new")),
        ]);
        // a new address of the same epoch is believed even if that server cannot be reached yet
        assert_verdicts([
            (&[failing_over("old", 2)], primary("old")),
            (&[down("new", 2)], Verdict::Down(address("new"))),
            (&[failing_over("old", 2)], primary("new")),
        ]);
    }

    /// Of three sentinels, with the epoch `1` before the failover, during which `b` takes the place
    /// of `a`.
    #[test]
    fn a_promoted_replica_is_the_primary_before_the_sentinels_name_it() {
        let now = Instant::now();
        let promoted = || {
            let mut known = assert_verdicts([(&[view("a", 1)], primary("a"))]);
            assert!(!known.on_promotion(&address("c"), &address("b"), now));
            assert_eq!(known.address(), Some(&address("a")));
            assert!(known.on_promotion(&address("a"), &address("b"), now));
            assert_eq!(known.address(), Some(&address("b")));
            known
        };
        let after = |part: f64| now + CONFIRM_WITHIN.mul_f64(part);
        let others = [view("a", 1), view("a", 1)];
        let with_leader = |leader: SentinelView| [&others[..], &[leader]].concat();

        let mut known = promoted();
        let unnoticed = with_leader(failing_over("a", 1));
        assert_eq!(known.on_views(&unnoticed, 3, after(0.5)), primary("b"));
        let noticed = with_leader(failing_over("a", 2));
        assert_eq!(known.on_views(&noticed, 3, after(0.5)), primary("b"));
        // the other replicas may take long
        assert_eq!(known.on_views(&noticed, 3, after(9.0)), primary("b"));
        assert_eq!(known.on_views(&others, 3, after(9.0)), primary("b"));
        let named = with_leader(view("b", 2));
        assert_eq!(known.on_views(&named, 3, after(9.0)), primary("b"));
        assert_eq!(known.on_views(&others, 3, after(9.0)), primary("b"));
        assert_eq!(known.on_views(&[view("c", 3)], 3, after(9.0)), primary("c"));

        // the leader died, and no sentinel knows of the promotion
        let mut known = promoted();
        assert_eq!(known.on_views(&others, 3, after(0.9)), primary("b"));
        assert_eq!(known.on_views(&others, 3, after(1.0)), primary("a"));
        // or the replica says that it is none any more
        let mut known = promoted();
        known.on_role(&address("b"), false);
        assert_eq!(known.on_views(&others, 3, now), primary("a"));
        // a newer configuration is believed, and an older one is not
        let mut known = promoted();
        let newer = with_leader(view("a", 2));
        assert_eq!(known.on_views(&newer, 3, now), primary("a"));
        let mut known = promoted();
        assert_eq!(known.on_views(&[view("a", 0)], 3, now), primary("b"));
        assert_eq!(known.on_views(&others, 3, after(0.9)), primary("b"));
    }

    #[test]
    fn sentinels_that_were_set_up_again_are_believed_after_a_while() {
        let [low, high] = [view("other", 0), view("a", 7)];
        let majority = [low.clone(), low.clone()];
        let mut known = assert_verdicts([(&[view("a", 7)], primary("a"))]);
        let start = Instant::now();
        let after = |part: f64| start + RESET_AFTER.mul_f64(part);
        assert_eq!(known.on_views(&majority, 3, start), primary("a"));
        assert_eq!(known.on_views(&majority, 3, after(0.9)), primary("a"));
        // one that knows the epoch begins the wait anew, and so does a round without a majority
        let one_knows = [low.clone(), high];
        assert_eq!(known.on_views(&one_knows, 3, after(0.9)), primary("a"));
        assert_eq!(known.on_views(&majority, 3, after(1.0)), primary("a"));
        let minority = [low];
        assert_eq!(known.on_views(&minority, 3, after(1.5)), primary("a"));
        assert_eq!(known.on_views(&majority, 3, after(2.0)), primary("a"));
        assert_eq!(known.on_views(&majority, 3, after(2.9)), primary("a"));
        assert_eq!(known.on_views(&majority, 3, after(3.0)), primary("other"));
        // their next failover is followed at once
        assert_eq!(known.on_views(&[view("b", 1)], 3, after(3.0)), primary("b"));
    }

    #[test]
    fn a_lower_epoch_is_believed_at_once_if_the_remembered_primary_is_none_any_more() {
        let low = view("other", 0);
        let majority = [low.clone(), low.clone()];
        let now = Instant::now();
        let mut known = assert_verdicts([(&[view("a", 7)], primary("a"))]);
        known.on_role(&address("b"), false);
        assert_eq!(known.on_views(&majority, 3, now), primary("a"), "not a");
        known.on_role(&address("a"), false);
        known.on_role(&address("a"), true);
        assert_eq!(known.on_views(&majority, 3, now), primary("a"), "promoted");
        known.on_role(&address("a"), false);
        assert_eq!(known.on_views(&[low], 3, now), primary("a"), "a minority");
        let dead = [down("other", 0), down("other", 0)];
        assert_eq!(known.on_views(&dead, 3, now), primary("a"), "all dead");
        assert_eq!(known.on_views(&majority, 3, now), primary("other"));
    }

    #[test]
    fn replies_of_both_protocols_are_parsed() {
        let fields = |flags: &str| {
            let words = [
                "ip",
                "10.0.0.1",
                "port",
                "6379",
                "flags",
                flags,
                "config-epoch",
                "7",
            ];
            words.map(|word| Value::BulkString(word.into())).to_vec()
        };
        for (flags, down, failing_over) in [
            ("master", false, false),
            ("master,o_down", true, false),
            ("s_down,master", true, false),
            ("master,failover_in_progress", false, true),
            ("slave", true, false),
        ] {
            let words = fields(flags);
            let pairs = words.chunks(2);
            let pairs = pairs.map(|pair| (pair[0].clone(), pair[1].clone()));
            let map = Value::Map(pairs.collect());
            let mut expected = view("10.0.0.1", 7);
            expected.primary.port = 6379;
            (expected.down, expected.failing_over) = (down, failing_over);
            let parse = SentinelView::parse;
            assert_eq!(parse(Value::Array(words)), Some(expected.clone()));
            assert_eq!(parse(map), Some(expected));
        }
        assert_eq!(SentinelView::parse(Value::Nil), None);
    }
}
