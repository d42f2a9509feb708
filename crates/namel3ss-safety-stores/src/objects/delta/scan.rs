//! Scanning a Delta Lake table: files are left out by their statistics in the log, and row groups by theirs.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use namel3ss_safety::ReadError;

use super::place::DeltaPlace;
use super::read::{Fetched, Reader, Seen, about};
use crate::objects::scan::{FOLDER_EVERY, STORE_EVERY};
use crate::read::error::ScanError;
use crate::read::piece::Piece;
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
        let (identity, piece) = (self.identity(), Piece::default());
        Ok(Box::new(DeltaScan { reader, identity, scan, newest_first, piece, unreadable: 0 }))
    }

    fn poll_interval(&self) -> Duration {
        self.0.folder().map_or(STORE_EVERY, |_| FOLDER_EVERY)
    }
}

struct DeltaScan {
    reader: Reader,
    identity: String,
    scan: Scan,
    newest_first: bool,
    piece: Piece,
    unreadable: u64,
}

impl DeltaScan {
    fn next(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        loop {
            let batch =
                self.piece.next_batch(&self.scan, self.newest_first, &mut self.unreadable)?;
            if batch.is_some() {
                return Ok(batch);
            }
            self.scan.check_deadline()?;
            let fetched = match self.newest_first {
                true => self.reader.last_group()?,
                false => self.reader.next_group()?,
            };
            let Some(fetched) = fetched else { return Ok(None) };
            self.piece = self.piece_of(fetched)?;
        }
    }

    fn piece_of(&self, fetched: Fetched) -> Result<Piece, ReadError> {
        let known = self.reader.known(&fetched);
        let Fetched { file, group, part, skip, .. } = fetched;
        let key = file.key;
        if known.is_none() && skip == 0 {
            let scanned = file.footer.scan(group, &part, &self.scan);
            if let Some(batches) = scanned.map_err(|error| about(&key, error))? {
                let batches = batches.map(move |batch| batch.map_err(|error| about(&key, error)));
                return Ok(Piece::Batches(Box::new(batches)));
            }
        }
        let rows = file.footer.decode(group, part, skip).map_err(|error| about(&key, error))?;
        let rows = rows.filter(move |row| {
            let seen = row.as_ref().ok().zip(known.as_ref());
            seen.is_none_or(|(row, seen)| !seen.has(row))
        });
        Ok(Piece::Rows(Box::new(rows.map(move |row| row.map_err(|error| about(&key, error))))))
    }
}

impl RawScan for DeltaScan {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        self.next().map_err(|error| error.of(&self.identity))
    }

    fn is_newest_first(&self) -> bool {
        self.newest_first
    }

    fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn position(&mut self) -> Option<Position> {
        self.reader.seen().map(|seen| Position::new(Arc::new(seen.clone())))
    }
}
