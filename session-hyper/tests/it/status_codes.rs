//! The status codes, as they are documented.

use std::collections::BTreeMap;

use http::StatusCode;
use session_hyper::{SessionErrorKind, status_code};

const DOCUMENT: &str = include_str!("../../../session-core/docs/errors.md");

/// The kinds in the tables of the document, and the status of each.
fn documented() -> BTreeMap<&'static str, &'static str> {
    let rows = DOCUMENT.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`'), cells.next()?))
    });
    rows.collect()
}

#[test]
fn every_kind_has_the_documented_status() {
    use SessionErrorKind::*;
    const REJECTED: SessionErrorKind = Rejected(StatusCode::GONE);
    let mut documented = documented();
    assert_eq!(documented.remove("Rejected(status)"), Some("`status`"));
    assert_eq!(status_code(REJECTED), StatusCode::GONE);
    for kind in [
        Unavailable,
        Overloaded,
        InDoubt,
        Contention,
        Corrupt,
        Conflict,
        Gone,
        Superseded,
        Unauthenticated,
        NotFresh,
        LimitReached,
        TooLarge,
        Encode,
        Decode,
        Closed,
        Reentrant,
        MissingLayer,
        OutsidePath,
        CannotSetCookie,
        NoIndex,
        Config,
        Entropy,
    ] {
        let name = format!("{kind:?}");
        let status = documented.remove(name.as_str());
        assert_eq!(status, Some(status_code(kind).as_str()), "{name}");
    }
    assert_eq!(
        documented,
        BTreeMap::new(),
        "documented kinds without a test"
    );
}
