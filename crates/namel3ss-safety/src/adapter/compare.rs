//! Whether rows that a file dataset has are the events that are sent under their ids: the copies of one
//! process send different ones.
//!
//! The rows themselves are read, those near the file's end. A check of each batch in the sidecar would
//! not do, because the copies cut their batches differently. **Limit:** rows farther back, or in a file
//! that stood there before, are not compared.

use std::collections::HashMap;

use super::disk::read_at;
use super::error::AdapterError;
use super::file::{FileDataset, Format, Open};
use crate::batch::Batch;
use crate::seqs::SeqSet;

/// Within how many bytes a row begins; one of ours has at most some 1.5 MiB.
const ROW_BEGINS_WITHIN: usize = 2 << 20;
/// How many lines are looked at for that: in CSV, a cell may have many.
const LINES_TRIED_MAX: usize = 1024;

impl<F: Format> FileDataset<F> {
    /// The positions of those rows of `batch`, of the ones that are `stored`, in place of which the file
    /// has other events.
    pub(super) fn others(
        &self,
        open: &Open,
        format: &F,
        batch: &Batch<'_>,
        stored: &SeqSet,
    ) -> Result<Vec<usize>, AdapterError> {
        let id = batch.id();
        if stored.within(id.first.0, id.last.0).next().is_none() {
            return Ok(Vec::new());
        }
        // Whether it is the same event, of each that is found; of two rows of one id, either.
        let mut found: HashMap<u64, bool> = HashMap::new();
        let sent: HashMap<u64, _> = batch.rows().map(|row| (row.seq.0, row.event)).collect();
        let name = id.journal.to_string();
        let (from, before) = self.begin_of_compared(open, format)?;
        let mut compare = |row: &[u8]| -> Option<()> {
            if !std::str::from_utf8(row).ok()?.contains(&name) {
                return None;
            }
            let (_, seq) = format.id(row).filter(|(journal, _)| *journal == id.journal)?;
            let sent = sent.get(&seq.0)?;
            let held = format.identity(row)?;
            let same = held.event_id == sent.event_id && held.timestamp == sent.timestamp;
            *found.entry(seq.0).or_default() |= same;
            None
        };
        format
            .walk(&open.data, from..open.ledger.end, before, &mut |row| _ = compare(row))
            .map_err(|e| self.failed("read", e))?;
        let is_other = |seq: u64| stored.contains(seq) && found.get(&seq) == Some(&false);
        Ok((0..).zip(batch.seqs()).filter(|(_, seq)| is_other(seq.0)).map(|(at, _)| at).collect())
    }

    /// Where the first row begins that is compared, and the byte before it as a walk takes it.
    fn begin_of_compared(
        &self,
        open: &Open,
        format: &F,
    ) -> Result<(u64, Option<u8>), AdapterError> {
        let end = open.ledger.end;
        let Some(from) = end.checked_sub(self.compared_bytes_max).filter(|from| *from > 0) else {
            return Ok((0, None));
        };
        let mut bytes = vec![0; ROW_BEGINS_WITHIN];
        let read = read_at(&open.data, from, &mut bytes).map_err(|e| self.failed("read", e))?;
        let bytes = &bytes[..read];
        let lines = (1..).zip(bytes).filter(|(_, byte)| **byte == b'\n').map(|(next, _)| next);
        let row = lines.take(LINES_TRIED_MAX).find(|next| format.is_begin(&bytes[*next..]));
        // Before the first row of an array, as far as a walk is concerned.
        Ok(row.map_or((end, None), |next| (from + next as u64, Some(b'['))))
    }
}

#[cfg(test)]
mod tests {
    use crate::adapter::{CsvAdapter, DatasetAdapter, Failure, JsonAdapter};
    use crate::batch::RowBuffer;
    use crate::clock::Timestamp;
    use crate::event::SafetyEvent;
    use crate::id::{JournalId, Seq};

    const NEAR: u64 = 64 << 10;

    fn event(copy: u64, n: u64) -> SafetyEvent {
        SafetyEvent {
            event_id: format!("{n} of {copy}"),
            timestamp: Timestamp::from_micros(0),
            // With line ends that end no row, and what looks as if a row began there.
            reason: Some(format!("{}\n{{\"a\":1}}\n1,2\n\"", "x".repeat(500 + n as usize % 300))),
            ..SafetyEvent::default()
        }
    }

    #[test]
    fn rows_near_the_end_of_a_large_file_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["safety.csv", "safety.json", "safety.jsonl"] {
            let path = folder.path().join(name);
            let adapter: Box<dyn DatasetAdapter> = if name.ends_with("csv") {
                let mut adapter = CsvAdapter::new(&path).unwrap();
                adapter.file.compared_bytes_max = NEAR;
                Box::new(adapter)
            } else {
                let mut adapter = JsonAdapter::new(&path).unwrap();
                adapter.file.compared_bytes_max = NEAR;
                Box::new(adapter)
            };
            let journal = JournalId::generate();
            let send = |rows: &mut dyn Iterator<Item = (u64, u64)>| {
                let mut batch = RowBuffer::new(journal);
                rows.for_each(|(copy, n)| batch.push_event(Seq(n), &event(copy, n)));
                adapter.insert(&batch.batch())
            };
            // At each length the part that is read begins elsewhere in a row.
            send(&mut (1..=200).map(|n| (0, n))).unwrap();
            for last in (201..=600).step_by(13) {
                send(&mut [(0, last)].into_iter()).unwrap();
                // Too far back; then others, the same one, and a new one.
                let rows =
                    [(1, 1), (1, 2), (1, last - 26), (1, last - 13), (0, last), (0, last + 1)];
                let error = send(&mut rows.into_iter()).expect_err(name);
                assert_eq!(*error.failure(), Failure::IdsTaken(vec![2, 3]), "{name} {last}");
            }
        }
    }
}
