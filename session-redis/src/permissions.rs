//! The ACL rules that a store needs, derived from the commands that it sends.

use std::time::{Duration, UNIX_EPOCH};

use redis::{Arg, Cmd};
use session_core::{IndexKey, Listing, Nonce, Record, SessionId, Version, Write};

use crate::{
    batcher::ASKING,
    cluster_query::QUERIES,
    command::{CACHING, Command, Operation},
    config::RedisConfig,
    confirmation::WAIT,
    connection::CHECK,
    glob::escaped,
    heartbeat::TRACKING,
    identity,
    role::ROLE,
    scan::SCAN,
    script::ScriptForm,
    sentinel::SENTINEL_MASTER,
    sentinel_subscription::{CHANNELS, SUBSCRIBE},
    slot_map::CLUSTER_INFO,
    topology::Topology,
};

/// The command that selects a database. The redis crate sends it.
const SELECT: &str = "SELECT";

/// What a user is left with when it gets its rules: Redis 6.2 lets a new user use all channels.
const NOTHING: [&str; 2] = ["resetkeys", "resetchannels"];

impl RedisConfig {
    /// Returns the ACL rules that the user of the Redis servers needs, each an argument of `ACL
    /// SETUSER`.
    ///
    /// They permit the commands that the store sends with this topology, database and prefix, and
    /// nothing else. Commands that every user may run, such as `AUTH` and `HELLO`, are not among
    /// them. The rules work with Redis 6.2 and newer, and Valkey 7.2 and newer.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_redis::RedisConfig;
    ///
    /// let config = RedisConfig::from_url("redis://127.0.0.1/5?prefix=shop:session:")?;
    /// let rules = config.acl_rules();
    /// assert!(rules.contains(&"~shop:session:*".to_owned()));
    /// assert!(rules.contains(&"+select".to_owned()));
    /// println!("ACL SETUSER app on >password {}", rules.join(" "));
    /// # Ok::<(), session_redis::UrlError>(())
    /// ```
    pub fn acl_rules(&self) -> Vec<String> {
        let mut rules = NOTHING.map(str::to_owned).to_vec();
        rules.push(format!("~{}*", escaped(&self.prefix)));
        rules.push("-@all".to_owned());
        let mut permit = |words: &[&str]| {
            let rule = permission(words);
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        };
        for name in session_commands() {
            permit(&[&name]);
        }
        for name in CHECK {
            permit(&[name]);
        }
        permit(&[WAIT]);
        if !self.ended_journal.is_zero() {
            for [name, _] in identity::QUERIES {
                permit(&[name]);
            }
        }
        if self.database != 0 {
            permit(&[SELECT]);
        }
        match &self.topology {
            Topology::Standalone(_) | Topology::Unix(_) => {}
            Topology::Sentinel { .. } => permit(&[ROLE]),
            Topology::Cluster(_) => {
                for query in QUERIES {
                    permit(&query);
                }
                permit(&[ASKING]);
            }
        }
        rules
    }

    /// Returns the ACL rules of a user whose sessions are announced when they change: those of
    /// [`acl_rules`](Self::acl_rules), and what [`RedisStore::changes`] needs. A user without them
    /// can do everything else; the store logs once that nothing is announced.
    ///
    /// [`RedisStore::changes`]: session_core::Store::changes
    pub fn changes_acl_rules(&self) -> Vec<String> {
        let mut rules = self.acl_rules();
        let mut permit = |words: &[&str]| {
            let rule = permission(words);
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        };
        permit(&TRACKING);
        permit(&CACHING);
        permit(&[ROLE]);
        match &self.topology {
            Topology::Standalone(_) | Topology::Unix(_) | Topology::Sentinel { .. } => {}
            Topology::Cluster(_) => permit(&CLUSTER_INFO),
        }
        rules
    }

