//! Delta Lake tables.

pub(crate) mod support;
mod table;
mod torn;
mod others;
mod reading;
pub(crate) mod kills;
