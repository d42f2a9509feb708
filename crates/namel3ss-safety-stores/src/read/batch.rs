//! Rows as Arrow record batches and back: the 17 fields, `journal_id` and `seq`.

use std::fmt;
use std::ops::BitOr;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{
    Float64Builder, ListBuilder, StringBuilder, StringDictionaryBuilder,
    TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use namel3ss_safety::ReadRow;
use namel3ss_safety::internal::nearest::nearest;
use namel3ss_safety::{Direction, FIELDS, SafetyEvent, Seq, Severity, Timestamp, internal::parse};
use serde_json::{Map, Value};

use super::error::ScanError;
use crate::arrow_fields::{category, of_events};

/// How many columns there are.
const COLUMNS: usize = FIELDS.len() + 2;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = of_events();
    fields.push(Field::new("journal_id", DataType::Utf8, true));
    fields.push(Field::new("seq", DataType::UInt64, true));
    Arc::new(Schema::new(fields))
});

/// The columns of batches with all of them.
///
/// | column | type |
/// | --- | --- |
/// | `timestamp` | microseconds, UTC |
/// | `direction`, `action`, `severity`, `policy_name` | text in a dictionary with 32-bit keys |
/// | `categories` | list of text |
/// | `confidence`, `latency_ms` | double |
/// | `metadata` | text: one JSON object |
/// | `seq` | unsigned 64-bit integer |
/// | all others | text |
///
/// `direction`, `action` and `severity` hold the words of events. `journal_id` and `seq` are null in rows
/// that something else than this library has stored.
#[must_use]
pub fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// A set of columns; by default all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns(u32);

impl Default for Columns {
    fn default() -> Self {
        Self((1 << COLUMNS) - 1)
    }
}

impl BitOr for Columns {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Columns {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self(0)
    }

    /// Those with these names, in the order of [`schema`].
    ///
    /// # Errors
    /// [`ScanError::Invalid`] for a name that no column has; says which one may have been meant.
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, ScanError> {
        let mut columns = Self::none();
        for name in names {
            let Some(at) = position(name) else {
                let known = SCHEMA.fields().iter().map(|field| field.name().as_str());
                let hint = nearest(name, known).map_or_else(
                    || format!("it is one of {}, journal_id, seq", FIELDS.join(", ")),
                    |near| format!("did you mean '{near}'?"),
                );
                return Err(ScanError::Invalid(format!("find the column '{name}': {hint}")));
            };
            columns.0 |= 1 << at;
        }
        Ok(columns)
    }

    /// As [`Self::named`], of names that are known to be some.
    pub(crate) fn only<const N: usize>(names: [&str; N]) -> Self {
        let bits = names.into_iter().filter_map(position);
        Self(bits.fold(0, |columns, at| columns | 1 << at))
    }

    /// Whether a column is in it.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        position(name).is_some_and(|at| self.0 & 1 << at != 0)
    }

    /// Their names, in the order of [`schema`].
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let ours = FIELDS.iter().copied().chain(["journal_id", "seq"]);
        ours.filter(move |name| self.has(name))
    }

    /// The schema of batches that have only these.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        if self == Self::default() {
            return schema();
        }
        let fields = SCHEMA.fields().iter().filter(|field| self.has(field.name())).cloned();
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// A batch with only these of its columns.
    pub(super) fn of(self, batch: &RecordBatch) -> Result<RecordBatch, ScanError> {
        let there = batch.schema();
        let at: Vec<usize> = self.names().filter_map(|name| there.index_of(name).ok()).collect();
        batch.project(&at).map_err(|error| damaged(&error))
    }
}

fn position(name: &str) -> Option<usize> {
    SCHEMA.fields().iter().position(|field| field.name() == name)
}

pub(super) fn damaged(error: &ArrowError) -> ScanError {
    ScanError::Failed(format!("take the rows apart: {error}"))
}

