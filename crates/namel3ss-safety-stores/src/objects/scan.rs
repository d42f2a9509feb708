//! Scanning a dataset of objects: days, and row groups of Parquet, are left out by their times.
//!
//! **Limit:** a scan after another one sees objects of yesterday and later only, and no compacted ones.

use std::collections::HashSet;
use std::time::Duration;

use super::key::Day;
use super::place::Place;
#[cfg(feature = "parquet")]
use super::read::about;
use super::read::{Open, Reader, Unpacked, late};
use crate::read::error::ScanError;
use crate::read::piece::{Piece, PieceScan, Pieces};
use crate::read::raw::RawScan;
use crate::read::reader::{DatasetReader, Description};
use crate::read::scan::{Position, Scan};

/// How often a folder is listed.
pub(super) const FOLDER_EVERY: Duration = Duration::from_secs(1);
/// How often a store is: each listing is a request that somebody pays for.
pub(super) const STORE_EVERY: Duration = Duration::from_secs(5);

/// A dataset of objects in a store, or in a folder by day.
#[derive(Debug)]
pub(crate) struct ObjectsReader(Place);

/// The objects that a scan has met.
struct Met {
    keys: HashSet<String>,
}

impl ObjectsReader {
    pub(crate) fn new(place: &Place) -> Self {
        Self(place.clone())
    }

    fn reader(&self) -> Result<Reader, ScanError> {
        if self.0.folder().is_some_and(|folder| !folder.try_exists().unwrap_or(true)) {
            let text = "there is no such folder".to_owned();
            return Err(ScanError::NotThere(text).of(&self.identity()));
        }
        Reader::open(self.0.clone()).map_err(|e| ScanError::from(e).of(&self.identity()))
    }
}

impl DatasetReader for ObjectsReader {
    fn identity(&self) -> String {
        self.0.identity()
    }

    fn describe(&self) -> Result<Description, ScanError> {
        self.reader()?;
        Ok(Description { identity: self.identity(), ..Description::default() })
    }

    fn scan_raw(&self, scan: Scan) -> Result<Box<dyn RawScan>, ScanError> {
        let mut reader = self.reader()?;
        let after = scan.after.as_ref().map(Position::state::<Met>).transpose()?;
        let newest_first = scan.newest_first && after.is_none();
        reader.only_between(scan.from, scan.to);
        let looked = match after {
            Some(met) => reader.look_behind(met.keys.clone()),
            None if newest_first => reader.begin_newest(),
            None => reader.look(),
        };
        let identity = self.identity();
        looked.map_err(|error| ScanError::from(error).of(&identity))?;
        Ok(Box::new(PieceScan::new(reader, identity, scan, newest_first)))
    }

    fn poll_interval(&self) -> Duration {
        self.0.folder().map_or(STORE_EVERY, |_| FOLDER_EVERY)
    }
}

impl Pieces for Reader {
    fn next_piece(&mut self, scan: &Scan, newest_first: bool) -> Result<Option<Piece>, ScanError> {
        let unpacked = if newest_first { self.next_newest()? } else { Reader::next_piece(self) };
        unpacked.map(|unpacked| piece_of(unpacked, scan, newest_first)).transpose()
    }

    fn position(&mut self) -> Option<Position> {
        let first = late();
        let is_late = |key: &&String| {
            let day = key.rsplit_once('/').and_then(|(folder, _)| Day::of_folder(folder));
            day.is_none_or(|day| day >= first)
        };
        let keys = self.met().filter(is_late).cloned().collect();
        Some(Position::new(Met { keys }))
    }
}

#[cfg_attr(not(feature = "parquet"), expect(unused_variables, reason = "rows are read whole"))]
fn piece_of(unpacked: Unpacked, scan: &Scan, newest_first: bool) -> Result<Piece, ScanError> {
    #[cfg(feature = "parquet")]
    if let Unpacked::Group(opened, group, part) = &unpacked {
        let key = opened.key.clone();
        let scanned = opened.footer.scan(*group, part, scan, newest_first);
        if let Some(batches) = scanned.map_err(|error| about(&key, error))? {
            let batches = batches.map(move |batch| batch.map_err(|error| about(&key, error)));
            return Ok(Piece::Batches(Box::new(batches)));
        }
    }
    Ok(Piece::Rows(Box::new(Open::of_unpacked(unpacked))))
}
