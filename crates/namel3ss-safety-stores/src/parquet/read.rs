//! Reading a Parquet file of ours back, by the columns' names and types.

use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::DataType;
use namel3ss_safety::{Direction, SafetyEvent, Seq, Severity, Timestamp, internal::parse};
use namel3ss_safety::{ReadError, ReadRow};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde_json::Map;

use super::columns;

/// Rows that are unpacked as they are asked for. One that makes no sense is told and passed; behind
/// [`ReadError::Dataset`] nothing comes.
pub(crate) struct Rows {
    batches: Option<ParquetRecordBatchReader>,
    /// The batch whose rows are being given.
    open: Columns,
    /// How many of them are given, and how many there are.
    at: usize,
    rows: usize,
    /// How many rows were given of all batches.
    given: u64,
}

impl Rows {
    pub(super) fn new(batches: ParquetRecordBatchReader) -> Self {
        Self { batches: Some(batches), open: Columns(Vec::new()), at: 0, rows: 0, given: 0 }
    }

    fn batch(&mut self) -> Option<Result<RecordBatch, ReadError>> {
        let batches = self.batches.as_mut()?;
        let batch = guarded(|| batches.next()).transpose()?;
        Some(batch.and_then(|batch| batch.map_err(wrong)))
    }

    fn open(&mut self, batch: &RecordBatch) -> Result<(), ReadError> {
        self.open = Columns::of(batch)?;
        (self.at, self.rows) = (0, batch.num_rows());
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Result<ReadRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.at < self.rows {
                let row = self.open.row(self.at);
                self.at += 1;
                self.given += 1;
                return Some(row.map_err(|wrong| ReadError::Row { number: self.given, wrong }));
            }
            // Before the next one takes its room.
            self.open = Columns(Vec::new());
            let batch = self.batch()?;
            if let Err(error) = batch.and_then(|batch| self.open(&batch)) {
                self.batches = None;
                return Some(Err(error));
            }
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("given", &self.given).finish_non_exhaustive()
    }
}

/// What the parquet crate reads of a file. It panics at some damaged pages: that costs the file, not the
/// process. What it read from must not be used again then.
pub(crate) fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, ReadError> {
    let read = catch_unwind(AssertUnwindSafe(read));
    read.map_err(|_| ReadError::Dataset("a page of the file is damaged".to_owned()))
}

pub(super) fn wrong(error: impl Display) -> ReadError {
    ReadError::Dataset(error.to_string())
}

