//! Where SQLite's system calls are not replaced: see `locks.rs`, which is for Linux. Two copies of
//! SQLite in one process don't exclude each other here.

pub(super) fn install() {}

pub(super) fn close_file(_: std::fs::File) {}

/// SQLite believes that it holds the parent's locks.
pub(super) fn is_usable_in_child() -> bool {
    false
}
