//! See `namel3ss_safety_fuzz::parquet_file`.
#![no_main]

use std::sync::Once;

static QUIET: Once = Once::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // libFuzzer's hook ends the process at each panic, also at those of the parquet crate, which the
    // reader catches. Those that leave the target still end it.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    namel3ss_safety_fuzz::parquet_file(data);
});
