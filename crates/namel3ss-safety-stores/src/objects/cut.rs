//! From a batch to objects: its rows by day, and no object larger than one request should carry, or
//! of rows that lie farther apart than a listing looks for.
//!
//! A large batch becomes several objects rather than a multipart upload: each of them is created by
//! one request that fails if the object exists, and none leaves parts behind that somebody pays for.

use std::collections::BTreeMap;

use namel3ss_safety::{Batch, Row};

use super::key::{Day, SPAN};

/// The most payload bytes in one object: 64 MiB. A single larger row still goes.
const OBJECT_BYTES_MAX: usize = 64 << 20;

/// The rows of one object, in the order of their seqs; never none.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) day: Day,
    pub(super) rows: Vec<Row<'a>>,
}

/// The parts of `batch`, always the same ones.
pub(super) fn cut<'a>(batch: &Batch<'a>) -> Vec<Part<'a>> {
    by_size(batch, OBJECT_BYTES_MAX)
}

fn by_size<'a>(batch: &Batch<'a>, bytes_max: usize) -> Vec<Part<'a>> {
    let mut done = Vec::new();
    let mut open: BTreeMap<Day, (usize, Vec<Row<'a>>)> = BTreeMap::new();
    for (row, bytes) in batch.rows().zip(batch.row_bytes()) {
        let day = Day::of(row.event.timestamp);
        // Mostly all are of one day.
        let room = if open.is_empty() { batch.len() } else { 0 };
        let (filled, rows) = open.entry(day).or_insert_with(|| (0, Vec::with_capacity(room)));
        let full = filled.saturating_add(bytes) > bytes_max;
        let wide = rows.first().is_some_and(|first| row.seq.0 - first.seq.0 > SPAN);
        if !rows.is_empty() && (full || wide) {
            done.push(Part { day, rows: std::mem::take(rows) });
            *filled = 0;
        }
        *filled += bytes;
        rows.push(row);
    }
    done.extend(open.into_iter().map(|(day, (_, rows))| Part { day, rows }));
    done
}

#[cfg(test)]
mod tests {
    use namel3ss_safety::{JournalId, RowBuffer, SafetyEvent, Seq, Timestamp};

    use super::*;

    #[test]
    fn days_and_sizes_part_a_batch_and_every_row_is_in_one_part() {
        let mut rows = RowBuffer::new(JournalId::generate());
        for seq in 1..=100_u64 {
            // Two days, in turns.
            let timestamp = Timestamp::from_micros((seq % 2 * 86_400_000_000).cast_signed());
            rows.push_event(Seq(seq), &SafetyEvent { timestamp, ..SafetyEvent::default() });
        }
        let batch = rows.batch();
        let whole = cut(&batch);
        assert_eq!(whole.len(), 2);
        assert!(whole.iter().all(|part| part.rows.len() == 50));
        let small = by_size(&batch, rows.bytes() / 10);
        assert!(small.len() >= 10, "{}", small.len());
        let mut seqs: Vec<u64> = small.iter().flat_map(|p| &p.rows).map(|r| r.seq.0).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
        assert_eq!(by_size(&batch, 1).len(), 100);
        let mut far = RowBuffer::new(JournalId::generate());
        far.push_event(Seq(1), &SafetyEvent::default());
        far.push_event(Seq(1 + SPAN + 1), &SafetyEvent::default());
        assert_eq!(cut(&far.batch()).len(), 2);
        assert!(cut(&RowBuffer::new(JournalId::generate()).batch()).is_empty());
    }
}
