//! The rows of a fallback file, read so that one bad row costs one row.
//!
//! A sink writes one row a line. Where a row is no JSON, reading goes on behind its line; a file that
//! was cut gives the rows before the cut.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};

use super::fallback::{ERROR_KEY, write_error};
use crate::adapter::Batching;
use crate::codec;
use crate::id::{JournalId, Seq};
use crate::parse;

/// The key, in a fallback file, of the text of a row that is no JSON object.
const RAW_KEY: &str = "_raw";

/// A row that can't be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    /// Its line, counted from 1.
    pub(super) line: usize,
    /// Bytes before it.
    pub(super) offset: usize,
    /// What is wrong with it; of its content no more than a misspelt word.
    pub(super) message: String,
    text: Range<usize>,
}

/// A row that can be stored.
#[derive(Clone, Debug)]
pub(super) struct GoodRow {
    payload: Range<usize>,
    text: Range<usize>,
    /// The file says its event id and its moment: they are the same at each reading.
    pub(super) has_identity: bool,
}

/// The rows of a file, as payloads in one buffer, by journal and in order.
#[derive(Debug, Default)]
pub(super) struct Rows {
    text: Vec<u8>,
    payloads: Vec<u8>,
    journals: BTreeMap<JournalId, BTreeMap<Seq, GoodRow>>,
    pub(super) duplicates: u64,
    /// Rows that a dataset has refused before.
    pub(super) refused_before: u64,
    pub(super) bad: Vec<BadRow>,
}

/// Rows without a hole between them.
pub(super) type Run = Vec<(Seq, GoodRow)>;

impl Rows {
    /// Reads an array of rows.
    ///
    /// # Errors
    /// Says where and why the text is no array; what is wrong with a row is among the bad ones.
    pub(super) fn parse(text: Vec<u8>) -> Result<Self, BadRow> {
        let derived = derive_journal(&text);
        let mut rows = Self::default();
        let mut at = Scanner { text: &text, at: 0 };
        if at.peek() != Some(b'[') {
            return Err(at.bad(at.at..at.at, "it is no array of rows"));
        }
        at.at += 1;
        let mut index = 0;
        loop {
            match at.peek() {
                None => {
                    // A bad row at the end has said it already.
                    if rows.bad.last().is_none_or(|bad| bad.text.end < text.len()) {
                        rows.bad.push(at.bad(at.at..at.at, "the file ends before its array does"));
                    }
                    break;
                }
                Some(b']') => {
                    at.at += 1;
                    if at.peek().is_some() {
                        rows.bad.push(at.bad(at.at..text.len(), "it stands behind the array"));
                    }
                    break;
                }
                Some(b',') => at.at += 1,
                Some(_) => {
                    index += 1;
                    let read = at.value().and_then(|(value, range)| {
                        let added = rows.add(value, derived, index, range.clone());
                        added.map_err(|message| at.bad(range, &message))
                    });
                    rows.bad.extend(read.err());
                }
            }
        }
        rows.text = text;
        Ok(rows)
    }

    fn add(
        &mut self,
        value: Value,
        derived: JournalId,
        index: u64,
        text: Range<usize>,
    ) -> Result<(), String> {
        let Value::Object(mut fields) = value else {
            return Err("a row is a JSON object".to_owned());
        };
        let refused = fields.remove(ERROR_KEY);
        if fields.contains_key(RAW_KEY) {
            return Err("its text was no row: write one in its place".to_owned());
        }
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
        let has_identity = fields.get("event_id").is_some_and(Value::is_string)
            && fields.get("timestamp").is_some_and(|moment| parse::moment(moment).is_some());
        let event = parse::stored_row(fields).event;
        let rows = self.journals.entry(journal).or_default();
        if rows.contains_key(&seq) {
            self.duplicates += 1;
            return Ok(());
        }
        let start = self.payloads.len();
        codec::encode(&event, &mut self.payloads);
        rows.insert(seq, GoodRow { payload: start..self.payloads.len(), text, has_identity });
        self.refused_before += u64::from(refused.is_some());
        Ok(())
    }

