//! What `ingest` reads: JSON in whatever form or envelope, or CSV, packed or not, as rows with their
//! line numbers.
//!
//! ```text
//! bytes ─► unpack (gzip, zstd) ─► text (UTF-16) ─► detect ─► lines | objects | csv ─► rows
//!                                                              └── envelope
//! ```
//!
//! What finds rows in text is `namel3ss_safety_stores::read::scanner`, which datasets' files use as well.

mod bytes;
mod unpack;
mod text;
mod detect;
mod lines;
mod pieces;
mod incoming;

pub(crate) use self::bytes::Reader;
pub(crate) use self::detect::Format;
pub(crate) use self::incoming::{Incoming, Next};
pub(crate) use self::pieces::{Input, Options};
