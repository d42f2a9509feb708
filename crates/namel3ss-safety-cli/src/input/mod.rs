//! What `ingest` reads: JSON lines, a JSON array, or CSV, as rows with their line numbers.

mod lines;
mod objects;
mod records;
mod stream;
mod surrogates;

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

pub(crate) use self::objects::Objects;
pub(crate) use self::records::Records;
pub(crate) use self::stream::Interruptible;

use crate::record::is_field;

/// The longest line, object or CSV record that is read: what is longer is counted as bad. An event
/// is cut at 256 KiB, so nothing of value is that long.
pub(crate) const ITEM_BYTES_MAX: usize = 64 << 20;
/// How much is looked at to tell the formats apart.
const PEEK_BYTES: usize = 64 << 10;

/// How events are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line
    #[value(alias = "jsonl")]
    Ndjson,
    /// A JSON array of objects, or objects over several lines
    Json,
    /// Comma-separated values with a header line
    Csv,
}

/// One row of the input.
#[derive(Debug)]
pub(crate) struct Item {
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
    /// The row, or what is wrong with it.
    pub(crate) value: Result<Value, String>,
}

/// The rows of an input. An `Err` is the end: the input itself could not be read.
pub(crate) type Items = Box<dyn Iterator<Item = io::Result<Item>>>;

/// Opens an input whose format is given, or told from its name and its beginning.
pub(crate) fn open(
    mut reader: Box<dyn Read>,
    name: Option<&Path>,
    format: Option<Format>,
) -> io::Result<(Format, Items)> {
    let mut start = Vec::new();
    // A pipe gives what it has: stop at the first full line rather than wait for more.
    let mut chunk = vec![0; PEEK_BYTES];
    while start.len() < PEEK_BYTES && !start.contains(&b'\n') {
        match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => start.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    // Excel begins a file with a byte-order mark.
    if start.starts_with(b"\xef\xbb\xbf") {
        start.drain(..3);
    }
    let format = format.or_else(|| from_name(name?)).unwrap_or_else(|| detect(&start));
    let reader = BufReader::with_capacity(PEEK_BYTES, Cursor::new(start).chain(reader));
    let items: Items = match format {
        Format::Ndjson => Box::new(lines::Lines::new(reader)),
        Format::Json => Box::new(Scanned::new(reader, Objects::default())),
        Format::Csv => Box::new(Scanned::new(reader, Records::default())),
    };
    Ok((format, items))
}

fn from_name(name: &Path) -> Option<Format> {
    match name.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => Some(Format::Ndjson),
        "csv" => Some(Format::Csv),
        _ => None,
    }
}

/// An array when it opens one of objects; CSV when the first line names fields; lines otherwise.
fn detect(start: &[u8]) -> Format {
    let mut bytes = start.iter().copied().filter(|b| !b.is_ascii_whitespace());
    match (bytes.next(), bytes.next()) {
        (Some(b'['), Some(b'{' | b']') | None) => Format::Json,
        // An object that goes on behind its first line.
        (Some(b'{'), None) => Format::Json,
        (Some(b'{'), _) if start.trim_ascii_start().starts_with(b"{\n") => Format::Json,
        (Some(b'{'), _) => Format::Ndjson,
        _ => {
            let line = start.split(|b| *b == b'\n').next().unwrap_or_default();
            let names = String::from_utf8_lossy(line);
            let mut names = names.split(',').map(|name| name.trim().trim_matches('"'));
            if names.any(is_field) { Format::Csv } else { Format::Ndjson }
        }
    }
}

/// Why a row is no JSON: without the text around it, which is not ours to print.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        // Python writes a lone surrogate as `\ud83d`, which is no text; the rest of the row is.
        Err(error) => surrogates::repair(bytes)
            .and_then(|repaired| serde_json::from_slice(&repaired).ok())
            .ok_or_else(|| wrong_json(&error)),
    }
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
pub(crate) trait Scanner {
    /// Takes more bytes.
    fn push(&mut self, bytes: &[u8]);

    /// The next row that was whole, or what was no row.
    fn pop(&mut self) -> Option<Item>;

    /// Just behind the last whole row, as an offset in the file.
    fn whole(&self) -> u64;

    /// Forgets what came behind the last whole row: it will be pushed again.
    fn rewind(&mut self);

    /// The input has ended: what began and did not end is a row, or bad.
    fn finish(&mut self);
}

/// The rows that a scanner finds in a reader.
struct Scanned<R, S> {
    reader: R,
    scanner: S,
    ended: bool,
}

impl<R: BufRead, S: Scanner> Scanned<R, S> {
    fn new(reader: R, scanner: S) -> Self {
        Self { reader, scanner, ended: false }
    }
}

impl<R: BufRead, S: Scanner> Iterator for Scanned<R, S> {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<io::Result<Item>> {
        loop {
            if let Some(item) = self.scanner.pop() {
                return Some(Ok(item));
            }
            if self.ended {
                return None;
            }
            match self.reader.fill_buf() {
                Ok([]) => {
                    self.ended = true;
                    self.scanner.finish();
                }
                Ok(bytes) => {
                    let n = bytes.len();
                    self.scanner.push(bytes);
                    self.reader.consume(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.ended = true;
                    return Some(Err(e));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (u64, Result<Value, String>);

    fn read(text: &[u8], format: Option<Format>) -> (Format, Vec<Read>) {
        let reader = Box::new(Cursor::new(text.to_vec()));
        let (format, items) = open(reader, None, format).unwrap();
        (format, items.map(|item| item.unwrap()).map(|item| (item.line, item.value)).collect())
    }

    #[test]
    fn formats_are_told_apart() {
        for (text, expected) in [
            (&b"{\"action\":\"block\"}\n"[..], Format::Ndjson),
            (b"not json\n{}\n", Format::Ndjson),
            (b"[{\"action\":\"block\"}]", Format::Json),
            (b"[\n]\n", Format::Json),
            (b"[[[[", Format::Ndjson),
            (b"{\n \"action\": \"block\"\n}\n", Format::Json),
            (b"\xef\xbb\xbfaction,reason\nblock,x\n", Format::Csv),
            (b"", Format::Ndjson),
        ] {
            assert_eq!(read(text, None).0, expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn bad_lines_keep_their_numbers() {
        let (_, items) = read(b"{\"a\":1}\n\noops\n{\"b\":\xff}\n{\"c\":2}", Some(Format::Ndjson));
        let lines: Vec<_> = items.iter().map(|(line, value)| (*line, value.is_ok())).collect();
        assert_eq!(lines, [(1, true), (3, false), (4, false), (5, true)]);
    }

    #[test]
    fn a_lone_surrogate_costs_one_character() {
        let (_, items) = read(br#"{"reason":"a\ud83d","x":"\ud83d\ude00"}"#, None);
        let value = items[0].1.clone().unwrap();
        assert_eq!(value["reason"], "a\u{fffd}");
        assert_eq!(value["x"], "\u{1f600}");
    }

    #[test]
    fn csv_cells_become_fields_and_empty_ones_nothing() {
        let text = b"action,reason,latency_ms\nblock,\"a\nb\",1.5\nallow,,\nx\n";
        let (format, items) = read(text, None);
        assert_eq!(format, Format::Csv);
        assert_eq!(
            items[0].1,
            Ok(serde_json::json!({"action": "block", "reason": "a\nb", "latency_ms": "1.5"}))
        );
        assert_eq!(items[1], (4, Ok(serde_json::json!({"action": "allow"}))));
        assert!(items[2].1.is_err());
    }
}
