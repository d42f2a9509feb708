//! Scanning a Delta Lake table: files are left out by their statistics in the log, and row groups by theirs.

use std::sync::Arc;
use std::time::Duration;

use super::place::DeltaPlace;
use super::read::{Fetched, Reader, Seen, about};
use crate::objects::scan::{FOLDER_EVERY, STORE_EVERY};
use crate::read::error::ScanError;
use crate::read::piece::{Piece, PieceScan, Pieces};
use crate::read::raw::RawScan;
use crate::read::reader::{DatasetReader, Description};
use crate::read::scan::{Position, Scan};

/// A table in a store or a folder.
#[derive(Debug)]
pub(crate) struct DeltaReader(DeltaPlace);

impl DeltaReader {
    pub(crate) fn new(place: &DeltaPlace) -> Self {
        Self(place.clone())
    }

    fn reader(&self, scan: &Scan) -> Result<Reader, ScanError> {
        let about = |error: ScanError| error.of(&self.identity());
        if self.0.folder().is_some_and(|folder| !folder.try_exists().unwrap_or(true)) {
            return Err(about(ScanError::NotThere("there is no such folder".to_owned())));
        }
        let mut reader = Reader::open(&self.0).map_err(|error| about(error.into()))?;
        reader.only_between(scan.from, scan.to);
        let after = scan.after.as_ref().map(Position::state::<Arc<Seen>>).transpose()?;
        let looked = match after {
            Some(seen) => reader.look_behind(Seen::clone(seen)),
            None => reader.look(),
        };
        looked.map_err(|error| about(error.into()))?;
        if reader.version().is_none() {
            let text = "there is no table; it is made at the first delivery".to_owned();
            return Err(about(ScanError::NotThere(text)));
        }
        Ok(reader)
    }
}

impl DatasetReader for DeltaReader {
    fn identity(&self) -> String {
        self.0.identity()
    }

    fn describe(&self) -> Result<Description, ScanError> {
        self.reader(&Scan::default())?;
        Ok(Description { identity: self.identity(), ..Description::default() })
    }

    fn scan_raw(&self, scan: Scan) -> Result<Box<dyn RawScan>, ScanError> {
        let reader = self.reader(&scan)?;
        let newest_first = scan.newest_first && scan.after.is_none();
        Ok(Box::new(PieceScan::new(reader, self.identity(), scan, newest_first)))
    }

    fn poll_interval(&self) -> Duration {
        self.0.folder().map_or(STORE_EVERY, |_| FOLDER_EVERY)
    }
}

impl Pieces for Reader {
    fn next_piece(&mut self, scan: &Scan, newest_first: bool) -> Result<Option<Piece>, ScanError> {
        let fetched = if newest_first { self.last_group()? } else { self.next_group()? };
        let Some(fetched) = fetched else { return Ok(None) };
        let known = self.known(&fetched);
        let Fetched { file, group, part, skip, .. } = fetched;
        let key = file.key;
        if known.is_none() && skip == 0 {
            let scanned = file.footer.scan(group, &part, scan, newest_first);
            if let Some(batches) = scanned.map_err(|error| about(&key, error))? {
                let batches = batches.map(move |batch| batch.map_err(|error| about(&key, error)));
                return Ok(Some(Piece::Batches(Box::new(batches))));
            }
        }
        let rows = file.footer.decode(group, part, skip).map_err(|error| about(&key, error))?;
        let rows = rows.filter(move |row| {
            let seen = row.as_ref().ok().zip(known.as_ref());
            seen.is_none_or(|(row, seen)| !seen.has(row))
        });
        let rows = rows.map(move |row| row.map_err(|error| about(&key, error)));
        Ok(Some(Piece::Rows(Box::new(rows))))
    }

    fn position(&mut self) -> Option<Position> {
        self.seen().map(|seen| Position::new(Arc::new(seen.clone())))
    }
}
