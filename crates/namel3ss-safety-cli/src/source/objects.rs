//! A dataset of objects or a Delta Lake table, in a store or a folder, read without writing anything
//! to it.
//!
//! **Limit:** following objects shows those of yesterday and later only; a table's are all shown.

use std::path::PathBuf;
use std::time::Duration;

use namel3ss_safety::{AdapterError, Failure, Timestamp};
use namel3ss_safety::{ReadError, ReadRow};
#[cfg(feature = "delta")]
use namel3ss_safety_stores::objects::delta;
use namel3ss_safety_stores::objects::{Place, Reader};

use super::{Each, Source};
use crate::error::Error;
use crate::record::Record;

/// How often a folder is listed.
const FOLDER_EVERY: Duration = Duration::from_secs(1);
/// How often a store is: each listing is a request that somebody pays for.
const STORE_EVERY: Duration = Duration::from_secs(5);

/// What the readers of both have in common.
pub(crate) trait Reading: Iterator<Item = Result<ReadRow, ReadError>> + Sized {
    type Place: Clone;

    fn open(place: &Self::Place) -> Result<Self, AdapterError>;

    fn only_since(&mut self, moment: Timestamp);

    /// Finds what there is to read; the last `newest` rows of it will do.
    fn look_for(&mut self, newest: Option<u64>) -> Result<(), AdapterError>;

    /// Why there is nothing to read, where that is for a reason.
    fn missing(&self) -> Option<&'static str>;
}

impl Reading for Reader {
    type Place = Place;

    fn open(place: &Place) -> Result<Self, AdapterError> {
        Self::open(place.clone())
    }

    fn only_since(&mut self, moment: Timestamp) {
        self.only_since(moment);
    }

    fn look_for(&mut self, newest: Option<u64>) -> Result<(), AdapterError> {
        match newest {
            Some(rows) => self.look_at_newest(rows),
            None => self.look(),
        }
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }
}

#[cfg(feature = "delta")]
impl Reading for delta::Reader {
    type Place = delta::DeltaPlace;

    fn open(place: &Self::Place) -> Result<Self, AdapterError> {
        Self::open(place)
    }

    fn only_since(&mut self, moment: Timestamp) {
        self.only_since(moment);
    }

    fn look_for(&mut self, newest: Option<u64>) -> Result<(), AdapterError> {
        match newest {
            Some(rows) => self.look_at_newest(rows),
            None => self.look(),
        }
    }

    fn missing(&self) -> Option<&'static str> {
        self.version().is_none().then_some("there is no table; it is made at the first delivery")
    }
}

/// A dataset, and what of it was read.
pub(crate) struct Objects<R: Reading> {
    place: R::Place,
    shown: String,
    folder: Option<PathBuf>,
    reader: Option<R>,
    newest: Option<u32>,
    since: Option<Timestamp>,
}

impl Objects<Reader> {
    pub(crate) fn new(place: &Place) -> Self {
        Self::of(place, place.identity(), place.folder())
    }
}

#[cfg(feature = "delta")]
impl Objects<delta::Reader> {
    pub(crate) fn table(place: &delta::DeltaPlace) -> Self {
        Self::of(place, place.identity(), place.folder())
    }
}

impl<R: Reading> Objects<R> {
    fn of(place: &R::Place, shown: String, folder: Option<PathBuf>) -> Self {
        Self { place: place.clone(), shown, folder, reader: None, newest: None, since: None }
    }

    fn failed(&self, error: &impl std::fmt::Display) -> String {
        format!("read {}: {error}", self.shown)
    }

    fn refused(&self, error: &AdapterError) -> Error {
        let text = self.failed(error);
        match error.failure() {
            Failure::Config => Error::config(text),
            _ => Error::failed(text),
        }
    }

    /// Finds what there is to read.
    fn look(&mut self) -> Result<&mut R, AdapterError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(R::open(&self.place)?),
        };
        if let Some(since) = self.since.take() {
            reader.only_since(since);
        }
        reader.look_for(self.newest.take().map(u64::from))?;
        Ok(reader)
    }
}

impl<R: Reading> Source for Objects<R> {
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error> {
        if self.folder.as_ref().is_some_and(|folder| !folder.try_exists().unwrap_or(true)) {
            return Err(Error::not_there(self.failed(&"there is no such folder")));
        }
        let (mut unreadable, mut reading) = (0, None);
        match self.look() {
            Ok(reader) => {
                if let Some(missing) = reader.missing() {
                    return Err(Error::not_there(self.failed(&missing)));
                }
                for row in reader {
                    match row {
                        Ok(row) => each(Record { event: row.event, place: row.id })?,
                        Err(ReadError::Row { .. }) => unreadable += 1,
                        Err(error) => {
                            reading = Some(error);
                            break;
                        }
                    }
                }
            }
            Err(error) => return Err(self.refused(&error)),
        }
        match reading {
            Some(error) => Err(Error::failed(self.failed(&error))),
            None => Ok(unreadable),
        }
    }

    fn only_newest(&mut self, rows: u32) {
        self.newest = Some(rows);
    }

    fn only_since(&mut self, moment: Timestamp) {
        self.since = Some(moment);
    }

    fn pause(&self) -> Duration {
        match &self.folder {
            Some(_) => FOLDER_EVERY,
            None => STORE_EVERY,
        }
    }
}
