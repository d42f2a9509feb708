//! Scanning a row group as columns: those of the filter first, and of the others only the wanted rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::ArrowError;
use namel3ss_safety::{Direction, ReadError, SafetyAction, Severity};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter,
};

use super::footer::{Footer, Part};
use super::read::{guarded, wrong};
use crate::read::batch::Columns;
use crate::read::batches::selected;
use crate::read::scan::Scan;

/// The most rows of a group whose words are looked through before its rows are read.
const ROWS_MAX: u64 = 1 << 20;
/// The columns whose words events know.
const WORDS: [&str; 3] = ["direction", "action", "severity"];

/// The rows of a group that a scan asks for, as `read::schema` has them.
pub(crate) struct Scanned {
    batches: Option<ParquetRecordBatchReader>,
    columns: Columns,
}

impl Footer {
    /// The wanted rows of a group, with the columns of `scan`. `None` for one that is not as this library
    /// writes it, and has to be read row by row.
    pub(crate) fn scan(
        &self,
        group: usize,
        part: &Part,
        scan: &Scan,
    ) -> Result<Option<Scanned>, ReadError> {
        if !self.is_ours() || self.rows(group) > ROWS_MAX {
            return Ok(None);
        }
        self.check(group, part)?;
        // A word of others' means what an event would have made of it, and may stand in its metadata.
        let shows = |name: &&str| scan.columns.has(name);
        if WORDS.iter().chain(&["metadata"]).any(shows) && !self.has_words(group, part)? {
            return Ok(None);
        }
        let file = ParquetRecordBatchReaderBuilder::new_with_metadata(part.clone(), self.typed()?);
        let mask =
            |columns: Columns| ProjectionMask::columns(file.parquet_schema(), columns.names());
        let (all, mut first) = (mask(scan.columns), scan.filter.columns());
        if scan.from.is_some() || scan.to.is_some() {
            first = first | Columns::only(["timestamp"]);
        }
        let first = (first != Columns::none()).then(|| mask(first));
        let mut file = file
            .with_projection(all)
            .with_row_groups(vec![group])
            .with_batch_size(self.rows_at_once(group));
        if let Some(first) = first {
            let scan = scan.clone();
            let wanted = move |batch: RecordBatch| {
                selected(&scan, &batch).map_err(|error| ArrowError::ComputeError(error.to_string()))
            };
            let wanted = ArrowPredicateFn::new(first, wanted);
            file = file.with_row_filter(RowFilter::new(vec![Box::new(wanted)]));
        }
        // It reads the columns of the filter at once.
        let batches = guarded(|| file.build().map_err(wrong))??;
        Ok(Some(Scanned { batches: Some(batches), columns: scan.columns }))
    }

    /// Whether all words of a group are those of events.
    fn has_words(&self, group: usize, part: &Part) -> Result<bool, ReadError> {
        for batch in self.batches(group, part.clone(), Some(&WORDS), 8192)? {
            for (column, name) in batch.columns().iter().zip(WORDS) {
                let words = column.as_dictionary_opt::<Int32Type>();
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

impl Iterator for Scanned {
    type Item = Result<RecordBatch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batches = self.batches.as_mut()?;
        let batch = guarded(|| batches.next()).transpose()?;
        let batch = batch.and_then(|batch| batch.map_err(wrong));
        let batch = batch.and_then(|batch| of_events(&batch, self.columns));
        if batch.is_err() {
            self.batches = None;
        }
        Some(batch)
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
