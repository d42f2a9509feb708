//! Reading a Parquet file of ours back, by the columns' names and types.

use std::fmt::{self, Display};
use std::vec::IntoIter;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::DataType;
use namel3ss_safety::adapter::{ReadError, ReadRow};
use namel3ss_safety::{Direction, SafetyEvent, Seq, Severity, Timestamp, parse};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde_json::Map;

use super::columns;
use super::footer::{Footer, Part};

/// The rows of one Parquet file that [`super::encode`] made.
///
/// # Errors
/// If it is no Parquet file, its columns are others, or a row makes no sense.
pub fn decode(bytes: Vec<u8>) -> Result<Vec<ReadRow>, ReadError> {
    let part = Part::whole(bytes.into());
    let footer = Footer::read(&part)?;
    let mut rows = Vec::new();
    for group in 0..footer.groups() {
        for row in footer.whole(group, part.clone())? {
            rows.push(row?);
        }
    }
    Ok(rows)
}

/// Rows that are unpacked as they are asked for. One that makes no sense is told and passed; behind
/// [`ReadError::Dataset`] nothing comes.
pub(crate) struct Rows {
    batches: Option<ParquetRecordBatchReader>,
    open: IntoIter<Result<ReadRow, ReadError>>,
    given: u64,
}

impl Rows {
    pub(super) fn new(batches: ParquetRecordBatchReader) -> Self {
        Self { batches: Some(batches), open: Vec::new().into_iter(), given: 0 }
    }

    fn batch(&mut self) -> Option<Result<RecordBatch, ReadError>> {
        Some(self.batches.as_mut()?.next()?.map_err(wrong))
    }

    fn rows_of(&mut self, batch: &RecordBatch) -> Result<(), ReadError> {
        let columns = Columns::of(batch)?;
        let before = self.given;
        self.given += batch.num_rows() as u64;
        let row = |at: usize| {
            let number = before + at as u64 + 1;
            columns.row(at).map_err(|wrong| ReadError::Row { number, wrong })
        };
        self.open = (0..batch.num_rows()).map(row).collect::<Vec<_>>().into_iter();
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Result<ReadRow, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.open.next() {
                return Some(row);
            }
            let batch = self.batch()?;
            if let Err(error) = batch.and_then(|batch| self.rows_of(&batch)) {
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
