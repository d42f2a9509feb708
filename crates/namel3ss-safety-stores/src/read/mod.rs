//! Reading any dataset back, and journals, by one trait: [`DatasetReader`].
//!
//! A [`Scan`] says which rows and columns
//! are wanted; the rows come as Arrow record batches of [`schema`], each row once.
//!
//! ```text
//! Scan ─► DatasetReader::scan_raw ─► Batches: exact filter, each row once, order, limit, columns
//!           what it pushes down          the one place where these are decided
//!           may return more rows
//! ```
//!
//! A store pushes down what it can (`WHERE`, days, row groups, statistics) and **may return more rows than
//! are wanted, never fewer**; [`Batches`] applies the filter exactly, and only then the limit.
//!

pub(crate) mod error;
pub(crate) mod batch;
pub(crate) mod filter;
pub(crate) mod scan;
pub(crate) mod raw;
pub(crate) mod batches;
pub(crate) mod reader;
#[cfg(any(feature = "object", feature = "parquet"))]
pub(crate) mod piece;
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "what tables need")
)]
pub(crate) mod pushed;
#[doc(hidden)]
pub mod scanner;
mod file;
pub mod journals;
mod open;

pub use self::batch::{Builder, Columns, rows, schema};
pub use self::batches::Batches;
pub use self::error::ScanError;
pub use self::filter::{Condition, Filter, Op, check_field};
pub use self::open::{open_reader, open_target};
pub use self::raw::RawScan;
pub use self::reader::{DatasetReader, Description};
pub use self::scan::{Position, Scan};
