//! Actions as Arrow columns, one nullable struct a kind, and back: JSON on one side, whatever the
//! columns' types say on the other.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, ListArray, MapArray, RecordBatch,
    StringArray, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use serde_json::{Map, Value};

/// Actions that are in memory at once, besides those of the commits since the last checkpoint.
pub(super) const ROWS: usize = 4096;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    use DataType::{Boolean, Int32, Int64, Utf8};
    let values = || {
        let pair = vec![Field::new("key", Utf8, false), Field::new("value", Utf8, true)];
        DataType::Map(
            Arc::new(Field::new("key_value", DataType::Struct(pair.into()), false)),
            false,
        )
    };
    let texts = || DataType::List(Arc::new(Field::new("element", Utf8, true)));
    let fields = |fields: Vec<(&str, DataType)>| {
        DataType::Struct(fields.into_iter().map(|(name, of)| Field::new(name, of, true)).collect())
    };
    let kinds = [
        ("txn", fields(vec![("appId", Utf8), ("version", Int64), ("lastUpdated", Int64)])),
        (
            "add",
            fields(vec![
                ("path", Utf8),
                ("partitionValues", values()),
                ("size", Int64),
                ("modificationTime", Int64),
                ("dataChange", Boolean),
                ("stats", Utf8),
                ("tags", values()),
            ]),
        ),
        (
            "remove",
            fields(vec![
                ("path", Utf8),
                ("deletionTimestamp", Int64),
                ("dataChange", Boolean),
                ("extendedFileMetadata", Boolean),
                ("partitionValues", values()),
                ("size", Int64),
                ("tags", values()),
            ]),
        ),
        (
            "metaData",
            fields(vec![
                ("id", Utf8),
                ("name", Utf8),
                ("description", Utf8),
                ("format", fields(vec![("provider", Utf8), ("options", values())])),
                ("schemaString", Utf8),
                ("partitionColumns", texts()),
                ("configuration", values()),
                ("createdTime", Int64),
            ]),
        ),
        (
            "protocol",
            fields(vec![
                ("minReaderVersion", Int32),
                ("minWriterVersion", Int32),
                ("readerFeatures", texts()),
                ("writerFeatures", texts()),
            ]),
        ),
    ];
    let kinds = kinds.into_iter().map(|(name, of)| Field::new(name, of, true));
    Arc::new(Schema::new(kinds.collect::<Fields>()))
});

pub(super) fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// Actions as columns; what has no column is left out.
pub(super) fn of(actions: &[Value]) -> Result<RecordBatch, ArrowError> {
    let columns: Result<_, _> =
        SCHEMA.fields().iter().map(|kind| column(kind, actions.iter().map(Some))).collect();
    RecordBatch::try_new(schema(), columns?)
}

/// The values of `field` in each of `rows`.
fn column<'a>(
    field: &Field,
    rows: impl Iterator<Item = Option<&'a Value>>,
) -> Result<ArrayRef, ArrowError> {
    let values: Vec<Option<&Value>> = rows
        .map(|row| row.and_then(|row| row.get(field.name())).filter(|value| !value.is_null()))
        .collect();
    array(field.data_type(), &values)
}

fn array(of: &DataType, values: &[Option<&Value>]) -> Result<ArrayRef, ArrowError> {
    let each = || values.iter().copied();
    let nulls = || Some(NullBuffer::from_iter(each().map(|value| value.is_some())));
    Ok(match of {
        DataType::Utf8 => Arc::new(StringArray::from_iter(each().map(|v| v?.as_str()))),
        DataType::Int64 => Arc::new(Int64Array::from_iter(each().map(|v| v?.as_i64()))),
        DataType::Int32 => Arc::new(Int32Array::from_iter(
            each().map(|v| v?.as_i64().and_then(|n| i32::try_from(n).ok())),
        )),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(each().map(|v| v?.as_bool()))),
        DataType::Struct(fields) => {
            let columns: Result<_, _> = fields.iter().map(|field| column(field, each())).collect();
            Arc::new(StructArray::try_new(fields.clone(), columns?, nulls())?)
        }
        DataType::List(field) => {
            let lists =
                || each().map(|v| v.and_then(Value::as_array).map_or(&[][..], Vec::as_slice));
            let offsets = OffsetBuffer::from_lengths(lists().map(<[Value]>::len));
            let flat: Vec<Option<&Value>> =
                lists().flatten().map(|v| Some(v).filter(|v| !v.is_null())).collect();
            let flat = array(field.data_type(), &flat)?;
            Arc::new(ListArray::try_new(field.clone(), offsets, flat, nulls())?)
        }
        DataType::Map(entry, _) => {
            let DataType::Struct(pair) = entry.data_type() else { return unknown(of) };
            let maps = || each().map(|v| v.and_then(Value::as_object));
            let offsets = OffsetBuffer::from_lengths(maps().map(|map| map.map_or(0, Map::len)));
            let pairs = || maps().flatten().flatten();
            let keys = StringArray::from_iter_values(pairs().map(|(key, _)| key));
            let values: StringArray = pairs().map(|(_, value)| value.as_str()).collect();
            let pairs =
                StructArray::try_new(pair.clone(), vec![Arc::new(keys), Arc::new(values)], None)?;
            Arc::new(MapArray::try_new(entry.clone(), offsets, pairs, nulls(), false)?)
        }
        _ => return unknown(of),
    })
}

fn unknown(of: &DataType) -> Result<ArrayRef, ArrowError> {
    Err(ArrowError::SchemaError(format!("no action has a column of {of}")))
}

/// The actions in some rows of a checkpoint.
pub(super) fn actions(batch: &RecordBatch) -> impl Iterator<Item = Value> {
    let rows = StructArray::from(batch.clone());
    (0..batch.num_rows()).map(move |row| value(&rows, row))
}

/// A value as JSON: a field that is null is left out; what no action has is null.
fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let pairs = fields.iter().zip(columns).map(|(f, c)| (f.name().clone(), value(c, row)));
            Value::Object(pairs.filter(|(_, value)| !value.is_null()).collect())
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            Value::Array((0..list.len()).map(|at| value(&list, at)).collect())
        }
        DataType::Map(..) => {
            let pairs = array.as_map().value(row);
            let text = |column: usize, at: usize| value(pairs.column(column), at);
            let pairs = (0..pairs.len()).filter_map(|at| match text(0, at) {
                // Here null is a value: a partition of null.
                Value::String(key) => Some((key, text(1, at))),
                _ => None,
            });
            Value::Object(pairs.collect())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actions_come_back_as_they_went() {
        let actions = [
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {
                "id": "x", "format": {"provider": "parquet", "options": {}}, "schemaString": "{}",
                "partitionColumns": ["date"], "configuration": {"a": "b", "c": "d"}, "createdTime": 7,
            }}),
            json!({"add": {
                "path": "p", "partitionValues": {"date": null}, "size": 5, "modificationTime": 6,
                "dataChange": false, "stats": "{\"numRecords\":1}",
            }}),
            json!({"txn": {"appId": "j:5", "version": 9, "lastUpdated": 1}}),
            json!({"remove": {"path": "q", "deletionTimestamp": 3, "dataChange": true, "tags": {}}}),
        ];
        let batch = of(&actions).expect("columns");
        assert_eq!(super::actions(&batch).collect::<Vec<_>>(), actions);
        assert_eq!(of(&[]).expect("none").num_rows(), 0);
    }
}
