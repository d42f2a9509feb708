//! Rows as JSON in a file: `.json` is one array, valid after every batch and appended in place;
//! `.jsonl` and `.ndjson` hold a line an event. [`read`] streams either back.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::dataset::{DatasetAdapter, Delivery};
use super::disk::{Section, read_at};
use super::error::AdapterError;
use super::file::{EXACTLY_ONCE, FileDataset, Format, Identity};
use super::read::row_id;
use super::read::{ReadError, ReadRow};
use super::tail::{Plain, ROW_BYTES_MAX, Walked, walk_lines};
use crate::batch::{Batch, Row};
use crate::id::{JournalId, Seq};
use crate::json::{Around, write_rows};
use crate::nearest::nearest;
use crate::notice::Notice;

const EXTENSIONS: [&str; 3] = ["json", "jsonl", "ndjson"];
/// How far before the end of a foreign array its `]` is looked for.
const CLOSER_WITHIN: u64 = 4096;

/// A dataset in one JSON file.
///
/// What every dataset in one file guarantees, whether CSV, a JSON array or JSON lines:
///
/// - A batch is appended wholly or not at all, and once, however often it is sent: a hidden
///   sidecar `.{name}.ledger` beside the file holds the committed length and the delivered seqs.
///   **Limit:** our rows come from this library alone, on a local file system with `flock`.
/// - No whole row is cut off, ours or another program's. Rows behind the committed length, which a
///   crash, an older sidecar or another program leaves there, are read, and ours are entered. The
///   rest of a row is cut off, kept in `.{name}.cut-YYYYMMDD`, and reported by a notice.
/// - `durability="process"`: the rows are with the kernel. `"power"`: rows, sidecar and folder are
///   synced before the insert returns.
/// - A full disk, a read-only one and the like are errors that pass; the file stays valid.
/// - Deleting, moving or replacing the file (a rotation) is noticed at the next batch, which begins
///   a new file; what was delivered into the old one is not delivered again.
/// - Without its sidecar a file is taken as it is: nothing is deleted, a last line without its end is
///   given one, and rows of ours in it are entered.
/// - The 4,096 runs of seqs that were used last are remembered (a journal without holes has one); a
///   replay of an older one is looked up in the file. **Limit:** not in those that stood there before.
/// - A row whose (`journal_id`, `seq`) another event has, by its `event_id` and `timestamp`, is reported
///   as [`IdsTaken`](crate::Failure::IdsTaken): copies of a process number their events alike. **Limit:**
///   rows farther than 64 MiB from the file's end, or in a file that stood there before, count as stored.
/// - A file may have several names: a hard link, or the mount of a file into a container.
/// - A missing folder is made, once, when the dataset is opened. It and new files are their owner's alone; a
///   symbolic link in place of the file is refused.
///
/// ```
/// use namel3ss_safety::{DatasetAdapter, JournalId, JsonAdapter, RowBuffer, SafetyEvent, Seq};
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("safety.jsonl");
/// let adapter = JsonAdapter::new(&path).unwrap();
/// let mut rows = RowBuffer::new(JournalId::generate());
/// let event = SafetyEvent::default();
/// rows.push_event(Seq(1), &event);
/// adapter.insert(&rows.batch()).unwrap();
/// adapter.insert(&rows.batch()).unwrap(); // a retry is stored once
/// let read: Vec<_> = adapter.rows().unwrap().map(Result::unwrap).collect();
/// assert_eq!(read.len(), 1);
/// assert_eq!(read[0].event, event);
/// ```
#[derive(Debug)]
pub struct JsonAdapter {
    pub(in crate::adapter) file: FileDataset<Json>,
}

impl JsonAdapter {
    /// A dataset at `path`; nothing is opened, and a missing folder not made, before
    /// [`prepare`](DatasetAdapter::prepare) or the first insert.
    ///
    /// # Errors
    /// For a path whose extension is none of `.json`, `.jsonl` and `.ndjson`.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, AdapterError> {
        let path = path.as_ref();
        let shape = shape(path)?;
        Ok(Self { file: FileDataset::new(path, Json { shape })? })
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

impl DatasetAdapter for JsonAdapter {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Array,
    Lines,
}

fn shape(path: &Path) -> Result<Shape, AdapterError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    match extension.as_str() {
        "json" => Ok(Shape::Array),
        "jsonl" | "ndjson" => Ok(Shape::Lines),
        other => Err(AdapterError::config(match nearest(other, EXTENSIONS) {
            Some(near) if !other.is_empty() => {
                format!("use {path:?} as a JSON dataset: did you mean the extension .{near}?")
            }
            _ => format!(
                "use {path:?} as a JSON dataset: name it .json (one array), .jsonl or .ndjson (a line an event)"
            ),
        })),
    }
}

