//! The records of a CSV file, found while it grows: fed in pieces, cut at line breaks that stand
//! outside quotes. Every cell is text, and an empty one is no value.

use std::collections::VecDeque;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::{ITEM_BYTES_MAX, Item, Scanner};

#[derive(Debug)]
pub(crate) struct Records {
    names: Option<Vec<String>>,
    /// Whether cells were made inert for spreadsheets, as our own datasets are.
    inert: bool,
    found: VecDeque<Item>,
    partial: Vec<u8>,
    in_quotes: bool,
    too_long: bool,
    line: u64,
    began: u64,
    seen: u64,
    whole: u64,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            names: None,
            inert: false,
            found: VecDeque::new(),
            partial: Vec::new(),
            in_quotes: false,
            too_long: false,
            line: 1,
            began: 1,
            seen: 0,
            whole: 0,
        }
    }
}

impl Records {
    /// The records of a dataset of ours, which makes its cells inert whatever its header.
    pub(crate) fn of_dataset() -> Self {
        Self { inert: true, ..Self::default() }
    }

    fn end(&mut self) {
        let bytes = std::mem::take(&mut self.partial);
        let too_long = std::mem::take(&mut self.too_long);
        let line = std::mem::replace(&mut self.began, self.line);
        self.whole = self.seen;
        self.in_quotes = false;
        if bytes.iter().all(|b| matches!(b, b'\n' | b'\r')) && !too_long {
            return;
        }
        let cells = if too_long {
            Err(format!("longer than {} MiB: is a quote left open?", ITEM_BYTES_MAX >> 20))
        } else {
            cells(&bytes)
        };
        let Some(names) = &self.names else {
            let cells = cells.unwrap_or_default();
            let name = |cell| String::from_utf8_lossy(cell).trim().to_owned();
            let names: Vec<String> = cells.iter().map(name).collect();
            let has = |name: &str| names.iter().any(|known| known == name);
            self.inert |= has("journal_id") && has("seq");
            self.names = Some(names);
            return;
        };
        self.found.push_back(Item {
            line,
            value: cells.and_then(|cells| row(names, &cells, self.inert)),
        });
    }
}

impl Scanner for Records {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.seen += 1;
            if self.partial.len() < ITEM_BYTES_MAX {
                self.partial.push(byte);
            } else {
                self.too_long = true;
            }
            match byte {
                b'"' => self.in_quotes = !self.in_quotes,
                b'\n' => {
                    self.line += 1;
                    if !self.in_quotes {
                        self.end();
                    }
                }
                _ => {}
            }
        }
    }

    fn pop(&mut self) -> Option<Item> {
        self.found.pop_front()
    }

    fn whole(&self) -> u64 {
        self.whole
    }

    fn rewind(&mut self) {
        self.partial.clear();
        self.in_quotes = false;
        self.too_long = false;
        self.seen = self.whole;
        self.line = self.began;
    }

    fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.end();
        }
    }
}

fn cells(bytes: &[u8]) -> Result<ByteRecord, String> {
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let mut record = ByteRecord::new();
    match reader.read_byte_record(&mut record) {
        Ok(true) => Ok(record),
        Ok(false) => Err("no CSV record".to_owned()),
        Err(error) => Err(format!("no CSV record: {error}")),
    }
}

fn row(names: &[String], cells: &ByteRecord, inert: bool) -> Result<Value, String> {
    if cells.len() != names.len() {
        return Err(format!("{} cells where the header has {}", cells.len(), names.len()));
    }
    let mut row = Map::new();
    for (name, cell) in names.iter().zip(cells) {
        let text = std::str::from_utf8(cell).map_err(|_| "not UTF-8".to_owned())?;
        let text = match (text, name.as_str()) {
            ("", _) => continue,
            (_, "seq") if inert => {
                row.insert(
                    name.clone(),
                    text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
                );
                continue;
            }
            (_, "confidence" | "latency_ms") => text,
            _ if inert => uninert(text),
            _ => text,
        };
        row.insert(name.clone(), Value::from(text));
    }
    Ok(Value::Object(row))
}

/// A cell of text as it was before the CSV adapter made it inert: see
/// [`namel3ss_safety::adapter::csv`], which reads whole files back but can't follow one.
fn uninert(cell: &str) -> &str {
    let Some(rest) = cell.strip_prefix('\'') else { return cell };
    match rest.trim_start_matches('\'').bytes().next() {
        None | Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r') => rest,
        Some(_) => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(text: &str, mut records: Records) -> Vec<Result<Value, String>> {
        records.push(text.as_bytes());
        records.finish();
        std::iter::from_fn(|| records.pop()).map(|item| item.value).collect()
    }

    #[test]
    fn cells_of_a_dataset_read_back_as_they_were() {
        let text = "reason,seq,journal_id,user_id\n'=1+1,7,ab,'quoted'\n',8,ab,\n";
        assert_eq!(
            rows(text, Records::default()),
            [
                Ok(json!({"reason": "=1+1", "seq": 7, "journal_id": "ab", "user_id": "'quoted'"})),
                Ok(json!({"reason": "", "seq": 8, "journal_id": "ab"})),
            ]
        );
        assert_eq!(rows("reason\n'=1\n", Records::default()), [Ok(json!({"reason": "'=1"}))]);
        assert_eq!(rows("reason\n'=1\n", Records::of_dataset()), [Ok(json!({"reason": "=1"}))]);
    }

    #[test]
    fn a_record_that_is_still_being_written_waits() {
        let mut records = Records::default();
        records.push(b"action,reason\nblock,\"a");
        assert!(records.pop().is_none());
        assert_eq!(records.whole(), 14);
        records.rewind();
        records.push(b"block,\"a\nb\"\n");
        let item = records.pop().unwrap();
        assert_eq!((item.line, item.value), (2, Ok(json!({"action": "block", "reason": "a\nb"}))));
    }
}
