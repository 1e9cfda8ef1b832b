//! The lines by which the processes of `coherence` report what they did.

use std::str::FromStr;

use crate::user_history::Nanos;

/// A session: the one that began with this login of a user, counted from zero. A user has one
/// session at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Login {
    pub(crate) user: usize,
    pub(crate) number: u32,
}

/// A token of a session. The login issues number zero, each renewal the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    pub(crate) login: Login,
    pub(crate) number: u32,
}

/// When an operation began, and when its success was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) begun: Nanos,
    pub(crate) ended: Nanos,
}

/// One line of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// A request presented this token, and saw this value of the counter, or no session.
    Read {
        token: Token,
        seen: Option<u64>,
        span: Span,
    },
    /// The counter was incremented, to this value.
    Written {
        login: Login,
        value: u64,
        span: Span,
    },
    /// It is unknown whether the counter was incremented.
    Unknown { login: Login },
    /// A login or a renewal has issued this token, which this cookie contains.
    Issued {
        token: Token,
        span: Span,
        cookie: String,
    },
    /// It is unknown whether a renewal that began then has issued this token.
    InDoubt { token: Token, begun: Nanos },
    /// The session was ended.
    Ended { login: Login, span: Span },
    /// What the near cache of the process has done.
    NearCache { hits: u64, misses: u64 },
    /// Something else happened: its name.
    Other(String),
}

impl Report {
    /// Writes a line.
    pub(crate) fn line(&self) -> String {
        let of = |Login { user, number }: &Login| format!("{user} {number}");
        let within = |Span { begun, ended }: &Span| format!("{begun} {ended}");
        match self {
            Self::Read { token, seen, span } => {
                let (login, number, span) = (of(&token.login), token.number, within(span));
                let seen = seen.map_or("-".to_owned(), |value| value.to_string());
                format!("read {login} {number} {seen} {span}")
            }
            Self::Written { login, value, span } => {
                format!("written {} {value} {}", of(login), within(span))
            }
            Self::Unknown { login } => format!("unknown {}", of(login)),
            Self::Issued {
                token,
                span,
                cookie,
            } => {
                let (login, number, span) = (of(&token.login), token.number, within(span));
                format!("issued {login} {number} {span} {cookie}")
            }
            Self::InDoubt { token, begun } => {
                format!("in-doubt {} {} {begun}", of(&token.login), token.number)
            }
            Self::Ended { login, span } => format!("ended {} {}", of(login), within(span)),
            Self::NearCache { hits, misses } => format!("near-cache {hits} {misses}"),
            Self::Other(name) => format!("other {name}"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let login = |user: &str, number: &str| {
            Some(Login {
                user: user.parse().ok()?,
                number: number.parse().ok()?,
            })
        };
        let token = |user, of_login, number: &str| {
            Some(Token {
                login: login(user, of_login)?,
                number: number.parse().ok()?,
            })
        };
        let span = |begun: &str, ended: &str| {
            Some(Span {
                begun: begun.parse().ok()?,
                ended: ended.parse().ok()?,
            })
        };
        Some(match words[..] {
            ["read", user, of_login, number, seen, begun, ended] => Self::Read {
                token: token(user, of_login, number)?,
                seen: match seen {
                    "-" => None,
                    value => Some(value.parse().ok()?),
                },
                span: span(begun, ended)?,
            },
            ["written", user, number, value, begun, ended] => Self::Written {
                login: login(user, number)?,
                value: value.parse().ok()?,
                span: span(begun, ended)?,
            },
            ["unknown", user, number] => Self::Unknown {
                login: login(user, number)?,
            },
            ["issued", user, of_login, number, begun, ended, cookie] => Self::Issued {
                token: token(user, of_login, number)?,
                span: span(begun, ended)?,
                cookie: cookie.to_owned(),
            },
            ["in-doubt", user, of_login, number, begun] => Self::InDoubt {
                token: token(user, of_login, number)?,
                begun: begun.parse().ok()?,
            },
            ["ended", user, number, begun, ended] => Self::Ended {
                login: login(user, number)?,
                span: span(begun, ended)?,
            },
            ["near-cache", hits, misses] => Self::NearCache {
                hits: hits.parse().ok()?,
                misses: misses.parse().ok()?,
            },
            ["other", name] => Self::Other(name.to_owned()),
            _ => return None,
        })
    }
}

impl FromStr for Report {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        // without the line, which may contain a cookie
        Self::parse(line).ok_or_else(|| "a process reports what nobody understands".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for line in [
            "read 1 2 3 4 5 6",
            "read 1 2 3 - 5 6",
            "written 1 2 3 4 5",
            "unknown 1 2",
            "issued 1 2 3 4 5 id=text",
            "in-doubt 1 2 3 4",
            "ended 1 2 3 4",
            "near-cache 1 2",
            "other name",
        ] {
            let report: Report = line.parse().expect("a report");
            assert_eq!(report.line(), line);
        }
        for line in ["", "read 1 2 3 4 5", "ended 1 2 3 x", "other a name"] {
            assert!(line.parse::<Report>().is_err(), "{line}");
        }
    }
}
