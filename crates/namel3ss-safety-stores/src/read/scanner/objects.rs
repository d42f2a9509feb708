//! The objects of JSON values, found while they come in: fed in pieces, split by counting braces.
//!
//! One scanner reads an array, objects over several lines, and objects one behind the other, since
//! it looks only for the outermost braces. It says up to where whole objects were seen, so that
//! `tail -f` can go on from there after an adapter has overwritten the closing bracket.
//!
//! An object whose only key holds a list of objects (`{"Records":[…]}`) is an envelope. Its objects
//! are given one by one, each with its line, and a long list is not kept in memory.

use std::collections::VecDeque;
use std::ops::Range;

use serde_json::Value;

use super::envelope::{Envelope, RECORD_SEPARATOR};
use super::item::{Follow, ITEM_BYTES_MAX, Item, Scanner};
use super::value::parse;

/// An object with a longer list as its first key is an envelope, whatever comes behind the list:
/// an event of that size would be cut.
const LIST_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug)]
pub struct Objects {
    /// For records in envelopes; a dataset's rows are in none.
    envelope: Option<Envelope>,
    found: VecDeque<Item>,
    partial: Vec<u8>,
    depth: u64,
    in_string: bool,
    escaped: bool,
    too_long: bool,
    junk: bool,
    /// Lists that are open around the objects.
    lists: u64,
    /// And how many were behind the last whole row.
    lists_whole: u64,
    list: List,
    line: u64,
    began: u64,
    seen: u64,
    whole: u64,
}

/// The list that the first key of the outermost object holds.
#[derive(Clone, Debug, Default)]
enum List {
    /// There is none, or it is no list of objects.
    #[default]
    None,
    /// Its objects so far: where each stands in the text, and on which line.
    Open(Vec<(u64, Range<usize>)>),
    /// It has ended; an envelope ends here too.
    Closed(Vec<(u64, Range<usize>)>),
    /// Its objects are given as they come.
    Streamed,
    /// The end of one that was streamed; whether something else stood behind it.
    StreamEnded(bool),
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            envelope: None,
            found: VecDeque::new(),
            partial: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            too_long: false,
            junk: false,
            lists: 0,
            lists_whole: 0,
            list: List::None,
            line: 1,
            began: 1,
            seen: 0,
            whole: 0,
        }
    }
}

impl Scanner for Objects {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.seen += 1;
            self.byte(byte);
            if byte == b'\n' {
                self.line += 1;
            }
        }
    }

    fn pop(&mut self) -> Option<Item> {
        self.found.pop_front()
    }

    fn finish(&mut self) {
        if self.depth > 0 {
            self.bad("no JSON: it ends in the middle of an object");
        } else if self.lists > 0 {
            self.began = self.line;
            self.bad("no JSON: it ends in the middle of a list");
        }
        if let Some(envelope) = &mut self.envelope {
            envelope.finish(&mut self.found);
        }
    }
}

impl Follow for Objects {
    fn whole(&self) -> u64 {
        self.whole
    }

    fn rewind(&mut self) {
        self.partial.clear();
        (self.depth, self.seen, self.lists) = (0, self.whole, self.lists_whole);
        (self.in_string, self.escaped, self.too_long, self.junk) = (false, false, false, false);
    }

    fn lacks(&self) -> Option<&'static str> {
        match (self.depth, self.lists) {
            (0, 0) => None,
            (0, _) => Some("the array has no end"),
            _ => Some("its last row has no end"),
        }
    }
}

impl Objects {
    /// The objects in whatever is around them.
    pub fn in_envelopes(envelope: Envelope) -> Self {
        Self { envelope: Some(envelope), ..Self::default() }
    }

    fn reset(&mut self) {
        self.partial.clear();
        self.partial.shrink_to(1 << 20);
        (self.too_long, self.in_string, self.escaped) = (false, false, false);
        self.depth = 0;
        self.list = List::None;
        (self.whole, self.lists_whole) = (self.seen, self.lists);
    }

    fn bad(&mut self, wrong: &str) {
        self.found.push_back(Item::bad(self.began, wrong.to_owned()));
        self.reset();
    }

    /// Gives what is in a value.
    fn give(&mut self, line: u64, value: Result<Value, String>) {
        match (value, &mut self.envelope) {
            (Ok(value), Some(envelope)) => envelope.value(line, value, &mut self.found),
            (value, _) => self.found.push_back(Item { line, value, time: None }),
        }
    }

