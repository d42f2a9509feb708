//! Delta Lake tables.

mod common;
mod table;
