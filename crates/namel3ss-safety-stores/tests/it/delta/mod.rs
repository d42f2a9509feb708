//! Delta Lake tables.

pub(crate) mod common;
mod table;
mod torn;
mod others;
mod reading;
mod kills;
