//! One row after the other, and what rows in a row have in common: written once.

use super::number::{float, signed, unsigned};
use super::pen::Pen;
use super::time::Times;
use crate::batch::Row;
use crate::codec::{ArrayRef, EventRef, ObjectRef, RawValue};
use crate::event::{Direction, SafetyAction};
use crate::id::JournalId;

/// The name of an optional text as it stands in a row, and the same with null for its value: padded,
/// so that any of them is copied by two words, and how long they are.
struct Name {
    named: [u8; 16],
    null: [u8; 24],
    length: usize,
}

impl Name {
    const fn new(name: &str) -> Self {
        let (mut null, mut named) = ([b' '; 24], [b' '; 16]);
        let parts = [",\"", name, "\":", "null"];
        let (mut length, mut part) = (0, 0);
        while part < parts.len() {
            let (bytes, mut i) = (parts[part].as_bytes(), 0);
            while i < bytes.len() {
                null[length] = bytes[i];
                if part < 3 {
                    named[length] = bytes[i];
                }
                length += 1;
                i += 1;
            }
            part += 1;
        }
        Self { named, null, length: length - "null".len() }
    }
}

const TEXT_NAMES: [Name; 8] = [
    Name::new("app_name"),
    Name::new("chain_name"),
    Name::new("agent_name"),
    Name::new("policy_name"),
    Name::new("reason"),
    Name::new("trace_id"),
    Name::new("session_id"),
    Name::new("user_id"),
];

const JOURNAL_AT: usize = ",\"journal_id\":\"".len();

/// Writes rows.
#[derive(Debug)]
pub(super) struct RowWriter {
    times: Times,
    journal: JournalId,
    /// What stands between a row's metadata and its seq.
    place: [u8; 55],
}

impl RowWriter {
    pub(super) fn new() -> Self {
        let place = *b",\"journal_id\":\"00000000000000000000000000000000\",\"seq\":";
        Self { times: Times::default(), journal: JournalId([0; 16]), place }
    }

    #[inline]
    pub(super) fn row(&mut self, pen: &mut Pen<'_>, at: usize, row: &Row<'_>) -> usize {
        if row.journal != self.journal {
            self.journal = row.journal;
            self.place[JOURNAL_AT..JOURNAL_AT + 32].copy_from_slice(&row.journal.digits());
        }
        let at = self.fields(pen, at, &row.event);
        let at = pen.put(at, &self.place);
        let at = unsigned(pen, at, row.seq.0);
        pen.put(at, b"}")
    }

    pub(super) fn event(&mut self, pen: &mut Pen<'_>, at: usize, event: &EventRef<'_>) -> usize {
        let at = self.fields(pen, at, event);
        pen.put(at, b"}")
    }

    /// All but the end.
    #[inline]
    fn fields(&mut self, pen: &mut Pen<'_>, at: usize, event: &EventRef<'_>) -> usize {
        let mut at = pen.put(at, b"{\"event_id\":");
        at = pen.text(at, event.event_id.as_bytes());
        at = pen.put(at, b",\"timestamp\":\"");
        at = match self.times.text(event.timestamp) {
            Some(text) => pen.put(at, &text),
            None => pen.bytes(at, event.timestamp.to_string().as_bytes()),
        };
        at = pen.put(at, b"\"");
        for (name, text) in TEXT_NAMES.iter().zip(event.texts()) {
            at = match text {
                Some(text) => {
                    pen.put(at, &name.named);
                    pen.text(at + name.length, text.as_bytes())
                }
                None => {
                    pen.put(at, &name.null);
                    at + name.length + "null".len()
                }
            };
        }
        at = match event.direction {
            Direction::Input => pen.put(at, b",\"direction\":\"input\",\"action\":\""),
            Direction::Output => pen.put(at, b",\"direction\":\"output\",\"action\":\""),
        };
        at = match event.action {
            SafetyAction::Allow => pen.put(at, b"allow\",\"categories\":"),
            SafetyAction::Block => pen.put(at, b"block\",\"categories\":"),
            SafetyAction::Redact => pen.put(at, b"redact\",\"categories\":"),
            SafetyAction::Alert => pen.put(at, b"alert\",\"categories\":"),
        };
        at = texts(pen, at, event.categories());
        at = pen.put(at, b",\"severity\":");
        at = pen.text(at, event.severity.as_bytes());
        at = pen.put(at, b",\"confidence\":");
        at = float(pen, at, event.confidence);
        at = pen.put(at, b",\"latency_ms\":");
        at = float(pen, at, event.latency_ms);
        at = pen.put(at, b",\"metadata\":");
        object(pen, at, event.metadata())
    }
}

/// A list of texts as an array.
#[inline]
pub(super) fn texts<'a>(
    pen: &mut Pen<'_>,
    at: usize,
    texts: impl Iterator<Item = &'a str>,
) -> usize {
    let begin = pen.put(at, b"[");
    let mut at = begin;
    for text in texts {
        at = pen.text(at, text.as_bytes());
        at = pen.put(at, b",");
    }
    // In place of the last comma.
    pen.put(if at > begin { at - 1 } else { at }, b"]")
}

/// Metadata as an object. Its texts were checked when it was decoded.
pub(super) fn object(pen: &mut Pen<'_>, at: usize, mut entries: ObjectRef<'_>) -> usize {
    let begin = pen.put(at, b"{");
    let mut at = begin;
    while let Some((key, item)) = entries.next_raw() {
        at = pen.text(at, key);
        at = pen.put(at, b":");
        at = value(pen, at, item);
        at = pen.put(at, b",");
    }
    pen.put(if at > begin { at - 1 } else { at }, b"}")
}

fn array(pen: &mut Pen<'_>, at: usize, mut items: ArrayRef<'_>) -> usize {
    let begin = pen.put(at, b"[");
    let mut at = begin;
    while let Some(item) = items.next_raw() {
        at = value(pen, at, item);
        at = pen.put(at, b",");
    }
    pen.put(if at > begin { at - 1 } else { at }, b"]")
}

#[inline]
fn value(pen: &mut Pen<'_>, at: usize, value: RawValue<'_>) -> usize {
    match value {
        RawValue::Null => pen.put(at, b"null"),
        RawValue::Bool(true) => pen.put(at, b"true"),
        RawValue::Bool(false) => pen.put(at, b"false"),
        RawValue::Int(n) => signed(pen, at, n),
        RawValue::UInt(n) => unsigned(pen, at, n),
        RawValue::Float(n) => float(pen, at, n),
        RawValue::Number(digits) => pen.bytes(at, digits),
        RawValue::String(text) => pen.text(at, text),
        RawValue::Object(entries) => object(pen, at, entries),
        RawValue::Array(items) => array(pen, at, items),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_fields_names() {
        for (name, field) in TEXT_NAMES.iter().zip(&crate::event::FIELDS[2..10]) {
            let named = format!(",\"{field}\":");
            assert_eq!(name.named[..name.length], *named.as_bytes());
            assert_eq!(name.null[..name.length + 4], *format!("{named}null").as_bytes());
        }
    }
}