#[derive(Clone, Debug)]
pub(in crate::adapter) struct Json {
    shape: Shape,
}

impl Format for Json {
    fn opener(&self) -> &[u8] {
        match self.shape {
            Shape::Array => b"[",
            Shape::Lines => b"",
        }
    }

    fn closer(&self) -> &'static [u8] {
        match self.shape {
            Shape::Array => b"\n]\n",
            Shape::Lines => b"",
        }
    }

    fn adopt(&self, file: &File, len: u64) -> Result<(u64, &'static [u8]), AdapterError> {
        let reading = |error| AdapterError::io("read the dataset's end", error);
        if self.shape == Shape::Lines {
            let mut last = [0];
            read_at(file, len - 1, &mut last).map_err(reading)?;
            return Ok((len, if last == *b"\n" { b"" } else { b"\n" }));
        }
        let from = len.saturating_sub(CLOSER_WITHIN);
        let mut tail = vec![0; usize::try_from(len - from).unwrap_or(0)];
        let read = read_at(file, from, &mut tail).map_err(reading)?;
        let tail = tail[..read].trim_ascii_end();
        let body = tail.strip_suffix(b"]").map(<[u8]>::trim_ascii_end);
        match body {
            Some(body) if !body.is_empty() => Ok((from + body.len() as u64, b"")),
            _ => Err(AdapterError::config(
                "append to the dataset: it is no JSON array that ends with `]`, mend it or move it away",
            )),
        }
    }

    fn walk(
        &self,
        file: &File,
        stretch: Range<u64>,
        before: Option<u8>,
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Walked> {
        match self.shape {
            Shape::Lines => walk_lines::<Plain>(file, stretch, |rest| self.is_row(rest), each),
            Shape::Array => walk_array(file, stretch, before, each),
        }
    }

    fn is_row(&self, row: &[u8]) -> bool {
        matches!(serde_json::from_slice(row), Ok(Value::Object(_)))
    }

    fn id(&self, row: &[u8]) -> Option<(JournalId, Seq)> {
        serde_json::from_slice::<Value>(row).ok()?.as_object().and_then(row_id)
    }

    fn identity(&self, row: &[u8]) -> Option<Identity> {
        let value: Value = serde_json::from_slice(row).ok()?;
        let text = |name: &str| value.get(name)?.as_str();
        let event_id = text("event_id")?.to_owned();
        Some(Identity { event_id, timestamp: text("timestamp")?.parse().ok()? })
    }

    fn is_begin(&self, bytes: &[u8]) -> bool {
        bytes.first() == Some(&b'{')
    }

    fn may_follow(&self, before: u8) -> bool {
        match self.shape {
            Shape::Array => matches!(before, b'[' | b'}'),
            Shape::Lines => before == b'\n',
        }
    }

    fn is_filler(&self, byte: u8) -> bool {
        match self.shape {
            Shape::Array => byte.is_ascii_whitespace() || matches!(byte, b',' | b']'),
            Shape::Lines => byte.is_ascii_whitespace(),
        }
    }

    fn began_here(&self, torn: &[u8]) -> bool {
        const BEGIN: &[u8] = b"{\"event_id\":\"";
        let from = torn.iter().position(|byte| !self.is_filler(*byte)).unwrap_or(torn.len());
        let torn = &torn[from..];
        torn.starts_with(BEGIN) || BEGIN.starts_with(torn)
    }

    fn restarted(&self, appended: &[u8]) -> Option<Vec<u8>> {
        if self.shape == Shape::Lines {
            return None;
        }
        let rows = appended.iter().position(|byte| !self.is_filler(*byte));
        Some(rows.map_or_else(Vec::new, |from| [b"[\n", &appended[from..]].concat()))
    }

    fn rows<'a>(
        &mut self,
        rows: impl Iterator<Item = Row<'a>>,
        before: Option<u8>,
        out: &mut Vec<u8>,
    ) {
        let around = match self.shape {
            Shape::Lines => Around { first: b"", next: b"", after: b"\n" },
            Shape::Array if before == Some(b'[') => {
                Around { first: b"\n", next: b",\n", after: b"" }
            }
            Shape::Array => Around { first: b",\n", next: b",\n", after: b"" },
        };
        write_rows(rows, around, out);
    }
}

