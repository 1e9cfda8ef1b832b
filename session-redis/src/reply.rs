//! What the replies to a command mean: the answers of the store.
//!
//! A write that was sent twice, because its first reply was lost, may have been applied the first
//! time. What the second reply then says:
//!
//! | operation | applied | absent | other version |
//! |---|---|---|---|
//! | save | `Saved` | `Gone` | in doubt |
//! | touch | `Touched` | `Gone` | `Conflict` |
//! | destroy of an expected version | `Destroyed` | in doubt | `Conflict` |
//! | destroy of any version | `Destroyed` | `Destroyed` | |
//!
//! * A save that finds its own record was applied. If it finds another version, that write may have
//!   replaced its own. If the record is absent, nothing is left of it.
//! * A touch has no effect that outlasts the other write, which set the life itself.
//! * A destroy that finds the record absent may have removed it, or another caller has. If it finds
//!   another version, it removed nothing: ids are not used twice, so the record was never absent.
//!
//! In doubt means an error of kind [`Timeout`](StoreErrorKind::Timeout).

use std::{sync::Arc, time::Duration};

use redis::Value;
use session_core::{
    AnyFeed, Applied, Created, Destroyed, IndexEntry, Listed, Loaded, Saved, StoreError,
    StoreErrorKind, Touched, Watched,
};
use smallvec::SmallVec;

use crate::{
    failure::Failure,
    feed::ConnectionFeed,
    index_entry,
    stored_record::{DecodeError, decode},
};

/// A reply to each command of an operation.
pub(crate) type Values = SmallVec<[Value; 2]>;

/// The replies to an operation.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) values: Values,
    /// An earlier attempt of this write may have been applied.
    pub(crate) in_doubt: bool,
    /// What announces the next change of what was read.
    feed: Option<Arc<ConnectionFeed>>,
    /// How many replicas have the write, if some were to confirm it.
    replicas: Option<u32>,
}

/// What a script replies.
enum ScriptReply {
    Applied(Applied),
    Absent,
    Current(Loaded),
}

impl Reply {
    /// The replies to an operation. If replicas were to confirm it, the last one is their number.
    pub(crate) fn new(mut values: Values, in_doubt: bool, confirmed: bool) -> Self {
        let count = confirmed.then(|| values.pop()).flatten();
        let replicas = confirmed.then_some(match count {
            // the write that is confirmed may be the earlier one, of another connection
            _ if in_doubt => 0,
            Some(Value::Int(count)) => u32::try_from(count).unwrap_or(0),
            _ => 0,
        });
        Self {
            values,
            in_doubt,
            feed: None,
            replicas,
        }
    }

    /// The same replies, on a connection that announces changes.
    pub(crate) fn with_feed(self, feed: Option<Arc<ConnectionFeed>>) -> Self {
        Self { feed, ..self }
    }

    fn applied(&self) -> Applied {
        Applied::new().on_replicas(self.replicas)
    }

    fn and_listed(&self, listed: Listed) -> Applied {
        Applied::and_listed(listed).on_replicas(self.replicas)
    }

    /// Reads the replies to `GET` and `PTTL`.
    pub(crate) fn into_loaded(self) -> Result<Option<Loaded>, StoreError> {
        found(self.values).map_err(|error| error.into_store_error(false))
    }

    /// Reads the same replies, of a load that may be tracked.
    pub(crate) fn into_watched(mut self) -> Result<Watched, StoreError> {
        let feed = self.feed.take().map(AnyFeed::of);
        Ok(Watched::new(self.into_loaded()?, feed))
    }

    pub(crate) fn into_created(self) -> Result<Created, StoreError> {
        match self.values.as_slice() {
            [Value::Int(1)] => Ok(Created::Created(self.applied())),
            [Value::Int(0)] => Ok(Created::Taken),
            [Value::Array(values)] => match listed(values) {
                Some(listed) => Ok(Created::Created(self.and_listed(listed))),
                None => Err(Failure::unexpected_reply().into_store_error(true)),
            },
            _ => Err(Failure::unexpected_reply().into_store_error(true)),
        }
    }

