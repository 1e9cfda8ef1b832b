//! Store operations as Redis commands on one key.

use std::time::Duration;

use redis::Cmd;
use session_core::{Listing, Nonce, Replicas, SessionId, Version, Write};

use crate::{
    address::Address,
    admission::Priority,
    index_entry, index_script,
    script::{self, Script, ScriptForm},
    stored_record::{HEADER_BYTES, StoredRecord, version_header},
};

/// The most digits of an integer argument.
const INTEGER_DIGITS: usize = 20;

/// The command that asks for the next one to be tracked.
pub(crate) const CACHING: [&str; 2] = ["CLIENT", "CACHING"];

/// The longest life that Redis is given, in milliseconds. Redis adds the time of day and rejects
/// the sum if it overflows.
const MAX_TTL_MS: u64 = i64::MAX as u64 / 2;

/// The arguments of a listing: id, nonce, two integers.
const LISTING_BYTES: usize = 22 + 8 + 2 * INTEGER_DIGITS;

/// An operation on one key, as data, so that it can be sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command<'a> {
    key: &'a str,
    operation: Operation<'a>,
    /// The prefix of the keys of the index, for a write that lists the session too.
    prefix: &'a str,
    replicas: Option<Replicas>,
}

/// What a command does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    Load,
    /// A load after which the server announces the next change.
    TrackedLoad,
    Create(Write<'a>),
    Save {
        expected: Version,
        write: Write<'a>,
    },
    Touch {
        expected: Version,
        ttl: Duration,
    },
    Destroy {
        expected: Option<Version>,
    },
    /// Lists a session in the index.
    List {
        listing: &'a Listing,
        keep_nonce: bool,
    },
    /// Removes an entry of the index, if it has this nonce.
    Unlist {
        id: &'a SessionId,
        nonce: Option<Nonce>,
    },
    Entries,
    /// So many entries, at random.
    SomeEntries {
        count: usize,
    },
    Exists,
}

/// How a command is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendMode {
    pub(crate) script: ScriptForm,
    /// Sends the command with `ASKING` to this node, which imports the slot.
    pub(crate) asking: Option<Address>,
}

impl<'a> Command<'a> {
    pub(crate) fn new(key: &'a str, operation: Operation<'a>) -> Self {
        Self {
            key,
            operation,
            prefix: "",
            replicas: None,
        }
    }

    /// The same write, which these replicas are to confirm.
    pub(crate) fn confirmed_by(self, replicas: Option<Replicas>) -> Self {
        Self { replicas, ..self }
    }

    /// The replicas that are to confirm it.
    pub(crate) fn replicas(&self) -> Option<Replicas> {
        self.replicas
    }

    /// The same command, of a store whose keys have this prefix.
    pub(crate) fn with_prefix(self, prefix: &'a str) -> Self {
        Self { prefix, ..self }
    }

