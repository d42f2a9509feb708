//! Rows of an input, and what finds them in its bytes.

use serde_json::Value;

/// The longest line, object or CSV record that is read: what is longer is counted as bad. An event
/// is cut at 256 KiB, so nothing of value is that long.
pub const ITEM_BYTES_MAX: usize = 64 << 20;

/// One row of the input.
#[derive(Clone, Debug)]
pub struct Item {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The row, or what is wrong with it.
    pub value: Result<Value, String>,
    /// The time that its envelope names.
    pub time: Option<String>,
}

impl Item {
    pub fn bad(line: u64, wrong: String) -> Self {
        Self { line, value: Err(wrong), time: None }
    }
}

/// Finds rows in bytes that come in pieces.
pub trait Scanner: Send {
    /// Takes more bytes.
    fn push(&mut self, bytes: &[u8]);

    /// The next row that was whole, or what was no row.
    fn pop(&mut self) -> Option<Item>;

    /// The input has ended: what began and did not end is a row, or bad.
    fn finish(&mut self);
}

/// One that goes on in a file that grows. A copy goes on there as well.
pub trait Follow: Scanner + Clone + Sync + 'static {
    /// Just behind the last whole row, as an offset in the file.
    fn whole(&self) -> u64;

    /// Forgets what came behind the last whole row: it will be pushed again.
    fn rewind(&mut self);

    /// What is missing, if this was the end of the file.
    fn lacks(&self) -> Option<&'static str> {
        None
    }
}