    /// Returns the ACL rules of a user that also calls [`RedisStore::scan`] and
    /// [`RedisStore::count`]: those of [`acl_rules`](Self::acl_rules), and `SCAN`, which lists the
    /// keys of others too. A service does not need it.
    ///
    /// [`RedisStore::scan`]: crate::RedisStore::scan
    /// [`RedisStore::count`]: crate::RedisStore::count
    pub fn operator_acl_rules(&self) -> Vec<String> {
        let mut rules = self.acl_rules();
        rules.push(permission(&[SCAN]));
        rules
    }

    /// Returns the ACL rules that the user of the sentinels needs, as
    /// [`acl_rules`](Self::acl_rules). The list is empty if the topology has no sentinels.
    pub fn sentinel_acl_rules(&self) -> Vec<String> {
        match &self.topology {
            Topology::Standalone(_) | Topology::Unix(_) | Topology::Cluster(_) => Vec::new(),
            Topology::Sentinel { .. } => {
                let mut rules = NOTHING.map(str::to_owned).to_vec();
                rules.extend(CHANNELS.map(|channel| format!("&{}", escaped(channel))));
                rules.push("-@all".to_owned());
                rules.push(permission(&SENTINEL_MASTER));
                rules.push(permission(&[SUBSCRIBE]));
                rules
            }
        }
    }
}

/// The rule that permits a command, or a subcommand.
fn permission(words: &[&str]) -> String {
    format!("+{}", words.join("|").to_ascii_lowercase())
}

/// The names of the commands that operations on sessions send, and that their scripts call.
fn session_commands() -> Vec<String> {
    let expected = Version::from_bytes([0; 8]);
    let (record, ttl) = (Record::new(expected, ""), Duration::from_secs(1));
    let write = Write::new(&record, ttl);
    let listings = &[Listing::new(
        IndexKey::of_principal(""),
        SessionId::from_bytes([0; SessionId::BYTES]),
        Nonce::from_bytes([0; 8]),
        UNIX_EPOCH,
        ttl,
    )];
    let operations = [
        Operation::Load,
        Operation::Create(write),
        Operation::Save { expected, write },
        Operation::Touch { expected, ttl },
        Operation::Destroy { expected: None },
        Operation::Destroy {
            expected: Some(expected),
        },
        Operation::Create(write.listed(listings)),
        Operation::Save {
            expected,
            write: write.listed(listings),
        },
        Operation::List {
            listing: &listings[0],
            keep_nonce: true,
        },
        Operation::Unlist {
            id: &listings[0].id,
            nonce: None,
        },
        Operation::Entries,
        Operation::SomeEntries { count: 1 },
        Operation::Exists,
    ];
    let mut names = Vec::new();
    for operation in operations {
        for form in [ScriptForm::Hash, ScriptForm::Source] {
            for cmd in Command::new("", operation).commands(form) {
                let mut words = words(&cmd);
                names.extend(words.next());
                names.extend(words.next().iter().flat_map(|source| calls(source)));
            }
        }
    }
    names
}

fn words(cmd: &Cmd) -> impl Iterator<Item = String> {
    cmd.args_iter().filter_map(|arg| match arg {
        Arg::Simple(word) => Some(String::from_utf8_lossy(word).into_owned()),
        // no other kind of argument is sent
        _ => None,
    })
}

