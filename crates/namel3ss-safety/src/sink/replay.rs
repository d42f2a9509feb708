//! Fallback files, read back and stored where they should have gone.
//!
//! A row's (`journal_id`, `seq`) goes with it, so that a replay that was killed half-way, or that
//! two people start, stores each row once where the adapter can. Rows that a person wrote without
//! them get a journal id that is made from the file's bytes: the same file, the same rows.
//!
//! **Limits:** a file is read whole, up to [`FILE_BYTES_MAX`]; integers beyond 64 bits in metadata
//! come back as floats, as JSON readers commonly do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::attempt::{attempt, batching};
use super::fallback::ERROR_KEY;
use super::folder::Folder;
use super::replay_error::ReplayError;
use crate::adapter::{Batching, DatasetAdapter, Failure};
use crate::batch::{Durability, RowBuffer};
use crate::codec;
use crate::id::{JournalId, Seq};
use crate::parse;

/// The largest file that is replayed: 1 GiB. The files that a sink writes are one batch each.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// The folder, beside a file, that it is moved to when all of its rows have landed.
pub const REPLAYED: &str = "replayed";

/// How a file is replayed.
#[derive(Default)]
pub struct ReplayOptions<'p> {
    /// Only read and count: nothing is stored, nothing is moved.
    pub dry_run: bool,
    /// How durable the rows must be before the file is moved.
    pub durability: Durability,
    /// Called after each batch with the rows that are done and the rows that there are.
    pub progress: Option<&'p mut dyn FnMut(u64, u64)>,
}

impl std::fmt::Debug for ReplayOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayOptions")
            .field("dry_run", &self.dry_run)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Rows that were stored, or in a dry run would be. A row that the dataset had already counts.
    pub rows: u64,
    /// Rows that were in the file more than once, and were stored once.
    pub duplicates: u64,
    /// Batches that were inserted.
    pub batches: u64,
    /// Where the file is now; `None` in a dry run.
    pub moved_to: Option<PathBuf>,
}

/// Stores the rows of the fallback file `path` through `adapter`, and then moves the file to
/// `replayed/` beside it, without overwriting one that is there.
///
/// # Errors
/// See [`ReplayError`]. The file then stays where it is; rows that had landed are stored again
/// by the next replay, which an exactly-once adapter recognizes.
pub fn replay_file(
    path: &Path,
    adapter: &dyn DatasetAdapter,
    mut options: ReplayOptions<'_>,
) -> Result<ReplayReport, ReplayError> {
    let unreadable = |source| ReplayError::Read { path: path.to_owned(), source };
    let (folder, name) = place(path).map_err(unreadable)?;
    let file = folder.read(name).map_err(unreadable)?;
    let text = read(&file, path)?;
    let rows = Rows::parse(&text, path)?;
    drop(text);

    let total = rows.len();
    let mut report = ReplayReport { duplicates: rows.duplicates, ..ReplayReport::default() };
    let mut buffer = RowBuffer::new(JournalId([0; 16]));
    let batching = batching(adapter);
    for (journal, run) in rows.runs(&batching) {
        if !options.dry_run {
            buffer.reset(journal, options.durability);
            for (seq, payload) in &run {
                // The payload was made by our own encoder a moment ago.
                if let Err(error) = buffer.push(*seq, &rows.payloads[payload.clone()]) {
                    debug_assert!(false, "an encoded event decodes: {error}");
                }
            }
            attempt(adapter, &buffer.batch()).map_err(|failed| ReplayError::Insert {
                stored: report.rows,
                transient: matches!(failed.failure, Failure::Transient | Failure::Throttled(_)),
                message: failed.message,
            })?;
        }
        report.rows += run.len() as u64;
        report.batches += 1;
        if let Some(progress) = &mut options.progress {
            progress(report.rows, total);
        }
    }
    if !options.dry_run {
        let moved = set_aside(&folder, name, &file);
        let stuck = |source| ReplayError::Move { path: path.to_owned(), source };
        report.moved_to = Some(moved.map_err(stuck)?);
    }
    Ok(report)
}

/// The folder and the name of a file.
fn place(path: &Path) -> std::io::Result<(Folder, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| std::io::Error::other("it has no file name in UTF-8"))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    Ok((Folder::open(folder)?, name))
}

fn read(file: &File, path: &Path) -> Result<Vec<u8>, ReplayError> {
    let unreadable = |source| ReplayError::Read { path: path.to_owned(), source };
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut text = Vec::new();
    // It may grow while it is read: the limit counts what comes, not what was promised.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ReplayError::TooLarge { path: path.to_owned(), bytes });
    }
    Ok(text)
}

