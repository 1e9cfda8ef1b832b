//! The layout of the index in Redis: keys, and the fields of their hashes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use session_core::{IndexEntry, IndexKey, Nonce};

/// What stands between the prefix and the hash of a principal or tag.
const INDEX: &str = "index:";

/// The key of a principal or tag.
pub(crate) fn redis_key(prefix: &str, key: &IndexKey) -> String {
    format!("{prefix}{INDEX}{key}")
}

/// A moment in milliseconds since the epoch, as the scripts count.
pub(crate) fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the value of a field. `None` if it is not an entry, such as the highest number.
pub(crate) fn entry(id: &[u8], value: &[u8]) -> Option<IndexEntry> {
    let id = std::str::from_utf8(id).ok()?.parse().ok()?;
    let (nonce, numbers) = value.split_first_chunk::<8>()?;
    let (sequence, seen_at) = numbers.split_first_chunk::<6>()?;
    let seen_at: &[u8; 6] = seen_at.try_into().ok()?;
    let seen_at = Duration::from_millis(number(seen_at));
    Some(IndexEntry::new(
        id,
        Nonce::from_bytes(*nonce),
        number(sequence),
        UNIX_EPOCH.checked_add(seen_at)?,
    ))
}

/// An integer, most significant byte first.
fn number(bytes: &[u8; 6]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use session_core::SessionId;

    use super::*;

    #[test]
    fn an_entry_has_one_layout() {
        let id = SessionId::from_bytes([7; 16]);
        let value = b"nonce-01\0\0\0\0\x01\x02\x01\x8b\xcf\xe5\x68\x00";
        let found = entry(id.as_str().as_bytes(), value).expect("an entry");
        assert_eq!(found.id, id);
        assert_eq!(found.nonce.as_bytes(), b"nonce-01");
        assert_eq!(found.sequence, 258);
        assert_eq!(millis(found.seen_at), 0x018b_cfe5_6800);
        assert_eq!(entry(b"n", b"12"), None);
        assert_eq!(entry(id.as_str().as_bytes(), &value[1..]), None);
        assert_eq!(entry(id.as_str().as_bytes(), b""), None);
    }

    proptest! {
        #[test]
        fn any_field_is_an_entry_or_not(id: Vec<u8>, value: Vec<u8>) {
            let _ = entry(&id, &value);
            let id = SessionId::from_bytes([1; 16]);
            prop_assert_eq!(entry(id.as_str().as_bytes(), &value).is_some(), value.len() == 20);
        }
    }
}
