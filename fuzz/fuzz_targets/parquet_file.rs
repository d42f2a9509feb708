//! See `namel3ss_safety_fuzz::parquet_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| namel3ss_safety_fuzz::parquet_file(data));
