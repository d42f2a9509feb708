//! The records of a CSV file, found while they come in: fed in pieces, split by `csv-core`. Every
//! cell is text, and an empty one is no value.

use std::collections::VecDeque;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use namel3ss_safety::internal::adapter::csv::uninert;
use namel3ss_safety::internal::parse::field_of;
use serde_json::{Map, Value};

use super::header::{Header, columns, sep_line};
use super::item::{Follow, ITEM_BYTES_MAX, Item, Scanner};

/// The most cells of a record; a header of more names nothing that anybody wants to read.
const CELLS_MAX: usize = 4096;
/// So much of the input is looked at for the end of the header.
const HEADER_BYTES_MAX: usize = 64 << 10;
#[derive(Clone, Debug)]
pub struct Csv {
    /// Made when the header's first line is there.
    reader: Option<Reader>,
    delimiter: u8,
    /// What came before.
    head: Vec<u8>,
    /// Names that a mapping looks for.
    wanted: Vec<String>,
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
    /// Whether a quote of the record may be open: their number so far is odd.
    quoted: bool,
    /// The line that is read, and the one on which the record began.
    line: Line,
    began: u64,
    between: bool,
    seen: u64,
    whole: u64,
    whole_line: Line,
}

/// Counts lines that end with LF, CRLF or CR.
#[derive(Clone, Copy, Debug)]
struct Line {
    number: u64,
    after_cr: bool,
}

impl Line {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.number += u64::from(*byte == b'\r' || (*byte == b'\n' && !self.after_cr));
            self.after_cr = *byte == b'\r';
        }
    }
}

impl Default for Csv {
    fn default() -> Self {
        let line = Line { number: 1, after_cr: false };
        Self {
            reader: None,
            delimiter: b',',
            head: Vec::new(),
            wanted: Vec::new(),
            names: None,
            inert: false,
            found: VecDeque::new(),
            cells: vec![0; 4096],
            ends: vec![0; 32],
            cells_used: 0,
            ends_used: 0,
            too_long: false,
            quoted: false,
            line,
            began: 1,
            between: true,
            seen: 0,
            whole: 0,
            whole_line: line,
        }
    }
}

impl Csv {
    /// The records of a dataset of ours, which makes its cells inert whatever its header.
    pub fn of_dataset() -> Self {
        Self { inert: true, ..Self::default() }
    }

    /// The records of an input, in whose header a mapping looks for some names.
    pub fn of_input(wanted: Vec<String>) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// A reader at the beginning of a record.
    fn at_a_record(&self) -> Reader {
        ReaderBuilder::new().delimiter(self.delimiter).build()
    }

    /// The header's first line is there, or all there is: finds what stands between the cells.
    fn start(&mut self) {
        let head = std::mem::take(&mut self.head);
        let (delimiter, skipped) = sep_line(&head).unwrap_or_else(|| {
            let mut lines = head.split(|b| matches!(b, b'\r' | b'\n'));
            let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
            let known = |name: &str| {
                field_of(name).is_some() || self.wanted.iter().any(|wanted| wanted == name)
            };
            (Header::of(line, known).delimiter, 0)
        });
        self.line.pass(&head[..skipped]);
        self.seen += skipped as u64;
        self.delimiter = delimiter;
        self.reader = Some(self.at_a_record());
        self.feed(&head[skipped..]);
    }

