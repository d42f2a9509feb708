//! JSON lines: an object a line, in whatever envelope, each line bounded. A line that is no JSON
//! costs itself only.

use std::collections::VecDeque;

use namel3ss_safety_stores::read::scanner::envelope::Envelope;
use namel3ss_safety_stores::read::scanner::item::{ITEM_BYTES_MAX, Item, Scanner};

pub(super) struct Lines {
    envelope: Envelope,
    found: VecDeque<Item>,
    partial: Vec<u8>,
    too_long: bool,
    line: u64,
}

impl Lines {
    pub(super) fn new(envelope: Envelope) -> Self {
        let (found, partial) = (VecDeque::new(), Vec::new());
        Self { envelope, found, partial, too_long: false, line: 1 }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.partial.len() + bytes.len() <= ITEM_BYTES_MAX && !self.too_long {
            self.partial.extend_from_slice(bytes);
        } else {
            self.too_long = true;
            self.partial = Vec::new();
        }
    }

    fn end(&mut self) {
        let line = self.line;
        if std::mem::take(&mut self.too_long) {
            let wrong = format!("longer than {} MiB", ITEM_BYTES_MAX >> 20);
            self.found.push_back(Item::bad(line, wrong));
        } else {
            self.envelope.line(line, &self.partial, &mut self.found);
        }
        self.partial.clear();
        self.partial.shrink_to(1 << 20);
    }
}

impl Scanner for Lines {
    fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| *b == b'\n') {
            self.take(&rest[..at]);
            self.end();
            self.line += 1;
            rest = &rest[at + 1..];
        }
        self.take(rest);
    }

    fn pop(&mut self) -> Option<Item> {
        self.found.pop_front()
    }

    fn finish(&mut self) {
        self.end();
        self.envelope.finish(&mut self.found);
    }
}