/// As [`Format::walk`], for an array.
fn walk_array(
    file: &File,
    stretch: Range<u64>,
    before: Option<u8>,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<Walked> {
    let mut place = match before {
        None => Place::Start,
        Some(b'[') => Place::First,
        Some(_) => Place::AfterRow,
    };
    let mut at = stretch.start;
    let mut walked = Walked { end: at, mend: b"", foreign: false };
    let section = Section { file, at, to: stretch.end };
    let mut input = BufReader::with_capacity(256 << 10, section);
    let mut row = Vec::new();
    while let Some(byte) = input.fill_buf()?.first().copied() {
        if byte == b'{' && matches!(place, Place::First | Place::AfterComma) {
            row.clear();
            if !take_object(&mut input, &mut row)? {
                walked.foreign |= row.len() > ROW_BYTES_MAX;
                break;
            }
            each(&row);
            at += row.len() as u64;
            walked.end = at;
            place = Place::AfterRow;
            continue;
        }
        at += 1;
        input.consume(1);
        place = match (place, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => place,
            (Place::Start, b'[') => Place::First,
            (Place::AfterRow, b',') => Place::AfterComma,
            // Also behind a comma: what a crash left of `,` over the first byte of the end.
            (Place::First | Place::AfterRow | Place::AfterComma, b']') => Place::Closed,
            _ => {
                walked.foreign = true;
                place
            }
        };
    }
    Ok(walked)
}

/// Streams the rows of a JSON file back, an array or lines: one row in memory at a time.
///
/// # Errors
/// If the file can't be opened; the iterator's items say what is wrong with the content, and it
/// ends after the first that breaks the file's structure.
pub fn read(path: impl AsRef<Path>) -> Result<Reader<BufReader<File>>, ReadError> {
    Ok(Reader::new(BufReader::with_capacity(64 << 10, File::open(path)?)))
}

/// Rows from JSON text. See [`read`].
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    row: Vec<u8>,
    number: u64,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Lines,
    /// In the array, before its first row or after a comma or a row.
    First,
    AfterComma,
    AfterRow,
    Closed,
    Failed,
}

impl<R: BufRead> Reader<R> {
    /// From any input.
    pub fn new(input: R) -> Self {
        Self { input, row: Vec::new(), number: 0, place: Place::Start }
    }

    fn row(&mut self) -> Result<Option<ReadRow>, ReadError> {
        while let Some(byte) = self.input.fill_buf()?.first().copied() {
            let next = match (self.place, byte) {
                (_, b' ' | b'\t' | b'\r' | b'\n') => self.place,
                (Place::Start, b'[') => Place::First,
                (Place::First | Place::AfterRow, b']') => Place::Closed,
                (Place::AfterRow, b',') => Place::AfterComma,
                // A byte order mark.
                (Place::Start, 0xef | 0xbb | 0xbf) => Place::Start,
                (Place::Start | Place::Lines | Place::First | Place::AfterComma, b'{') => {
                    self.place = match self.place {
                        Place::Start | Place::Lines => Place::Lines,
                        _ => Place::AfterRow,
                    };
                    self.number += 1;
                    return self.object().map(Some);
                }
                _ => return Err(self.wrong("it is no JSON object, repair the file there")),
            };
            self.place = next;
            self.input.consume(1);
        }
        match self.place {
            Place::First | Place::AfterComma | Place::AfterRow => {
                Err(self.wrong("the array has no end, its last batch was not written wholly"))
            }
            _ => Ok(None),
        }
    }

    fn wrong(&mut self, wrong: &str) -> ReadError {
        self.place = Place::Failed;
        ReadError::Row { number: self.number + 1, wrong: wrong.to_owned() }
    }