    pub(crate) fn into_saved(self) -> Result<Saved, StoreError> {
        let in_doubt = self.in_doubt;
        match self.into_script_reply()? {
            ScriptReply::Applied(applied) => Ok(Saved::Saved(applied)),
            ScriptReply::Absent => Ok(Saved::Gone),
            ScriptReply::Current(_) if in_doubt => {
                Err(lost("another write followed").into_store_error(true))
            }
            ScriptReply::Current(current) => Ok(Saved::Conflict(current)),
        }
    }

    pub(crate) fn into_touched(self) -> Result<Touched, StoreError> {
        match self.into_script_reply()? {
            ScriptReply::Applied(applied) => Ok(Touched::Touched(applied)),
            ScriptReply::Absent => Ok(Touched::Gone),
            ScriptReply::Current(current) => Ok(Touched::Conflict(current)),
        }
    }

    /// Reads the reply to a conditional destroy.
    pub(crate) fn into_destroyed_if_expected(self) -> Result<Destroyed, StoreError> {
        let in_doubt = self.in_doubt;
        match self.into_script_reply()? {
            ScriptReply::Applied(applied) => Ok(Destroyed::Destroyed(applied)),
            ScriptReply::Absent if in_doubt => {
                Err(lost("the record is absent now").into_store_error(true))
            }
            ScriptReply::Absent => Ok(Destroyed::Gone),
            ScriptReply::Current(current) => Ok(Destroyed::Conflict(current)),
        }
    }

    /// Reads the reply to `UNLINK`, the number of keys removed.
    pub(crate) fn into_destroyed(self) -> Result<Destroyed, StoreError> {
        match self.values.as_slice() {
            // nothing was written
            [Value::Int(0)] if !self.in_doubt => Ok(Destroyed::Destroyed(Applied::new())),
            [Value::Int(0 | 1)] => Ok(Destroyed::Destroyed(self.applied())),
            _ => Err(Failure::unexpected_reply().into_store_error(true)),
        }
    }

    /// Reads the reply to a listing.
    pub(crate) fn into_listed(self) -> Result<Listed, StoreError> {
        let listed = match self.values.as_slice() {
            [Value::Array(values)] => listed(values),
            _ => None,
        };
        listed.ok_or_else(|| Failure::unexpected_reply().into_store_error(true))
    }

    /// Reads the fields of a hash that are entries of the index, in no order.
    pub(crate) fn into_entries(self) -> Result<Vec<IndexEntry>, StoreError> {
        let fields = match self.values.into_iter().next() {
            // RESP3, and the form that `HRANDFIELD` has there
            Some(Value::Map(fields)) => Some(fields),
            Some(Value::Array(values)) => pairs(values),
            _ => None,
        };
        let fields = fields.ok_or_else(|| Failure::unexpected_reply().into_store_error(false))?;
        let entry = |field: &(Value, Value)| match field {
            (Value::BulkString(id), Value::BulkString(value)) => index_entry::entry(id, value),
            _ => None,
        };
        Ok(fields.iter().filter_map(entry).collect())
    }

    /// Reads a number of keys or of entries.
    pub(crate) fn into_count(self) -> Result<i64, StoreError> {
        match self.values.as_slice() {
            [Value::Int(count)] => Ok(*count),
            _ => Err(Failure::unexpected_reply().into_store_error(true)),
        }
    }

