//! Delta Lake tables.

pub(crate) mod common;
mod table;
mod others;
mod reading;
mod kills;
