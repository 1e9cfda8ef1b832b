//! Which node of a cluster serves which slot.
//!
//! A key belongs to one of 16384 slots: the CRC16 of the key, or of the part in its first braces if
//! that is not empty (Redis cluster specification, "Key distribution model" and "Hash tags").

use crc16::{State, XMODEM};
use redis::Value;

use crate::address::Address;

/// How many slots a cluster has.
pub(crate) const SLOTS: u16 = 16384;

/// The command that asks a node for the state of the cluster.
pub(crate) const CLUSTER_INFO: [&str; 2] = ["CLUSTER", "INFO"];

/// Returns the slot of a key.
pub(crate) fn slot(key: &str) -> u16 {
    State::<XMODEM>::calculate(hashed_part(key).as_bytes()) % SLOTS
}

fn hashed_part(key: &str) -> &str {
    hash_tag(key).unwrap_or(key)
}

/// Returns the part of a key between the first `{` and the next `}`, which alone decides about its
/// slot.
pub(crate) fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// Slots that one primary serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) primary: Address,
}

/// Reads the reply to `CLUSTER SLOTS`. `None` if it is not one.
///
/// A primary without a host, or with an empty one, is the node that replied. The host `?` is one
/// that the node does not know: nothing can be sent there, so its slots are left out.
pub(crate) fn parse_slots(reply: &Value, replied: &Address) -> Option<Vec<SlotRange>> {
    let Value::Array(ranges) = reply else {
        return None;
    };
    let mut parsed = Vec::with_capacity(ranges.len());
    for range in ranges {
        let Value::Array(range) = range else {
            return None;
        };
        let [first, last, Value::Array(primary), ..] = &range[..] else {
            return None;
        };
        let [host, port, ..] = &primary[..] else {
            return None;
        };
        let (first, last, port) = (number(first)?, number(last)?, number(port)?);
        if first > last || last >= SLOTS || port == 0 {
            return None;
        }
        let host = match host {
            Value::Nil => String::new(),
            host => text(host)?,
        };
        let host = match &*host {
            "?" => continue,
            "" => replied.host.clone(),
            _ => host,
        };
        let primary = Address { host, port };
        parsed.push(SlotRange {
            first,
            last,
            primary,
        });
    }
    Some(parsed)
}

/// Whether a node that replied so to `CLUSTER INFO` is in touch with the majority of the cluster.
pub(crate) fn is_state_ok(info: &Value) -> bool {
    field_of_info(info, "cluster_state:").is_some_and(|state| state == "ok")
}

/// The epoch of the cluster, as a node knows it that replied so to `CLUSTER INFO`.
pub(crate) fn current_epoch(info: &Value) -> Option<u64> {
    field_of_info(info, "cluster_current_epoch:")?.parse().ok()
}

/// The value of a field in the reply to `CLUSTER INFO`, by its name and the colon.
fn field_of_info(info: &Value, name: &str) -> Option<String> {
    let text = match info {
        Value::VerbatimString { text, .. } => text.clone(),
        info => text(info)?,
    };
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim_end().to_owned())
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address {
            host: host.to_owned(),
            port,
        }
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let primary = Value::Array(vec![
            host,
            Value::Int(port),
            bulk("id"),
            Value::Array(vec![]),
        ]);
        let replica = Value::Array(vec![bulk("10.0.0.9"), Value::Int(1), bulk("id")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), primary, replica])
    }

    /// Vectors from the Redis cluster specification and from `CLUSTER KEYSLOT` of Redis 7.0.
    #[test]
    fn slots_are_those_of_redis() {
        for (key, expected) in [
            ("123456789", 12739),
            ("foo", 12182),
            ("", 0),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("user1000", 3443),
            ("foo{}{bar}", 8363),
            ("foo{bar}{zap}", 5061),
            ("bar", 5061),
            ("foo{{bar}}zap", 4015),
            ("foo{bar", 15278),
        ] {
            assert_eq!(slot(key), expected, "{key}");
        }
    }

    #[test]
    fn ranges_name_the_primary_as_clients_reach_it() {
        let reply = Value::Array(vec![
            range(0, 99, bulk("10.0.0.1"), 6379),
            range(100, 199, bulk("2001:db8::7"), 6380),
            range(200, 299, bulk("redis-3.example"), 6381),
            range(300, 399, Value::Nil, 6382),
            range(400, 499, bulk(""), 6383),
            range(500, 599, bulk("?"), 6384),
        ]);
        let expected = [
            (0, 99, "10.0.0.1", 6379),
            (100, 199, "2001:db8::7", 6380),
            (200, 299, "redis-3.example", 6381),
            (300, 399, "seed", 6382),
            (400, 499, "seed", 6383),
        ];
        let expected = expected.map(|(first, last, host, port)| SlotRange {
            first,
            last,
            primary: address(host, port),
        });
        let ranges = parse_slots(&reply, &address("seed", 1));
        assert_eq!(ranges.as_deref(), Some(&expected[..]));
    }

    #[test]
    fn other_replies_are_refused() {
        let replied = address("seed", 1);
        for ranges in [
            vec![range(5, 4, bulk("h"), 1)],
            vec![range(0, 16384, bulk("h"), 1)],
            vec![range(-1, 4, bulk("h"), 1)],
            vec![range(0, 4, bulk("h"), 0)],
            vec![range(0, 4, bulk("h"), 65536)],
            vec![range(0, 4, Value::Int(1), 1)],
            vec![Value::Array(vec![Value::Int(0), Value::Int(1)])],
            vec![Value::Nil],
        ] {
            let reply = Value::Array(ranges);
            assert_eq!(parse_slots(&reply, &replied), None, "{reply:?}");
        }
        assert_eq!(parse_slots(&Value::Nil, &replied), None);
        assert_eq!(parse_slots(&Value::Array(vec![]), &replied), Some(vec![]));
    }

    #[test]
    fn a_node_says_whether_it_is_in_touch_with_the_cluster() {
        let ok = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\n";
        let verbatim = Value::VerbatimString {
            format: redis::VerbatimFormat::Text,
            text: ok.to_owned(),
        };
        assert!(is_state_ok(&verbatim));
        assert!(is_state_ok(&bulk(ok)));
        assert!(!is_state_ok(&bulk("cluster_state:fail\r\n")));
        assert!(!is_state_ok(&Value::Nil));
    }

    proptest! {
        #[test]
        fn every_key_has_a_slot(key in "\\PC{0,60}") {
            prop_assert!(slot(&key) < SLOTS);
        }

        #[test]
        fn keys_with_the_same_tag_share_a_slot(tag in "[^{}]{1,20}", one: String, other: String) {
            let keys = [one, other].map(|rest| format!("{{{tag}}}{rest}"));
            prop_assert_eq!(slot(&keys[0]), slot(&keys[1]));
            prop_assert_eq!(slot(&keys[0]), slot(&tag));
        }
    }
}
