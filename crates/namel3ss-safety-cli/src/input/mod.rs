//! What `ingest` reads: JSON in whatever form or envelope, or CSV, packed or not, as rows with their
//! line numbers.
//!
//! ```text
//! bytes ─► unpack (gzip, zstd) ─► text (UTF-16) ─► detect ─► lines | objects | csv ─► rows
//!                                                              └── envelope
//! ```

mod bytes;
mod scan;
mod value;
mod unpack;
mod text;
mod detect;
mod lines;
mod objects;
mod header;
mod csv;
mod envelope;
mod repair;
mod pieces;
mod incoming;

pub(crate) use self::bytes::Reader;
pub(crate) use self::csv::Csv;
pub(crate) use self::detect::Format;
pub(crate) use self::incoming::{Incoming, Next};
pub(crate) use self::objects::Objects;
pub(crate) use self::pieces::{Input, Options};
pub(crate) use self::scan::{Follow, Item};