    pub(crate) fn key(&self) -> &'a str {
        self.key
    }

    /// The name of the operation, for log lines.
    pub(crate) fn name(&self) -> &'static str {
        match self.operation {
            Operation::Load | Operation::TrackedLoad => "load",
            Operation::Create(_) => "create",
            Operation::Save { .. } => "save",
            Operation::Touch { .. } => "touch",
            Operation::Destroy { .. } => "destroy",
            Operation::List { .. } => "list",
            Operation::Unlist { .. } => "unlist",
            Operation::Entries | Operation::SomeEntries { .. } => "entries",
            Operation::Exists => "exists",
        }
    }

    /// Whether a lost reply leaves open what is stored.
    pub(crate) fn writes(&self) -> bool {
        match self.operation {
            Operation::Load
            | Operation::TrackedLoad
            | Operation::Entries
            | Operation::SomeEntries { .. }
            | Operation::Exists => false,
            Operation::Create(_)
            | Operation::Save { .. }
            | Operation::Touch { .. }
            | Operation::Destroy { .. }
            | Operation::List { .. }
            | Operation::Unlist { .. } => true,
        }
    }

    /// Whether the command may be sent again although it may have been applied.
    ///
    /// A load, a touch, a destroy and a change of the index have no further effect, and a save
    /// recognizes its own record.
    /// A create must not be repeated: its first attempt may arrive after the session was created
    /// and destroyed, and would bring the session back.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self.operation {
            Operation::Create(_) => false,
            Operation::Load
            | Operation::TrackedLoad
            | Operation::Save { .. }
            | Operation::Touch { .. }
            | Operation::Destroy { .. }
            | Operation::List { .. }
            | Operation::Unlist { .. }
            | Operation::Entries
            | Operation::SomeEntries { .. }
            | Operation::Exists => true,
        }
    }

    /// Whether the server is to announce the next change of what is read.
    pub(crate) fn is_tracked(&self) -> bool {
        matches!(self.operation, Operation::TrackedLoad)
    }

    /// The same command, which the server need not remember.
    pub(crate) fn untracked(self) -> Self {
        match self.operation {
            Operation::TrackedLoad => Self {
                operation: Operation::Load,
                ..self
            },
            _ => self,
        }
    }

    /// How urgent the command is when a node is busy.
    pub(crate) fn priority(&self) -> Priority {
        match self.operation {
            // nobody waits for these
            Operation::List {
                keep_nonce: true, ..
            }
            | Operation::Unlist { nonce: None, .. } => Priority::Begin,
            _ if self.writes() => Priority::Continue,
            _ => Priority::Begin,
        }
    }

    pub(crate) fn commands(&self, form: ScriptForm) -> Vec<Cmd> {
        match self.operation {
            Operation::Load => vec![self.on_key("GET"), self.on_key("PTTL")],
            Operation::TrackedLoad => {
                let mut caching = redis::cmd(CACHING[0]);
                caching.arg(CACHING[1]).arg("YES");
                vec![caching, self.on_key("GET"), self.on_key("PTTL")]
            }
            Operation::Create(write) => {
                let record = StoredRecord(write.record);
                let room = record.len() + INTEGER_DIGITS;
                let scripts = (&*script::CREATE, &*index_script::CREATE_LISTED);
                let mut cmd = self.write(scripts, form, write.listings, room);
                cmd.arg(record).arg(millis(write.ttl));
                write
                    .listings
                    .iter()
                    .for_each(|listing| arg_listing(&mut cmd, listing));
                vec![cmd]
            }
            Operation::Save { expected, write } => {
                let record = StoredRecord(write.record);
                let room = record.len() + INTEGER_DIGITS + HEADER_BYTES;
                let scripts = (&*script::SAVE, &*index_script::SAVE_LISTED);
                let mut cmd = self.write(scripts, form, write.listings, room);
                cmd.arg(record)
                    .arg(millis(write.ttl))
                    .arg(&version_header(expected)[..]);
                write
                    .listings
                    .iter()
                    .for_each(|listing| arg_listing(&mut cmd, listing));
                vec![cmd]
            }
            Operation::Touch { expected, ttl } => {
                let mut cmd = self.script(&script::TOUCH, form, INTEGER_DIGITS + HEADER_BYTES);
                cmd.arg(millis(ttl)).arg(&version_header(expected)[..]);
                vec![cmd]
            }
            Operation::Destroy {
                expected: Some(expected),
            } => {
                let mut cmd = self.script(&script::DESTROY, form, HEADER_BYTES);
                cmd.arg(&version_header(expected)[..]);
                vec![cmd]
            }
            Operation::Destroy { expected: None } => vec![self.on_key("UNLINK")],
            Operation::List {
                listing,
                keep_nonce,
            } => {
                let mut cmd = self.script(&index_script::LIST, form, LISTING_BYTES + 1);
                arg_listing(&mut cmd, listing);
                cmd.arg(u8::from(keep_nonce));
                vec![cmd]
            }
            Operation::Unlist { id, nonce } => {
                let mut cmd = self.script(&index_script::REMOVE, form, LISTING_BYTES);
                let nonce = nonce.as_ref().map_or(&b""[..], |nonce| nonce.as_bytes());
                cmd.arg(id.as_str()).arg(nonce);
                vec![cmd]
            }
            Operation::Entries => vec![self.on_key("HGETALL")],
            Operation::SomeEntries { count } => {
                let mut cmd = self.on_key("HRANDFIELD");
                cmd.arg(count).arg("WITHVALUES");
                vec![cmd]
            }
            Operation::Exists => vec![self.on_key("EXISTS")],
        }
    }

    fn on_key(&self, name: &str) -> Cmd {
        let mut cmd = Cmd::with_capacity(2, name.len() + self.key.len());
        cmd.arg(name).arg(self.key);
        cmd
    }

    /// Returns the invocation of the first script, or of the second one with the keys of the index
    /// if there is anything to list.
    fn write(
        &self,
        (plain, listed): (&Script, &Script),
        form: ScriptForm,
        listings: &[Listing],
        room: usize,
    ) -> Cmd {
        if listings.is_empty() {
            return self.script(plain, form, room);
        }
        let (name, text) = listed.invocation(form);
        let room = room + listings.len() * 2 * LISTING_BYTES;
        let mut cmd = Cmd::with_capacity(7 + 5 * listings.len(), name.len() + text.len() + room);
        cmd.arg(name)
            .arg(text)
            .arg(1 + listings.len())
            .arg(self.key);
        for listing in listings {
            cmd.arg(index_entry::redis_key(self.prefix, &listing.key));
        }
        cmd
    }

    /// Returns the invocation of a script, with room for so many bytes of arguments.
    fn script(&self, script: &Script, form: ScriptForm, room: usize) -> Cmd {
        let (name, text) = script.invocation(form);
        let mut cmd = Cmd::with_capacity(7, name.len() + text.len() + 1 + self.key.len() + room);
        cmd.arg(name).arg(text).arg(1).arg(self.key);
        cmd
    }
}