    fn into_script_reply(mut self) -> Result<ScriptReply, StoreError> {
        let reply = match (self.values.pop(), self.values.is_empty()) {
            (Some(Value::Int(1)), true) => Ok(ScriptReply::Applied(self.applied())),
            (Some(Value::Int(0)), true) => Ok(ScriptReply::Absent),
            (Some(Value::Array(values)), true) => match listed(&values) {
                Some(listed) => Ok(ScriptReply::Applied(self.and_listed(listed))),
                None => found(values).map(|current| match current {
                    Some(current) => ScriptReply::Current(current),
                    None => ScriptReply::Absent,
                }),
            },
            _ => Err(ReplyError::Unexpected),
        };
        reply.map_err(|error| match error {
            // the server may have applied the write, whatever it replied
            ReplyError::Unexpected => error.into_store_error(true),
            ReplyError::NotARecord(_) => error.into_store_error(self.in_doubt),
        })
    }
}

/// Reads the reply to a listing: the sequence number, and the number of entries.
fn listed(values: &[Value]) -> Option<Listed> {
    match values {
        [Value::Int(sequence), Value::Int(entries)] => Some(Listed::new(
            u64::try_from(*sequence).ok()?,
            u64::try_from(*entries).ok()?,
        )),
        _ => None,
    }
}

/// The fields and values of a hash: pairs in RESP3, one after the other in RESP2.
fn pairs(values: Vec<Value>) -> Option<Vec<(Value, Value)>> {
    if values.iter().all(|value| matches!(value, Value::Array(_))) {
        let pair = |value| match value {
            Value::Array(pair) => <[Value; 2]>::try_from(pair).ok().map(Into::into),
            _ => None,
        };
        return values.into_iter().map(pair).collect();
    }
    let mut values = values.into_iter();
    let mut fields = Vec::with_capacity(values.len() / 2);
    while let Some(field) = values.next() {
        fields.push((field, values.next()?));
    }
    Some(fields)
}

/// Returns the replies to one operation, or the first error among them.
pub(crate) fn take_replies(values: Values) -> Result<Values, Failure> {
    values
        .into_iter()
        .map(|value| {
            let value = value.extract_error();
            value.map_err(|error| Failure::from_command(&error))
        })
        .collect()
}

/// Returns the replies to a tracked load without the first one, and whether that says that the load
/// is tracked. If it is not, the record was read all the same.
pub(crate) fn take_tracked(mut values: Values) -> Result<(Values, Result<(), Failure>), Failure> {
    if values.is_empty() {
        return Err(Failure::unexpected_reply());
    }
    let tracked = match values.remove(0).extract_error() {
        Ok(Value::Okay) => Ok(()),
        Ok(_) => Err(Failure::unexpected_reply()),
        Err(error) => Err(Failure::from_command(&error)),
    };
    Ok((take_replies(values)?, tracked))
}

/// The reply cannot be read.
#[derive(Debug, PartialEq)]
enum ReplyError {
    Unexpected,
    NotARecord(DecodeError),
}

impl ReplyError {
    fn into_store_error(self, in_doubt: bool) -> StoreError {
        match self {
            Self::Unexpected => Failure::unexpected_reply().into_store_error(in_doubt),
            Self::NotARecord(error) if in_doubt => StoreError::new(StoreErrorKind::Timeout, error),
            Self::NotARecord(error) => StoreError::new(StoreErrorKind::Corrupt, error),
        }
    }
}

/// The reply to an earlier attempt was lost, and this is found now.
fn lost(found: &str) -> Failure {
    Failure::Lost {
        text: format!("a reply was lost, and {found}"),
    }
}

