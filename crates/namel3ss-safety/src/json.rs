//! Rows as JSON text: the 17 fields in their order, then `journal_id` and `seq`.
//!
//! The shape is fixed, so it is written by hand (half the cost of a generic serializer, measured);
//! text and numbers go through `serde_json`. Numbers that JSON lacks are written as the texts
//! `NaN`, `Infinity` and `-Infinity`, as in
//! [protobuf's JSON mapping](https://protobuf.dev/programming-guides/json/).

use crate::batch::Row;
use crate::clock::Timestamp;
use crate::codec::{EventRef, ObjectRef, ValueRef};
use crate::id::JournalId;

/// Appends the 17 fields of `event` as one JSON object.
pub fn write_event(event: &EventRef<'_>, out: &mut Vec<u8>) {
    write_fields(event, out);
    out.push(b'}');
}

/// Appends `row` as one JSON object: the 17 fields, `journal_id`, `seq`.
pub fn write_row(row: &Row<'_>, out: &mut Vec<u8>) {
    write_fields(&row.event, out);
    out.extend_from_slice(b",\"journal_id\":\"");
    write_journal(row.journal, out);
    out.extend_from_slice(b"\",\"seq\":");
    write_unsigned(row.seq.0, out);
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
    // Without an early exit, so that it is done many bytes at a time.
    let plain =
        text.bytes().fold(true, |plain, b| plain & (b >= 0x20) & (b != b'"') & (b != b'\\'));
    if plain {
        out.reserve(text.len() + 2);
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

/// Appends the 32 hexadecimal digits of `journal`.
pub fn write_journal(journal: JournalId, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(journal.0) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    out.extend_from_slice(&digits);
}

/// Appends `n` in decimal digits.
pub(crate) fn write_unsigned(mut n: u64, out: &mut Vec<u8>) {
    // u64::MAX has 20 digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_signed(n: i64, out: &mut Vec<u8>) {
    if n < 0 {
        out.push(b'-');
    }
    write_unsigned(n.unsigned_abs(), out);
}

/// The names of the eight optional texts, as they stand in a row.
const TEXT_NAMES: [&str; 8] = [
    ",\"app_name\":",
    ",\"chain_name\":",
    ",\"agent_name\":",
    ",\"policy_name\":",
    ",\"reason\":",
    ",\"trace_id\":",
    ",\"session_id\":",
    ",\"user_id\":",
];

fn write_fields(event: &EventRef<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event_id\":");
    write_text(event.event_id, out);
    out.extend_from_slice(b",\"timestamp\":\"");
    write_timestamp(event.timestamp, out);
    out.push(b'"');
    for (name, text) in TEXT_NAMES.iter().zip(event.texts()) {
        out.extend_from_slice(name.as_bytes());
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

/// Appends what [`Timestamp`]'s `Display` writes; by hand between the years 0 and 9999.
pub fn write_timestamp(timestamp: Timestamp, out: &mut Vec<u8>) {
    use std::io::Write as _;
    const DAY_MICROS: i64 = 86_400_000_000;
    let days = timestamp.micros().div_euclid(DAY_MICROS);
    if !(-719_528..=2_932_896).contains(&days) {
        // Writing to a Vec can't fail.
        let _ = write!(out, "{timestamp}");
        return;
    }
    let (year, month, day) = civil(days);
    let micros = timestamp.micros().rem_euclid(DAY_MICROS);
    let seconds = micros / 1_000_000;
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |at: usize, digits: usize, mut n: i64| {
        for place in text[at..at + digits].iter_mut().rev() {
            *place = b'0' + (n % 10) as u8;
            n /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, seconds / 3600);
    put(14, 2, seconds / 60 % 60);
    put(17, 2, seconds % 60);
    put(20, 6, micros % 1_000_000);
    out.extend_from_slice(&text);
}

/// The date that many days after 1970-01-01, as
/// [Hinnant's `civil_from_days`](https://howardhinnant.github.io/date_algorithms.html) has it.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

fn write_value(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Bool(true) => out.extend_from_slice(b"true"),
        ValueRef::Bool(false) => out.extend_from_slice(b"false"),
        ValueRef::Int(n) => write_signed(n, out),
        ValueRef::UInt(n) => write_unsigned(n, out),
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
    fn the_names_are_the_fields_names() {
        for (written, field) in TEXT_NAMES.iter().zip(&crate::event::FIELDS[2..10]) {
            assert_eq!(*written, format!(",\"{field}\":"));
        }
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

    proptest! {
        #[test]
        fn texts_numbers_and_times_are_as_the_libraries_write_them(
            text in any::<String>(), float in any::<f64>(), int in any::<i64>(), uint in any::<u64>(),
            small in -1000_i64..100_000, decimals in 0_i32..6,
        ) {
            prop_assert_eq!(written(|o| write_text(&text, o)), serde_json::to_string(&text).unwrap());
            prop_assert_eq!(written(|o| write_signed(int, o)), int.to_string());
            prop_assert_eq!(written(|o| write_unsigned(uint, o)), uint.to_string());
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let short = small as f64 / 10_f64.powi(decimals);
            for n in [float, short, small as f64] {
                if n.is_finite() {
                    prop_assert_eq!(written(|o| write_float(n, o)), serde_json::to_string(&n).unwrap());
                }
            }
            let t = Timestamp::from_micros(int);
            prop_assert_eq!(written(|o| write_timestamp(t, o)), t.to_string());
            let t = Timestamp::from_micros(int % 400_000_000_000_000_000);
            prop_assert_eq!(written(|o| write_timestamp(t, o)), t.to_string());
        }
    }
}
