//! Delta Lake tables.

mod common;
mod table;
mod others;
mod kills;
