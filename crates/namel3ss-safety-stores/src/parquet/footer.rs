//! A Parquet file of ours in parts: its footer says which rows and times each row group holds and
//! where it lies, so that only what is wanted is fetched, one group in memory at a time.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::{Buf as _, Bytes};
use namel3ss_safety::Timestamp;
use namel3ss_safety::adapter::{ReadError, ReadRow};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::columns;
use super::read::{rows_of, wrong};

/// The most bytes that a row group may say it unpacks to: 1 GiB.
const UNPACKED_BYTES_MAX: i64 = 1 << 30;
/// How much of a file's end is fetched at first: nearly always all of its footer.
pub(crate) const TAIL_BYTES: u64 = 64 << 10;
/// What ends a file: the length of its footer, and four letters.
const END_BYTES: u64 = 8;

/// Bytes of a file, from `from` on.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) from: u64,
    pub(crate) bytes: Bytes,
    /// How many bytes the whole file has.
    pub(crate) file_bytes: u64,
}

impl Part {
    /// All of a file.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { from: 0, file_bytes: bytes.len() as u64, bytes }
    }

    /// Whether it has all bytes of `range`.
    pub(crate) fn has(&self, range: &Range<u64>) -> bool {
        self.from <= range.start && range.end <= self.from + self.bytes.len() as u64
    }
}

impl Length for Part {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for Part {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let at = start.checked_sub(self.from).filter(|at| *at <= self.bytes.len() as u64);
        let at = at.ok_or_else(outside)?;
        Ok(self.bytes.slice(usize::try_from(at).map_err(|_| outside())?..).reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start.checked_add(length as u64).ok_or_else(outside)?;
        if !self.has(&(start..end)) {
            return Err(outside());
        }
        let at = usize::try_from(start - self.from).map_err(|_| outside())?;
        Ok(self.bytes.slice(at..at + length))
    }
}

fn outside() -> ParquetError {
    ParquetError::EOF("it ends before a part of it".to_owned())
}

/// What a file says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Footer {
    /// With the Arrow types that its writer had in memory.
    metadata: ArrowReaderMetadata,
    /// With those of the file itself, whoever wrote it.
    plain: ArrowReaderMetadata,
}

impl Footer {
    /// Where a footer lies, by the last bytes of its file.
    pub(crate) fn place(tail: &Part) -> Result<Range<u64>, ReadError> {
        let end = tail.file_bytes.checked_sub(END_BYTES);
        let end = end.ok_or_else(|| wrong("it is too short to be a Parquet file"))?;
        let last = tail.get_bytes(end, END_BYTES as usize).map_err(wrong)?;
        let length = u64::from((&last[..4]).get_u32_le());
        let start = end.checked_sub(length).ok_or_else(|| wrong("its footer is damaged"))?;
        Ok(start..tail.file_bytes)
    }

    /// Reads the footer, which `part` must hold.
    pub(crate) fn read(part: &Part) -> Result<Self, ReadError> {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(part).map_err(wrong)?;
        let metadata = Arc::new(metadata);
        let with = |options| ArrowReaderMetadata::try_new(metadata.clone(), options).map_err(wrong);
        let plain = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        Ok(Self { metadata: with(ArrowReaderOptions::new())?, plain: with(plain)? })
    }

    /// A text that its writer put there.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        let notes = self.metadata.metadata().file_metadata().key_value_metadata()?;
        notes.iter().find(|note| note.key == key)?.value.as_deref()
    }

    /// How many row groups it has.
    pub(crate) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// How many rows a group has.
    pub(crate) fn rows(&self, group: usize) -> u64 {
        u64::try_from(self.metadata.metadata().row_group(group).num_rows()).unwrap_or(0)
    }

    /// How many bytes a group has before its compression.
    pub(crate) fn unpacked(&self, group: usize) -> u64 {
        let bytes = self.metadata.metadata().row_group(group).total_byte_size();
        u64::try_from(bytes).unwrap_or(0)
    }

    /// Where a group's bytes lie.
    pub(crate) fn range(&self, group: usize) -> Range<u64> {
        let columns = self.metadata.metadata().row_group(group).columns();
        let ranges = columns.iter().map(|column| column.byte_range());
        let ends = ranges.clone().map(|(from, bytes)| from.saturating_add(bytes));
        ranges.map(|(from, _)| from).min().unwrap_or(0)..ends.max().unwrap_or(0)
    }

    /// The first and the last moment of a group's rows, where it says so.
    pub(crate) fn times(&self, group: usize) -> Option<(Timestamp, Timestamp)> {
        let columns = self.metadata.metadata().row_group(group).columns();
        let column = columns.iter().find(|c| c.column_path().string() == "timestamp")?;
        match column.statistics()? {
            Statistics::Int64(moments) => {
                let moment = |micros: &i64| Timestamp::from_micros(*micros);
                Some((moment(moments.min_opt()?), moment(moments.max_opt()?)))
            }
            _ => None,
        }
    }

    /// The columns of a group, all or those that are named, in `rows` rows at a time, with the types
    /// that its writer had.
    pub(crate) fn batches(
        &self,
        group: usize,
        part: Part,
        names: Option<&[&str]>,
        rows: usize,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        self.read_group(self.metadata.clone(), group, part, names, rows)
    }

    fn read_group(
        &self,
        metadata: ArrowReaderMetadata,
        group: usize,
        part: Part,
        names: Option<&[&str]>,
        rows: usize,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        if self.metadata.metadata().row_group(group).total_byte_size() > UNPACKED_BYTES_MAX {
            return Err(wrong("a row group unpacks to more than 1 GiB"));
        }
        let file = ParquetRecordBatchReaderBuilder::new_with_metadata(part, metadata);
        let mask = match names {
            Some(names) => {
                ProjectionMask::columns(self.metadata.parquet_schema(), names.iter().copied())
            }
            None => ProjectionMask::all(),
        };
        let file = file.with_projection(mask).with_row_groups(vec![group]).with_batch_size(rows);
        file.build().map_err(wrong)?.map(|batch| batch.map_err(wrong)).collect()
    }

    /// The rows of a group.
    pub(crate) fn decode(&self, group: usize, part: Part) -> Result<Vec<ReadRow>, ReadError> {
        let mut rows = Vec::new();
        for batch in self.read_group(self.plain.clone(), group, part, None, 4096)? {
            rows_of(&batch, &mut rows)?;
        }
        Ok(rows)
    }

    /// Whether its columns are ours, and no others.
    pub(crate) fn is_ours(&self) -> bool {
        columns::schema().fields().iter().eq(self.metadata.schema().fields())
    }
}