/// Reads a value and its `PTTL`: -1 if it never expires, -2 if it expired between the two commands.
fn found(values: impl IntoIterator<Item = Value>) -> Result<Option<Loaded>, ReplyError> {
    let mut values = values.into_iter();
    match (values.next(), values.next(), values.next()) {
        (Some(Value::Nil), Some(Value::Int(_)), None)
        | (Some(Value::BulkString(_)), Some(Value::Int(-2)), None) => Ok(None),
        (Some(Value::BulkString(bytes)), Some(Value::Int(ttl)), None) => {
            let record = decode(bytes).map_err(ReplyError::NotARecord)?;
            let ttl = u64::try_from(ttl).ok().map(Duration::from_millis);
            Ok(Some(Loaded::new(record, ttl)))
        }
        _ => Err(ReplyError::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;
    use session_core::{Record, Version};

    use super::*;

    fn stored() -> Value {
        Value::BulkString(b"\x02versionAbody".to_vec())
    }

    fn garbage() -> Value {
        Value::BulkString(b"garbage".to_vec())
    }

    fn loaded(ttl: Option<Duration>) -> Loaded {
        let record = Record::new(Version::from_bytes(*b"versionA"), &b"body"[..]);
        Loaded::new(record, ttl)
    }

    fn current() -> Loaded {
        loaded(Some(Duration::from_millis(5)))
    }

    #[test]
    fn a_load_is_a_record_with_its_remaining_life() {
        let life = |ms| Some(Duration::from_millis(ms));
        for (values, expected) in [
            (vec![stored(), Value::Int(5)], Some(loaded(life(5)))),
            (vec![stored(), Value::Int(0)], Some(loaded(life(0)))),
            (vec![stored(), Value::Int(-1)], Some(loaded(None))),
            (vec![stored(), Value::Int(-2)], None),
            (vec![Value::Nil, Value::Int(-2)], None),
            // created between the two commands
            (vec![Value::Nil, Value::Int(9)], None),
        ] {
            assert_eq!(found(values), Ok(expected));
        }
        for values in [
            vec![],
            vec![stored()],
            vec![Value::Okay, Value::Int(1)],
            vec![stored(), stored()],
            vec![stored(), Value::Int(1), Value::Int(1)],
        ] {
            assert_eq!(found(values), Err(ReplyError::Unexpected));
        }
        assert_eq!(
            found([garbage(), Value::Int(5)]),
            Err(ReplyError::NotARecord(DecodeError::Format { found: b'g' }))
        );
    }

    /// What one reply means to each operation.
    struct Row {
        value: Value,
        in_doubt: bool,
        created: Result<Created, StoreErrorKind>,
        saved: Result<Saved, StoreErrorKind>,
        touched: Result<Touched, StoreErrorKind>,
        destroyed_if_expected: Result<Destroyed, StoreErrorKind>,
        destroyed: Result<Destroyed, StoreErrorKind>,
    }

    #[track_caller]
    fn assert_row(row: Row) {
        fn kind<T>(result: Result<T, StoreError>) -> Result<T, StoreErrorKind> {
            result.map_err(|error| error.kind())
        }
        let values = || Values::from_iter([row.value.clone()]);
        let reply = || Reply::new(values(), row.in_doubt, false);
        assert_eq!(kind(reply().into_created()), row.created);
        assert_eq!(kind(reply().into_saved()), row.saved);
        assert_eq!(kind(reply().into_touched()), row.touched);
        assert_eq!(
            kind(reply().into_destroyed_if_expected()),
            row.destroyed_if_expected
        );
        assert_eq!(kind(reply().into_destroyed()), row.destroyed);
    }

    #[test]
    fn the_reply_to_a_write_has_one_meaning_for_each_operation() {
        use StoreErrorKind::{Corrupt, Timeout};
        let applied = Applied::new();
        for in_doubt in [false, true] {
            assert_row(Row {
                value: Value::Int(1),
                in_doubt,
                created: Ok(Created::Created(applied)),
                saved: Ok(Saved::Saved(applied)),
                touched: Ok(Touched::Touched(applied)),
                destroyed_if_expected: Ok(Destroyed::Destroyed(applied)),
                destroyed: Ok(Destroyed::Destroyed(applied)),
            });
            assert_row(Row {
                value: Value::Int(0),
                in_doubt,
                created: Ok(Created::Taken),
                saved: Ok(Saved::Gone),
                touched: Ok(Touched::Gone),
                destroyed_if_expected: if in_doubt {
                    Err(Timeout)
                } else {
                    Ok(Destroyed::Gone)
                },
                destroyed: Ok(Destroyed::Destroyed(applied)),
            });
            assert_row(Row {
                value: Value::Array(vec![stored(), Value::Int(5)]),
                in_doubt,
                created: Err(Timeout),
                saved: if in_doubt {
                    Err(Timeout)
                } else {
                    Ok(Saved::Conflict(current()))
                },
                touched: Ok(Touched::Conflict(current())),
                destroyed_if_expected: Ok(Destroyed::Conflict(current())),
                destroyed: Err(Timeout),
            });
            let garbage_kind = if in_doubt { Timeout } else { Corrupt };
            assert_row(Row {
                value: Value::Array(vec![garbage(), Value::Int(5)]),
                in_doubt,
                created: Err(Timeout),
                saved: Err(garbage_kind),
                touched: Err(garbage_kind),
                destroyed_if_expected: Err(garbage_kind),
                destroyed: Err(Timeout),
            });
            for value in [
                Value::Okay,
                Value::Nil,
                Value::Int(2),
                stored(),
                Value::Array(vec![]),
            ] {
                assert_row(Row {
                    value,
                    in_doubt,
                    created: Err(Timeout),
                    saved: Err(Timeout),
                    touched: Err(Timeout),
                    destroyed_if_expected: Err(Timeout),
                    destroyed: Err(Timeout),
                });
            }
        }
    }

    #[test]
    fn replicas_are_counted_for_what_this_attempt_has_written() {
        let reply = |applied, in_doubt, count| {
            let values = Values::from_vec(vec![Value::Int(applied), count]);
            Reply::new(values, in_doubt, true)
        };
        let saved = |replicas| Saved::Saved(Applied::new().on_replicas(replicas));
        let denied = parse_redis_value(b"-NOPERM no\r\n").expect("a reply");
        for (in_doubt, count, replicas) in [
            (false, Value::Int(2), 2),
            // the write may be that of the earlier attempt
            (true, Value::Int(2), 0),
            (false, denied, 0),
            (false, Value::Int(-1), 0),
        ] {
            let found = reply(1, in_doubt, count).into_saved().expect("an answer");
            assert_eq!(found, saved(Some(replicas)));
        }
        let destroyed = |present, in_doubt| {
            let reply = reply(present, in_doubt, Value::Int(2));
            match reply.into_destroyed().expect("an answer") {
                Destroyed::Destroyed(applied) => applied.replicas,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(destroyed(1, false), Some(2));
        assert_eq!(destroyed(0, false), None, "nothing was written");
        assert_eq!(destroyed(0, true), Some(0));
    }

    #[test]
    fn a_write_needs_exactly_one_reply() {
        for values in [vec![], vec![Value::Int(1), Value::Int(1)]] {
            let reply = || Reply::new(Values::from_vec(values.clone()), false, false);
            for error in [
                reply().into_created().err(),
                reply().into_saved().err(),
                reply().into_touched().err(),
                reply().into_destroyed().err(),
                reply().into_destroyed_if_expected().err(),
            ] {
                let kind = error.expect("an error").kind();
                assert_eq!(kind, StoreErrorKind::Timeout);
            }
        }
    }

    #[test]
    fn an_error_among_the_replies_is_the_failure_of_the_operation() {
        let values = |replies: &[&str]| {
            let values = replies
                .iter()
                .map(|reply| parse_redis_value(reply.as_bytes()).expect("a reply"));
            values.collect::<Values>()
        };
        assert_eq!(
            take_replies(values(&[":1\r\n", ":2\r\n"])),
            Ok(Values::from_iter([Value::Int(1), Value::Int(2)]))
        );
        let failure = take_replies(values(&[":1\r\n", "-OOM full\r\n"])).expect_err("an error");
        assert_eq!(failure.to_string(), "OOM full");
    }
}