/// Adds the arguments with which the scripts list a session.
fn arg_listing(cmd: &mut Cmd, listing: &Listing) {
    cmd.arg(listing.id.as_str())
        .arg(&listing.nonce.as_bytes()[..])
        .arg(index_entry::millis(listing.seen_at))
        .arg(millis(listing.ttl));
}

/// Converts a time to live into milliseconds: at least one, because Redis deletes a key whose time
/// to live is zero, or rejects it.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis())
        .unwrap_or(MAX_TTL_MS)
        .clamp(1, MAX_TTL_MS)
}

#[cfg(test)]
mod tests {
    use session_core::Record;

    use super::*;

    const HEADER: &str = "\u{2}versionA";

    fn version() -> Version {
        Version::from_bytes(*b"versionA")
    }

    fn words(commands: &[Cmd]) -> String {
        let packed = commands.iter().flat_map(Cmd::get_packed_command).collect();
        let packed = String::from_utf8(packed).expect("text");
        let words = packed
            .split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']) && !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn assert_sends(operation: Operation<'_>, form: ScriptForm, expected: &str) {
        let command = Command::new("k", operation);
        assert_eq!(words(&command.commands(form)), expected);
    }

    #[test]
    fn every_operation_is_one_command_or_script_on_one_key() {
        let hash = |script: &Script| script.invocation(ScriptForm::Hash).1.to_owned();
        let (form, ttl) = (ScriptForm::Hash, Duration::from_millis(5));
        let record = Record::new(Version::from_bytes(*b"versionB"), &b"body"[..]);
        let write = Write::new(&record, ttl);
        let expected = version();
        assert_sends(Operation::Load, form, "GET k PTTL k");
        assert_sends(
            Operation::TrackedLoad,
            form,
            "CLIENT CACHING YES GET k PTTL k",
        );
        assert_sends(
            Operation::Create(write),
            form,
            &format!("EVALSHA {} 1 k \u{2}versionBbody 5", hash(&script::CREATE)),
        );
        assert_sends(
            Operation::Save { expected, write },
            form,
            &format!(
                "EVALSHA {} 1 k \u{2}versionBbody 5 {HEADER}",
                hash(&script::SAVE)
            ),
        );
        assert_sends(
            Operation::Touch { expected, ttl },
            form,
            &format!("EVALSHA {} 1 k 5 {HEADER}", hash(&script::TOUCH)),
        );
        assert_sends(
            Operation::Destroy {
                expected: Some(expected),
            },
            form,
            &format!("EVALSHA {} 1 k {HEADER}", hash(&script::DESTROY)),
        );
        assert_sends(Operation::Destroy { expected: None }, form, "UNLINK k");
    }

    #[test]
    fn a_script_can_be_sent_as_source() {
        let operation = Operation::Touch {
            expected: version(),
            ttl: Duration::from_millis(5),
        };
        let source = script::TOUCH.invocation(ScriptForm::Source).1;
        assert_sends(
            operation,
            ScriptForm::Source,
            &format!("EVAL {source} 1 k 5 {HEADER}"),
        );
    }

    #[test]
    fn times_to_live_are_clamped_to_what_redis_accepts() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::from_micros(999)), 1);
        assert_eq!(millis(Duration::from_micros(2999)), 2);
        assert_eq!(millis(Duration::MAX), MAX_TTL_MS);
    }

    #[test]
    fn only_a_create_is_never_repeated() {
        let record = Record::new(version(), &b""[..]);
        let (expected, ttl) = (version(), Duration::from_secs(1));
        let write = Write::new(&record, ttl);
        for (operation, writes, repeatable) in [
            (Operation::Load, false, true),
            (Operation::TrackedLoad, false, true),
            (Operation::Create(write), true, false),
            (Operation::Save { expected, write }, true, true),
            (Operation::Touch { expected, ttl }, true, true),
            (Operation::Destroy { expected: None }, true, true),
            (
                Operation::Destroy {
                    expected: Some(expected),
                },
                true,
                true,
            ),
        ] {
            let command = Command::new("k", operation);
            assert_eq!(
                (command.writes(), command.is_repeatable()),
                (writes, repeatable),
                "{operation:?}"
            );
        }
    }
}