/// Makes batches of all columns from rows.
pub struct Builder {
    rows: usize,
    bytes: usize,
    event_id: StringBuilder,
    timestamp: TimestampMicrosecondBuilder,
    /// The eight optional texts but the policy's name.
    texts: [StringBuilder; 7],
    policy_name: StringDictionaryBuilder<Int32Type>,
    direction: StringDictionaryBuilder<Int32Type>,
    action: StringDictionaryBuilder<Int32Type>,
    categories: ListBuilder<StringBuilder>,
    severity: StringDictionaryBuilder<Int32Type>,
    confidence: Float64Builder,
    latency_ms: Float64Builder,
    metadata: StringBuilder,
    journal_id: StringBuilder,
    seq: UInt64Builder,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            rows: 0,
            bytes: 0,
            event_id: StringBuilder::new(),
            timestamp: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            texts: Default::default(),
            policy_name: StringDictionaryBuilder::new(),
            direction: StringDictionaryBuilder::new(),
            action: StringDictionaryBuilder::new(),
            categories: ListBuilder::new(StringBuilder::new()).with_field(category()),
            severity: StringDictionaryBuilder::new(),
            confidence: Float64Builder::new(),
            latency_ms: Float64Builder::new(),
            metadata: StringBuilder::new(),
            journal_id: StringBuilder::new(),
            seq: UInt64Builder::new(),
        }
    }
}

impl Builder {
    /// After so many rows a batch should be made.
    pub const ROWS: usize = 1000;
    /// After so many bytes of texts a batch should be made.
    pub const BYTES: usize = 8 << 20;

    /// Whether a batch should be made before the next row.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows >= Self::ROWS || self.bytes >= Self::BYTES
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row.
    pub fn push(&mut self, row: &ReadRow) {
        let event = &row.event;
        self.rows += 1;
        self.event_id.append_value(&event.event_id);
        self.timestamp.append_value(event.timestamp.micros());
        let texts = [
            &event.app_name,
            &event.chain_name,
            &event.agent_name,
            &event.reason,
            &event.trace_id,
            &event.session_id,
            &event.user_id,
        ];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_option(text.as_deref());
            self.bytes += text.as_ref().map_or(0, String::len);
        }
        // A dictionary of 32-bit keys has room for as many words as a batch has rows.
        self.policy_name.append_option(event.policy_name.as_deref());
        self.direction.append_value(event.direction.as_str());
        self.action.append_value(event.action.as_str());
        for category in &event.categories {
            self.categories.values().append_value(category);
            self.bytes += category.len();
        }
        self.categories.append(true);
        self.severity.append_value(event.severity.as_str());
        self.confidence.append_value(event.confidence);
        self.latency_ms.append_value(event.latency_ms);
        // It has no keys but texts, and no numbers but finite ones.
        let metadata = serde_json::to_string(&event.metadata).unwrap_or_default();
        self.bytes += metadata.len() + event.event_id.len();
        self.bytes += event.policy_name.as_ref().map_or(0, String::len);
        self.metadata.append_value(metadata);
        self.journal_id.append_option(row.id.map(|(journal, _)| journal.to_string()));
        self.seq.append_option(row.id.map(|(_, seq)| seq.0));
    }

    /// The rows so far as a batch.
    ///
    /// # Errors
    /// If they are more than a batch can hold.
    pub fn finish(&mut self) -> Result<RecordBatch, ScanError> {
        (self.rows, self.bytes) = (0, 0);
        let [app, chain, agent, reason, trace, session, user] = &mut self.texts;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.event_id.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(app.finish()),
            Arc::new(chain.finish()),
            Arc::new(agent.finish()),
            Arc::new(self.policy_name.finish()),
            Arc::new(reason.finish()),
            Arc::new(trace.finish()),
            Arc::new(session.finish()),
            Arc::new(user.finish()),
            Arc::new(self.direction.finish()),
            Arc::new(self.action.finish()),
            Arc::new(self.categories.finish()),
            Arc::new(self.severity.finish()),
            Arc::new(self.confidence.finish()),
            Arc::new(self.latency_ms.finish()),
            Arc::new(self.metadata.finish()),
            Arc::new(self.journal_id.finish()),
            Arc::new(self.seq.finish()),
        ];
        RecordBatch::try_new(schema(), columns).map_err(|error| damaged(&error))
    }
}