    /// Reads the object that begins here.
    fn object(&mut self) -> Result<ReadRow, ReadError> {
        self.row.clear();
        if !take_object(&mut self.input, &mut self.row)? {
            self.number -= 1;
            return Err(self.wrong("it has no end, its batch was not written wholly"));
        }
        let number = self.number;
        let wrong = |wrong: String| ReadError::Row { number, wrong };
        let value = serde_json::from_slice(&self.row).map_err(|e| wrong(e.to_string()))?;
        ReadRow::from_json(value).map_err(|e| wrong(e.to_string()))
    }
}

/// Takes the bytes of the object that begins here; `false` if it has no end.
fn take_object(input: &mut impl BufRead, row: &mut Vec<u8>) -> io::Result<bool> {
    let (mut depth, mut in_text, mut escaped) = (0_u32, false, false);
    loop {
        let chunk = input.fill_buf()?;
        let mut taken = 0;
        let mut done = false;
        for &byte in chunk {
            taken += 1;
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_text => escaped = true,
                b'"' => in_text = !in_text,
                b'{' | b'[' if !in_text => depth += 1,
                b'}' | b']' if !in_text => {
                    depth = depth.saturating_sub(1);
                    done = depth == 0;
                }
                _ => {}
            }
            if done {
                break;
            }
        }
        row.extend_from_slice(&chunk[..taken]);
        input.consume(taken);
        if done {
            return Ok(true);
        }
        if taken == 0 || row.len() > ROW_BYTES_MAX {
            return Ok(false);
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<ReadRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.place == Place::Failed {
            return None;
        }
        let row = self.row();
        if matches!(row, Err(ReadError::Io(_))) {
            self.place = Place::Failed;
        }
        row.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<Result<String, String>> {
        Reader::new(text.as_bytes())
            .map(|row| row.map(|row| row.event.event_id).map_err(|e| e.to_string()))
            .collect()
    }

    #[test]
    fn it_reads_arrays_lines_and_what_is_broken() {
        let ab = [Ok("a}".to_owned()), Ok("b".to_owned())];
        assert_eq!(ids(r#"[{"event_id":"a}"},{"event_id":"b","metadata":{"k":[1]}}]"#), ab);
        assert_eq!(ids("\u{feff}{\"event_id\":\"a}\"}\n{\"event_id\":\"b\"}\n"), ab);
        assert_eq!(ids(""), []);
        assert_eq!(ids("[\n]\n"), []);
        for broken in [r#"[{"event_id":"a"}"#, r#"[{"event_id":"a"},]"#, r#"{"event_id":"a"} x"#] {
            let rows = ids(broken);
            assert!(rows.len() == 2 && rows[0].is_ok() && rows[1].is_err(), "{rows:?}");
        }
        assert!(ids(r#"{"event_id":"a"#)[0].is_err());
    }

    #[test]
    fn another_extension_is_answered_with_the_nearest() {
        let error = JsonAdapter::new("a.jsnl").unwrap_err().to_string();
        assert!(error.contains("did you mean the extension .json"), "{error}");
        assert!(JsonAdapter::new("a").unwrap_err().to_string().contains(".ndjson"));
    }

    /// A batch for whose first row there was no memory counted as stored.
    #[test]
    fn a_batch_for_which_there_is_no_memory_is_refused_and_lands_once() {
        use crate::adapter::Failure;
        use crate::memory::starving;
        use crate::{RowBuffer, SafetyEvent};
        let mut rows = RowBuffer::new(JournalId::generate());
        for seq in 1..=600 {
            let reason = Some("r".repeat(4 << 10));
            rows.push_event(Seq(seq), &SafetyEvent { reason, ..SafetyEvent::default() });
        }
        let mut refused = 0;
        for after in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let adapter = JsonAdapter::new(folder.path().join("safety.jsonl")).unwrap();
            starving::after(Some(after));
            let inserted = adapter.insert(&rows.batch());
            starving::after(None);
            let Err(error) = inserted else { break };
            refused += 1;
            assert_eq!(*error.failure(), Failure::NoMemory, "{after}: {error}");
            adapter.insert(&rows.batch()).unwrap();
            let found = read(folder.path().join("safety.jsonl")).unwrap();
            let found: Vec<u64> = found.map(|row| row.unwrap().id.unwrap().1.0).collect();
            assert_eq!(found, (1..=600).collect::<Vec<_>>(), "{after}");
        }
        assert!(refused >= 2, "{refused}");
    }
}
