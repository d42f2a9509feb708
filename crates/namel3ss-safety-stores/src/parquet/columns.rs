//! Rows as Arrow columns, and the schema of both.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{
    Float64Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use namel3ss_safety::internal::json::write_object_sorted;
use namel3ss_safety::{Direction, FIELDS, Row, SafetyAction};

use crate::arrow_fields::{category, of_events};

/// About what a text takes; longer ones make the column grow.
const TEXT_BYTES: usize = 40;
/// So many words are looked through one by one, which takes less than hashing one.
const NEAR_WORDS: usize = 8;
/// Where `policy_name` is among an event's eight optional texts.
const POLICY: usize = 3;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = of_events();
    fields.push(Field::new("journal_id", DataType::Utf8, false));
    fields.push(Field::new("seq", DataType::Int64, false));
    Arc::new(Schema::new(fields))
});

/// The columns' names and types.
pub(super) fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// `rows` as columns; a seq beyond 63 bits, which the caller has excluded, becomes the largest.
pub(super) fn of(rows: &[Row<'_>]) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(FIELDS.len() + 2);
    columns.push(texts(rows, |row| Some(row.event.event_id)));
    columns.push(timestamps(rows));
    for at in 0..8 {
        columns.push(if at == POLICY {
            words(rows, |row| row.event.texts()[POLICY])?
        } else {
            texts(rows, |row| row.event.texts()[at])
        });
    }
    columns.push(enumerated(
        rows.iter().map(|row| row.event.direction as i32),
        Direction::ALL.iter().map(|word| word.as_str()),
    )?);
    columns.push(enumerated(
        rows.iter().map(|row| row.event.action as i32),
        SafetyAction::ALL.iter().map(|word| word.as_str()),
    )?);
    columns.push(categories(rows));
    columns.push(words(rows, |row| Some(row.event.severity))?);
    columns.push(floats(rows, |row| row.event.confidence));
    columns.push(floats(rows, |row| row.event.latency_ms));
    columns.push(metadata(rows));
    columns.push(journals(rows));
    columns.push(seqs(rows));
    RecordBatch::try_new(schema(), columns)
}

fn texts<'a>(rows: &[Row<'a>], of: impl Fn(&Row<'a>) -> Option<&'a str>) -> ArrayRef {
    let mut column = StringBuilder::with_capacity(rows.len(), rows.len() * TEXT_BYTES);
    rows.iter().for_each(|row| column.append_option(of(row)));
    Arc::new(column.finish())
}

fn timestamps(rows: &[Row<'_>]) -> ArrayRef {
    let mut column = TimestampMicrosecondBuilder::with_capacity(rows.len()).with_timezone("UTC");
    rows.iter().for_each(|row| column.append_value(row.event.timestamp.micros()));
    Arc::new(column.finish())
}

fn floats(rows: &[Row<'_>], of: impl Fn(&Row<'_>) -> f64) -> ArrayRef {
    let mut column = Float64Builder::with_capacity(rows.len());
    rows.iter().for_each(|row| column.append_value(of(row)));
    Arc::new(column.finish())
}

/// Texts of which there are few different ones: each once, and where it stands.
fn words<'a>(
    rows: &[Row<'a>],
    of: impl Fn(&Row<'a>) -> Option<&'a str>,
) -> Result<ArrayRef, ArrowError> {
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut words: Vec<&str> = Vec::new();
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(word) = of(row) else {
            keys.push(None);
            continue;
        };
        let near = words.iter().take(NEAR_WORDS).position(|same| *same == word);
        let key = near.or_else(|| known.get(word).copied()).unwrap_or_else(|| {
            known.insert(word, words.len());
            words.push(word);
            words.len() - 1
        });
        // There are at most as many words as rows, which are few.
        keys.push(Some(i32::try_from(key).unwrap_or(i32::MAX)));
    }
    let (keys, words) = (Int32Array::from(keys), StringArray::from(words));
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words))?))
}

fn enumerated<'w>(
    keys: impl Iterator<Item = i32>,
    words: impl Iterator<Item = &'w str>,
) -> Result<ArrayRef, ArrowError> {
    let (keys, words) = (keys.collect::<Int32Array>(), StringArray::from_iter_values(words));
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words))?))
}

fn categories(rows: &[Row<'_>]) -> ArrayRef {
    let mut column =
        ListBuilder::with_capacity(StringBuilder::new(), rows.len()).with_field(category());
    for row in rows {
        row.event.categories().for_each(|text| column.values().append_value(text));
        column.append(true);
    }
    Arc::new(column.finish())
}

fn metadata(rows: &[Row<'_>]) -> ArrayRef {
    let mut column = StringBuilder::with_capacity(rows.len(), rows.len() * 64);
    let mut text = Vec::with_capacity(256);
    for row in rows {
        text.clear();
        write_object_sorted(row.event.metadata(), &mut text);
        // What the writer of JSON writes is UTF-8.
        column.append_value(std::str::from_utf8(&text).unwrap_or("{}"));
    }
    Arc::new(column.finish())
}

fn journals(rows: &[Row<'_>]) -> ArrayRef {
    let mut runs = rows.chunk_by(|one, next| one.journal == next.journal);
    if let (Some(run), None) = (runs.next(), runs.next()) {
        return Arc::new(StringArray::new_repeated(run[0].journal.to_string(), rows.len()));
    }
    let mut column = StringBuilder::with_capacity(rows.len(), rows.len() * 32);
    for run in rows.chunk_by(|one, next| one.journal == next.journal) {
        let text = run[0].journal.to_string();
        run.iter().for_each(|_| column.append_value(&text));
    }
    Arc::new(column.finish())
}

fn seqs(rows: &[Row<'_>]) -> ArrayRef {
    let mut column = Int64Builder::with_capacity(rows.len());
    rows.iter().for_each(|row| column.append_value(i64::try_from(row.seq.0).unwrap_or(i64::MAX)));
    Arc::new(column.finish())
}
