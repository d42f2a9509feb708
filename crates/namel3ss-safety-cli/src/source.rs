//! Datasets and journals as something to read: from the beginning, and on from where one was.

use std::time::Duration;

use namel3ss_safety::Timestamp;
use namel3ss_safety::internal::home::home;
use namel3ss_safety_stores::Target;
use namel3ss_safety_stores::read::journals::JournalsReader;
use namel3ss_safety_stores::read::{DatasetReader, Filter, Scan, ScanError, open_target, rows};

use crate::error::Error;
use crate::journals;
use crate::place::Place;
use crate::record::Record;

/// Something that events can be read from.
pub(crate) struct Source {
    reader: Box<dyn DatasetReader>,
    /// What the next scan asks for.
    scan: Scan,
    lacks: Option<String>,
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

impl Source {
    fn new(reader: Box<dyn DatasetReader>) -> Self {
        Self { reader, scan: Scan::default(), lacks: None }
    }

    /// Gives every record that it has not given yet, in the order in which they were stored; returns how
    /// many rows could not be read.
    pub(crate) fn poll(
        &mut self,
        each: &mut dyn FnMut(Record) -> Result<(), Error>,
    ) -> Result<u64, Error> {
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

    /// After the last poll: what the dataset lacks at its end, though nobody is writing to it.
    pub(crate) fn lacks(&mut self) -> Option<String> {
        self.lacks.take()
    }

    /// The first poll gives no more than the last so many of those that are wanted.
    pub(crate) fn only_newest(&mut self, rows: u32) {
        self.scan.newest_first = true;
        self.scan.limit = usize::try_from(rows).ok();
    }

    /// Only events of this moment or later are wanted.
    pub(crate) fn only_since(&mut self, moment: Timestamp) {
        self.scan.from = Some(moment);
    }

    /// Only events that the filter matches are wanted.
    pub(crate) fn only_matching(&mut self, filter: &Filter) {
        self.scan.filter = filter.clone();
    }

    /// How long to wait between two looks.
    pub(crate) fn pause(&self) -> Duration {
        self.reader.poll_interval()
    }
}

/// Opens a place. Nothing need be there yet: `tail -f` waits for it.
pub(crate) fn open(place: &Place) -> Result<Source, Error> {
    reader(place).map(Source::new)
}

/// The reader of a place.
pub(crate) fn reader(place: &Place) -> Result<Box<dyn DatasetReader>, Error> {
    let target = match place {
        Place::Csv(path) => Target::Csv(path.clone()),
        Place::Json(path) => Target::Json(path.clone()),
        Place::Sqlite { path, table, immutable } => {
            let (path, table) = (path.clone(), table.clone());
            Target::Sqlite { path, table, immutable: *immutable, indexed: true }
        }
        // Which kind it is, it says itself.
        Place::Server(server) => Target::Postgres(server.clone()),
        #[cfg(any(feature = "object", feature = "parquet"))]
        Place::Objects(place) => Target::Objects(place.clone()),
        #[cfg(feature = "delta")]
        Place::Delta(place) => Target::Delta(place.clone()),
        Place::Journals(path) => return Ok(Box::new(JournalsReader::of_folder(path))),
    };
    open_target(&target).map_err(|error| Error::usage(error.to_string()))
}

/// What waits for a destination in the journals of this home, and of the folders that it knows: it is
/// logged, and not in the dataset yet. A journal that can't be read is `doctor`'s to report.
pub(crate) fn waiting_for(identity: &str) -> Source {
    let roots = || journals::folders_of(&home());
    Source::new(Box::new(JournalsReader::waiting_for(identity, roots)))
}