/// The columns in the order of the schema, whatever their order in the file.
struct Columns(Vec<ArrayRef>);

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self, ReadError> {
        let schema = columns::schema();
        let mut found = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let column = match batch.column_by_name(field.name()) {
                Some(column) => column,
                // Of a version that did not have it yet: no row has it.
                None if field.is_nullable() => {
                    found.push(new_null_array(&DataType::Utf8, batch.num_rows()));
                    continue;
                }
                None => {
                    let text = format!("there is no column {}", field.name());
                    return Err(ReadError::Dataset(text));
                }
            };
            let same = match (column.data_type(), field.data_type()) {
                (DataType::List(_), DataType::List(_)) => true,
                (there, DataType::Dictionary(_, words)) => *there == **words,
                (there, here) => there == here,
            };
            if !same {
                return Err(ReadError::Dataset(format!(
                    "column {} has another type",
                    field.name()
                )));
            }
            found.push(column.clone());
        }
        Ok(Self(found))
    }

    fn text(&self, column: usize, row: usize) -> Option<&str> {
        let array = &self.0[column];
        match array.data_type() {
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                texts.is_valid(row).then(|| texts.value(row))
            }
            _ => None,
        }
    }

    fn owned(&self, column: usize, row: usize) -> Option<String> {
        self.text(column, row).map(str::to_owned)
    }

    /// A row. Ours have no nulls but in the optional texts; those of others, beside ours in a table,
    /// are taken for what an event has by default, and for an alert where that is the action.
    fn row(&self, row: usize) -> Result<ReadRow, String> {
        let text = |column| self.text(column, row).unwrap_or_default();
        let float = |column: usize, default| match self.0[column].is_valid(row) {
            true => self.0[column].as_primitive::<Float64Type>().value(row),
            false => default,
        };
        if self.0[1].is_null(row) {
            return Err("no timestamp".to_owned());
        }
        let list = self.0[12].as_list::<i32>().value(row);
        let list = list.as_string_opt::<i32>().ok_or("categories hold something else than text")?;
        let mut metadata = match self.text(16, row) {
            Some(text) => serde_json::from_str(text)
                .unwrap_or_else(|_| [("metadata".to_owned(), text.into())].into_iter().collect()),
            None => Map::new(),
        };
        // Others' words are read as everywhere; what is no word of ours is kept.
        let direction = parse::direction(text(10));
        if direction.is_none() && !text(10).is_empty() {
            parse::keep(&mut metadata, "direction", text(10).into());
        }
        let action = parse::action(text(11));
        if !action.is_known() && !text(11).is_empty() {
            parse::keep(&mut metadata, "action", text(11).into());
        }
        let event = SafetyEvent {
            event_id: text(0).to_owned(),
            timestamp: Timestamp::from_micros(
                self.0[1].as_primitive::<TimestampMicrosecondType>().value(row),
            ),
            app_name: self.owned(2, row),
            chain_name: self.owned(3, row),
            agent_name: self.owned(4, row),
            policy_name: self.owned(5, row),
            reason: self.owned(6, row),
            trace_id: self.owned(7, row),
            session_id: self.owned(8, row),
            user_id: self.owned(9, row),
            direction: direction.unwrap_or(Direction::Input),
            action: action.action(),
            categories: list.iter().map(|text| text.unwrap_or_default().to_owned()).collect(),
            severity: self.text(13, row).map_or(Severity::None, Severity::from),
            confidence: float(14, 1.0),
            latency_ms: float(15, 0.0),
            metadata,
        };
        let seq = self.0[18].as_primitive::<Int64Type>();
        let seq = seq.is_valid(row).then(|| u64::try_from(seq.value(row)).ok()).flatten();
        let id = text(17).parse().ok().zip(seq.map(Seq));
        Ok(ReadRow { id, event })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::{DictionaryArray, Int32Array, StringArray};
    use namel3ss_safety::conformance::{buffer, plain_event};
    use namel3ss_safety::{JournalId, SafetyEvent};

    use super::super::decode;
    use super::super::footer::{Footer, Part};
    use super::super::write::writer;
    use super::*;

    /// One long text in a dictionary, and many rows that have it: a file of some KiB took gigabytes in
    /// `tail` and `stats`, which unpacked 4,096 rows at once.
    #[test]
    fn a_small_file_with_a_long_text_in_each_row_is_unpacked_in_few_rows_at_once() {
        const LONG: usize = 900 << 10;
        let events: Vec<SafetyEvent> = (0..1000).map(plain_event).collect();
        let rows = buffer(JournalId([7; 16]), 1, &events);
        let rows: Vec<_> = rows.batch().rows().collect();
        let batch = columns::of(&rows).unwrap();
        let mut columns = batch.columns().to_vec();
        let (keys, words) =
            (Int32Array::from(vec![0; 1000]), StringArray::from(vec!["x".repeat(LONG)]));
        columns[5] =
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words)).unwrap());
        let mut writer = writer(Vec::new()).unwrap();
        writer.write(&RecordBatch::try_new(columns::schema(), columns).unwrap()).unwrap();
        let file = writer.into_inner().unwrap();
        assert!(file.len() < 64 << 10, "{}", file.len());
        let part = Part::whole(file.into());
        let mut rows = Footer::read(&part).unwrap().decode(0, part, 0).unwrap();
        let mut given = 0;
        while let Some(row) = rows.next() {
            assert_eq!(row.unwrap().event.policy_name.unwrap().len(), LONG);
            assert!(rows.rows * LONG <= 256 << 20, "{} rows at once", rows.rows);
            given += 1;
        }
        assert_eq!(given, 1000);
    }

    /// The parquet crate panics at a page whose lengths lie, found by fuzzing: `tail` and `stats` ended
    /// with it, and left out every other file.
    #[test]
    fn a_page_at_which_the_parquet_crate_panics_is_an_error() {
        let file = include_bytes!("../../../../fuzz/corpus/parquet_file/page_of_lying_lengths");
        let error = decode(file.to_vec()).unwrap_err();
        assert!(error.to_string().contains("a page of the file is damaged"), "{error}");
    }
}