/// The commands that a script calls. The text of any other argument has none.
fn calls(script: &str) -> Vec<String> {
    let calls = script.split("redis.call('").skip(1);
    let names = calls.filter_map(|call| call.split('\'').next());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn config(url: &str) -> RedisConfig {
        RedisConfig::from_url(url).expect("a URL")
    }

    fn server_rules(url: &str) -> String {
        config(url).acl_rules().join(" ")
    }

    /// The rules beyond those for one server.
    fn additional(url: &str) -> String {
        let (rules, base) = (server_rules(url), server_rules("redis://h"));
        let rest = rules.strip_prefix(&base).expect("the same rules first");
        rest.trim().to_owned()
    }

    #[test]
    fn every_topology_permits_what_it_sends() {
        assert_eq!(
            server_rules("redis://h"),
            "resetkeys resetchannels ~session:* -@all +get +pttl +evalsha +eval +set +getrange \
             +pexpire +unlink +hget +hincrby +hset +hlen +exists +hdel +hgetall +hrandfield \
             +unwatch +ping +wait +info"
        );
        assert_eq!(
            server_rules("redis+unix:///run/redis.sock"),
            server_rules("redis://h")
        );
        let without_journal = server_rules("redis://h?ended_journal=0s");
        assert_eq!(server_rules("redis://h"), without_journal + " +info");
        assert_eq!(additional("redis://h/3"), "+select");
        assert_eq!(additional("redis+sentinel://h/service/3"), "+select +role");
        assert_eq!(
            additional("redis+cluster://h"),
            "+cluster|info +cluster|slots +asking"
        );
        assert_eq!(
            config("redis+sentinel://h/s")
                .sentinel_acl_rules()
                .join(" "),
            "resetkeys resetchannels &+failover-state-send-slaveof-noone &+switch-master \
             -@all +sentinel|master +subscribe"
        );
        let operator = config("redis://h").operator_acl_rules().join(" ");
        assert_eq!(operator, server_rules("redis://h") + " +scan");
        for (url, more) in [
            ("redis://h", " +client|tracking +client|caching +role"),
            ("redis+sentinel://h/s", " +client|tracking +client|caching"),
            (
                "redis+cluster://h",
                " +client|tracking +client|caching +role",
            ),
        ] {
            let changes = config(url).changes_acl_rules().join(" ");
            assert_eq!(changes, server_rules(url) + more);
        }
        assert_eq!(config("redis://h").sentinel_acl_rules(), [""; 0]);
        assert_eq!(config("redis+cluster://h").sentinel_acl_rules(), [""; 0]);
    }

    #[test]
    fn a_prefix_is_not_a_pattern() {
        let rules = RedisConfig::unix("s").prefix("a*?[b]\\:").acl_rules();
        assert!(
            rules.contains(&"~a\\*\\?\\[b]\\\\:*".to_owned()),
            "{rules:?}"
        );
    }

    /// The text between two headings, without what quotes and breaks lines.
    fn section(page: &str, from: &str, to: &str) -> String {
        let (_, rest) = page.split_once(from).expect("the heading");
        let (section, _) = rest.split_once(to).expect("the next heading");
        let words = section.split_whitespace();
        let words = words.filter(|word| !matches!(*word, "//!" | "\\"));
        words.collect::<Vec<_>>().join(" ").replace('\'', "")
    }

    #[test]
    fn the_documentation_shows_exactly_these_rules() {
        let topologies = ["redis://h/3", "redis+sentinel://h/s", "redis+cluster://h"];
        let sentinel = config("redis+sentinel://h/s")
            .sentinel_acl_rules()
            .join(" ");
        let is_rule = |word: &&str| word.starts_with(['+', '~', '&']) || word.starts_with("-@");
        for page in [
            section(
                include_str!("lib.rs"),
                "//! # Permissions",
                "//! # Failures",
            ),
            section(
                include_str!("../../docs/OPERATIONS.md"),
                "## The Redis user",
                "## TLS",
            ),
        ] {
            let mut rules = vec![server_rules("redis://h"), sentinel.clone()];
            for rules in &rules {
                let line = format!("ACL SETUSER app on >password {rules} ```");
                assert!(page.contains(&line), "{line} is missing:\n{page}");
            }
            rules.extend(topologies.map(additional));
            rules.push(permission(&[SCAN]));
            let changes = config("redis://h").changes_acl_rules().join(" ");
            let changes = changes.strip_prefix(&rules[0]).expect("the same first");
            rules.push(changes.trim().to_owned());
            for rules in &rules[2..] {
                assert!(page.contains(&format!("`{rules}`")), "{rules}:\n{page}");
            }
            let rules = rules.join(" ");
            let expected: BTreeSet<&str> = rules.split(' ').filter(is_rule).collect();
            let trim = |c: char| "`,.;".contains(c);
            let shown = page.split(' ').map(|word| word.trim_matches(trim));
            let shown: BTreeSet<&str> = shown.filter(is_rule).collect();
            assert_eq!(shown, expected);
        }
    }
}
