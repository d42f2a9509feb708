//! One Parquet file from the rows of others, copied column by column.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave_record_batch;
use namel3ss_safety::ReadError;
use namel3ss_safety::{JournalId, Seq};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;

use super::read::wrong;
use super::write::{CHUNK_ROWS, writer};

/// The columns that say where a row belongs.
pub(crate) const KEYS: [&str; 3] = ["timestamp", "journal_id", "seq"];

/// Where a row belongs: rows are merged in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) micros: i64,
    pub(crate) journal: JournalId,
    pub(crate) seq: Seq,
}

/// The keys of a batch that has the columns [`KEYS`].
pub(crate) fn keys(batch: &RecordBatch) -> Result<Vec<Key>, ReadError> {
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| wrong(format!("there is no column {name}")))
    };
    let [moments, journals, seqs] = KEYS.map(column);
    let other = || wrong("its keys have other types");
    let (journals, seqs) = (journals?, seqs?.as_primitive_opt::<Int64Type>().ok_or_else(other)?);
    let moments = moments?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(other)?;
    let journals = journals.as_string_opt::<i32>().ok_or_else(other)?;
    let mut last: Option<(&str, JournalId)> = None;
    let mut keys = Vec::with_capacity(batch.num_rows());
    for at in 0..batch.num_rows() {
        let text = journals.value(at);
        let journal = match last {
            Some((same, journal)) if same == text => journal,
            _ => text.parse().map_err(|_| wrong("a row is of no journal"))?,
        };
        last = Some((text, journal));
        let seq = u64::try_from(seqs.value(at)).map_err(|_| wrong("a row has no seq"))?;
        keys.push(Key { micros: moments.value(at), journal, seq: Seq(seq) });
    }
    Ok(keys)
}

/// The rows of a batch that are wanted.
pub(crate) fn only(batch: &RecordBatch, wanted: Vec<bool>) -> Result<RecordBatch, ReadError> {
    filter_record_batch(batch, &BooleanArray::from(wanted)).map_err(wrong)
}

/// A file that is being written, in memory.
pub(crate) struct Merger {
    writer: ArrowWriter<Vec<u8>>,
}

impl Merger {
    /// With a text in its footer.
    pub(crate) fn new(key: &str, note: String) -> Result<Self, ReadError> {
        let mut writer = writer(Vec::new()).map_err(wrong)?;
        writer.append_key_value_metadata(KeyValue::new(key.to_owned(), note));
        Ok(Self { writer })
    }

    /// Adds rows, each named by its batch and its place there.
    pub(crate) fn write(
        &mut self,
        batches: &[RecordBatch],
        rows: &[(usize, usize)],
    ) -> Result<(), ReadError> {
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        for chunk in rows.chunks(CHUNK_ROWS) {
            let made = interleave_record_batch(&batches, chunk).map_err(wrong)?;
            self.writer.write(&made).map_err(wrong)?;
        }
        Ok(())
    }

    /// The whole file.
    pub(crate) fn finish(self) -> Result<Vec<u8>, ReadError> {
        self.writer.into_inner().map_err(wrong)
    }
}
