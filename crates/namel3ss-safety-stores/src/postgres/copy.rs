//! Rows in the
//! [binary form of COPY](https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4).

use namel3ss_safety::{Batch, Timestamp};

use crate::server::columns::{
    CATEGORIES, CONFIDENCE, JOURNAL, LATENCY, METADATA, Matching, TIMESTAMP,
};
use crate::server::exact::{Fitted, Holds};

/// Signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// The type `text`, the same in every database.
const TEXT_OID: i32 = 25;
/// The version of `jsonb`'s binary form.
const JSONB: u8 = 1;
/// From 1970 to 2000, where PostgreSQL counts from.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// PostgreSQL takes everything but U+0000; moments as text can name them in four digits.
pub(super) const HOLDS: Holds = Holds {
    nul: false,
    infinities: true,
    moments: (
        Timestamp::from_micros(-62_135_596_800_000_000),
        Timestamp::from_micros(253_402_300_799_999_999),
    ),
    depth_max: usize::MAX,
    key_bytes_max: usize::MAX,
    // `numeric` takes 131,072 before the point.
    digits_max: 131_072,
};

/// Rows in binary, and where each begins, so that parts of them can be sent alone.
#[derive(Debug)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// One more than there are rows.
    starts: Vec<usize>,
}

impl Rows {
    /// The columns of `matching` of each row of `batch`; or the positions of rows that no table
    /// holds: their seq is beyond `bigint`.
    pub(super) fn encode(batch: &Batch<'_>, matching: &Matching) -> Result<Self, Vec<usize>> {
        let mut bytes = Vec::with_capacity(batch.len() * 512);
        let mut starts = Vec::with_capacity(batch.len() + 1);
        let mut text = Vec::new();
        let mut poison = Vec::new();
        for (at, row) in batch.rows().enumerate() {
            starts.push(bytes.len());
            let Ok(seq) = i64::try_from(row.seq.0) else {
                poison.push(at);
                continue;
            };
            let row = Fitted::new(row, &HOLDS);
            // There are at most 19.
            bytes.extend_from_slice(&(matching.columns.len() as i16).to_be_bytes());
            for column in &matching.columns {
                write(&row, column.ours, seq, &matching.rest, &mut text, &mut bytes);
            }
        }
        starts.push(bytes.len());
        if poison.is_empty() { Ok(Self { bytes, starts }) } else { Err(poison) }
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows at these positions as one COPY, in chunks that the driver need not copy at once.
    pub(super) fn chunks(&self, rows: std::ops::Range<usize>) -> impl Iterator<Item = &[u8]> {
        let bytes = &self.bytes[self.starts[rows.start]..self.starts[rows.end]];
        std::iter::once(HEADER).chain(bytes.chunks(256 << 10)).chain(std::iter::once(&TRAILER[..]))
    }
}

fn write(
    row: &Fitted<'_>,
    column: usize,
    seq: i64,
    rest: &[usize],
    text: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    let event = &row.row.event;
    match column {
        0 => field(row.text(event.event_id).as_bytes(), out),
        TIMESTAMP => field(&(row.timestamp().micros() - EPOCH_MICROS).to_be_bytes(), out),
        2..=9 => match event.texts()[column - 2] {
            Some(text) => field(row.text(text).as_bytes(), out),
            None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        },
        10 => field(event.direction.as_str().as_bytes(), out),
        11 => field(event.action.as_str().as_bytes(), out),
        CATEGORIES => {
            text.clear();
            // At most u16::MAX categories.
            let count = event.categories().count() as i32;
            for n in [i32::from(count > 0), 0, TEXT_OID] {
                text.extend_from_slice(&n.to_be_bytes());
            }
            if count > 0 {
                text.extend_from_slice(&count.to_be_bytes());
                text.extend_from_slice(&1_i32.to_be_bytes());
            }
            event.categories().for_each(|category| field(row.text(category).as_bytes(), text));
            field(text, out);
        }
        13 => field(row.text(event.severity).as_bytes(), out),
        CONFIDENCE => field(&event.confidence.to_be_bytes(), out),
        LATENCY => field(&event.latency_ms.to_be_bytes(), out),
        METADATA => {
            text.clear();
            text.push(JSONB);
            row.write_metadata(rest, text);
            field(text, out);
        }
        JOURNAL => field(&row.row.journal.0, out),
        _ => field(&seq.to_be_bytes(), out),
    }
}

/// A value with its length. A row is far below the 2 GiB that a length can say.
fn field(value: &[u8], out: &mut Vec<u8>) {
    let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use namel3ss_safety::conformance::{buffer, plain_event};
    use namel3ss_safety::{JournalId, RowBuffer, Seq};

    #[test]
    fn a_seq_beyond_bigint_is_named() {
        let found: Vec<(String, String)> =
            ["seq", "metadata"].map(|name| (name.to_owned(), String::new())).into();
        let matching = Matching::of(&found, "t").unwrap();
        let journal = JournalId([1; 16]);
        let mut rows = RowBuffer::new(journal);
        for seq in [1, 2, u64::MAX] {
            rows.push_event(Seq(seq), &plain_event(1));
        }
        assert_eq!(Rows::encode(&rows.batch(), &matching).unwrap_err(), [2]);
        let rows = Rows::encode(&buffer(journal, 1, &[plain_event(1)]).batch(), &matching).unwrap();
        let bytes: Vec<u8> = rows.chunks(0..1).flatten().copied().collect();
        assert_eq!(bytes[..11], *b"PGCOPY\n\xff\r\n\0");
        assert_eq!(bytes[19..21], [0, 2]);
        assert_eq!(bytes[bytes.len() - 14..], [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 255, 255]);
    }
}
