//! The Lua scripts that make each write atomic.
//!
//! `KEYS[1]` is the key of the session. The scripts compare the version header of the stored
//! record, its bytes 0 to 8, with the header expected. They reply 1 if they wrote, 0 if there is no
//! record, and otherwise the record with the milliseconds it has left to live.

use std::sync::LazyLock;

/// The end of each script that did not find the header expected.
macro_rules! reply_with_current {
    () => {
        "local record = redis.call('GET', KEYS[1])
if not record then return 0 end
return {record, redis.call('PTTL', KEYS[1])}"
    };
}

/// Stores a record under a free key. `ARGV`: the record, its life in milliseconds. Replies 1 if it
/// is stored, 0 if the key is taken.
pub(crate) static CREATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end
return 0",
    )
});

/// Replaces the record. `ARGV`: the record, its life in milliseconds, the header expected. A save
/// that is sent again after its reply was lost finds the record it stored, and replies 1.
pub(crate) static SAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        "local header = redis.call('GETRANGE', KEYS[1], 0, 8)
if header == ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
if header == string.sub(ARGV[1], 1, 9) then return 1 end
",
        reply_with_current!()
    ))
});

/// Sets the life of the record. `ARGV`: its life in milliseconds, the header expected.
pub(crate) static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        "if redis.call('GETRANGE', KEYS[1], 0, 8) == ARGV[2] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
",
        reply_with_current!()
    ))
});

/// Removes the record. `ARGV`: the header expected.
pub(crate) static DESTROY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        "if redis.call('GETRANGE', KEYS[1], 0, 8) == ARGV[1] then
  return redis.call('UNLINK', KEYS[1])
end
",
        reply_with_current!()
    ))
});

/// A script, and the hash by which servers remember it.
#[derive(Debug)]
pub(crate) struct Script {
    source: &'static str,
    sha1: String,
}

/// How a script is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ScriptForm {
    /// By its hash, for a server that has seen its source.
    #[default]
    Hash,
    /// As source, which the server then remembers.
    Source,
}

impl Script {
    pub(crate) fn new(source: &'static str) -> Self {
        Self {
            source,
            sha1: redis::Script::new(source).get_hash().to_owned(),
        }
    }

    #[cfg(test)]
    pub(crate) fn source(&self) -> &'static str {
        self.source
    }

    /// Returns the command that runs the script, and its first argument.
    pub(crate) fn invocation(&self, form: ScriptForm) -> (&'static str, &str) {
        match form {
            ScriptForm::Hash => ("EVALSHA", &self.sha1),
            ScriptForm::Source => ("EVAL", self.source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored_record::HEADER_BYTES;

    #[test]
    fn scripts_read_exactly_the_version_header() {
        let range = format!("GETRANGE', KEYS[1], 0, {})", HEADER_BYTES - 1);
        for script in [&SAVE, &TOUCH, &DESTROY] {
            assert!(script.source.contains(&range), "{}", script.source);
        }
        let own_header = format!("string.sub(ARGV[1], 1, {HEADER_BYTES})");
        assert!(SAVE.source.contains(&own_header));
    }

    #[test]
    fn no_script_writes_more_than_once() {
        for script in [&CREATE, &SAVE, &TOUCH, &DESTROY] {
            let writes = ["'SET'", "'PEXPIRE'", "'UNLINK'"];
            let count: usize = writes
                .iter()
                .map(|command| script.source.matches(command).count())
                .sum();
            assert_eq!(count, 1, "{}", script.source);
        }
    }
}
