//! What is written as JSON, appended to a buffer.

use super::number;
use super::pen::append;
use super::row::{self, RowWriter};
use super::time::Times;
use crate::batch::Row;
use crate::clock::Timestamp;
use crate::codec::{EventRef, ObjectRef};
use crate::id::JournalId;

/// About what one row takes, and one value.
const ROW_BYTES: usize = 1024;
const VALUE_BYTES: usize = 64;

/// The most that a row takes as JSON whose payload has so many bytes: a control character becomes six.
#[must_use]
pub fn row_bytes_max(payload_bytes: usize) -> usize {
    payload_bytes.saturating_mul(6).saturating_add(2 * ROW_BYTES)
}

/// What stands around rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    /// Before the first row.
    pub(crate) first: &'static [u8],
    /// Before each that follows.
    pub(crate) next: &'static [u8],
    /// Behind each row.
    pub(crate) after: &'static [u8],
}

/// Appends `rows`, each as [`write_row`] does, on a line of its own.
pub fn write_lines<'a>(rows: impl Iterator<Item = Row<'a>>, out: &mut Vec<u8>) {
    write_rows(rows, Around { first: b"", next: b"", after: b"\n" }, out);
}

/// Appends `rows` as one JSON array, each as [`write_row`] does, on a line of its own.
pub fn write_list<'a>(rows: impl Iterator<Item = Row<'a>>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"[\n");
    write_rows(rows, Around { first: b"", next: b",\n", after: b"" }, out);
    out.extend_from_slice(b"\n]\n");
}

/// Appends `rows`, each as [`write_row`] does.
pub(crate) fn write_rows<'a>(
    rows: impl Iterator<Item = Row<'a>>,
    around: Around,
    out: &mut Vec<u8>,
) {
    append(out, 16 * ROW_BYTES, |pen, mut at| {
        let mut writer = RowWriter::new();
        let mut before = around.first;
        for row in rows {
            at = pen.bytes(at, before);
            at = writer.row(pen, at, &row);
            at = pen.bytes(at, around.after);
            before = around.next;
        }
        at
    });
}

/// Appends the 17 fields of `event` as one JSON object.
pub fn write_event(event: &EventRef<'_>, out: &mut Vec<u8>) {
    append(out, ROW_BYTES, |pen, at| RowWriter::new().event(pen, at, event));
}

/// Appends `row` as one JSON object: the 17 fields, `journal_id`, `seq`.
pub fn write_row(row: &Row<'_>, out: &mut Vec<u8>) {
    append(out, ROW_BYTES, |pen, at| RowWriter::new().row(pen, at, row));
}

/// Appends `metadata` as one JSON object, in the order in which it was logged.
pub fn write_object(metadata: ObjectRef<'_>, out: &mut Vec<u8>) {
    if metadata.is_empty() {
        out.extend_from_slice(b"{}");
        return;
    }
    append(out, VALUE_BYTES, |pen, at| row::object(pen, at, metadata));
}

/// Appends a list of texts as one JSON array.
pub fn write_texts<'a>(texts: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    append(out, VALUE_BYTES, |pen, at| row::texts(pen, at, texts));
}

/// Appends `text` as a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    append(out, 0, |pen, at| pen.text(at, text.as_bytes()));
}

/// Appends `n` as a JSON number, or as one of three texts where JSON has none.
pub fn write_float(n: f64, out: &mut Vec<u8>) {
    append(out, VALUE_BYTES, |pen, at| number::float(pen, at, n));
}

/// Appends the 32 hexadecimal digits of `journal`.
pub fn write_journal(journal: JournalId, out: &mut Vec<u8>) {
    out.extend_from_slice(&journal.digits());
}

/// Appends `n` in decimal digits.
pub(crate) fn write_unsigned(n: u64, out: &mut Vec<u8>) {
    append(out, 0, |pen, at| number::unsigned(pen, at, n));
}

/// Appends what [`Timestamp`]'s `Display` writes.
pub fn write_timestamp(timestamp: Timestamp, out: &mut Vec<u8>) {
    Times::default().write(timestamp, out);
}

impl Row<'_> {
    /// Appends the row as one JSON object: the 17 fields, `journal_id`, `seq`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write_row(self, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn the_ends_of_the_calendar_are_written_as_chrono_does() {
        for text in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2000-02-29T00:00:00Z"]
        {
            let at: Timestamp = text.parse().unwrap();
            for micros in [at.micros() - 1, at.micros(), at.micros() + 1] {
                let t = Timestamp::from_micros(micros);
                assert_eq!(written(|out| write_timestamp(t, out)), t.to_string());
            }
        }
    }

    #[test]
    fn a_text_of_any_length_is_escaped_wherever_it_must_be() {
        for length in 0..150 {
            for special in ['"', '\\', '\n', '\u{1f}', '\u{7f}', 'é', ' '] {
                for at in 0..=length {
                    let text = format!("{}{special}{}", "a".repeat(at), "z".repeat(length - at));
                    let expected = serde_json::to_string(&text).unwrap();
                    assert_eq!(written(|o| write_text(&text, o)), expected);
                }
            }
        }
    }

    #[test]
    fn numbers_of_few_decimals_are_as_the_library_writes_them() {
        for scaled in (0..200_000_u32).chain(4_294_900_000..4_294_967_295) {
            for scale in [1.0, 10.0, 100.0, 1e3, 1e4, 1e5] {
                let n = f64::from(scaled) / scale;
                assert_eq!(written(|o| write_float(n, o)), serde_json::to_string(&n).unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn texts_numbers_and_times_are_as_the_libraries_write_them(
            text in any::<String>(), float in any::<f64>(), int in any::<i64>(), uint in any::<u64>(),
            small in -1000_i64..100_000, decimals in 0_i32..6,
        ) {
            prop_assert_eq!(written(|o| write_text(&text, o)), serde_json::to_string(&text).unwrap());
            prop_assert_eq!(written(|o| append(o, 0, |pen, at| number::signed(pen, at, int))), int.to_string());
            prop_assert_eq!(written(|o| write_unsigned(uint, o)), uint.to_string());
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let short = small as f64 / 10_f64.powi(decimals);
            for n in [float, short, small as f64] {
                if n.is_finite() {
                    prop_assert_eq!(written(|o| write_float(n, o)), serde_json::to_string(&n).unwrap());
                }
            }
            // What is written after another moment does not depend on it.
            let near = Timestamp::from_micros(int % 400_000_000_000_000_000 + 1_000_000);
            let mut times = Times::default();
            for micros in [int % 400_000_000_000_000_000, near.micros(), near.micros() - 1] {
                let t = Timestamp::from_micros(micros);
                let mut out = Vec::new();
                times.write(t, &mut out);
                prop_assert_eq!(String::from_utf8_lossy(&out), t.to_string());
            }
            let t = Timestamp::from_micros(int);
            prop_assert_eq!(written(|o| write_timestamp(t, o)), t.to_string());
            let t = Timestamp::from_micros(int % 400_000_000_000_000_000);
            prop_assert_eq!(written(|o| write_timestamp(t, o)), t.to_string());
        }
    }
}
