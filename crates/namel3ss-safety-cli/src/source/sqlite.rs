//! A dataset in a SQLite table, read without writing anything to it.

use std::path::{Path, PathBuf};

use namel3ss_safety::ReadError;
use namel3ss_safety_stores::Table;
use namel3ss_safety_stores::sqlite::{Filter, read, read_immutable};

use super::{Each, Source};
use crate::error::Error;
use crate::record::Record;

/// A table, and the last row of it that was read.
pub(crate) struct Rows {
    path: PathBuf,
    table: Table,
    immutable: bool,
    last: Option<i64>,
    newest: Option<u32>,
}

impl Rows {
    pub(crate) fn new(path: &Path, table: &Table, immutable: bool) -> Self {
        Self { path: path.to_owned(), table: table.clone(), immutable, last: None, newest: None }
    }
}

impl Source for Rows {
    fn poll(&mut self, each: Each<'_>) -> Result<u64, Error> {
        let newest = self.newest.take();
        let filter = Filter { after_rowid: self.last, newest, ..Filter::default() };
        let rows = if self.immutable {
            read_immutable(&self.path, &self.table, filter)
        } else {
            read(&self.path, &self.table, filter)
        };
        let rows = rows.map_err(|e| failed(&self.path, &e))?;
        let mut unreadable = 0;
        for row in rows {
            match row {
                Ok(row) => {
                    self.last = Some(row.rowid);
                    each(Record { event: row.row.event, place: row.row.id })?;
                }
                Err(ReadError::Row { number, .. }) => {
                    // The number is the row's own, so that it is not met again.
                    self.last = i64::try_from(number).ok().max(self.last);
                    unreadable += 1;
                }
                Err(error) => return Err(failed(&self.path, &error)),
            }
        }
        Ok(unreadable)
    }

    fn only_newest(&mut self, rows: u32) {
        // One at least: it says where to go on.
        self.newest = Some(rows.max(1));
    }
}

/// The file's name belongs to the error, and what else to say when only the table is missing.
pub(crate) fn failed(path: &Path, error: &ReadError) -> Error {
    let text = format!("read {}: {error}", path.display());
    if text.contains("no table") {
        Error::not_there(format!("{text}; name one as sqlite:///PATH?table=NAME"))
    } else {
        // SQLite says of both that it is "unable to open the database file".
        match std::fs::File::open(path) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Error::not_there(format!(
                "read {}: nothing has been delivered there yet",
                path.display()
            )),
            Err(why) => Error::failed(format!("read {}: {why}", path.display())),
            Ok(_) => Error::failed(text),
        }
    }
}
