//! What `ingest` reads: JSON in whatever form or envelope, or CSV, packed or not, as rows with their
//! line numbers.
//!
//! ```text
//! bytes ─► unpack (gzip, zstd) ─► text (UTF-16) ─► detect ─► lines | objects | csv ─► rows
//!                                                              └── envelope
//! ```

mod unpack;
mod text;
mod detect;
mod lines;
mod objects;
mod header;
mod csv;
mod envelope;
mod repair;
mod incoming;

use std::io::{self, Cursor, Read};
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Deserializer, Value};

pub(crate) use self::csv::Csv;
pub(crate) use self::incoming::{Batch, Incoming, Next};
pub(crate) use self::objects::Objects;

/// Where bytes come from.
pub(crate) type Reader = Box<dyn Read + Send>;

/// The longest line, object or CSV record that is read: what is longer is counted as bad. An event
/// is cut at 256 KiB, so nothing of value is that long.
pub(crate) const ITEM_BYTES_MAX: usize = 64 << 20;
/// How much is looked at to tell the formats apart.
const PEEK_BYTES: usize = 64 << 10;
/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The most names that are kept in their order.
const KEYS_MAX: usize = 256;

/// How events are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON objects, each on a line
    #[value(alias = "jsonl")]
    Ndjson,
    /// A JSON array of objects, or objects over several lines
    Json,
    /// Cells with a header line; between them , ; a tab or |
    #[value(alias = "tsv")]
    Csv,
}

/// What is known of an input beforehand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Told from its beginning and its name where it is not given.
    pub(crate) format: Option<Format>,
    /// The names that mappings look for: of columns, or of keys that are no envelopes.
    pub(crate) wanted: Vec<String>,
}

/// One row of the input.
#[derive(Debug)]
pub(crate) struct Item {
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
    /// The row, or what is wrong with it.
    pub(crate) value: Result<Value, String>,
    /// The time that its envelope names.
    pub(crate) time: Option<String>,
}

impl Item {
    fn bad(line: u64, wrong: String) -> Self {
        Self { line, value: Err(wrong), time: None }
    }
}

/// An input, taken apart piece by piece.
pub(crate) struct Input {
    reader: Reader,
    scanner: Box<dyn Scanner>,
    chunk: Vec<u8>,
    names: Vec<String>,
    ended: bool,
}

impl Input {
    /// Opens an input; reads as much of it as it takes to tell its format.
    pub(crate) fn open(reader: Reader, name: Option<&Path>, options: Options) -> io::Result<Self> {
        let mut reader = text::to_utf8(unpack::unpack(reader)?)?;
        let Options { format, wanted } = options;
        let is_told =
            |start: &[u8], is_all| format.or_else(|| detect::detect(start, is_all, name, &wanted));
        let start = peek(&mut reader, PEEK_BYTES, |start| is_told(start, false).is_some())?;
        let format = is_told(&start, true).unwrap_or(Format::Ndjson);
        let scanner: Box<dyn Scanner> = match format {
            Format::Ndjson => Box::new(lines::Lines::new(envelope::Envelope::new(wanted))),
            Format::Json => Box::new(Objects::in_envelopes(envelope::Envelope::new(wanted))),
            Format::Csv => Box::new(Csv::of_input(wanted)),
        };
        let names = match format {
            Format::Csv => header::names_of(&start),
            _ => keys_of(&start),
        };
        let reader = Box::new(Cursor::new(start).chain(reader));
        Ok(Self { reader, scanner, chunk: vec![0; CHUNK_BYTES], names, ended: false })
    }