/// Moves the file out of the way of the next replay.
fn set_aside(folder: &Folder, name: &str, file: &File) -> std::io::Result<PathBuf> {
    if !folder.is_still(name, file)? {
        return Err(std::io::Error::other("another file has taken its name meanwhile"));
    }
    let replayed = folder.within(REPLAYED)?;
    let stem = name.strip_suffix(".json").unwrap_or(name);
    for copy in 0..10_000_u32 {
        let to = if copy == 0 { name.to_owned() } else { format!("{stem}.{copy}.json") };
        match folder.publish(name, &replayed, &to) {
            Ok(()) => {
                // The new name first: a power cut in between leaves two names, not none.
                replayed.sync()?;
                folder.sync()?;
                return Ok(replayed.path().join(to));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other("too many files of that name were replayed: remove some"))
}

/// The rows of a file, as payloads in one buffer, by journal and in order.
#[derive(Debug, Default)]
struct Rows {
    payloads: Vec<u8>,
    journals: BTreeMap<JournalId, BTreeMap<Seq, Range<usize>>>,
    duplicates: u64,
}

type Run = Vec<(Seq, Range<usize>)>;

impl Rows {
    /// Reads an array of rows.
    fn parse(text: &[u8], path: &Path) -> Result<Self, ReplayError> {
        let mut rows = Self::default();
        let derived = derive_journal(text);
        let mut at = Scanner { text, at: 0, path };
        at.expect(b'[')?;
        let mut index = 0;
        if at.peek() == Some(b']') {
            at.at += 1;
            return at.end().map(|()| rows);
        }
        loop {
            index += 1;
            let start = at.skip_space();
            let value = at.value()?;
            rows.add(value, derived, index).map_err(|message| at.damaged(start, message))?;
            match at.peek() {
                Some(b',') => at.at += 1,
                _ => break,
            }
        }
        at.expect(b']')?;
        at.end().map(|()| rows)
    }

    fn add(&mut self, value: Value, derived: JournalId, index: u64) -> Result<(), String> {
        let Value::Object(mut fields) = value else {
            return Err("a row is a JSON object".to_owned());
        };
        fields.remove(ERROR_KEY);
        let (journal, seq) = match (fields.remove("journal_id"), fields.remove("seq")) {
            (Some(journal), Some(seq)) if !journal.is_null() && !seq.is_null() => {
                let id = journal.as_str().and_then(|text| text.parse().ok());
                let seq = seq.as_u64().filter(|seq| *seq > 0);
                (
                    id.ok_or("journal_id is 32 hexadecimal digits")?,
                    Seq(seq.ok_or("seq is a number from 1")?),
                )
            }
            _ => (derived, Seq(index)),
        };
        let event = parse::stored_row(fields).event;
        let rows = self.journals.entry(journal).or_default();
        if rows.contains_key(&seq) {
            self.duplicates += 1;
            return Ok(());
        }
        let start = self.payloads.len();
        codec::encode(&event, &mut self.payloads);
        rows.insert(seq, start..self.payloads.len());
        Ok(())
    }

    fn len(&self) -> u64 {
        self.journals.values().map(|rows| rows.len() as u64).sum()
    }

    /// The rows as the adapter likes them. A run has no holes, so that its batch id names exactly
    /// the rows in it, and never rows that had landed in another batch.
    fn runs(&self, batching: &Batching) -> impl Iterator<Item = (JournalId, Run)> {
        let batching = *batching;
        self.journals.iter().flat_map(move |(journal, rows)| {
            let mut rest = rows.iter().peekable();
            std::iter::from_fn(move || {
                let (first, payload) = rest.next()?;
                let mut bytes = payload.len();
                let mut run = vec![(*first, payload.clone())];
                let mut last = *first;
                while let Some((seq, payload)) = rest.next_if(|(seq, payload)| {
                    last.0.checked_add(1) == Some(seq.0)
                        && run.len() < batching.rows_max
                        && bytes.saturating_add(payload.len()) <= batching.bytes_max
                }) {
                    bytes += payload.len();
                    last = *seq;
                    run.push((*seq, payload.clone()));
                }
                Some((*journal, run))
            })
        })
    }
}

/// A journal id that the same bytes always give: four CRCs that start differently.
fn derive_journal(text: &[u8]) -> JournalId {
    let mut id = [0; 16];
    for (seed, bytes) in (1_u32..).zip(id.chunks_exact_mut(4)) {
        // A CRC is linear: the seed alone would leave the four words a constant apart. The length
        // and the seed behind the text would as well, so each word sees the text cut elsewhere.
        let cut = text.len() / 5 * seed as usize;
        let (head, tail) = text.split_at(cut);
        let crc = crc32c::crc32c_append(seed, tail);
        bytes
            .copy_from_slice(&crc32c::crc32c_append(crc.rotate_left(seed * 7), head).to_le_bytes());
    }
    JournalId(id)
}

/// Walks over the array; each value in it is `serde_json`'s.
struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    path: &'t Path,
}

impl Scanner<'_> {
    fn skip_space(&mut self) -> usize {
        let space = |b: &&u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
        self.at += self.text[self.at..].iter().take_while(space).count();
        self.at
    }

    fn peek(&mut self) -> Option<u8> {
        let at = self.skip_space();
        self.text.get(at).copied()
    }

    fn expect(&mut self, wanted: u8) -> Result<(), ReplayError> {
        match self.peek() {
            Some(found) if found == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.damaged(self.at, format!("expected {}", char::from(wanted)))),
            None => Err(self.damaged(self.at, "the file ends here".to_owned())),
        }
    }

    fn end(&mut self) -> Result<(), ReplayError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.damaged(self.at, "expected the end of the file".to_owned())),
        }
    }

    fn value(&mut self) -> Result<Value, ReplayError> {
        let from = self.at;
        let mut values = serde_json::Deserializer::from_slice(&self.text[from..]).into_iter();
        match values.next() {
            Some(Ok(value)) => {
                self.at = from + values.byte_offset();
                Ok(value)
            }
            Some(Err(error)) => {
                // Its text never quotes the input.
                let category = match error.classify() {
                    serde_json::error::Category::Eof => "the file ends within a row",
                    _ => "this row is not JSON",
                };
                let lines = self.text[from..].split_inclusive(|b| *b == b'\n');
                let before: usize =
                    lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
                Err(self.damaged(from + before + error.column(), category.to_owned()))
            }
            None => Err(self.damaged(from, "the file ends here".to_owned())),
        }
    }

    fn damaged(&self, offset: usize, message: String) -> ReplayError {
        let offset = offset.min(self.text.len());
        let line = 1 + self.text[..offset].iter().filter(|b| **b == b'\n').count();
        ReplayError::Damaged { path: self.path.to_owned(), line, offset, message }
    }
}
