//! Rows as values to be bound.

use mysql_async::Value;
use namel3ss_safety::{Batch, Timestamp, internal::json};

use crate::server::columns::{
    CATEGORIES, CONFIDENCE, Column, JOURNAL, LATENCY, METADATA, Matching, TIMESTAMP,
};
use crate::server::exact::{Fitted, Holds};

/// What both servers hold: `DATETIME` of MySQL from the year 1000, JSON of MariaDB of 32 levels, keys
/// in MySQL's JSON of 64 KiB, no number that is none.
pub(super) const HOLDS: Holds = Holds {
    nul: true,
    infinities: false,
    moments: (
        Timestamp::from_micros(-30_610_224_000_000_000),
        Timestamp::from_micros(253_402_300_799_999_999),
    ),
    depth_max: 30,
    key_bytes_max: 65_535,
    // MySQL makes a `DOUBLE` of a larger one.
    digits_max: 0,
};

/// How many rows a statement inserts: the largest that are left, so that there are few statements
/// to prepare and few to send.
pub(super) const SIZES: [usize; 5] = [256, 64, 16, 4, 1];
/// Bytes in one statement, if it has more than one row: far below what a server takes at once by
/// default (`max_allowed_packet`).
pub(super) const BYTES_MAX: usize = 1 << 20;

/// A row's values, and about how many bytes they take.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) seq: u64,
    /// It was found in the table.
    pub(super) is_there: bool,
    pub(super) values: Vec<Value>,
    pub(super) bytes: usize,
}

/// The columns of `matching` of each row of `batch`.
pub(super) fn bind(batch: &Batch<'_>, matching: &Matching) -> Vec<Bound> {
    let rows = batch.rows().map(|row| {
        let fitted = Fitted::new(row, &HOLDS);
        let columns = matching.columns.iter();
        let values: Vec<Value> =
            columns.map(|column| value(&fitted, column, &matching.rest)).collect();
        let bytes = values.iter().map(|value| match value {
            Value::Bytes(bytes) => bytes.len() + 9,
            _ => 9,
        });
        Bound { seq: row.seq.0, is_there: false, bytes: bytes.sum(), values }
    });
    rows.collect()
}

fn value(row: &Fitted<'_>, column: &Column, rest: &[usize]) -> Value {
    let event = &row.row.event;
    let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut text = Vec::new();
        write(&mut text);
        Value::Bytes(text)
    };
    let number = |n: f64| row.number(n).map_or(Value::NULL, Value::Double);
    match column.ours {
        0 => bytes(event.event_id),
        TIMESTAMP => moment(row.timestamp(), &column.sql_type),
        2..=9 => event.texts()[column.ours - 2].map_or(Value::NULL, bytes),
        10 => bytes(event.direction.as_str()),
        11 => bytes(event.action.as_str()),
        CATEGORIES => written(&|out| json::write_texts(event.categories(), out)),
        13 => bytes(event.severity),
        CONFIDENCE => number(event.confidence),
        LATENCY => number(event.latency_ms),
        METADATA => written(&|out| row.write_metadata(rest, out)),
        JOURNAL if column.sql_type.eq_ignore_ascii_case("binary") => {
            Value::Bytes(row.row.journal.0.to_vec())
        }
        JOURNAL => written(&|out| json::write_journal(row.row.journal, out)),
        _ => Value::UInt(row.row.seq.0),
    }
}

/// A text column gets ISO 8601 as other datasets have it, any other what MySQL reads as a moment.
fn moment(timestamp: Timestamp, sql_type: &str) -> Value {
    let mut text = Vec::with_capacity(27);
    json::write_timestamp(timestamp, &mut text);
    let is_text = |t: &str| t.ends_with("char") || t.ends_with("text");
    if !is_text(&sql_type.to_ascii_lowercase()) {
        // 2026-03-01T12:30:00.500000Z: within HOLDS' years it has this form.
        text.truncate(26);
        text[10] = b' ';
    }
    Value::Bytes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_the_form_that_their_column_reads() {
        let text = |sql_type: &str, at: Timestamp| match moment(at, sql_type) {
            Value::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text("datetime", HOLDS.moments.0), "1000-01-01 00:00:00.000000");
        assert_eq!(text("timestamp", HOLDS.moments.1), "9999-12-31 23:59:59.999999");
        assert_eq!(text("VARCHAR", Timestamp::from_micros(5)), "1970-01-01T00:00:00.000005Z");
    }
}