/// The object that a row's text of metadata is; a text that is none stands under `metadata`.
pub(super) fn metadata_of(text: Option<&str>) -> Map<String, Value> {
    let Some(text) = text else { return Map::new() };
    serde_json::from_str(text)
        .unwrap_or_else(|_| [("metadata".to_owned(), text.into())].into_iter().collect())
}

/// The rows of a batch of all columns.
pub fn rows(batch: &RecordBatch) -> impl Iterator<Item = ReadRow> {
    let columns = Texts { batch };
    (0..batch.num_rows()).map(move |row| columns.row(row))
}

/// A batch whose columns are looked at by name; one that it lacks holds nulls.
struct Texts<'b> {
    batch: &'b RecordBatch,
}

impl<'b> Texts<'b> {
    fn text(&self, name: &str, row: usize) -> Option<&'b str> {
        let column = self.batch.column_by_name(name)?;
        let (texts, row) = match column.data_type() {
            DataType::Dictionary(..) => {
                let column = column.as_dictionary_opt::<Int32Type>()?;
                (column.values().as_string_opt::<i32>()?, column.key(row)?)
            }
            _ => (column.as_string_opt::<i32>()?, row),
        };
        texts.is_valid(row).then(|| texts.value(row))
    }

    fn owned(&self, name: &str, row: usize) -> Option<String> {
        self.text(name, row).map(str::to_owned)
    }

    fn float(&self, name: &str, row: usize, default: f64) -> f64 {
        let column = self.batch.column_by_name(name);
        let column = column.and_then(|column| column.as_primitive_opt::<Float64Type>());
        column.filter(|column| column.is_valid(row)).map_or(default, |column| column.value(row))
    }

    fn categories(&self, row: usize) -> Vec<String> {
        let list = self.batch.column_by_name("categories");
        let list =
            list.and_then(|column| column.as_list_opt::<i32>()).map(|lists| lists.value(row));
        let texts = list.as_ref().and_then(|list| list.as_string_opt::<i32>());
        texts.into_iter().flatten().map(|text| text.unwrap_or_default().to_owned()).collect()
    }

    fn row(&self, row: usize) -> ReadRow {
        let micros = self.batch.column_by_name("timestamp");
        let micros =
            micros.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let word = |name| self.text(name, row).unwrap_or_default();
        let event = SafetyEvent {
            event_id: word("event_id").to_owned(),
            timestamp: Timestamp::from_micros(micros.map_or(0, |column| column.value(row))),
            app_name: self.owned("app_name", row),
            chain_name: self.owned("chain_name", row),
            agent_name: self.owned("agent_name", row),
            policy_name: self.owned("policy_name", row),
            reason: self.owned("reason", row),
            trace_id: self.owned("trace_id", row),
            session_id: self.owned("session_id", row),
            user_id: self.owned("user_id", row),
            direction: parse::direction(word("direction")).unwrap_or(Direction::Input),
            action: parse::action(word("action")).action(),
            categories: self.categories(row),
            severity: self.text("severity", row).map_or(Severity::None, Severity::from),
            confidence: self.float("confidence", row, 1.0),
            latency_ms: self.float("latency_ms", row, 0.0),
            metadata: metadata_of(self.text("metadata", row)),
        };
        let seq = self.batch.column_by_name("seq");
        let seq = seq.and_then(|column| column.as_primitive_opt::<UInt64Type>());
        let seq = seq.filter(|column| column.is_valid(row)).map(|column| Seq(column.value(row)));
        ReadRow { id: word("journal_id").parse().ok().zip(seq), event }
    }
}
