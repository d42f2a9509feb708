//! Rows as CSV ([RFC 4180](https://www.rfc-editor.org/rfc/rfc4180), by the `csv` crate): the 17
//! fields, `journal_id`, `seq`; `categories` and `metadata` as JSON text. [`read`] reads them back.
//!
//! A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, their full-width forms `＝`, `＋`,
//! `－`, `＠`, a tab, a CR or an LF, and CSV can't tell an empty text from none. So in columns of
//! text, a cell which is nothing but apostrophes (or none), or apostrophes (or none) before one of
//! those characters, is written with one more apostrophe in front, and read back without it. No text
//! at all is the empty cell. Every other text stands as it is: `it's`, `'quoted'`. Columns of numbers
//! are never touched.
//!
//! | text | cell | | text | cell |
//! | --- | --- | --- | --- | --- |
//! | none | | | `=1+1` | `'=1+1` |
//! | empty | `'` | | `'=1+1` | `''=1+1` |
//! | `'` | `''` | | `'quoted'` | `'quoted'` |
//!
//! A file that stands there with another header keeps it: its columns of our names are filled, all
//! else goes to its `metadata` column under the fields' names (`row.` before one that the metadata
//! has already); without such a column it is refused.

mod cell;
mod file;

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

pub use self::cell::uninert;

use self::cell::{SEQ, column, is_number};
use self::file::Csv;
use super::dataset::{DatasetAdapter, Delivery};
use super::error::AdapterError;
use super::file::{EXACTLY_ONCE, FileDataset, Format as _};
use super::read::{ReadError, ReadRow};
use crate::batch::{Batch, Row};
use crate::notice::Notice;

/// A dataset in one CSV file. It guarantees what [`JsonAdapter`](crate::JsonAdapter) does.
#[derive(Debug)]
pub struct CsvAdapter {
    pub(in crate::adapter) file: FileDataset<Csv>,
}

impl CsvAdapter {
    /// A dataset at `path`, whatever its extension; nothing is opened, and a missing folder not made, before
    /// [`prepare`](DatasetAdapter::prepare) or the first insert.
    ///
    /// # Errors
    /// For a path that names no file.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, AdapterError> {
        Ok(Self { file: FileDataset::new(path.as_ref(), Csv::default())? })
    }

    /// The file, with its folder's real name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads the file's rows back, one in memory at a time, also those that other programs wrote.
    ///
    /// # Errors
    /// If the file can't be opened; an item says what is wrong with its row.
    pub fn rows(
        &self,
    ) -> Result<impl Iterator<Item = Result<ReadRow, ReadError>> + use<>, ReadError> {
        read(self.path())
    }
}

impl DatasetAdapter for CsvAdapter {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        self.file.insert(batch)
    }

    fn prepare(&self) -> Result<(), AdapterError> {
        self.file.prepare()
    }

    fn identity(&self) -> String {
        self.file.identity()
    }

    fn delivery(&self) -> Delivery {
        EXACTLY_ONCE
    }

    fn notices(&self) -> Vec<Notice> {
        self.file.notices()
    }
}

/// Appends the header and then `rows`, as a new CSV file holds them; [`Reader`] reads them back.
pub fn write<'a>(rows: impl Iterator<Item = Row<'a>>, out: &mut Vec<u8>) {
    let mut csv = Csv::default();
    out.extend_from_slice(csv.opener());
    csv.rows(rows, None, out);
}

/// Streams the rows of a CSV file back, one in memory at a time. A column that is none of ours
/// goes to the event's metadata; a file without our columns gives events of defaults.
///
/// # Errors
/// If the file can't be opened or has no header; the iterator's items say what is wrong with a row.
///
/// ```
/// use namel3ss_safety::{CsvAdapter, DatasetAdapter, JournalId, RowBuffer, SafetyEvent, Seq};
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("safety.csv");
/// let mut rows = RowBuffer::new(JournalId::generate());
/// let event = SafetyEvent { reason: Some("=HYPERLINK(1)".into()), ..SafetyEvent::default() };
/// rows.push_event(Seq(1), &event);
/// let adapter = CsvAdapter::new(&path).unwrap();
/// adapter.insert(&rows.batch()).unwrap();
/// assert!(std::fs::read_to_string(&path).unwrap().contains(",'=HYPERLINK(1),"));
/// let row = adapter.rows().unwrap().next().unwrap().unwrap();
/// assert_eq!(row.event, event);
/// ```
pub fn read(path: impl AsRef<Path>) -> Result<Reader<File>, ReadError> {
    Reader::new(File::open(path)?)
}

/// Rows from CSV text. See [`read`].
pub struct Reader<R> {
    records: ::csv::StringRecordsIntoIter<R>,
    header: Vec<String>,
    number: u64,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// From any input.
    ///
    /// # Errors
    /// If its first line can't be read.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(input);
        let header = reader.headers().map_err(|error| wrong(0, error))?;
        let header = header.iter().map(|name| name.trim().to_owned()).collect();
        Ok(Self { records: reader.into_records(), header, number: 0 })
    }

    fn row(&self, record: &::csv::StringRecord) -> Result<ReadRow, ReadError> {
        let mut fields = Map::new();
        for (name, cell) in self.header.iter().zip(record) {
            let value = match column(name) {
                Some(SEQ) => cell.parse::<u64>().ok().map(Value::from),
                Some(number) if is_number(number) => {
                    Some(cell).filter(|cell| !cell.is_empty()).map(Value::from)
                }
                _ => uninert(cell).map(Value::from),
            };
            // An empty cell is null, and not a column that is not there.
            fields.entry(name.as_str()).or_insert(value.unwrap_or(Value::Null));
        }
        ReadRow::from_json(Value::Object(fields)).map_err(|error| wrong(self.number, error))
    }
}

fn wrong(number: u64, error: impl Into<Wrong>) -> ReadError {
    match error.into() {
        Wrong::Io(error) => ReadError::Io(error),
        Wrong::Text(wrong) => ReadError::Row { number, wrong: wrong.into_owned() },
    }
}

enum Wrong {
    Io(std::io::Error),
    Text(Cow<'static, str>),
}

impl From<::csv::Error> for Wrong {
    fn from(error: ::csv::Error) -> Self {
        let text = error.to_string();
        match error.into_kind() {
            ::csv::ErrorKind::Io(error) => Self::Io(error),
            _ => Self::Text(text.into()),
        }
    }
}

impl From<crate::event::NotAnObject> for Wrong {
    fn from(error: crate::event::NotAnObject) -> Self {
        Self::Text(error.to_string().into())
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<ReadRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        self.number += 1;
        Some(match record {
            Ok(record) => self.row(&record),
            Err(error) => Err(wrong(self.number, error)),
        })
    }
}
