//! Rows in text that comes in pieces: JSON in whatever form, and CSV. For files that are datasets, and for
//! what the command's `ingest` reads.

pub mod item;
pub mod value;
mod repair;
pub mod header;
pub mod envelope;
pub mod objects;
pub mod csv;
