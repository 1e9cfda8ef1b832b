#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| session_redis::fuzzing::store_url(data));
