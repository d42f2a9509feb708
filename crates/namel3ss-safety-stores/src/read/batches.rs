//! What a scan gives: the exact filter, each row once, the order, the limit and the columns, over whatever a
//! store has pushed down.

use std::collections::VecDeque;
use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;
use namel3ss_safety::{JournalId, Seq, Timestamp};

use super::batch::Columns;
use super::batch::{Builder, damaged};
use super::error::ScanError;
use super::raw::RawScan;
use super::scan::{Position, Scan};
use crate::ids::Ids;

/// The rows of a scan, some thousand in memory at a time; with `newest_first`, perhaps as many as its limit.
///
/// No batch is empty. Behind an error it may go on; behind [`ScanError::Deadline`] nothing comes.
pub struct Batches {
    raw: Box<dyn RawScan>,
    scan: Scan,
    /// The rows that were given, unless the store gives none twice.
    given: Option<Ids>,
    /// How many more may be given.
    left: usize,
    /// The last rows so far, where the store can't give them first.
    last: Option<Last>,
    ended: bool,
    /// The limit has cut a scan in the dataset's own order.
    cut: bool,
}

/// A position, and the rows that were given before it.
struct Resumed {
    raw: Position,
    given: Option<Ids>,
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("scan", &self.scan).finish_non_exhaustive()
    }
}

impl Batches {
    /// The rows that `scan` asks for, of those that `raw` gives.
    pub(super) fn new(
        mut scan: Scan,
        raw: impl FnOnce(Scan) -> Result<Box<dyn RawScan>, ScanError>,
    ) -> Result<Self, ScanError> {
        if scan.newest_first && scan.limit.is_none() {
            let text = "scan the newest rows first: set a limit, so that the memory has one";
            return Err(ScanError::Invalid(text.to_owned()));
        }
        scan.check_deadline()?;
        let after = scan.after.take();
        let resumed = after.as_ref().map(Position::state::<Resumed>).transpose()?;
        let (after, given) =
            resumed.map_or((None, None), |r| (Some(r.raw.clone()), r.given.clone()));
        let ids = Columns::only(["journal_id", "seq", "timestamp"]);
        let raw = raw(Scan {
            columns: scan.columns | scan.filter.columns() | ids,
            after,
            ..scan.clone()
        })?;
        let given = (!raw.is_unique()).then(|| given.unwrap_or_default());
        let last = (scan.newest_first && !raw.is_newest_first()).then(Last::default);
        let left = scan.limit.unwrap_or(usize::MAX);
        Ok(Self { raw, scan, given, left, last, ended: false, cut: false })
    }