    /// The outermost object has ended.
    fn end(&mut self) {
        match std::mem::take(&mut self.list) {
            List::StreamEnded(false) => {}
            List::StreamEnded(true) => {
                self.began = self.line;
                return self.bad("what stands behind a long list in the same object was left out");
            }
            // Each object of the envelope has its own line.
            List::Closed(objects) => {
                for (line, range) in objects {
                    let value = parse(&self.partial[range]);
                    self.give(line, value);
                }
            }
            _ if self.too_long => {
                return self.bad(&format!("longer than {} MiB", ITEM_BYTES_MAX >> 20));
            }
            _ => {
                let value = parse(&self.partial);
                self.give(self.began, value);
            }
        }
        self.reset();
    }

    fn byte(&mut self, byte: u8) {
        // It stands in no JSON text: a new record begins, whatever became of the last one.
        if byte == RECORD_SEPARATOR && self.envelope.is_some() {
            if self.depth > 0 {
                self.bad("no JSON: it ends in the middle of an object");
            }
            return;
        }
        if self.depth == 0 {
            return self.outside(byte);
        }
        if self.partial.len() < ITEM_BYTES_MAX {
            self.partial.push(byte);
        } else {
            self.too_long = true;
        }
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        if self.depth == 1 {
            self.in_outermost(byte);
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' => {
                self.depth += 1;
                if self.depth == 2 {
                    self.inner_begins();
                }
            }
            b'}' => {
                self.depth -= 1;
                match self.depth {
                    0 => self.end(),
                    1 => self.inner_ends(),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Follows the list under the first key of the outermost object.
    fn in_outermost(&mut self, byte: u8) {
        let is_gap = byte.is_ascii_whitespace();
        self.list = match std::mem::take(&mut self.list) {
            List::None if byte == b'[' && self.is_first_key() => List::Open(Vec::new()),
            List::None => List::None,
            List::Open(objects) => match byte {
                b'{' | b',' => List::Open(objects),
                b']' => List::Closed(objects),
                _ if is_gap => List::Open(objects),
                _ => List::None,
            },
            List::Closed(objects) if is_gap || byte == b'}' => List::Closed(objects),
            // Another key: an object like any other.
            List::Closed(_) => List::None,
            List::Streamed if byte == b']' => List::StreamEnded(false),
            List::Streamed => List::Streamed,
            List::StreamEnded(more) => List::StreamEnded(more || !(is_gap || byte == b'}')),
        };
        if matches!(self.list, List::Streamed | List::StreamEnded(_)) {
            self.partial.clear();
        }
    }

    /// Whether the text so far is `{"key":[`, with a key under which records may stand.
    fn is_first_key(&self) -> bool {
        let Some(envelope) = &self.envelope else { return false };
        let text = self.partial.strip_prefix(b"{").and_then(|text| text.strip_suffix(b"["));
        let key = text.and_then(|text| text.trim_ascii().strip_suffix(b":"));
        let key = key.map(<[u8]>::trim_ascii).filter(|key| key.starts_with(b"\""));
        key.and_then(|key| serde_json::from_slice::<String>(key).ok())
            .is_some_and(|key| envelope.may_wrap(&key))
    }

    /// A second brace is open: of an object in the list, perhaps.
    fn inner_begins(&mut self) {
        let start = self.partial.len().saturating_sub(1);
        match &mut self.list {
            List::Open(objects) => objects.push((self.line, start..start)),
            List::Streamed => {
                self.partial.clear();
                self.partial.push(b'{');
                (self.began, self.too_long) = (self.line, false);
            }
            _ => {}
        }
    }

    fn inner_ends(&mut self) {
        let end = self.partial.len();
        match &mut self.list {
            List::Open(objects) => {
                if let Some((_, range)) = objects.last_mut() {
                    range.end = end;
                }
                if end > LIST_BYTES_MAX {
                    self.stream();
                }
            }
            List::Streamed => {
                let value = match std::mem::take(&mut self.too_long) {
                    true => Err(format!("longer than {} MiB", ITEM_BYTES_MAX >> 20)),
                    false => parse(&self.partial),
                };
                self.give(self.began, value);
                self.partial.clear();
            }
            _ => {}
        }
    }

    /// The list is long: gives what there is of it, and the rest as it comes.
    fn stream(&mut self) {
        if let List::Open(objects) = std::mem::replace(&mut self.list, List::Streamed) {
            for (line, range) in objects {
                let value = parse(&self.partial[range]);
                self.give(line, value);
            }
        }
        self.partial.clear();
        self.too_long = false;
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'{' => {
                self.junk = false;
                self.depth = 1;
                self.began = self.line;
                self.partial.push(byte);
            }
            b'[' => {
                self.junk = false;
                self.lists += 1;
            }
            b']' => {
                self.junk = false;
                self.lists = self.lists.saturating_sub(1);
            }
            b',' => self.junk = false,
            _ if byte.is_ascii_whitespace() => {}
            // Reported once a run, not once a byte.
            _ if self.junk => {}
            _ => {
                self.junk = true;
                self.began = self.line;
                self.bad("not an object: a row is a JSON object");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Found = Vec<(u64, Result<Value, String>)>;

    fn items(mut objects: Objects, pieces: &[&[u8]]) -> (Found, u64) {
        pieces.iter().for_each(|piece| objects.push(piece));
        let whole = objects.whole();
        objects.finish();
        let found = std::iter::from_fn(|| objects.pop()).map(|item| (item.line, item.value));
        (found.collect(), whole)
    }

    fn scan(pieces: &[&[u8]]) -> (Vec<(u64, bool)>, u64) {
        let (found, whole) = items(Objects::default(), pieces);
        (found.into_iter().map(|(line, value)| (line, value.is_ok())).collect(), whole)
    }

    fn opened(text: &[u8]) -> Found {
        items(Objects::in_envelopes(Envelope::default()), &[text]).0
    }

    #[test]
    fn objects_are_split_at_their_own_braces() {
        let text = b"[\n{\"a\":\"}{\\\"\"},\n{\"b\":{\"c\":[{}]}}\n]\n";
        assert_eq!(scan(&[text]), (vec![(2, true), (3, true)], 32));
        assert_eq!(scan(&[b"{\"a\":1}{\"b\"", b":2}\n"]).0, [(1, true), (1, true)]);
        assert_eq!(scan(&[b"[1, \"x\", {}]"]).0, [(1, false), (1, false), (1, true)]);
        assert_eq!(scan(&[b"{\"a\":"]), (vec![(1, false)], 0));
    }

    /// An array that was cut between two elements was taken for a whole one.
    #[test]
    fn an_array_without_its_end_is_bad() {
        let (found, whole) = scan(&[b"[\n{\"a\":1},\n{\"a\":2},\n"]);
        assert_eq!(found, [(2, true), (3, true), (4, false)]);
        assert_eq!(whole, 18);
    }

    #[test]
    fn an_envelope_gives_its_objects_with_their_lines() {
        let one = |n: u64| Ok(serde_json::json!({ "a": n }));
        let text = b"{ \"Records\" : [\r\n{\"a\":1},\n{\"a\":2}\n]\n}{\"results\":[]}\n{\"a\":3}";
        assert_eq!(opened(text), [(2, one(1)), (3, one(2)), (6, one(3))]);
        // Its first key holds a list as well, but it is an event.
        let event = serde_json::json!({"spans": [{"a": 1}], "action": "block"});
        assert_eq!(opened(event.to_string().as_bytes()), [(1, Ok(event))]);
        let event = serde_json::json!({"categories": [{"a": 1}]});
        assert_eq!(opened(event.to_string().as_bytes()), [(1, Ok(event))]);
        assert!(opened(b"{\"Records\":[{\"a\":1},")[0].1.is_err());
        let cut = opened(b"\x1e{\"a\":1\n\x1e{\"a\":2}\n");
        assert_eq!((cut[0].1.is_err(), &cut[1]), (true, &(2, one(2))));
    }

    #[test]
    fn a_long_envelope_is_not_kept_in_memory() {
        let mut objects = Objects::in_envelopes(Envelope::default());
        objects.push(b"{\"Records\":[");
        let row = format!("{{\"a\":\"{}\"}},\n", "x".repeat(1 << 16));
        let mut found = 0;
        for _ in 0..100 {
            objects.push(row.as_bytes());
            found += std::iter::from_fn(|| objects.pop()).filter(|item| item.value.is_ok()).count();
            assert!(objects.partial.len() <= 2 << 20);
        }
        objects.push(b"{\"a\":1}],\"next\":\"x\"}");
        objects.finish();
        let rest: Vec<_> = std::iter::from_fn(|| objects.pop()).map(|i| i.value.is_ok()).collect();
        assert_eq!((found, rest), (100, vec![true, false]));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same(bytes: Vec<u8>, cut in 0_usize..64) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(scan(&[&bytes]), scan(&[&bytes[..cut], &bytes[cut..]]));
        }

        #[test]
        fn envelopes_in_any_pieces_give_the_same(
            text in "[\\[\\]{}\"a:, \n\u{1e}]{0,60}", cut in 0_usize..60
        ) {
            let cut = cut.min(text.len());
            let (first, second) = text.as_bytes().split_at(cut);
            let both = items(Objects::in_envelopes(Envelope::default()), &[first, second]).0;
            prop_assert_eq!(opened(text.as_bytes()), both);
        }
    }
}