    /// Takes bytes of the file behind the header's first line.
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.between {
                // Line ends between records are read here, so that the next one's line is known.
                let gap = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
                self.line.pass(&bytes[..gap]);
                self.seen += gap as u64;
                bytes = &bytes[gap..];
                if bytes.is_empty() {
                    return;
                }
                self.began = self.line.number;
                self.between = false;
            }
            let taken = self.read(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// Reads until a record ends or the bytes do; returns how many it took.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let Some(reader) = &mut self.reader else { return bytes.len() };
        let mut taken = 0;
        loop {
            let (cells, ends) = (self.cells_used, self.ends_used);
            let rest = &bytes[taken..];
            let (result, n, written, ended) =
                reader.read_record(rest, &mut self.cells[cells..], &mut self.ends[ends..]);
            self.line.pass(&rest[..n]);
            self.quoted ^= rest[..n].iter().filter(|b| **b == b'"').count() % 2 == 1;
            taken += n;
            self.seen += n as u64;
            self.cells_used += written;
            self.ends_used += ended;
            match result {
                // More room; a record that is too long is read to its end and forgotten.
                ReadRecordResult::OutputFull if self.cells.len() >= ITEM_BYTES_MAX => {
                    (self.too_long, self.cells_used) = (true, 0);
                }
                ReadRecordResult::OutputFull => self.cells.resize(self.cells.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() >= CELLS_MAX => {
                    (self.too_long, self.ends_used) = (true, 0);
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if !bytes.is_empty() => return taken,
                // No bytes at all are the end of the input.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => {
                    self.end(bytes.is_empty());
                    return taken;
                }
                ReadRecordResult::End => return taken,
            }
        }
    }

    fn end(&mut self, at_end_of_input: bool) {
        let ends_used = std::mem::take(&mut self.ends_used);
        // It swallows the records behind it.
        let open = std::mem::take(&mut self.quoted)
            && at_end_of_input
            && self.line.number > self.began + 1;
        self.cells_used = 0;
        self.between = true;
        self.whole = self.seen;
        self.whole_line = self.line;
        let too_long = std::mem::take(&mut self.too_long);
        let ends = if too_long { &[][..] } else { &self.ends[..ends_used] };
        let mut start = 0;
        let cells = ends.iter().map(|end| &self.cells[std::mem::replace(&mut start, *end)..*end]);
        let Some(names) = &self.names else {
            let names = columns(cells);
            let has = |name: &str| names.iter().any(|known| known == name);
            self.inert |= has("journal_id") && has("seq");
            self.names = Some(names);
            return;
        };
        let value = if too_long {
            Err(format!("longer than {} MiB: is a quote left open?", ITEM_BYTES_MAX >> 20))
        } else if open {
            Err("a quote is left open up to the end of the input".to_owned())
        } else {
            row(names, cells, self.inert)
        };
        self.found.push_back(Item { line: self.began, value, time: None });
    }
}

impl Scanner for Csv {
    fn push(&mut self, bytes: &[u8]) {
        if self.reader.is_some() {
            return self.feed(bytes);
        }
        self.head.extend_from_slice(bytes);
        let is_end = |b: &u8| matches!(b, b'\r' | b'\n');
        // Excel's first line is not the header yet.
        let sep = sep_line(&self.head).map_or(0, |(_, length)| length);
        let mut header = self.head[sep..].iter().skip_while(|b| is_end(b));
        if header.any(is_end) || self.head.len() >= HEADER_BYTES_MAX {
            self.start();
        }
    }

    fn pop(&mut self) -> Option<Item> {
        self.found.pop_front()
    }

    fn finish(&mut self) {
        if self.reader.is_none() {
            self.start();
        }
        if !self.between {
            self.read(&[]);
        }
    }
}

impl Follow for Csv {
    fn whole(&self) -> u64 {
        self.whole
    }

