//! The objects of a JSON array, found while it grows: fed in pieces, cut by counting braces.
//!
//! The same scanner reads an array, JSON lines and objects over several lines, since it looks only
//! for the outermost braces. It says up to where whole objects were seen, so that `tail -f` can go
//! on from there after an adapter has overwritten the closing bracket.

use std::collections::VecDeque;

use super::{ITEM_BYTES_MAX, Item, Scanner, parse};

#[derive(Debug)]
pub(crate) struct Objects {
    found: VecDeque<Item>,
    partial: Vec<u8>,
    depth: u64,
    in_string: bool,
    escaped: bool,
    too_long: bool,
    junk: bool,
    line: u64,
    began: u64,
    seen: u64,
    whole: u64,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            found: VecDeque::new(),
            partial: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            too_long: false,
            junk: false,
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

    fn whole(&self) -> u64 {
        self.whole
    }

    fn rewind(&mut self) {
        self.partial.clear();
        (self.depth, self.seen) = (0, self.whole);
        (self.in_string, self.escaped, self.too_long, self.junk) = (false, false, false, false);
    }

    fn finish(&mut self) {
        if self.depth > 0 {
            self.emit(Err("no JSON: it ends in the middle of an object".to_owned()));
        }
    }
}

impl Objects {
    fn emit(&mut self, value: Result<serde_json::Value, String>) {
        self.found.push_back(Item { line: self.began, value });
        self.partial.clear();
        self.partial.shrink_to(1 << 20);
        self.too_long = false;
        self.depth = 0;
        self.whole = self.seen;
    }

    fn byte(&mut self, byte: u8) {
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
        match byte {
            b'"' => self.in_string = true,
            b'{' => self.depth += 1,
            b'}' => {
                self.depth -= 1;
                if self.depth == 0 {
                    let value = if self.too_long {
                        Err(format!("longer than {} MiB", ITEM_BYTES_MAX >> 20))
                    } else {
                        parse(&self.partial)
                    };
                    self.emit(value);
                }
            }
            _ => {}
        }
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'{' => {
                self.junk = false;
                self.depth = 1;
                self.began = self.line;
                self.partial.push(byte);
            }
            b'[' | b']' | b',' => self.junk = false,
            _ if byte.is_ascii_whitespace() => {}
            // Told once a run, not once a byte.
            _ if self.junk => {}
            _ => {
                self.junk = true;
                self.began = self.line;
                self.emit(Err("not an object: a row is a JSON object".to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(pieces: &[&[u8]]) -> (Vec<(u64, bool)>, u64) {
        let mut objects = Objects::default();
        pieces.iter().for_each(|piece| objects.push(piece));
        let whole = objects.whole();
        objects.finish();
        let found = std::iter::from_fn(|| objects.pop()).map(|i| (i.line, i.value.is_ok()));
        (found.collect(), whole)
    }

    #[test]
    fn objects_are_cut_at_their_own_braces() {
        let text = b"[\n{\"a\":\"}{\\\"\"},\n{\"b\":{\"c\":[{}]}}\n]\n";
        assert_eq!(scan(&[text]), (vec![(2, true), (3, true)], 32));
        assert_eq!(scan(&[b"{\"a\":1}{\"b\"", b":2}\n"]).0, [(1, true), (1, true)]);
        assert_eq!(scan(&[b"[1, \"x\", {}]"]).0, [(1, false), (1, false), (1, true)]);
        assert_eq!(scan(&[b"{\"a\":"]), (vec![(1, false)], 0));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same(bytes: Vec<u8>, cut in 0_usize..64) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(scan(&[&bytes]), scan(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
