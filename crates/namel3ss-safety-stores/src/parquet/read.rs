//! Reading a Parquet file of ours back, by the columns' names and types.

use std::fmt::Display;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::DataType;
use namel3ss_safety::adapter::{ReadError, ReadRow};
use namel3ss_safety::{SafetyEvent, Seq, Severity, Timestamp};

use super::columns;
use super::footer::{Footer, Part};

/// The rows of one Parquet file that [`super::encode`] made.
///
/// # Errors
/// If it is no Parquet file, or its columns are others.
pub fn decode(bytes: Vec<u8>) -> Result<Vec<ReadRow>, ReadError> {
    let part = Part::whole(bytes.into());
    let footer = Footer::read(&part)?;
    let mut rows = Vec::new();
    for group in 0..footer.groups() {
        rows.append(&mut footer.decode(group, part.clone())?);
    }
    Ok(rows)
}

/// Adds the rows of a batch to `rows`.
pub(super) fn rows_of(batch: &RecordBatch, rows: &mut Vec<ReadRow>) -> Result<(), ReadError> {
    let columns = Columns::of(batch)?;
    for at in 0..batch.num_rows() {
        let row = columns.row(at);
        rows.push(row.map_err(|wrong| ReadError::Row { number: rows.len() as u64 + 1, wrong })?);
    }
    Ok(())
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

    fn row(&self, row: usize) -> Result<ReadRow, String> {
        let text = |column| self.text(column, row).unwrap_or_default();
        let list = self.0[12].as_list::<i32>().value(row);
        let list = list.as_string_opt::<i32>().ok_or("categories hold something else than text")?;
        let metadata = serde_json::from_str(text(16)).map_err(|error| error.to_string())?;
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
            direction: text(10).parse().map_err(|_| "an unknown direction")?,
            action: text(11).parse().map_err(|_| "an unknown action")?,
            categories: list.iter().map(|text| text.unwrap_or_default().to_owned()).collect(),
            severity: Severity::from(text(13)),
            confidence: self.0[14].as_primitive::<Float64Type>().value(row),
            latency_ms: self.0[15].as_primitive::<Float64Type>().value(row),
            metadata,
        };
        let seq = self.0[18].as_primitive::<Int64Type>().value(row);
        let id = text(17).parse().ok().zip(u64::try_from(seq).ok().map(Seq));
        Ok(ReadRow { id, event })
    }
}
