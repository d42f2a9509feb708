//! A dataset by its reader of `namel3ss_safety_stores::read`.

use std::time::Duration;

use namel3ss_safety::Timestamp;
use namel3ss_safety_stores::read::{DatasetReader, Filter, Scan, ScanError, rows};

use super::{Each, Source};
use crate::error::Error;
use crate::record::Record;

pub(crate) struct Scanned {
    reader: Box<dyn DatasetReader>,
    /// What the next scan asks for.
    scan: Scan,
    lacks: Option<String>,
}

impl Scanned {
    pub(crate) fn new(reader: Box<dyn DatasetReader>) -> Self {
        Self { reader, scan: Scan::default(), lacks: None }
    }
}

impl From<ScanError> for Error {
    fn from(error: ScanError) -> Self {
        let text = error.to_string();
        match error {
            ScanError::Invalid(_) => Self::usage(text),
            ScanError::NotThere(_) => Self::not_there(text),
            ScanError::Config(_) => Self::config(text),
            _ => Self::failed(text),
        }
    }
}

impl Source for Scanned {
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error> {
        let mut batches = self.reader.scan(self.scan.clone())?;
        // A first look may be at the newest rows only; what comes is wanted as it comes.
        let newest = std::mem::take(&mut self.scan.newest_first);
        self.scan.limit = None;
        let mut newest_rows = Vec::new();
        for batch in batches.by_ref() {
            let batch = batch?;
            if newest {
                newest_rows.push(batch);
                continue;
            }
            for row in rows(&batch) {
                each(Record { event: row.event, place: row.id })?;
            }
        }
        for batch in newest_rows.iter().rev() {
            let rows: Vec<_> = rows(batch).collect();
            for row in rows.into_iter().rev() {
                each(Record { event: row.event, place: row.id })?;
            }
        }
        self.lacks = batches.lacks();
        self.scan.after = batches.position().or(self.scan.after.take());
        Ok(batches.unreadable())
    }

    fn lacks(&mut self, _each: Each<'_>) -> Result<Option<String>, Error> {
        Ok(self.lacks.take())
    }

    fn only_newest(&mut self, rows: u32) {
        self.scan.newest_first = true;
        self.scan.limit = usize::try_from(rows).ok();
    }

    fn only_since(&mut self, moment: Timestamp) {
        self.scan.from = Some(moment);
    }

    fn only_matching(&mut self, filter: &Filter) -> bool {
        self.scan.filter = filter.clone();
        true
    }

    fn pause(&self) -> Duration {
        self.reader.poll_interval()
    }
}
