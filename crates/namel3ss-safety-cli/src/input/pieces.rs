//! An input, taken apart piece by piece.

use std::io::{self, Cursor, Read};
use std::path::Path;

use super::bytes::{CHUNK_BYTES, Reader, peek};
use super::detect::{self, Format, PEEK_BYTES};
use super::{lines, text, unpack};
use namel3ss_safety_stores::read::scanner::csv::Csv;
use namel3ss_safety_stores::read::scanner::item::{Item, Scanner};
use namel3ss_safety_stores::read::scanner::objects::Objects;
use namel3ss_safety_stores::read::scanner::{envelope, header};

/// The most names that are kept in their order.
const KEYS_MAX: usize = 256;

/// What is known of an input beforehand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Told from its beginning and its name where it is not given.
    pub(crate) format: Option<Format>,
    /// The names that mappings look for: of columns, or of keys that are no envelopes.
    pub(crate) wanted: Vec<String>,
}

/// The rows of one piece of the input.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    /// How many bytes the piece had.
    pub(crate) bytes: u64,
    /// The names of keys or columns in the order of the input, with its first piece.
    pub(crate) names: Vec<String>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

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
