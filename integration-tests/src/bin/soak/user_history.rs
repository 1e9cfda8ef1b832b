//! What processes report about users and their sessions, and which promises it shows to be broken.
//!
//! Every time is one of the monotonic clock of the machine, which all processes read. A session
//! counts as alive from the acknowledgement of its login until the last time at which a request
//! that found it *began*: a session that has ended never comes back, so it was alive in between.

use std::{collections::HashMap, str::FromStr};

/// Nanoseconds of the monotonic clock.
pub(crate) type Nanos = u64;

/// One line of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// A login was acknowledged.
    LoggedIn {
        id: String,
        user: usize,
        tag: usize,
        acknowledged: Nanos,
    },
    /// A request found the session alive.
    Alive { id: String, begun: Nanos },
    /// All sessions of a user were ended, except one perhaps.
    EndedUser(Ended),
    /// All sessions with a tag were ended.
    EndedTag(Ended),
    /// A session was logged out.
    LoggedOut {
        id: String,
        begun: Nanos,
        acknowledged: Nanos,
    },
    /// Another operation was done, or failed: its name.
    Other(String),
}

/// An acknowledged `end_all` or `end_others`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The number of the user or of the tag.
    pub(crate) of: usize,
    pub(crate) begun: Nanos,
    pub(crate) acknowledged: Nanos,
    pub(crate) kept: Option<String>,
}

impl Report {
    /// Writes a line.
    pub(crate) fn line(&self) -> String {
        let ended = |letter, ended: &Ended| {
            let kept = ended.kept.as_deref().unwrap_or("-");
            let Ended {
                of,
                begun,
                acknowledged,
                ..
            } = ended;
            format!("{letter} {of} {begun} {acknowledged} {kept}")
        };
        match self {
            Self::LoggedIn {
                id,
                user,
                tag,
                acknowledged,
            } => format!("login {id} {user} {tag} {acknowledged}"),
            Self::Alive { id, begun } => format!("alive {id} {begun}"),
            Self::EndedUser(of_user) => ended("user", of_user),
            Self::EndedTag(of_tag) => ended("tag", of_tag),
            Self::LoggedOut {
                id,
                begun,
                acknowledged,
            } => format!("logout {id} {begun} {acknowledged}"),
            Self::Other(name) => format!("other {name}"),
        }
    }

    /// Whether it ends an operation.
    pub(crate) fn is_operation(&self) -> bool {
        !matches!(self, Self::Alive { .. })
    }
}

impl FromStr for Report {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let parse = |text: &str| text.parse().ok();
        let words: Vec<_> = line.split(' ').collect();
        let report = match words[..] {
            ["login", id, user, tag, acknowledged] => (|| {
                Some(Self::LoggedIn {
                    id: id.into(),
                    user: user.parse().ok()?,
                    tag: tag.parse().ok()?,
                    acknowledged: parse(acknowledged)?,
                })
            })(),
            ["alive", id, begun] => parse(begun).map(|begun| Self::Alive {
                id: id.into(),
                begun,
            }),
            [kind @ ("user" | "tag"), of, begun, acknowledged, kept] => (|| {
                let ended = Ended {
                    of: of.parse().ok()?,
                    begun: parse(begun)?,
                    acknowledged: parse(acknowledged)?,
                    kept: (kept != "-").then(|| kept.to_owned()),
                };
                Some(match kind {
                    "user" => Self::EndedUser(ended),
                    _ => Self::EndedTag(ended),
                })
            })(),
            ["logout", id, begun, acknowledged] => (|| {
                Some(Self::LoggedOut {
                    id: id.into(),
                    begun: parse(begun)?,
                    acknowledged: parse(acknowledged)?,
                })
            })(),
            ["other", name] => Some(Self::Other(name.into())),
            _ => None,
        };
        report.ok_or_else(|| format!("a process reports {line:?}"))
    }
}

/// A session whose login was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) user: usize,
    tag: usize,
    acknowledged: Nanos,
    last_alive: Nanos,
    logged_out: Option<Nanos>,
}

/// Everything that was reported.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) sessions: HashMap<String, Known>,
    pub(crate) ended_users: Vec<Ended>,
    pub(crate) ended_tags: Vec<Ended>,
    pub(crate) logouts: u64,
    pub(crate) others: HashMap<String, u64>,
    /// What requests saw before the login of their session was read from another pipe, or that of a
    /// process that was killed before it reported the login.
    early: HashMap<String, Nanos>,
}

