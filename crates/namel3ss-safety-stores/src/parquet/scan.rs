//! Scanning a row group as columns: those of the filter first, and of the others only the wanted rows, which
//! are read from the last one on where a scan asks for the newest.

use std::iter::once;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchReader as _, UInt64Array};
use arrow_select::concat::concat_batches;
use namel3ss_safety::{Direction, ReadError, SafetyAction, Severity};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};

use super::footer::{Footer, Part};
use super::read::{guarded, wrong};
use crate::read::batch::Columns;
use crate::read::batches::{reversed, selected};
use crate::read::scan::Scan;

/// The most rows of a group whose words are looked through before its rows are read.
const ROWS_MAX: u64 = 1 << 20;
/// The columns whose words events know.
const WORDS: [&str; 3] = ["direction", "action", "severity"];

/// The rows of a group that a scan asks for, as `read::schema` has them, in its order.
pub(crate) struct Scanned {
    /// `None` behind an error, and at the end.
    rows: Option<Wanted>,
    columns: Columns,
}

/// Of which rows are wanted those that were not given.
enum Wanted {
    Forwards(ParquetRecordBatchReader),
    /// The last one first, so many at once.
    Backwards {
        footer: Footer,
        group: usize,
        part: Part,
        runs: Vec<Range<usize>>,
        at_once: usize,
    },
}

impl Footer {
    /// The wanted rows of a group, with the columns of `scan`. `None` for one that is not as this library
    /// writes it, and has to be read row by row.
    pub(crate) fn scan(
        &self,
        group: usize,
        part: &Part,
        scan: &Scan,
        newest_first: bool,
    ) -> Result<Option<Scanned>, ReadError> {
        let rows = self.rows(group);
        if !self.is_ours() || rows > ROWS_MAX {
            return Ok(None);
        }
        self.check_claims(group)?;
        self.check_size(group)?;
        let rows = usize::try_from(rows).map_err(wrong)?;
        // A word of others' means what an event would have made of it, and may stand in its metadata.
        let shows_words =
            |columns: Columns| WORDS.iter().chain(&["metadata"]).any(|name| columns.has(name));
        let asked = self.asked_first(group, scan);
        if shows_words(asked) && !self.has_words(group, part)? {
            return Ok(None);
        }
        let runs = if asked == Columns::none() {
            once(0..rows).collect()
        } else {
            self.select(group, part, scan, asked)?
        };
        if runs.is_empty() {
            return Ok(Some(Scanned { rows: None, columns: scan.columns }));
        }
        // Many groups have no row that is wanted.
        if shows_words(scan.columns) && !shows_words(asked) && !self.has_words(group, part)? {
            return Ok(None);
        }
        let part = self.held(group, part, |name| scan.columns.has(name))?;
        let wanted = if newest_first {
            let at_once = scan.limit.unwrap_or(usize::MAX).clamp(1, self.rows_at_once(group));
            Wanted::Backwards { footer: self.clone(), group, part, runs, at_once }
        } else {
            Wanted::Forwards(self.reader(group, part, scan.columns, Some((runs, rows)))?)
        };
        Ok(Some(Scanned { rows: Some(wanted), columns: scan.columns }))
    }

    /// The columns by which it is decided which rows are wanted.
    fn asked_first(&self, group: usize, scan: &Scan) -> Columns {
        let asked = scan.filter.columns();
        let is_in_time = scan.from.is_none() && scan.to.is_none()
            || self
                .times(group)
                .is_some_and(|(first, last)| scan.reaches(first) && scan.reaches(last));
        if is_in_time { asked } else { asked | Columns::only(["timestamp"]) }
    }

    /// Which rows of a group are wanted, by the columns that are `asked`.
    fn select(
        &self,
        group: usize,
        part: &Part,
        scan: &Scan,
        asked: Columns,
    ) -> Result<Vec<Range<usize>>, ReadError> {
        let part = self.held(group, part, |name| asked.has(name))?;
        let mut batches = self.reader(group, part, asked, None)?;
        // What is not read of the moments is in time.
        let scan = match asked.has("timestamp") {
            true => scan.clone(),
            false => Scan { from: None, to: None, ..scan.clone() },
        };
        let (mut runs, mut at) = (Vec::<Range<usize>>::new(), 0);
        while let Some(batch) = guarded(|| batches.next())? {
            let wanted = selected(&scan, &batch.map_err(wrong)?).map_err(wrong)?;
            for (from, to) in wanted.values().set_slices() {
                match runs.last_mut() {
                    Some(run) if run.end == at + from => run.end = at + to,
                    _ => runs.push(at + from..at + to),
                }
            }
            at += wanted.len();
        }
        Ok(runs)
    }

