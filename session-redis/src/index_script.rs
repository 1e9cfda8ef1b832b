//! The Lua scripts of the index.
//!
//! A key of the index is a hash. A field is the id of a session, and its value is a nonce of 8
//! bytes, the sequence number, and the time at which the session was last seen, in milliseconds;
//! both are integers of 6 bytes, the most significant byte first. The field `n` has the highest
//! sequence number given so far. A key without sessions is removed.

use std::sync::LazyLock;

use crate::script::Script;

/// Lists a session under a key. `keep` keeps the nonce of an entry that is there.
macro_rules! list {
    () => {
        "local function list(key, id, nonce, seen, ttl, keep)
  local entry = redis.call('HGET', key, id)
  local sequence
  if entry then
    sequence = struct.unpack('>I6', entry, 9)
    if keep then nonce = string.sub(entry, 1, 8) end
  else
    sequence = redis.call('HINCRBY', key, 'n', 1)
  end
  redis.call('HSET', key, id, nonce .. struct.pack('>I6I6', sequence, tonumber(seen)))
  if redis.call('PTTL', key) < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end
  return {sequence, redis.call('HLEN', key) - 1}
end
"
    };
}

/// Lists the session of `ARGV[first]` to `ARGV[first + 3]` under all keys from the second on, and
/// returns what `list` did for the first of them.
macro_rules! list_all {
    () => {
        "local function list_all(first)
  local listed
  for n = 2, #KEYS do
    local at = first + 4 * (n - 2)
    local done = list(KEYS[n], ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    listed = listed or done
  end
  return listed
end
"
    };
}

/// Lists a session. `ARGV`: the id, the nonce, when it was last seen, how long the key lives at
/// least, both in milliseconds, and 1 to keep the nonce of an entry that is there. Replies the
/// sequence number of the entry, and the number of entries.
pub(crate) static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        list!(),
        "return list(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1')"
    ))
});

/// Removes an entry. `ARGV`: the id, and the nonce that the entry must have; any if it is empty.
/// Replies how many entries it removed.
pub(crate) static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry then return 0 end
if ARGV[2] ~= '' and string.sub(entry, 1, 8) ~= ARGV[2] then return 0 end
if redis.call('HLEN', KEYS[1]) <= 2 then return redis.call('UNLINK', KEYS[1]) end
return redis.call('HDEL', KEYS[1], ARGV[1])",
    )
});

// The index is written first: if the server refuses that, the record is not written either, and an
// error proves that nothing was applied.

/// As [`CREATE`](crate::script::CREATE), and lists the session under the other keys. `ARGV` has
/// four more for each of them: the first four of [`LIST`]. Replies as [`LIST`] does for the first.
pub(crate) static CREATE_LISTED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        list!(),
        list_all!(),
        "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local listed = list_all(3)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return listed"
    ))
});

/// As [`SAVE`](crate::script::SAVE), and lists the session as [`CREATE_LISTED`] does.
pub(crate) static SAVE_LISTED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        list!(),
        list_all!(),
        "local header = redis.call('GETRANGE', KEYS[1], 0, 8)
if header == ARGV[3] then
  local listed = list_all(4)
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return listed
end
if header == string.sub(ARGV[1], 1, 9) then return list_all(4) end
local record = redis.call('GET', KEYS[1])
if not record then return 0 end
return {record, redis.call('PTTL', KEYS[1])}"
    ))
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::SAVE;

    #[test]
    fn a_listed_save_compares_as_a_save_does() {
        for line in [
            "local header = redis.call('GETRANGE', KEYS[1], 0, 8)",
            "if header == string.sub(ARGV[1], 1, 9) then return",
            "return {record, redis.call('PTTL', KEYS[1])}",
        ] {
            for script in [&SAVE, &SAVE_LISTED] {
                assert!(script.source().contains(line), "{}", script.source());
            }
        }
    }
}
