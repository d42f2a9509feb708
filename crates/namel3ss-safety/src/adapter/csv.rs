//! Rows as CSV ([RFC 4180](https://www.rfc-editor.org/rfc/rfc4180), by the `csv` crate): the 17
//! fields, `journal_id`, `seq`; `categories` and `metadata` as JSON text. [`read`] reads them back.
//!
//! A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a CR, and CSV can't tell
//! an empty text from none. So in columns of text, a cell which is nothing but apostrophes (or
//! none), or apostrophes (or none) before one of those characters, is written with one more
//! apostrophe in front, and read back without it. No text at all is the empty cell. Every other
//! text stands as it is: `it's`, `'quoted'`. Columns of numbers are never touched.
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

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use serde_json::{Map, Value};

use super::disk::read_at;
use super::file::{EXACTLY_ONCE, FileDataset, Format};
use super::{AdapterError, DatasetAdapter, Delivery, ReadError, ReadRow};
use crate::batch::{Batch, Row};
use crate::event::FIELDS;
use crate::json;

/// All columns, in their order.
const COLUMNS: usize = FIELDS.len() + 2;
const METADATA: usize = 16;
const JOURNAL: usize = 17;
const SEQ: usize = 18;

fn column(name: &str) -> Option<usize> {
    match name {
        "journal_id" => Some(JOURNAL),
        "seq" => Some(SEQ),
        _ => FIELDS.iter().position(|field| *field == name),
    }
}

fn column_name(column: usize) -> &'static str {
    match column {
        JOURNAL => "journal_id",
        SEQ => "seq",
        field => FIELDS[field],
    }
}

/// Confidence, latency and seq.
fn is_number(column: usize) -> bool {
    matches!(column, 14 | 15 | SEQ)
}

/// A dataset in one CSV file. See [`crate::adapter::file_datasets`] for what it guarantees.
#[derive(Debug)]
pub struct CsvAdapter {
    file: FileDataset<Csv>,
}

impl CsvAdapter {
    /// A dataset at `path`, whatever its extension; nothing is opened before the first insert.
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
}

impl DatasetAdapter for CsvAdapter {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        self.file.insert(batch)
    }

    fn identity(&self) -> String {
        self.file.identity()
    }

    fn delivery(&self) -> Delivery {
        EXACTLY_ONCE
    }
}

#[derive(Clone, Debug)]
struct Csv {
    opener: Vec<u8>,
    /// What each of the file's columns holds; `None` is a column of somebody else's.
    columns: Vec<Option<usize>>,
    /// The fields that have no column.
    rest: Vec<usize>,
    cell: Vec<u8>,
}

impl Default for Csv {
    fn default() -> Self {
        let names: Vec<&str> = (0..COLUMNS).map(column_name).collect();
        Self {
            opener: format!("{}\n", names.join(",")).into_bytes(),
            columns: (0..COLUMNS).map(Some).collect(),
            rest: Vec::new(),
            cell: Vec::new(),
        }
    }
}

impl Csv {
    /// The rest of a row, into its metadata.
    fn metadata(&self, row: &Row<'_>) -> Map<String, Value> {
        let mut metadata = row.event.metadata().to_map();
        let mut whole = Vec::new();
        row.write_json(&mut whole);
        // What write_json wrote is an object.
        if let Ok(Value::Object(mut fields)) = serde_json::from_slice(&whole) {
            for &missing in &self.rest {
                let name = column_name(missing);
                if let Some(value) = fields.remove(name).filter(|value| !value.is_null()) {
                    let taken = metadata.contains_key(name);
                    let name = if taken { format!("row.{name}") } else { name.to_owned() };
                    metadata.insert(name, value);
                }
            }
        }
        metadata
    }

    fn cell(&mut self, row: &Row<'_>, column: usize) {
        let event = &row.event;
        self.cell.clear();
        let out = &mut self.cell;
        match column {
            0 => inert(event.event_id, out),
            1 => {
                json::write_timestamp(event.timestamp, out);
                if needs_apostrophe(out) {
                    out.insert(0, b'\'');
                }
            }
            2..=9 => {
                if let Some(text) = event.texts()[column - 2] {
                    inert(text, out);
                }
            }
            10 => out.extend_from_slice(event.direction.as_str().as_bytes()),
            11 => out.extend_from_slice(event.action.as_str().as_bytes()),
            12 => json::write_texts(event.categories(), out),
            13 => inert(event.severity, out),
            14 => write_number(event.confidence, out),
            15 => write_number(event.latency_ms, out),
            METADATA if self.rest.is_empty() => json::write_object(event.metadata(), out),
            METADATA => {
                let metadata = Value::Object(self.metadata(row)).to_string();
                self.cell.extend_from_slice(metadata.as_bytes());
            }
            JOURNAL => json::write_journal(row.journal, out),
            _ => json::write_unsigned(row.seq.0, out),
        }
    }
}

impl Format for Csv {
    fn opener(&self) -> &[u8] {
        &self.opener
    }

