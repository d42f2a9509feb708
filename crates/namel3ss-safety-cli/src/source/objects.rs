//! A dataset of objects, in a store or a folder, read without writing anything to it.
//!
//! **Limit:** following shows objects of yesterday and later only.

use std::time::Duration;

use namel3ss_safety::adapter::ReadError;
use namel3ss_safety::{AdapterError, Failure, Timestamp};
use namel3ss_safety_stores::objects::{Place, Reader};

use super::{Each, Source};
use crate::error::Error;
use crate::record::Record;

/// How often a folder is listed.
const FOLDER_EVERY: Duration = Duration::from_secs(1);
/// How often a store is: each listing is a request that somebody pays for.
const STORE_EVERY: Duration = Duration::from_secs(5);

/// A dataset, and what of it was read.
pub(crate) struct Objects {
    place: Place,
    reader: Option<Reader>,
    newest: Option<u32>,
    since: Option<Timestamp>,
}

impl Objects {
    pub(crate) fn new(place: &Place) -> Self {
        Self { place: place.clone(), reader: None, newest: None, since: None }
    }

    fn failed(&self, error: &impl std::fmt::Display) -> String {
        format!("read {}: {error}", self.place.identity())
    }

    fn refused(&self, error: &AdapterError) -> Error {
        let text = self.failed(error);
        match error.failure() {
            Failure::Config => Error::config(text),
            _ => Error::failed(text),
        }
    }

    /// Finds what there is to read.
    fn look(&mut self) -> Result<&mut Reader, AdapterError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(Reader::open(self.place.clone())?),
        };
        match (self.newest.take(), self.since.take()) {
            (Some(rows), _) => reader.look_at_newest(rows.into())?,
            (None, since) => {
                if let Some(since) = since {
                    reader.only_since(since);
                }
                reader.look()?;
            }
        }
        Ok(reader)
    }
}

impl Source for Objects {
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error> {
        if self.place.folder().is_some_and(|folder| !folder.exists()) {
            return Err(Error::failed(self.failed(&"there is no such folder")));
        }
        let (mut unreadable, mut reading) = (0, None);
        match self.look() {
            Ok(reader) => {
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
        match self.place.folder() {
            Some(_) => FOLDER_EVERY,
            None => STORE_EVERY,
        }
    }
}
