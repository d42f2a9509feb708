//! Rows as JSON text: the 17 fields in their order, then `journal_id` and `seq`.
//!
//! The shape is fixed, so it is written by hand (half the cost of a generic serializer, measured);
//! text and numbers go through `serde_json`. Numbers that JSON lacks are written as the texts
//! `NaN`, `Infinity` and `-Infinity`, as in
//! [protobuf's JSON mapping](https://protobuf.dev/programming-guides/json/).

use crate::batch::Row;
use crate::codec::{EventRef, ObjectRef, ValueRef};
use crate::event::FIELDS;

/// Appends the 17 fields of `event` as one JSON object.
pub fn write_event(event: &EventRef<'_>, out: &mut Vec<u8>) {
    write_fields(event, out);
    out.push(b'}');
}

/// Appends `row` as one JSON object: the 17 fields, `journal_id`, `seq`.
pub fn write_row(row: &Row<'_>, out: &mut Vec<u8>) {
    write_fields(&row.event, out);
    out.extend_from_slice(b",\"journal_id\":\"");
    for byte in row.journal.0 {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    out.extend_from_slice(b"\",\"seq\":");
    write_integer(row.seq.0, out);
    out.push(b'}');
}

/// Appends `metadata` as one JSON object, in the order in which it was logged.
pub fn write_object(metadata: ObjectRef<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (key, value)) in metadata.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(key, out);
        out.push(b':');
        write_value(value, out);
    }
    out.push(b'}');
}

/// Appends a list of texts as one JSON array.
pub fn write_texts<'a>(texts: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, text) in texts.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(text, out);
    }
    out.push(b']');
}

/// Appends `text` as a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing to a Vec can't fail, and a str always serializes.
        let _ = serde_json::to_writer(out, text);
    }
}

/// What JSON calls a number that it cannot write.
pub(crate) fn non_finite(n: f64) -> &'static str {
    if n.is_nan() {
        "NaN"
    } else if n > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// Appends `n` as a JSON number, or as one of three texts where JSON has none.
pub fn write_float(n: f64, out: &mut Vec<u8>) {
    if n.is_finite() {
        // As above: this can't fail.
        let _ = serde_json::to_writer(out, &n);
    } else {
        write_text(non_finite(n), out);
    }
}

/// Writing to a Vec can't fail, and a number always serializes.
fn write_integer(n: impl Into<i128>, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, &n.into());
}

fn write_fields(event: &EventRef<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event_id\":");
    write_text(event.event_id, out);
    out.extend_from_slice(b",\"timestamp\":\"");
    write_timestamp(event, out);
    out.push(b'"');
    for (name, text) in FIELDS[2..10].iter().zip(event.texts()) {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match text {
            Some(text) => write_text(text, out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b",\"direction\":\"");
    out.extend_from_slice(event.direction.as_str().as_bytes());
    out.extend_from_slice(b"\",\"action\":\"");
    out.extend_from_slice(event.action.as_str().as_bytes());
    out.extend_from_slice(b"\",\"categories\":");
    write_texts(event.categories(), out);
    out.extend_from_slice(b",\"severity\":");
    write_text(event.severity, out);
    out.extend_from_slice(b",\"confidence\":");
    write_float(event.confidence, out);
    out.extend_from_slice(b",\"latency_ms\":");
    write_float(event.latency_ms, out);
    out.extend_from_slice(b",\"metadata\":");
    write_object(event.metadata(), out);
}

fn write_timestamp(event: &EventRef<'_>, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to a Vec can't fail.
    let _ = write!(out, "{}", event.timestamp);
}

fn write_value(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Bool(true) => out.extend_from_slice(b"true"),
        ValueRef::Bool(false) => out.extend_from_slice(b"false"),
        ValueRef::Int(n) => write_integer(n, out),
        ValueRef::UInt(n) => write_integer(n, out),
        ValueRef::Float(n) => write_float(n, out),
        ValueRef::Number(digits) => out.extend_from_slice(digits.as_bytes()),
        ValueRef::String(text) => write_text(text, out),
        ValueRef::Object(entries) => write_object(entries, out),
        ValueRef::Array(items) => {
            out.push(b'[');
            for (i, item) in items.enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
    }
}