    fn learn(&mut self, file: Option<&File>) -> Result<(), AdapterError> {
        let Some(mut file) = file else {
            *self = Self::default();
            return Ok(());
        };
        file.seek(SeekFrom::Start(0))
            .map_err(|error| AdapterError::io("read the dataset's header", error))?;
        let mut reader = ::csv::Reader::from_reader(BufReader::new(file));
        let header = reader
            .headers()
            .map_err(|error| AdapterError::config(format!("read the dataset's header: {error}")))?;
        let mut columns: Vec<Option<usize>> = Vec::new();
        for name in header {
            // Of two columns of one name the first is filled.
            columns.push(column(name.trim()).filter(|found| !columns.contains(&Some(*found))));
        }
        let rest: Vec<usize> = (0..COLUMNS).filter(|c| !columns.contains(&Some(*c))).collect();
        if rest.contains(&METADATA) {
            let missing: Vec<&str> = rest.iter().map(|c| column_name(*c)).collect();
            return Err(AdapterError::config(format!(
                "append to the dataset: its header lacks {}; add these columns, or a metadata column to hold what has none",
                missing.join(", ")
            )));
        }
        self.columns = columns;
        self.rest = rest;
        Ok(())
    }

    /// A torn last line is completed, and so is a quoted cell in it.
    fn adopt(&self, file: &File, len: u64) -> Result<(u64, &'static [u8]), AdapterError> {
        let mut chunk = vec![0; 256 << 10];
        let (mut at, mut quotes, mut last) = (0, 0, b'\n');
        loop {
            let read = read_at(file, at, &mut chunk)
                .map_err(|error| AdapterError::io("read the dataset", error))?;
            if read == 0 {
                break;
            }
            quotes += chunk[..read].iter().filter(|byte| **byte == b'"').count();
            last = chunk[read - 1];
            at += read as u64;
        }
        let mend: &[u8] = match (quotes % 2, last) {
            (0, b'\n') => b"",
            (0, _) => b"\n",
            _ => b"\"\n",
        };
        Ok((len, mend))
    }

    fn rows<'a>(
        &mut self,
        rows: impl Iterator<Item = Row<'a>>,
        _before: Option<u8>,
        out: &mut Vec<u8>,
    ) {
        let columns = std::mem::take(&mut self.columns);
        // Writing to a Vec can't fail, and the count of cells is the same in every row.
        let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(out);
        for row in rows {
            for column in &columns {
                self.cell.clear();
                if let Some(column) = column {
                    self.cell(&row, *column);
                }
                let _ = writer.write_field(&self.cell);
            }
            let _ = writer.write_record(None::<&[u8]>);
        }
        let _ = writer.flush();
        drop(writer);
        self.columns = columns;
        self.cell.shrink_to(1 << 20);
    }
}

/// Appends the header and then `rows`, as a new CSV file holds them; [`Reader`] reads them back.
pub fn write<'a>(rows: impl Iterator<Item = Row<'a>>, out: &mut Vec<u8>) {
    let mut csv = Csv::default();
    out.extend_from_slice(&csv.opener);
    csv.rows(rows, None, out);
}

/// Whether a cell that began so would be run, or be taken for none or for one of ours.
fn needs_apostrophe(text: &[u8]) -> bool {
    let rest = text.iter().position(|byte| *byte != b'\'').map_or(&b""[..], |at| &text[at..]);
    matches!(rest.first(), None | Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r'))
}

fn inert(text: &str, out: &mut Vec<u8>) {
    if needs_apostrophe(text.as_bytes()) {
        out.push(b'\'');
    }
    out.extend_from_slice(text.as_bytes());
}

/// The text of a cell; `None` for the empty one.
fn uninert(cell: &str) -> Option<&str> {
    match cell.strip_prefix('\'') {
        Some(rest) if needs_apostrophe(rest.as_bytes()) => Some(rest),
        _ if cell.is_empty() => None,
        _ => Some(cell),
    }
}

fn write_number(n: f64, out: &mut Vec<u8>) {
    if n.is_finite() {
        json::write_float(n, out);
    } else {
        out.extend_from_slice(json::non_finite(n).as_bytes());
    }
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
/// CsvAdapter::new(&path).unwrap().insert(&rows.batch()).unwrap();
/// assert!(std::fs::read_to_string(&path).unwrap().contains(",'=HYPERLINK(1),"));
/// let row = namel3ss_safety::adapter::csv::read(&path).unwrap().next().unwrap().unwrap();
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_inert() {
        for text in ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "'=1", "''=1", "", "'", "''"] {
            let mut cell = Vec::new();
            inert(text, &mut cell);
            assert_eq!(cell, format!("'{text}").as_bytes());
            assert_eq!(uninert(std::str::from_utf8(&cell).unwrap()), Some(text));
        }
        for text in ["it's", "'quoted'", "1-1", " =1", "'a="] {
            let mut cell = Vec::new();
            inert(text, &mut cell);
            assert_eq!(cell, text.as_bytes());
            assert_eq!(uninert(text), Some(text));
        }
        assert_eq!(uninert(""), None);
    }

    proptest! {
        #[test]
        fn every_text_reads_back(text in "['=+@\t\ra-]{0,6}") {
            let mut cell = Vec::new();
            inert(&text, &mut cell);
            let cell = String::from_utf8(cell).unwrap();
            prop_assert_eq!(uninert(&cell), Some(text.as_str()));
            prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
        }
    }
}
