//! JSON lines: one object a line, each line bounded.

use std::io::{self, BufRead};

use super::{ITEM_BYTES_MAX, Item, parse};

pub(super) struct Lines<R> {
    reader: R,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: 0, buffer: Vec::new(), ended: false }
    }

    /// Reads one line into the buffer; false when it was longer than any may be.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let mut fits = true;
        loop {
            let bytes = match self.reader.fill_buf() {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if bytes.is_empty() {
                self.ended = true;
                return Ok(fits);
            }
            let newline = bytes.iter().position(|b| *b == b'\n');
            let taken = newline.map_or(bytes.len(), |at| at + 1);
            if fits && self.buffer.len() + taken <= ITEM_BYTES_MAX {
                self.buffer.extend_from_slice(&bytes[..taken]);
            } else {
                fits = false;
                self.buffer = Vec::new();
            }
            self.reader.consume(taken);
            if newline.is_some() {
                return Ok(fits);
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<io::Result<Item>> {
        while !self.ended {
            self.line += 1;
            let fits = match self.fill() {
                Ok(fits) => fits,
                Err(e) => {
                    self.ended = true;
                    return Some(Err(e));
                }
            };
            let line = self.line;
            if !fits {
                let wrong = format!("longer than {} MiB", ITEM_BYTES_MAX >> 20);
                return Some(Ok(Item { line, value: Err(wrong) }));
            }
            let text = self.buffer.trim_ascii();
            if !text.is_empty() {
                return Some(Ok(Item { line, value: parse(text) }));
            }
        }
        None
    }
}