    /// Some columns of a group, all rows or those in `runs` of so many.
    fn reader(
        &self,
        group: usize,
        part: Part,
        columns: Columns,
        runs: Option<(Vec<Range<usize>>, usize)>,
    ) -> Result<ParquetRecordBatchReader, ReadError> {
        let ours = self.ours().ok_or_else(|| wrong("its columns are others"))?;
        let file = ParquetRecordBatchReaderBuilder::new_with_metadata(part, ours.clone());
        let mask = ProjectionMask::columns(file.parquet_schema(), columns.names());
        let mut file = file
            .with_projection(mask)
            .with_row_groups(vec![group])
            .with_batch_size(self.rows_at_once(group));
        if let Some((runs, rows)) = runs {
            let wanted = RowSelection::from_consecutive_ranges(runs.into_iter(), rows);
            file = file.with_row_selection(wanted);
        }
        guarded(|| file.build().map_err(wrong))?
    }

    /// Whether all words of a group are those of events.
    fn has_words(&self, group: usize, part: &Part) -> Result<bool, ReadError> {
        let words = Columns::only(WORDS);
        let part = self.held(group, part, |name| words.has(name))?;
        let mut batches = self.reader(group, part, words, None)?;
        while let Some(batch) = guarded(|| batches.next())? {
            let batch = batch.map_err(wrong)?;
            for name in WORDS {
                let words = batch.column_by_name(name);
                let words = words.and_then(|column| column.as_dictionary_opt::<Int32Type>());
                let words = words.and_then(|column| column.values().as_string_opt::<i32>());
                let known = |word: &str| match name {
                    "direction" => Direction::ALL.iter().any(|known| known.as_str() == word),
                    "action" => SafetyAction::ALL.iter().any(|known| known.as_str() == word),
                    _ => Severity::from(word).as_str() == word,
                };
                if !words.is_some_and(|words| words.iter().flatten().all(known)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

impl Wanted {
    /// The next rows; `None` at the end.
    fn next(&mut self, columns: Columns) -> Result<Option<RecordBatch>, ReadError> {
        match self {
            Self::Forwards(batches) => {
                let batch = guarded(|| batches.next())?.transpose().map_err(wrong)?;
                batch.map(|batch| of_events(&batch, columns)).transpose()
            }
            Self::Backwards { footer, group, part, runs, at_once } => {
                let (mut last, mut count) = (Vec::new(), 0);
                while count < *at_once
                    && let Some(run) = runs.pop()
                {
                    let from = run.start.max(run.end.saturating_sub(*at_once - count));
                    if run.start < from {
                        runs.push(run.start..from);
                    }
                    count += run.end - from;
                    last.push(from..run.end);
                }
                if last.is_empty() {
                    return Ok(None);
                }
                last.reverse();
                let rows = usize::try_from(footer.rows(*group)).map_err(wrong)?;
                let read = footer.reader(*group, part.clone(), columns, Some((last, rows)))?;
                let schema = read.schema();
                let batches = guarded(|| read.collect::<Result<Vec<_>, _>>())?.map_err(wrong)?;
                let batch = concat_batches(&schema, &batches).map_err(wrong)?;
                reversed(&of_events(&batch, columns)?).map(Some).map_err(wrong)
            }
        }
    }
}

impl Iterator for Scanned {
    type Item = Result<RecordBatch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.rows.as_mut()?.next(self.columns).transpose();
        if !matches!(batch, Some(Ok(_))) {
            self.rows = None;
        }
        batch
    }
}

/// A batch in the form of `read::schema`: seqs are unsigned there.
fn of_events(batch: &RecordBatch, columns: Columns) -> Result<RecordBatch, ReadError> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for name in columns.names() {
        let column = batch.column_by_name(name);
        let column = column.ok_or_else(|| wrong(format_args!("there is no column {name}")))?;
        arrays.push(match column.as_primitive_opt::<Int64Type>().filter(|_| name == "seq") {
            Some(seqs) => {
                let seqs = seqs.iter().map(|seq| seq.and_then(|seq| u64::try_from(seq).ok()));
                Arc::new(seqs.collect::<UInt64Array>())
            }
            None => column.clone(),
        });
    }
    RecordBatch::try_new(columns.schema(), arrays).map_err(wrong)
}
