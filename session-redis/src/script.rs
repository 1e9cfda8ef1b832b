//! What is sent: each operation as commands on one key, and the two scripts that make the writes atomic.
//!
//! A script compares the stamp of a record, its format byte and version (bytes 0 to 8). Sixty-four random bits follow the format
//! byte, so an equal stamp is the same write.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline};

/// Digits of the longest integer.
const INTEGER: usize = 20;

/// Stores a record under a free key. `ARGV`: record, milliseconds, its stamp. Answers 1 stored (or its own write found), 0 taken.
static CREATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "create",
        "if redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end
if ARGV[3] ~= '' and redis.call('GETRANGE', KEYS[1], 0, 8) == ARGV[3] then return 1 end
return 0",
    )
});

/// Replaces a record whose stamp is expected. `ARGV`: record, milliseconds, its stamp, the stamp expected. Answers 1 stored (or its
/// own write found), 0 absent, or the record found and the milliseconds it has left.
static SAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "save",
        "local found = redis.call('GETRANGE', KEYS[1], 0, 8)
if found == ARGV[4] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
if ARGV[3] ~= '' and found == ARGV[3] then return 1 end
local record = redis.call('GET', KEYS[1])
if not record then return 0 end
return {record, redis.call('PTTL', KEYS[1])}",
    )
});

/// A Lua script and the name by which servers remember it.
#[derive(Debug)]
pub(crate) struct Script {
    name: &'static str,
    source: &'static str,
    sha1: String,
}

impl Script {
    fn new(name: &'static str, source: &'static str) -> Self {
        Self {
            name,
            source,
            sha1: redis::Script::new(source).get_hash().to_owned(),
        }
    }
}

/// One operation on one key, as data, so that it can be sent again.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    key: &'a str,
    verb: Verb<'a>,
}

#[derive(Clone, Copy)]
enum Verb<'a> {
    Load,
    Touch {
        ttl_ms: u64,
    },
    Destroy,
    Script {
        script: &'static Script,
        record: &'a [u8],
        ttl_ms: u64,
        own: &'a [u8],
        expected: Option<&'a [u8]>,
    },
}

/// How a call is put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// The script itself instead of its hash, for a server that does not know it yet. The server remembers it.
    pub(crate) source: bool,
    /// Each command preceded by `ASKING`, for the importing node (`host:port`) of a slot that is being moved.
    pub(crate) asking: Option<String>,
}

impl<'a> Call<'a> {
    /// `GET` and `PTTL` in one round trip.
    pub(crate) fn load(key: &'a str) -> Self {
        Self {
            key,
            verb: Verb::Load,
        }
    }

    /// `PEXPIRE`.
    pub(crate) fn touch(key: &'a str, ttl_ms: u64) -> Self {
        Self {
            key,
            verb: Verb::Touch { ttl_ms },
        }
    }

    /// `UNLINK`.
    pub(crate) fn destroy(key: &'a str) -> Self {
        Self {
            key,
            verb: Verb::Destroy,
        }
    }

    /// The script of `create`; `own` is the stamp of the record, or empty where it has none.
    pub(crate) fn create(key: &'a str, record: &'a [u8], ttl_ms: u64, own: &'a [u8]) -> Self {
        Self {
            key,
            verb: Verb::Script {
                script: &CREATE,
                record,
                ttl_ms,
                own,
                expected: None,
            },
        }
    }

    /// The script of `save`; `expected` is the stamp of the record to replace.
    pub(crate) fn save(
        key: &'a str,
        record: &'a [u8],
        ttl_ms: u64,
        own: &'a [u8],
        expected: &'a [u8],
    ) -> Self {
        Self {
            key,
            verb: Verb::Script {
                script: &SAVE,
                record,
                ttl_ms,
                own,
                expected: Some(expected),
            },
        }
    }

    pub(crate) fn key(&self) -> &'a str {
        self.key
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.verb {
            Verb::Load => "load",
            Verb::Touch { .. } => "touch",
            Verb::Destroy => "destroy",
            Verb::Script { script, .. } => script.name,
        }
    }

    /// Whether it changes anything, so that a lost reply leaves something unknown.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self.verb, Verb::Load)
    }

    pub(crate) fn commands(&self, source: bool) -> Vec<Cmd> {
        match self.verb {
            Verb::Load => vec![self.on_key("GET", 0), self.on_key("PTTL", 0)],
            Verb::Touch { ttl_ms } => {
                let mut cmd = self.on_key("PEXPIRE", INTEGER);
                cmd.arg(ttl_ms);
                vec![cmd]
            }
            Verb::Destroy => vec![self.on_key("UNLINK", 0)],
            Verb::Script {
                script,
                record,
                ttl_ms,
                own,
                expected,
            } => {
                let (name, text) = if source {
                    ("EVAL", script.source)
                } else {
                    ("EVALSHA", &*script.sha1)
                };
                let room = name.len()
                    + text.len()
                    + 1
                    + self.key.len()
                    + record.len()
                    + INTEGER
                    + 2 * own.len();
                let mut cmd = Cmd::with_capacity(8, room);
                cmd.arg(name)
                    .arg(text)
                    .arg(1)
                    .arg(self.key)
                    .arg(record)
                    .arg(ttl_ms)
                    .arg(own)
                    .arg(expected);
                vec![cmd]
            }
        }
    }

    /// A command on the key, with room for so many bytes more.
    fn on_key(&self, name: &str, more: usize) -> Cmd {
        let mut cmd = Cmd::with_capacity(3, name.len() + self.key.len() + more);
        cmd.arg(name).arg(self.key);
        cmd
    }

    /// The commands as one pipeline; with `ASKING` before each, as that flag holds for one command only.
    pub(crate) fn pipeline(&self, form: &Form) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(4);
        for cmd in self.commands(form.source) {
            if form.asking.is_some() {
                pipeline.cmd("ASKING").ignore();
            }
            pipeline.add_command(cmd);
        }
        pipeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pipeline: &Pipeline) -> String {
        let packed = String::from_utf8(pipeline.get_packed_pipeline()).expect("text");
        let words = packed
            .split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']) && !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn sends(call: Call<'_>, form: Form, expected: &str) {
        assert_eq!(text(&call.pipeline(&form)), expected);
    }

    #[test]
    fn every_operation_is_commands_on_one_key() {
        let plain = Form::default;
        sends(Call::load("k"), plain(), "GET k PTTL k");
        sends(Call::touch("k", 5), plain(), "PEXPIRE k 5");
        sends(Call::destroy("k"), plain(), "UNLINK k");
        let create = Call::create("k", b"r", 5, b"s");
        sends(
            create,
            plain(),
            &format!("EVALSHA {} 1 k r 5 s", CREATE.sha1),
        );
        let save = Call::save("k", b"r", 5, b"s", b"e");
        sends(save, plain(), &format!("EVALSHA {} 1 k r 5 s e", SAVE.sha1));
        sends(
            save,
            Form {
                source: true,
                asking: None,
            },
            &format!("EVAL {} 1 k r 5 s e", SAVE.source.replace("\r\n", " ")),
        );
    }

    #[test]
    fn asking_precedes_each_command() {
        let form = Form {
            source: false,
            asking: Some("h:1".to_owned()),
        };
        sends(Call::load("k"), form, "ASKING GET k ASKING PTTL k");
    }
}
