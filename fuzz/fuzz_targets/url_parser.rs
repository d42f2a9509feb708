//! See `namel3ss_safety_fuzz::url_parser`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| namel3ss_safety_fuzz::url_parser(data));