impl History {
    pub(crate) fn add(&mut self, report: Report) {
        match report {
            Report::LoggedIn {
                id,
                user,
                tag,
                acknowledged,
            } => {
                let last_alive = self.early.remove(&id).unwrap_or_default().max(acknowledged);
                let known = Known {
                    user,
                    tag,
                    acknowledged,
                    last_alive,
                    logged_out: None,
                };
                self.sessions.insert(id, known);
            }
            Report::Alive { id, begun } => match self.sessions.get_mut(&id) {
                Some(known) => known.last_alive = known.last_alive.max(begun),
                None => {
                    let early = self.early.entry(id).or_default();
                    *early = begun.max(*early);
                }
            },
            Report::EndedUser(ended) => self.ended_users.push(ended),
            Report::EndedTag(ended) => self.ended_tags.push(ended),
            Report::LoggedOut {
                id, acknowledged, ..
            } => {
                self.logouts += 1;
                if let Some(known) = self.sessions.get_mut(&id) {
                    known.logged_out = Some(acknowledged);
                }
            }
            Report::Other(name) => *self.others.entry(name).or_default() += 1,
        }
    }

    /// The sessions that were alive after an acknowledged end of all, although their login was
    /// acknowledged before it began.
    pub(crate) fn survivors(&self) -> Vec<&str> {
        let users = by_number(&self.ended_users);
        let tags = by_number(&self.ended_tags);
        let survived = |(id, known): &(&String, &Known)| {
            let survived = |ended: &&&Ended| {
                known.acknowledged < ended.begun
                    && ended.acknowledged < known.last_alive
                    && ended.kept.as_ref() != Some(*id)
            };
            let of = |ends: &HashMap<usize, Vec<&Ended>>, number| {
                let ends = ends.get(&number);
                ends.is_some_and(|ends| ends.iter().any(|ended| survived(&ended)))
            };
            of(&users, known.user) || of(&tags, known.tag)
        };
        let survivors = self.sessions.iter().filter(survived);
        survivors.map(|(id, _)| id.as_str()).collect()
    }

    /// The sessions that were alive after an acknowledged logout.
    pub(crate) fn outlived_logout(&self) -> usize {
        let outlived = |known: &&Known| known.logged_out.is_some_and(|at| at < known.last_alive);
        self.sessions.values().filter(outlived).count()
    }

    /// The most sessions that a user had at a time for certain.
    pub(crate) fn most_at_a_time(&self) -> usize {
        let mut changes: HashMap<usize, Vec<(Nanos, i64)>> = HashMap::new();
        for known in self.sessions.values() {
            let changes = changes.entry(known.user).or_default();
            // at the same instant the end counts first
            changes.push((known.acknowledged, 1));
            changes.push((known.last_alive, -1));
        }
        let most = changes.into_values().map(|mut changes| {
            changes.sort_unstable();
            let mut alive = 0;
            let counts = changes.into_iter().map(|(_, change)| {
                alive += change;
                alive
            });
            counts.max().unwrap_or_default()
        });
        usize::try_from(most.max().unwrap_or_default()).unwrap_or_default()
    }
}

fn by_number(ends: &[Ended]) -> HashMap<usize, Vec<&Ended>> {
    let mut by_number: HashMap<_, Vec<_>> = HashMap::new();
    for ended in ends {
        by_number.entry(ended.of).or_default().push(ended);
    }
    by_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &[&str]) -> History {
        let mut history = History::default();
        for line in lines {
            let report: Report = line.parse().expect("a report");
            assert_eq!(report.line(), *line);
            history.add(report);
        }
        history
    }

    #[test]
    fn a_session_that_is_found_after_an_acknowledged_end_has_survived_it() {
        let survivors = |lines: &[&str]| history(lines).survivors().len();
        let alive = "alive a 30";
        assert_eq!(survivors(&["login a 1 7 5", "user 1 10 20 -", alive]), 1);
        assert_eq!(
            survivors(&["alive a 30", "login a 1 7 5", "user 1 10 20 -"]),
            1
        );
        assert_eq!(survivors(&["login a 1 7 5", "tag 7 10 20 -", alive]), 1);
        for lines in [
            ["login a 1 7 10", "user 1 10 20 -", alive],
            ["login a 1 7 5", "user 1 10 30 -", alive],
            ["login a 1 7 5", "user 1 10 20 a", alive],
            ["login a 1 7 5", "user 2 10 20 -", alive],
            ["login a 1 7 5", "tag 1 10 20 -", alive],
        ] {
            assert_eq!(survivors(&lines), 0, "{lines:?}");
        }
    }

    #[test]
    fn a_session_that_is_found_after_its_logout_is_noticed() {
        let lines = ["login a 1 7 5", "logout a 10 20", "alive a 21"];
        assert_eq!(history(&lines).outlived_logout(), 1);
        assert_eq!(history(&lines[..2]).outlived_logout(), 0);
    }

    #[test]
    fn sessions_overlap_if_each_was_found_after_the_other_had_begun() {
        let lines = [
            "login a 1 7 5",
            "login b 1 7 10",
            "login c 2 7 10",
            "alive b 30",
            "alive c 30",
        ];
        assert_eq!(history(&lines).most_at_a_time(), 1);
        let alive = [&lines[..], &["alive a 11"]].concat();
        assert_eq!(history(&alive).most_at_a_time(), 2);
    }
}
