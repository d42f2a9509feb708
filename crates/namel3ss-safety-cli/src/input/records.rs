//! The records of a CSV file, found while it grows: fed in pieces, cut by `csv-core`. Every cell is
//! text, and an empty one is no value.

use std::collections::VecDeque;

use csv_core::{ReadRecordResult, Reader};
use serde_json::{Map, Value};

use super::{ITEM_BYTES_MAX, Item, Scanner};

/// The most cells of a record; a header of more names nothing that anybody wants to read.
const CELLS_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Records {
    reader: Reader,
    names: Option<Vec<String>>,
    /// Whether cells were made inert for spreadsheets, as our own datasets are.
    inert: bool,
    found: VecDeque<Item>,
    /// The cells of the record so far, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    cells_used: usize,
    ends_used: usize,
    too_long: bool,
    line: u64,
    seen: u64,
    whole: u64,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            reader: Reader::new(),
            names: None,
            inert: false,
            found: VecDeque::new(),
            cells: vec![0; 4096],
            ends: vec![0; 32],
            cells_used: 0,
            ends_used: 0,
            too_long: false,
            line: 1,
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

    /// Takes bytes; no bytes at all are the end of the input.
    fn feed(&mut self, mut bytes: &[u8]) {
        let ending = bytes.is_empty();
        while ending || !bytes.is_empty() {
            let (cells, ends) = (self.cells_used, self.ends_used);
            let (result, taken, written, ended) =
                self.reader.read_record(bytes, &mut self.cells[cells..], &mut self.ends[ends..]);
            bytes = &bytes[taken..];
            self.seen += taken as u64;
            self.cells_used += written;
            self.ends_used += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.grow_cells(),
                ReadRecordResult::OutputEndsFull => self.grow_ends(),
                ReadRecordResult::Record => self.end(),
                ReadRecordResult::End => return,
            }
        }
    }

    /// More room; a record that is too long is read to its end and forgotten.
    fn grow_cells(&mut self) {
        if self.cells.len() >= ITEM_BYTES_MAX {
            self.too_long = true;
            self.cells_used = 0;
        } else {
            self.cells.resize(self.cells.len() * 2, 0);
        }
    }

    fn grow_ends(&mut self) {
        if self.ends.len() >= CELLS_MAX {
            self.too_long = true;
            self.ends_used = 0;
        } else {
            self.ends.resize(self.ends.len() * 2, 0);
        }
    }

    fn end(&mut self) {
        let line = std::mem::replace(&mut self.line, self.reader.line());
        let ends_used = std::mem::take(&mut self.ends_used);
        self.cells_used = 0;
        self.whole = self.seen;
        let too_long = std::mem::take(&mut self.too_long);
        let ends = if too_long { &[][..] } else { &self.ends[..ends_used] };
        let mut start = 0;
        let cells = ends.iter().map(|end| &self.cells[std::mem::replace(&mut start, *end)..*end]);
        let Some(names) = &self.names else {
            let name = |cell| String::from_utf8_lossy(cell).trim().to_owned();
            let names: Vec<String> = cells.map(name).collect();
            let has = |name: &str| names.iter().any(|known| known == name);
            self.inert |= has("journal_id") && has("seq");
            self.names = Some(names);
            return;
        };
        let value = if too_long {
            Err(format!("longer than {} MiB: is a quote left open?", ITEM_BYTES_MAX >> 20))
        } else {
            row(names, cells, self.inert)
        };
        self.found.push_back(Item { line, value });
    }
}

impl Scanner for Records {
    fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.feed(bytes);
        }
    }

    fn pop(&mut self) -> Option<Item> {
        self.found.pop_front()
    }

    fn whole(&self) -> u64 {
        self.whole
    }

    fn rewind(&mut self) {
        self.reader.reset();
        self.reader.set_line(self.line);
        (self.cells_used, self.ends_used, self.too_long) = (0, 0, false);
        self.seen = self.whole;
    }

    fn finish(&mut self) {
        self.feed(&[]);
    }
}

fn row<'c>(
    names: &[String],
    cells: impl ExactSizeIterator<Item = &'c [u8]>,
    inert: bool,
) -> Result<Value, String> {
    if cells.len() != names.len() {
        return Err(format!("{} cells where the header has {}", cells.len(), names.len()));
    }
    let mut row = Map::new();
    for (name, cell) in names.iter().zip(cells) {
        let text = std::str::from_utf8(cell).map_err(|_| "not UTF-8".to_owned())?;
        let value = match (text, name.as_str()) {
            ("", _) => continue,
            (_, "seq") if inert => text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
            (_, "confidence" | "latency_ms") => Value::from(text),
            _ if inert => Value::from(uninert(text)),
            _ => Value::from(text),
        };
        row.insert(name.clone(), value);
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
    use proptest::prelude::*;
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

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same(bytes in "[a,\"\n\r']{0,40}", cut in 0_usize..40) {
            let cut = cut.min(bytes.len());
            let whole = rows(&bytes, Records::default());
            let mut records = Records::default();
            records.push(&bytes.as_bytes()[..cut]);
            records.push(&bytes.as_bytes()[cut..]);
            records.finish();
            let pieces: Vec<_> =
                std::iter::from_fn(|| records.pop()).map(|item| item.value).collect();
            prop_assert_eq!(whole, pieces);
        }

        /// As `tail -f` does it: what stands behind the last whole record is read again.
        #[test]
        fn what_is_read_again_gives_the_same(bytes in "[a,\"\n]{0,40}", cut in 0_usize..40) {
            let cut = cut.min(bytes.len());
            let whole = rows(&bytes, Records::default());
            let mut records = Records::default();
            records.push(&bytes.as_bytes()[..cut]);
            records.rewind();
            let from = usize::try_from(records.whole()).unwrap();
            records.push(&bytes.as_bytes()[from..]);
            records.finish();
            let pieces: Vec<_> =
                std::iter::from_fn(|| records.pop()).map(|item| item.value).collect();
            prop_assert_eq!(whole, pieces);
        }
    }
}
