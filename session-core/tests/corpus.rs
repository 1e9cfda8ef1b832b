//! Runs the fuzz targets on the inputs that fuzzing has found, and on those written by hand.

#![cfg(feature = "testing")]

use std::{fs, path::Path};

use session_core::fuzzing;

/// Runs a target on every file of its corpus and its seeds.
#[track_caller]
fn replay(target: &str, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for directory in ["corpus", "seeds"] {
        let directory = fuzz.join(directory).join(target);
        let files: Vec<_> = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .map(|entry| entry.expect("a directory entry").path())
            .collect();
        assert!(!files.is_empty(), "{} is empty", directory.display());
        for file in files {
            // shown if the test fails
            println!("{}", file.display());
            run(&fs::read(&file).expect("a readable file"));
        }
    }
}

#[test]
fn every_authorization_header_passes() {
    replay("authorization", fuzzing::authorization);
}

#[test]
fn every_cookie_header_passes() {
    replay("cookie_header", fuzzing::cookie_header);
}

#[test]
fn every_cookie_value_passes() {
    replay("cookie_value", fuzzing::cookie_value);
}

#[test]
fn every_record_passes() {
    replay("record", fuzzing::record);
}

#[test]
fn all_forwarding_headers_pass() {
    replay("forwarding_headers", fuzzing::forwarding_headers);
}