    /// How many rows could not be read so far.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.raw.unreadable()
    }

    /// Where a later scan goes on, once all rows were given. `None` where the dataset can't say so, and where
    /// the limit has ended a scan in the dataset's own order.
    pub fn position(&mut self) -> Option<Position> {
        if self.cut {
            return None;
        }
        let raw = self.raw.position()?;
        Some(Position::new(Resumed { raw, given: self.given.clone() }))
    }

    /// What the dataset lacks at its end, though nobody is writing to it.
    pub fn lacks(&mut self) -> Option<String> {
        self.raw.lacks()
    }

    /// The schema of its batches.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.scan.columns.schema()
    }

    /// The wanted ones of the rows in `batch`.
    fn wanted(&mut self, batch: &RecordBatch) -> Result<RecordBatch, ScanError> {
        let mut wanted = selected(&self.scan, batch)?;
        if let Some(given) = &mut self.given {
            wanted = new_rows(batch, &wanted, given)?;
        }
        self.scan.columns.of(&only(batch, &wanted)?)
    }

    /// What is to be given next; `None` at the end.
    fn step(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        // Its last rows are known, and where a later scan goes on, once all were looked at.
        while (self.left > 0 || self.last.is_some()) && !self.ended {
            self.scan.check_deadline().inspect_err(|_| (self.ended, self.left) = (true, 0))?;
            let Some(batch) = self.raw.next_batch()? else {
                self.ended = true;
                break;
            };
            let rows = self.wanted(&batch)?;
            if let Some(last) = &mut self.last {
                last.push(rows, self.left)?;
            } else if rows.num_rows() > 0 {
                let rows = rows.slice(0, rows.num_rows().min(self.left));
                self.left -= rows.num_rows();
                self.cut = self.left == 0 && !self.scan.newest_first;
                return Ok(Some(rows));
            }
        }
        let Some(last) = &mut self.last else { return Ok(None) };
        let Some(rows) = last.pop()? else { return Ok(None) };
        let rows = rows.slice(0, rows.num_rows().min(self.left));
        self.left -= rows.num_rows();
        Ok((rows.num_rows() > 0).then_some(rows))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The rows of a batch that a scan asks for, with all of its columns.
#[cfg(any(feature = "object", feature = "parquet"))]
pub(crate) fn matching(scan: &Scan, batch: &RecordBatch) -> Result<RecordBatch, ScanError> {
    only(batch, &selected(scan, batch)?)
}

/// Which rows of a batch are of the time that a scan asks for, and match its filter.
pub(crate) fn selected(scan: &Scan, batch: &RecordBatch) -> Result<BooleanArray, ScanError> {
    let in_time = in_time(scan, batch)?;
    match scan.filter.conditions() {
        [] => Ok(in_time),
        _ => Ok(both(&in_time, &scan.filter.select(batch)?)),
    }
}

fn only(batch: &RecordBatch, wanted: &BooleanArray) -> Result<RecordBatch, ScanError> {
    match wanted.false_count() {
        0 => Ok(batch.clone()),
        _ => filter_record_batch(batch, wanted).map_err(|error| damaged(&error)),
    }
}

fn both(one: &BooleanArray, other: &BooleanArray) -> BooleanArray {
    BooleanArray::new(one.values() & other.values(), None)
}

fn in_time(scan: &Scan, batch: &RecordBatch) -> Result<BooleanArray, ScanError> {
    let rows = batch.num_rows();
    if scan.from.is_none() && scan.to.is_none() {
        return Ok(vec![true; rows].into());
    }
    let moments = batch
        .column_by_name("timestamp")
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let moments = moments.ok_or_else(|| {
        ScanError::Failed("select the rows by time: the batch has no column timestamp".to_owned())
    })?;
    let reaches = moments.values().iter().map(|at| scan.reaches(Timestamp::from_micros(*at)));
    Ok(reaches.collect::<Vec<_>>().into())
}

/// Of the `wanted` rows of `batch` those that were not given before; those without an id are all new.
fn new_rows(
    batch: &RecordBatch,
    wanted: &BooleanArray,
    given: &mut Ids,
) -> Result<BooleanArray, ScanError> {
    let lacks = || ScanError::Failed("tell the rows apart: the batch has no ids".to_owned());
    let journals = batch.column_by_name("journal_id").ok_or_else(lacks)?;
    let journals = journals.as_string_opt::<i32>().ok_or_else(lacks)?;
    let seqs = batch.column_by_name("seq").ok_or_else(lacks)?;
    let seqs = seqs.as_primitive_opt::<UInt64Type>().ok_or_else(lacks)?;
    let mut known: (&str, Option<JournalId>) = ("", None);
    let is_new = (0..batch.num_rows()).map(|row| {
        if !wanted.value(row) || journals.is_null(row) || seqs.is_null(row) {
            return wanted.value(row);
        }
        // Neighbours are of the same journal.
        if known.0 != journals.value(row) {
            known = (journals.value(row), journals.value(row).parse().ok());
        }
        known.1.is_none_or(|journal| given.insert(journal, Seq(seqs.value(row))))
    });
    Ok(is_new.collect::<Vec<_>>().into())
}

/// The last rows of a scan, as many as its limit or a batch more.
#[derive(Default)]
struct Last {
    batches: VecDeque<RecordBatch>,
    rows: usize,
}

impl Last {
    fn push(&mut self, mut batch: RecordBatch, limit: usize) -> Result<(), ScanError> {
        self.rows += batch.num_rows();
        if batch.num_rows() == 0 {
            return Ok(());
        }
        // A row here and there would cost a batch each.
        while let Some(before) = self.batches.back()
            && before.num_rows() <= batch.num_rows()
            && batch.num_rows() < Builder::ROWS
        {
            batch = concat_batches(&before.schema(), [before, &batch])
                .map_err(|error| damaged(&error))?;
            self.batches.pop_back();
        }
        self.batches.push_back(batch);
        while let Some(first) = self.batches.front()
            && self.rows - first.num_rows() >= limit
        {
            self.rows -= first.num_rows();
            self.batches.pop_front();
        }
        Ok(())
    }

    /// The last of them, in the opposite order.
    fn pop(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        let Some(batch) = self.batches.pop_back() else { return Ok(None) };
        reversed(&batch).map(Some)
    }
}

/// The rows of a batch, the last one first.
pub(crate) fn reversed(batch: &RecordBatch) -> Result<RecordBatch, ScanError> {
    let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
    let at = UInt32Array::from_iter_values((0..rows).rev());
    take_record_batch(batch, &at).map_err(|error| damaged(&error))
}

#[cfg(test)]
mod tests {
    use namel3ss_safety::ReadRow;
    use namel3ss_safety::conformance::plain_event;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::read::batch::rows;
    use crate::read::filter::Filter;

    const JOURNAL: JournalId = JournalId([7; 16]);

    /// Rows of one journal with these seqs, three at a time; without an id where a seq is 0.
    struct Given(Vec<u64>, bool);

    impl RawScan for Given {
        fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError> {
            let mut builder = Builder::default();
            let seqs: Vec<u64> = self.0.drain(..self.0.len().min(3)).collect();
            for seq in &seqs {
                let id = (*seq > 0).then_some((JOURNAL, Seq(*seq)));
                builder.push(&ReadRow { id, event: plain_event(*seq) });
            }
            (!seqs.is_empty()).then(|| builder.finish()).transpose()
        }

        fn is_newest_first(&self) -> bool {
            self.1
        }

        fn position(&mut self) -> Option<Position> {
            Some(Position::new(self.0.len()))
        }
    }

    fn batches(scan: Scan, seqs: &[u64]) -> Batches {
        Batches::new(scan, |_| Ok(Box::new(Given(seqs.to_vec(), false)))).unwrap()
    }

    fn given(batches: &mut Batches) -> Vec<String> {
        let batches = batches.map(|batch| {
            let batch = batch.unwrap();
            assert!(batch.num_rows() > 0);
            rows(&batch).map(|row| row.event.event_id).collect::<Vec<_>>()
        });
        batches.flatten().collect()
    }

    #[track_caller]
    fn check(scan: Scan, seqs: &[u64], expected: &[u64]) {
        let expected: Vec<_> = expected.iter().map(|seq| format!("event-{seq}")).collect();
        assert_eq!(given(&mut batches(scan, seqs)), expected);
    }

    #[test]
    fn a_limit_counts_the_rows_that_match() {
        let all: Vec<u64> = (1..=20).collect();
        let some = || "event_id~2".parse::<Filter>().unwrap();
        let forward = |limit| Scan { filter: some(), limit, ..Scan::default() };
        check(forward(None), &all, &[2, 12, 20]);
        check(forward(Some(2)), &all, &[2, 12]);
        check(forward(Some(0)), &all, &[]);
        let backward = |limit| Scan { newest_first: true, ..forward(Some(limit)) };
        check(backward(2), &all, &[20, 12]);
        check(backward(9), &all, &[20, 12, 2]);
        check(backward(0), &all, &[]);
        check(Scan { filter: Default::default(), ..backward(5) }, &all, &[20, 19, 18, 17, 16]);
        let reversed: Vec<u64> = all.iter().rev().copied().collect();
        let scan = Batches::new(backward(2), |_| Ok(Box::new(Given(reversed, true))));
        assert_eq!(given(&mut scan.unwrap()), ["event-20", "event-12"]);
    }

    #[test]
    fn each_row_comes_once_and_rows_without_ids_each() {
        check(Scan::default(), &[1, 2, 0, 3, 2, 4, 0, 1, 5], &[1, 2, 0, 3, 4, 0, 5]);
        let newest = Scan { newest_first: true, limit: Some(3), ..Scan::default() };
        check(newest, &[1, 2, 3, 2, 2, 1], &[3, 2, 1]);
    }

    #[test]
    fn a_later_scan_knows_the_rows_of_the_one_before() {
        let mut first = batches(Scan::default(), &[1, 2, 3]);
        assert_eq!(given(&mut first).len(), 3);
        let after = first.position();
        check(Scan { after, ..Scan::default() }, &[3, 4], &[4]);
        // Where it was cut, rows of the dataset stand before the position that were not given.
        let mut cut = batches(Scan { limit: Some(1), ..Scan::default() }, &[1, 2, 3]);
        assert_eq!(given(&mut cut), ["event-1"]);
        assert!(cut.position().is_none());
        let foreign = Scan { after: Some(Position::new(1_u8)), ..Scan::default() };
        let error = Batches::new(foreign, |_| Ok(Box::new(Given(vec![], false)))).unwrap_err();
        assert!(matches!(error, ScanError::Invalid(_)), "{error}");
    }

    #[test]
    fn moments_are_from_the_first_and_before_the_last() {
        let at = |n| Some(plain_event(n).timestamp);
        check(Scan { from: at(2), to: at(4), ..Scan::default() }, &[1, 2, 3, 4, 5], &[2, 3]);
    }

    #[test]
    fn columns_are_those_that_were_asked_for() {
        let columns = Columns::named(["seq", "action"]).unwrap();
        let mut scan = batches(
            Scan { columns, filter: "event_id~1".parse().unwrap(), ..Scan::default() },
            &[1],
        );
        let batch = scan.next().unwrap().unwrap();
        assert_eq!(batch.schema(), scan.schema());
        let names: Vec<String> = columns.names().map(str::to_owned).collect();
        assert_eq!(names, ["action", "seq"]);
        let error = Columns::named(["acton"]).unwrap_err();
        assert!(error.to_string().contains("did you mean 'action'?"), "{error}");
    }

    #[test]
    fn the_newest_first_need_a_limit_and_a_deadline_ends_it() {
        let newest = Scan { newest_first: true, ..Scan::default() };
        let error = Batches::new(newest, |_| panic!("nothing is read")).unwrap_err();
        assert!(matches!(error, ScanError::Invalid(_)), "{error}");
        let past = Scan { deadline: Some(Instant::now()), ..Scan::default() };
        let error = Batches::new(past, |_| panic!("nothing is read")).unwrap_err();
        assert_eq!(error, ScanError::Deadline);
        let soon = Instant::now() + Duration::from_secs(3600);
        let mut scan = batches(Scan { deadline: Some(soon), ..Scan::default() }, &[1, 2, 3, 4]);
        assert!(scan.next().unwrap().is_ok());
        scan.scan.deadline = Some(Instant::now());
        assert_eq!(scan.next().unwrap().unwrap_err(), ScanError::Deadline);
        assert!(scan.next().is_none());
    }
}