    /// The rows of the next piece, which may be none; `None` at the end.
    pub(crate) fn batch(&mut self) -> io::Result<Option<Batch>> {
        if self.ended {
            return Ok(None);
        }
        let n = loop {
            match self.reader.read(&mut self.chunk) {
                Ok(n) => break n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        };
        if n == 0 {
            self.ended = true;
            self.scanner.finish();
        } else {
            self.scanner.push(&self.chunk[..n]);
        }
        let items = std::iter::from_fn(|| self.scanner.pop()).collect();
        Ok(Some(Batch { items, bytes: n as u64, names: std::mem::take(&mut self.names) }))
    }
}

/// Reads the beginning of an input: until it is enough, the input ends, or so many bytes are there.
/// A pipe gives what it has, and is not waited for longer than that.
fn peek(
    reader: &mut Reader,
    bytes_max: usize,
    enough: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let mut chunk = vec![0; bytes_max];
    while start.len() < bytes_max && !enough(&start) {
        match reader.read(&mut chunk[..bytes_max - start.len()]) {
            Ok(0) => break,
            Ok(n) => start.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(start)
}

/// The keys of JSON text, each once, in the order in which they come: objects in memory have none.
fn keys_of(text: &[u8]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let (mut start, mut at) = (None, 0);
    while at < text.len() && keys.len() < KEYS_MAX {
        match (text[at], start) {
            (b'\\', Some(_)) => at += 1,
            (b'"', None) => start = Some(at),
            (b'"', Some(from)) => {
                start = None;
                let is_key = text[at + 1..].trim_ascii_start().starts_with(b":");
                match serde_json::from_slice::<String>(&text[from..=at]) {
                    Ok(key) if is_key && !keys.contains(&key) => keys.push(key),
                    _ => {}
                }
            }
            _ => {}
        }
        at += 1;
    }
    keys
}

/// One JSON value, or why it is none: without the text around it, which is not ours to print.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        // Python writes what JSON has not; the rest of the row is good.
        Err(error) => repair::repair(bytes)
            .and_then(|repaired| serde_json::from_slice(&repaired).ok())
            .ok_or_else(|| wrong_json(&error)),
    }
}

/// One JSON value or several, one behind the other.
fn parse_all(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let first = match parse(bytes) {
        Ok(value) => return Ok(vec![value]),
        Err(wrong) => wrong,
    };
    let repaired = repair::repair(bytes);
    let values = Deserializer::from_slice(repaired.as_deref().unwrap_or(bytes)).into_iter();
    values.collect::<Result<_, _>>().map_err(|_| first)
}

fn wrong_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // The line within the row is always 1: only the column says something.
    match text.split_once(" at line ") {
        Some((what, _)) => format!("no JSON: {what} at column {}", error.column()),
        None => format!("no JSON: {text}"),
    }
}

/// Finds rows in bytes that come in pieces.
pub(crate) trait Scanner: Send {
    /// Takes more bytes.
    fn push(&mut self, bytes: &[u8]);

    /// The next row that was whole, or what was no row.
    fn pop(&mut self) -> Option<Item>;

    /// The input has ended: what began and did not end is a row, or bad.
    fn finish(&mut self);
}

/// One that goes on in a file that grows.
pub(crate) trait Follow: Scanner {
    /// Just behind the last whole row, as an offset in the file.
    fn whole(&self) -> u64;

    /// Forgets what came behind the last whole row: it will be pushed again.
    fn rewind(&mut self);

    /// What is missing, if this was the end of the file.
    fn lacks(&self) -> Option<&'static str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<(u64, Result<Value, String>)> {
        let reader = Box::new(Cursor::new(text.to_vec()));
        let mut input = Input::open(reader, None, Options::default()).unwrap();
        let batches = std::iter::from_fn(|| input.batch().unwrap());
        batches.flat_map(|batch| batch.items).map(|item| (item.line, item.value)).collect()
    }

    #[test]
    fn bad_lines_keep_their_numbers() {
        let items = read(b"{\"a\":1}\r\n\r\noops\n{\"b\":\xff}\n{\"c\":2}");
        let lines: Vec<_> = items.iter().map(|(line, value)| (*line, value.is_ok())).collect();
        assert_eq!(lines, [(1, true), (3, false), (4, false), (5, true)]);
    }

    #[test]
    fn keys_come_in_the_order_of_the_input() {
        let text = br#"{"ts": 1, "a\"b" :{"msg":"x:\"y\":"}}{"ts":2,"cut"#;
        assert_eq!(keys_of(text), ["ts", "a\"b", "msg"]);
    }

    #[test]
    fn what_python_writes_is_read() {
        let items = read(br#"{"reason":"a\ud83d","x":"\ud83d\ude00","confidence":NaN}"#);
        let value = items[0].1.clone().unwrap();
        assert_eq!(value["reason"], "a\u{fffd}");
        assert_eq!(value["x"], "\u{1f600}");
        assert_eq!(value["confidence"], "NaN");
    }

    #[test]
    fn csv_cells_become_fields_and_empty_ones_nothing() {
        let items = read(b"\xef\xbb\xbfaction,reason,latency_ms\nblock,\"a\nb\",1.5\nallow,,\nx\n");
        let row = serde_json::json!({"action": "block", "reason": "a\nb", "latency_ms": "1.5"});
        assert_eq!(items[0], (2, Ok(row)));
        assert_eq!(items[1], (4, Ok(serde_json::json!({"action": "allow"}))));
        assert_eq!((items[2].0, items[2].1.is_err()), (5, true));
    }
}
