//! The rows of one CSV file: its columns, whoever wrote its header, and where its rows end.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::ops::Range;

use serde_json::{Map, Value};

use super::cell::{
    COLUMNS, EVENT_ID, JOURNAL, METADATA, SEQ, TIMESTAMP, column, column_name, inert,
    needs_apostrophe, uninert, write_number,
};
use crate::adapter::AdapterError;
use crate::adapter::disk::read_at;
use crate::adapter::file::{Format, Identity};
use crate::adapter::tail::{Lines, Walked, lines, walk_lines};
use crate::batch::Row;
use crate::clock::Timestamp;
use crate::id::{JournalId, Seq};
use crate::json;
use crate::parse::find_missing;

#[derive(Clone, Debug)]
pub(in crate::adapter) struct Csv {
    opener: Vec<u8>,
    /// The file's header, as it stands there.
    header: Vec<u8>,
    /// What each of the file's columns holds; `None` is a column of somebody else's.
    columns: Vec<Option<usize>>,
    /// The fields that have no column.
    rest: Vec<usize>,
    cell: Vec<u8>,
}

impl Default for Csv {
    fn default() -> Self {
        let names: Vec<&str> = (0..COLUMNS).map(column_name).collect();
        let opener = format!("{}\n", names.join(",")).into_bytes();
        Self {
            header: opener.clone(),
            opener,
            columns: (0..COLUMNS).map(Some).collect(),
            rest: Vec::new(),
            cell: Vec::new(),
        }
    }
}

impl Csv {
    /// A field of a row of the file; one that has no column is in the metadata.
    fn field<'r>(&self, record: &'r ::csv::StringRecord, field: usize) -> Option<Cow<'r, str>> {
        let cell = |wanted: usize| {
            let at = self.columns.iter().position(|column| *column == Some(wanted))?;
            record.get(at)
        };
        if !self.rest.contains(&field) {
            return cell(field).map(Cow::Borrowed);
        }
        let metadata: Map<String, Value> = serde_json::from_str(cell(METADATA)?).ok()?;
        match find_missing(&metadata, column_name(field))? {
            Value::String(text) => Some(Cow::Owned(text.clone())),
            other => Some(Cow::Owned(other.to_string())),
        }
    }

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
        let header_bytes = usize::try_from(reader.position().byte()).unwrap_or(0);
        self.header = vec![0; header_bytes];
        let read = read_at(reader.get_ref().get_ref(), 0, &mut self.header)
            .map_err(|error| AdapterError::io("read the dataset's header", error))?;
        self.header.truncate(read);
        self.columns = columns;
        self.rest = rest;
        Ok(())
    }

    /// A torn last line is completed, and so is a quoted cell in it.
    fn adopt(&self, file: &File, len: u64) -> Result<(u64, &'static [u8]), AdapterError> {
        let (_, rest) = lines::<Cells>(file, 0..len, |_| ())
            .map_err(|error| AdapterError::io("read the dataset", error))?;
        let mend: &[u8] = match rest {
            Some(rest) if rest.is_empty() => b"",
            Some(rest) if Cells::of(&rest).place == Cell::Quoted => b"\"\n",
            _ => b"\n",
        };
        Ok((len, mend))
    }

    fn walk(
        &self,
        file: &File,
        stretch: Range<u64>,
        _before: Option<u8>,
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Walked> {
        // A torn row of ours may look whole without its newline: `12` may be the begin of `123`.
        let is_whole = |rest: &[u8]| {
            let cells = Cells::of(rest);
            cells.place != Cell::Quoted
                && cells.commas + 1 == self.columns.len()
                && record(rest).is_some_and(|record| {
                    self.field(&record, JOURNAL).is_none_or(|journal| journal.is_empty())
                })
        };
        let mut header = stretch.start == 0;
        walk_lines::<Cells>(file, stretch, is_whole, &mut |row| {
            if !std::mem::take(&mut header) {
                each(row);
            }
        })
    }

    fn is_row(&self, row: &[u8]) -> bool {
        record(row).is_some()
    }

    fn id(&self, row: &[u8]) -> Option<(JournalId, Seq)> {
        let record = record(row)?;
        let journal = self.field(&record, JOURNAL)?.parse().ok()?;
        Some((journal, Seq(self.field(&record, SEQ)?.parse().ok()?)))
    }

    fn identity(&self, row: &[u8]) -> Option<Identity> {
        let record = record(row)?;
        let event_id = self.field(&record, EVENT_ID)?;
        let event_id = match self.rest.contains(&EVENT_ID) {
            true => event_id.into_owned(),
            false => uninert(&event_id)?.to_owned(),
        };
        let timestamp = self.field(&record, TIMESTAMP)?;
        let timestamp = timestamp.strip_prefix('\'').unwrap_or(&timestamp).parse().ok()?;
        Some(Identity { event_id, timestamp })
    }

    /// A line's end may stand in a cell.
    fn is_begin(&self, bytes: &[u8]) -> bool {
        let is_whole = |record: &::csv::StringRecord| record.len() == self.columns.len();
        record(bytes).is_some_and(|record| is_whole(&record)) && self.id(bytes).is_some()
    }

    fn may_follow(&self, before: u8) -> bool {
        before == b'\n'
    }

    fn is_filler(&self, byte: u8) -> bool {
        matches!(byte, b'\r' | b'\n')
    }

    fn began_here(&self, torn: &[u8]) -> bool {
        let Some(torn) = record(torn) else { return false };
        let timestamp = self.columns.iter().position(|column| *column == Some(1));
        match timestamp.filter(|at| torn.len() > at + 1).and_then(|at| torn.get(at)) {
            Some(timestamp) => timestamp.parse::<Timestamp>().is_ok(),
            None => true,
        }
    }

    fn restarted(&self, appended: &[u8]) -> Option<Vec<u8>> {
        let headless = !appended.is_empty() && !appended.starts_with(&self.header);
        headless.then(|| [&self.header[..], appended].concat())
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

/// Where a reader of CSV stands in a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cell {
    #[default]
    Start,
    Plain,
    Quoted,
    /// Behind a quote in a quoted cell: its end, or the first of two that stand for one.
    Quote,
}

/// The cells of a record: a newline in a quoted one does not end it.
#[derive(Debug, Default)]
struct Cells {
    place: Cell,
    commas: usize,
}

impl Cells {
    fn of(record: &[u8]) -> Self {
        let mut cells = Self::default();
        cells.ends(record);
        cells
    }
}

impl Lines for Cells {
    fn ends(&mut self, piece: &[u8]) -> bool {
        for byte in piece {
            self.place = match (self.place, byte) {
                (Cell::Start | Cell::Quote, b'"') => Cell::Quoted,
                (Cell::Quoted, b'"') => Cell::Quote,
                (Cell::Quoted, _) => Cell::Quoted,
                (_, b',') => {
                    self.commas += 1;
                    Cell::Start
                }
                (_, b'\n' | b'\r') => Cell::Start,
                _ => Cell::Plain,
            };
        }
        self.place == Cell::Start && piece.ends_with(b"\n")
    }
}

/// The cells of one row.
fn record(row: &[u8]) -> Option<::csv::StringRecord> {
    let reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(row);
    reader.into_records().next()?.ok()
}
