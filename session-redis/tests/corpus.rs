//! Runs the fuzz target of store URLs on the inputs that fuzzing has found, and on those written by
//! hand.

#![cfg(feature = "testing")]

use std::{fs, path::Path};

use session_redis::fuzzing;

#[test]
fn every_store_url_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for directory in ["corpus/store_url", "seeds/store_url"] {
        let directory = fuzz.join(directory);
        let files: Vec<_> = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .map(|entry| entry.expect("a directory entry").path())
            .collect();
        assert!(!files.is_empty(), "{} is empty", directory.display());
        for file in files {
            // shown if the test fails
            println!("{}", file.display());
            fuzzing::store_url(&fs::read(&file).expect("a readable file"));
        }
    }
}
