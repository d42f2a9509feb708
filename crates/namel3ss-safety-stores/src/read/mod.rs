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

mod scan;
mod filter;
mod error;
mod batch;
mod batches;
#[doc(hidden)]
pub mod scanner;
mod file;
mod open;

use std::fmt::Debug;
use std::time::Duration;

use arrow_array::RecordBatch;
use namel3ss_safety::Timestamp;

pub use self::batch::{Builder, Columns, rows, schema};
pub use self::batches::Batches;
pub use self::error::ScanError;
pub use self::filter::{Condition, Filter, Op, check_field};
pub use self::open::{open_reader, open_target};
pub use self::scan::{Position, Scan};

/// A dataset, or the events that wait in journals, as something to read. Changes nothing.
pub trait DatasetReader: Debug + Send + Sync {
    /// Its name for people, without secrets.
    fn identity(&self) -> String;

    /// What is there.
    ///
    /// # Errors
    /// If it is not there, or can't be read.
    fn describe(&self) -> Result<Description, ScanError>;

    /// The rows that `scan` asks for, and perhaps more: for implementors. [`Self::scan`] is for readers.
    ///
    /// `scan.columns` holds all columns that are needed, also by the filter; other ones may be left out.
    /// Its limit is a hint, which counts rows behind the filter.
    ///
    /// # Errors
    /// As [`Self::scan`].
    fn scan_raw(&self, scan: Scan) -> Result<Box<dyn RawScan>, ScanError>;

    /// The rows that `scan` asks for.
    ///
    /// # Errors
    /// If the scan makes no sense, such as `newest_first` without a limit; if there is no dataset; if it
    /// can't be read.
    fn scan(&self, scan: Scan) -> Result<Batches, ScanError> {
        Batches::new(scan, |scan| self.scan_raw(scan))
    }

    /// How long to wait before looking again for new rows.
    fn poll_interval(&self) -> Duration {
        Duration::from_millis(200)
    }
}

/// A scan as a store runs it. Rows are in the form of [`schema`]: see [`Builder`].
pub trait RawScan: Send {
    /// The next rows, none or some; `None` at the end. Behind an error it may go on.
    ///
    /// # Errors
    /// What could not be read, except single rows, which are counted in [`Self::unreadable`].
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError>;

    /// Whether the rows come the newest first. A store that can't do that gives them in its own order, and
    /// [`Batches`] keeps the last of them.
    fn is_newest_first(&self) -> bool {
        false
    }

    /// Whether no row can come twice, also not in a later scan from this one's position.
    fn is_unique(&self) -> bool {
        false
    }

    /// How many rows could not be read so far.
    fn unreadable(&self) -> u64 {
        0
    }

    /// Where a later scan goes on, once all rows were given: behind everything that was there when this scan
    /// began, whether it was wanted or not.
    fn position(&mut self) -> Option<Position> {
        None
    }

    /// What the dataset lacks at its end, though nobody is writing to it: a file whose last batch was cut.
    fn lacks(&mut self) -> Option<String> {
        None
    }
}

/// What is in a dataset, as far as it is known without reading its rows.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// Its name for people, without secrets.
    pub identity: String,
    /// The tables that could be named, where a dataset is one of several.
    pub tables: Vec<String>,
    /// The columns that it has, by their own names.
    pub columns: Vec<String>,
    /// The oldest and the newest event.
    pub time_range: Option<(Timestamp, Timestamp)>,
    /// How many rows it has.
    pub rows: Option<u64>,
    /// How much room it takes, in bytes.
    pub bytes: Option<u64>,
}