    /// How many rows can be stored.
    pub(super) fn len(&self) -> u64 {
        self.journals.values().map(|rows| rows.len() as u64).sum()
    }

    /// A row's payload.
    pub(super) fn payload(&self, row: &GoodRow) -> &[u8] {
        &self.payloads[row.payload.clone()]
    }

    /// A bad row as a fallback file holds it, with the reason; nothing of one without text.
    pub(super) fn bad_row(&self, row: &BadRow) -> Option<Vec<u8>> {
        let text = self.text[row.text.clone()].trim_ascii();
        let text = text.strip_suffix(b",").unwrap_or(text);
        (!text.is_empty()).then(|| with_error(text, &row.message))
    }

    /// A row that a dataset refused as a fallback file holds it, with the reason.
    pub(super) fn refused_row(&self, row: &GoodRow, why: &str) -> Vec<u8> {
        with_error(self.text[row.text.clone()].trim_ascii(), why)
    }

    /// The rows as the adapter likes them. A run has no holes, so that its batch id names exactly
    /// the rows in it, and never rows that had landed in another batch.
    pub(super) fn runs(&self, batching: &Batching) -> impl Iterator<Item = (JournalId, Run)> {
        let batching = *batching;
        self.journals.iter().flat_map(move |(journal, rows)| {
            let mut rest = rows.iter().peekable();
            std::iter::from_fn(move || {
                let (first, row) = rest.next()?;
                let mut bytes = row.payload.len();
                let mut run = vec![(*first, row.clone())];
                let mut last = *first;
                while let Some((seq, row)) = rest.next_if(|(seq, row)| {
                    last.0.checked_add(1) == Some(seq.0)
                        && run.len() < batching.rows_max
                        && bytes.saturating_add(row.payload.len()) <= batching.bytes_max
                }) {
                    bytes += row.payload.len();
                    last = *seq;
                    run.push((*seq, row.clone()));
                }
                Some((*journal, run))
            })
        })
    }
}

/// A row's text with another reason; what is no JSON object becomes the text in one.
fn with_error(text: &[u8], why: &str) -> Vec<u8> {
    let mut row = match serde_json::from_slice(text) {
        // As it stands, so that no number in it changes.
        Ok(Value::Object(fields)) if !fields.contains_key(ERROR_KEY) => text.to_vec(),
        Ok(Value::Object(mut fields)) => {
            fields.remove(ERROR_KEY);
            Value::Object(fields).to_string().into_bytes()
        }
        _ => {
            let raw = String::from_utf8_lossy(text).into_owned();
            Value::Object(Map::from_iter([(RAW_KEY.to_owned(), raw.into())])).to_string().into()
        }
    };
    write_error(why, &mut row);
    row
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
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<u8> {
        let space = |b: &&u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
        self.at += self.text[self.at..].iter().take_while(space).count();
        self.text.get(self.at).copied()
    }

    /// The next value and where it stands; behind what is none, the next line is next.
    fn value(&mut self) -> Result<(Value, Range<usize>), BadRow> {
        let from = self.at;
        let mut values = serde_json::Deserializer::from_slice(&self.text[from..]).into_iter();
        let error = match values.next() {
            Some(Ok(value)) => {
                self.at = from + values.byte_offset();
                return Ok((value, from..self.at));
            }
            Some(Err(error)) => error.classify(),
            None => serde_json::error::Category::Eof,
        };
        let line = self.text[from..].iter().position(|b| *b == b'\n');
        self.at = line.map_or(self.text.len(), |line| from + line + 1);
        // Its text never quotes the input.
        Err(self.bad(
            from..self.at,
            match error {
                serde_json::error::Category::Eof => "the file ends within a row",
                _ => "this row is not JSON",
            },
        ))
    }

    fn bad(&self, text: Range<usize>, message: &str) -> BadRow {
        let offset = text.start;
        let line = 1 + self.text[..offset].iter().filter(|b| **b == b'\n').count();
        BadRow { line, offset, message: message.to_owned(), text }
    }
}