    fn rewind(&mut self) {
        if self.names.is_none() {
            // The header was not whole: its beginning is pushed again.
            self.reader = None;
        }
        // A new one: a copy of csv-core's own reader has lost its tables.
        self.reader = self.reader.take().map(|_| self.at_a_record());
        self.head.clear();
        (self.cells_used, self.ends_used) = (0, 0);
        (self.too_long, self.quoted) = (false, false);
        (self.seen, self.line, self.between) = (self.whole, self.whole_line, true);
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
            // What the metadata may hold under a field's name is not the value of its empty cell.
            ("", name) if inert && field_of(name).is_some() => Value::Null,
            ("", _) => continue,
            (_, "seq") if inert => text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
            (_, "confidence" | "latency_ms") => Value::from(text),
            _ if inert => uninert(text).map_or(Value::Null, Value::from),
            _ => Value::from(text),
        };
        row.insert(name.clone(), value);
    }
    Ok(Value::Object(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn rows(text: &str, mut records: Csv) -> Vec<Result<Value, String>> {
        records.push(text.as_bytes());
        records.finish();
        std::iter::from_fn(|| records.pop()).map(|item| item.value).collect()
    }

    #[test]
    fn cells_of_a_dataset_read_back_as_they_were() {
        let text = "reason,seq,journal_id,user_id\n'=1+1,7,ab,'quoted'\n',8,ab,\n";
        assert_eq!(
            rows(text, Csv::default()),
            [
                Ok(json!({"reason": "=1+1", "seq": 7, "journal_id": "ab", "user_id": "'quoted'"})),
                Ok(json!({"reason": "", "seq": 8, "journal_id": "ab", "user_id": null})),
            ]
        );
        assert_eq!(rows("reason\n'=1\n", Csv::default()), [Ok(json!({"reason": "'=1"}))]);
        assert_eq!(rows("reason\n'=1\n", Csv::of_dataset()), [Ok(json!({"reason": "=1"}))]);
        // These were read back with their apostrophe.
        let text = "reason,user_id\n\"'\n1\",'＝1\n";
        let row = json!({"reason": "\n1", "user_id": "＝1"});
        assert_eq!(rows(text, Csv::of_dataset()), [Ok(row)]);
    }

    #[track_caller]
    fn check(text: &str, expected: &[(u64, Result<Value, &str>)]) {
        let mut records = Csv::of_input(vec!["verdict".to_owned()]);
        records.push(text.as_bytes());
        records.finish();
        let found = std::iter::from_fn(|| records.pop());
        let found: Vec<_> = found.map(|item| (item.line, item.value)).collect();
        let owned = |value: &Result<Value, &str>| value.clone().map_err(str::to_owned);
        let expected: Vec<_> = expected.iter().map(|(line, value)| (*line, owned(value))).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn delimiters_are_told_by_the_header() {
        let row = |line| [(line, Ok(json!({"action": "block", "reason": "a,b"})))];
        check("action;reason\nblock;a,b\n", &row(2));
        check("action\treason\r\nblock\ta,b", &row(2));
        check("action|reason\nblock|a,b\n", &row(2));
        check("sep=;\r\naction;reason\r\nblock;a,b\r\n", &row(3));
        check("sep=\t\naction\treason\nblock\ta,b\n", &row(3));
        check("\naction,reason\nblock,\"a,b\"\n", &row(3));
        check("\"action\",\"reason\"\nblock,\"a,b\"\n", &row(2));
        let other = json!({"x;y;z": "1", "verdict": "block"});
        check("x;y;z,verdict\n1,block\n", &[(2, Ok(other))]);
        let twice = json!({"action": "block", "action.2": "allow"});
        check("action,action\nblock,allow\n", &[(2, Ok(twice))]);
    }

    /// Lines were counted by the record that came before, which missed half of a CRLF.
    #[test]
    fn every_record_knows_its_line() {
        let block = |reason: &str| Ok(json!({"action": "block", "reason": reason}));
        for end in ["\n", "\r\n", "\r"] {
            let text = format!(
                "action,reason{end}block,\"a{end}b\"{end}{end}block{end}block,c,d{end}block,e"
            );
            let expected = [
                (2, block(&format!("a{end}b"))),
                (5, Err("1 cells where the header has 2")),
                (6, Err("3 cells where the header has 2")),
                (7, block("e")),
            ];
            check(&text, &expected);
        }
        let open = "a quote is left open up to the end of the input";
        check("action,reason\nblock,\"a\nallow,b\nallow,c\n", &[(2, Err(open))]);
    }

    #[test]
    fn a_record_that_is_still_being_written_waits() {
        let mut records = Csv::default();
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
        fn any_bytes_in_any_pieces_give_the_same(bytes in "[a,;\"\n\r']{0,40}", cut in 0_usize..40) {
            let cut = cut.min(bytes.len());
            let whole = rows(&bytes, Csv::default());
            let mut records = Csv::default();
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
            let whole = rows(&bytes, Csv::default());
            let mut records = Csv::default();
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
