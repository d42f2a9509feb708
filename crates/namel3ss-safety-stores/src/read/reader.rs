//! What can be read: one trait for every kind of dataset.

use std::fmt::Debug;
use std::time::Duration;

use namel3ss_safety::Timestamp;

use super::batches::Batches;
use super::error::ScanError;
use super::raw::RawScan;
use super::scan::Scan;

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
