//! Rows as Apache Parquet: the 17 fields, `journal_id`, `seq`, for pyarrow, polars, DuckDB, pandas
//! and Spark alike.
//!
//! | column | type |
//! | --- | --- |
//! | `timestamp` | microseconds, UTC; delta-encoded, with statistics for every page and row group |
//! | `direction`, `action`, `severity`, `policy_name` | text, dictionary-encoded by Parquet |
//! | `categories` | list of text |
//! | `confidence`, `latency_ms` | double; NaN and infinities are themselves |
//! | `metadata` | text: one JSON object with sorted keys |
//! | `seq` | 64-bit integer, with statistics as `timestamp` |
//! | all others | text; null for none, except in `event_id` and `journal_id` |
//!
//! `event_id` is stored as what differs from the one before (`DELTA_BYTE_ARRAY`), `trace_id` with its
//! lengths apart (`DELTA_LENGTH_BYTE_ARRAY`): see the format's
//! [encodings](https://parquet.apache.org/docs/file-format/data-pages/encodings/). There is no
//! `ARROW:schema`: files of earlier builds have one with dictionary types, on which some engines fail;
//! they are read, and compacted together with new ones.
//!
//! Row groups have 25,000 rows and pages 5,000, in the order of their seqs and so nearly of time: a
//! reader that asks for an hour skips the rest. The same rows give the same bytes.

mod columns;
mod pages;
mod footer;
mod read;
mod write;
mod merge;
#[cfg(feature = "read")]
mod scan;

pub(crate) use self::footer::{Footer, Part, TAIL_BYTES};
pub(crate) use self::merge::{KEYS, Key, Merger, keys, only};
pub(crate) use self::read::Rows;
#[cfg(feature = "delta")]
pub(crate) use self::read::guarded;
pub use self::write::encode;

use namel3ss_safety::{ReadError, ReadRow};

/// The rows of one Parquet file that [`encode`] made.
///
/// # Errors
/// If it is no Parquet file, its columns are others, or a row makes no sense.
pub fn decode(bytes: Vec<u8>) -> Result<Vec<ReadRow>, ReadError> {
    let part = Part::whole(bytes.into());
    let footer = Footer::read(&part)?;
    let mut rows = Vec::new();
    for group in 0..footer.groups() {
        for row in footer.whole(group, part.clone())? {
            rows.push(row?);
        }
    }
    Ok(rows)
}
