//! A Parquet file of ours in parts: its footer says which rows and times each row group holds and
//! where it lies, so that only what is wanted is fetched, one group in memory at a time, packed. Its rows are
//! unpacked a few at a time: how few follows from what the footer says, and the headers of its pages must
//! agree with that. **Limit:** a page is unpacked as a whole.

#[cfg(unix)]
use std::fs::File;
#[cfg(unix)]
use std::io::ErrorKind;
#[cfg(unix)]
use std::iter::once;
use std::ops::Range;
#[cfg(unix)]
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Fields, Schema};
use bytes::{Buf as _, Bytes};
use namel3ss_safety::Timestamp;
use namel3ss_safety::{ReadError, ReadRow};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Encoding, LogicalType, TimeUnit, Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::columns;
use super::pages;
use super::read::{Rows, guarded, wrong};

/// The most bytes that a row group may say it unpacks to where it is read at once: 1 GiB.
const UNPACKED_BYTES_MAX: i64 = 1 << 30;
/// The most rows that are unpacked at once, where a group is read bit by bit.
const BATCH_ROWS: u64 = 4096;
/// About how many bytes those may take: 256 MiB.
const BATCH_BYTES_MAX: u64 = 256 << 20;
/// What a column of a group may say that it unpacks to: so many bytes, or so many times its own. What
/// says more is no dataset but made to fill the memory.
const COLUMN_BYTES: i64 = 256 << 20;
const COLUMN_TIMES: i64 = 1000;
/// How much of a file's end is fetched at first: nearly always all of its footer.
pub(crate) const TAIL_BYTES: u64 = 64 << 10;
/// What ends a file: the length of its footer, and four letters.
const END_BYTES: u64 = 8;

/// Bytes of a file: those that are held, and where to read others.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// With where in the file each begins, in their order.
    held: Vec<(u64, Bytes)>,
    #[cfg(unix)]
    file: Option<Arc<File>>,
    /// How many bytes the whole file has.
    pub(crate) file_bytes: u64,
}

impl Part {
    /// All of a file.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let file_bytes = bytes.len() as u64;
        Self::new(0, bytes, file_bytes)
    }

    /// The bytes from `from` on, of a file that has so many.
    pub(crate) fn new(from: u64, bytes: Bytes, file_bytes: u64) -> Self {
        Self {
            held: vec![(from, bytes)],
            #[cfg(unix)]
            file: None,
            file_bytes,
        }
    }

    /// Those of an open file, read where they are wanted: see [`Self::hold`].
    #[cfg(all(unix, any(feature = "object", feature = "parquet")))]
    pub(crate) fn of_file(file: File, file_bytes: u64) -> Self {
        Self { held: Vec::new(), file: Some(Arc::new(file)), file_bytes }
    }

    /// A part that holds the bytes of these ranges, which are in their order; nothing else is for sure.
    pub(crate) fn hold(
        &self,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) -> Result<Self, ReadError> {
        #[cfg(unix)]
        if let Some(file) = &self.file {
            // Neighbours at once.
            let mut runs: Vec<Range<u64>> = Vec::new();
            for range in ranges {
                match runs.last_mut() {
                    Some(run) if run.end == range.start => run.end = range.end,
                    _ => runs.push(range),
                }
            }
            let read = |run: Range<u64>| {
                let inside = run.start <= run.end && run.end <= self.file_bytes;
                let bytes = inside.then(|| usize::try_from(run.end - run.start).ok()).flatten();
                let mut bytes = vec![0; bytes.ok_or_else(|| wrong(outside()))?];
                file.read_exact_at(&mut bytes, run.start).map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => wrong(outside()),
                    _ => wrong(error),
                })?;
                Ok((run.start, bytes.into()))
            };
            let held = runs.into_iter().map(read).collect::<Result<_, ReadError>>()?;
            return Ok(Self { held, file: None, file_bytes: self.file_bytes });
        }
        for range in ranges {
            self.at(&range).map_err(wrong)?;
        }
        Ok(self.clone())
    }

    /// Whether it holds all bytes of `range`.
    pub(crate) fn has(&self, range: &Range<u64>) -> bool {
        self.at(range).is_ok()
    }

    /// The held bytes from where `range` begins, at least to its end.
    fn at(&self, range: &Range<u64>) -> ParquetResult<Bytes> {
        let held = self.held.iter().find(|(from, bytes)| {
            *from <= range.start
                && range.end <= *from + bytes.len() as u64
                && range.start <= range.end
        });
        let (from, bytes) = held.ok_or_else(outside)?;
        Ok(bytes.slice(usize::try_from(range.start - from).map_err(|_| outside())?..))
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
        Ok(self.at(&(start..start))?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start.checked_add(length as u64).ok_or_else(outside)?;
        Ok(self.at(&(start..end))?.slice(..length))
    }
}

fn outside() -> ParquetError {
    ParquetError::EOF("it ends before a part of it".to_owned())
}

/// What a file says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Footer {
    metadata: Arc<ParquetMetaData>,
    /// How a file with our columns is read, once that was looked at.
    ours: Arc<OnceLock<Option<ArrowReaderMetadata>>>,
}

impl Footer {
    fn of(metadata: ParquetMetaData) -> Self {
        Self { metadata: Arc::new(metadata), ours: Arc::default() }
    }

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
        Ok(Self::of(metadata))
    }

    /// Reads the footer of a file.
    #[cfg(unix)]
    pub(crate) fn of_file(file: &Part) -> Result<Self, ReadError> {
        let bytes = file.file_bytes;
        let tail = file.hold(once(bytes.saturating_sub(TAIL_BYTES)..bytes))?;
        let place = Self::place(&tail)?;
        if tail.has(&place) { Self::read(&tail) } else { Self::read(&file.hold(once(place))?) }
    }

    /// A text that its writer put there.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        let notes = self.metadata.file_metadata().key_value_metadata()?;
        notes.iter().find(|note| note.key == key)?.value.as_deref()
    }

    /// How many row groups it has.
    pub(crate) fn groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// How many rows a group has.
    pub(crate) fn rows(&self, group: usize) -> u64 {
        u64::try_from(self.metadata.row_group(group).num_rows()).unwrap_or(0)
    }

    /// How many bytes a group has before its compression.
    pub(crate) fn unpacked(&self, group: usize) -> u64 {
        let bytes = self.metadata.row_group(group).total_byte_size();
        u64::try_from(bytes).unwrap_or(0)
    }

    /// Where a group's bytes lie.
    pub(crate) fn range(&self, group: usize) -> Range<u64> {
        let columns = self.metadata.row_group(group).columns();
        let ranges = columns.iter().map(|column| column.byte_range());
        let ends = ranges.clone().map(|(from, bytes)| from.saturating_add(bytes));
        ranges.map(|(from, _)| from).min().unwrap_or(0)..ends.max().unwrap_or(0)
    }

    /// The first and the last moment of a group's rows, where it says so in microseconds.
    pub(crate) fn times(&self, group: usize) -> Option<(Timestamp, Timestamp)> {
        let columns = self.metadata.row_group(group).columns();
        let column = columns.iter().find(|c| c.column_path().string() == "timestamp")?;
        let micros = LogicalType::timestamp(true, TimeUnit::MICROS);
        if column.column_descr().logical_type_ref() != Some(&micros) {
            return None;
        }
        match column.statistics()? {
            Statistics::Int64(moments) => {
                let moment = |micros: &i64| Timestamp::from_micros(*micros);
                Some((moment(moments.min_opt()?), moment(moments.max_opt()?)))
            }
            _ => None,
        }
    }

    /// The columns of a group of ours, all or those that are named, in `rows` rows at a time, with the
    /// types that [`columns::of`] makes.
    pub(crate) fn batches(
        &self,
        group: usize,
        part: Part,
        names: Option<&[&str]>,
        rows: usize,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        self.check_size(group)?;
        let part =
            self.held(group, &part, |name| names.is_none_or(|names| names.contains(&name)))?;
        let file = ParquetRecordBatchReaderBuilder::new_with_metadata(part, self.typed()?);
        let mask = match names {
            Some(names) => ProjectionMask::columns(file.parquet_schema(), names.iter().copied()),
            None => ProjectionMask::all(),
        };
        let file = file.with_projection(mask).with_row_groups(vec![group]).with_batch_size(rows);
        guarded(|| file.build().map_err(wrong)?.map(|batch| batch.map_err(wrong)).collect())?
    }

    /// The rows of a group behind its first `skip`, some thousand in memory at a time.
    pub(crate) fn decode(&self, group: usize, part: Part, skip: u64) -> Result<Rows, ReadError> {
        self.check_claims(group)?;
        let ours = columns::schema();
        let part = self.held(group, &part, |name| ours.field_with_name(name).is_ok())?;
        let file = ParquetRecordBatchReaderBuilder::new_with_metadata(part, self.plain()?);
        let names = ours.fields().iter().map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(file.parquet_schema(), names);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let file = file.with_projection(mask).with_row_groups(vec![group]).with_offset(skip);
        Ok(Rows::new(file.with_batch_size(self.rows_at_once(group)).build().map_err(wrong)?))
    }

    /// The bytes of some columns of a group, by their names, whose pages are what the footer says of them.
    pub(super) fn held(
        &self,
        group: usize,
        part: &Part,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Part, ReadError> {
        let columns = self.metadata.row_group(group).columns().iter();
        let columns =
            columns.filter(|c| c.column_path().parts().first().is_some_and(|name| wanted(name)));
        let columns: Vec<_> = columns.collect();
        let range = |column: &&ColumnChunkMetaData| {
            let (from, bytes) = column.byte_range();
            from..from.saturating_add(bytes)
        };
        let part = part.hold(columns.iter().map(range))?;
        let rows = self.metadata.row_group(group).num_rows();
        for column in columns {
            check_pages(column, rows, &part)?;
        }
        Ok(part)
    }

    /// How many rows of a group are unpacked at once. A text of a dictionary, or a prefix in common
    /// with the text before, costs a file a few bits a row and memory all of its length; no text is
    /// longer than what its column says that it unpacks to.
    pub(super) fn rows_at_once(&self, group: usize) -> usize {
        let repeats = |encoding| {
            matches!(
                encoding,
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY | Encoding::DELTA_BYTE_ARRAY
            )
        };
        let columns = self.metadata.row_group(group).columns().iter().filter(|column| {
            column.column_type() == Type::BYTE_ARRAY && column.encodings().any(repeats)
        });
        let longest = columns.map(|column| u64::try_from(column.uncompressed_size()).unwrap_or(0));
        let row = longest.fold(1, u64::saturating_add);
        usize::try_from((BATCH_BYTES_MAX / row).clamp(1, BATCH_ROWS)).unwrap_or(1)
    }

    /// All rows of a group at once; of one that makes no sense, what is wrong with it.
    pub(crate) fn whole(
        &self,
        group: usize,
        part: Part,
    ) -> Result<Vec<Result<ReadRow, ReadError>>, ReadError> {
        self.check_size(group)?;
        let told = |row| match row {
            Err(error @ ReadError::Dataset(_)) => Err(error),
            row => Ok(row),
        };
        self.decode(group, part, 0)?.map(told).collect()
    }

    /// Whether what a group's columns say of themselves can be.
    pub(super) fn check_claims(&self, group: usize) -> Result<(), ReadError> {
        for column in self.metadata.row_group(group).columns() {
            let most = column.compressed_size().saturating_mul(COLUMN_TIMES).max(COLUMN_BYTES);
            if !(0..=most).contains(&column.uncompressed_size()) {
                let path = column.column_path().string();
                return Err(wrong(format_args!(
                    "column {path:?} says that it unpacks to more than {COLUMN_TIMES} times its bytes"
                )));
            }
        }
        Ok(())
    }

    /// Whether a group may be unpacked at once.
    pub(super) fn check_size(&self, group: usize) -> Result<(), ReadError> {
        if self.metadata.row_group(group).total_byte_size() > UNPACKED_BYTES_MAX {
            return Err(wrong("a row group unpacks to more than 1 GiB"));
        }
        Ok(())
    }

    /// Whether its columns are ours, and no others.
    pub(crate) fn is_ours(&self) -> bool {
        self.ours().is_some()
    }

    /// How it is read where its columns are ours, and no others.
    pub(super) fn ours(&self) -> Option<&ArrowReaderMetadata> {
        let stored = |field: &Field| match field.data_type() {
            DataType::Dictionary(_, texts) => field.clone().with_data_type((**texts).clone()),
            _ => field.clone(),
        };
        let is_ours = || {
            let ours = columns::schema();
            let ours = ours.fields().iter().map(|field| stored(field));
            self.plain().is_ok_and(|there| {
                there.schema().fields().iter().map(|field| field.as_ref().clone()).eq(ours)
            })
        };
        let known = self.ours.get_or_init(|| is_ours().then(|| self.typed().ok()).flatten());
        known.as_ref()
    }

    /// With our types in memory, whatever those of its writer were. Of a file that is not ours, with
    /// its own.
    fn typed(&self) -> Result<ArrowReaderMetadata, ReadError> {
        let ours = ArrowReaderOptions::new().with_schema(columns::schema());
        ArrowReaderMetadata::try_new(self.metadata.clone(), ours).or_else(|_| self.plain())
    }

    /// With those of the file itself, whoever wrote it.
    fn plain(&self) -> Result<ArrowReaderMetadata, ReadError> {
        let with =
            |options| ArrowReaderMetadata::try_new(self.metadata.clone(), options).map_err(wrong);
        let plain = with(ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
        // Spark's moments of 96 bits: as nanoseconds, most years would not fit.
        let old = DataType::Timestamp(arrow_schema::TimeUnit::Nanosecond, None);
        let is_old = |field: &Field| field.name() == "timestamp" && *field.data_type() == old;
        if !plain.schema().fields().iter().any(|field| is_old(field)) {
            return Ok(plain);
        }
        let micros =
            columns::schema().field_with_name("timestamp").map_err(wrong)?.data_type().clone();
        let fields = plain.schema().fields().iter().map(|field| match is_old(field) {
            true => Arc::new(field.as_ref().clone().with_data_type(micros.clone())),
            false => field.clone(),
        });
        let fields: Fields = fields.collect();
        with(ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields))))
    }
}

/// Whether the pages of a column, which `part` holds, are what its footer says of them.
fn check_pages(column: &ColumnChunkMetaData, rows: i64, part: &Part) -> Result<(), ReadError> {
    let told =
        |what: &str| wrong(format_args!("column {:?}: {what}", column.column_path().string()));
    let (from, bytes) = column.byte_range();
    let bytes = usize::try_from(bytes).map_err(wrong)?;
    let bytes = part.get_bytes(from, bytes).map_err(wrong)?;
    if column.column_descr().max_rep_level() == 0 && column.num_values() != rows {
        return Err(told("it has another number of values than there are rows"));
    }
    pages::check(&bytes, column.num_values(), column.uncompressed_size()).map_err(told)
}

#[cfg(test)]
mod tests {
    use namel3ss_safety::JournalId;
    use namel3ss_safety::conformance::{buffer, plain_event};

    use super::*;

    /// A reader believed the headers of the pages, whatever the footer says of them.
    #[test]
    fn a_footer_that_contradicts_its_pages_is_refused() {
        let events: Vec<_> = (0..5).map(plain_event).collect();
        let rows = buffer(JournalId([7; 16]), 1, &events);
        let rows: Vec<_> = rows.batch().rows().collect();
        let part = Part::whole(super::super::encode(&rows).unwrap().into());
        let honest = Footer::read(&part).unwrap();
        let group = honest.metadata.row_group(0);
        let column = |at: usize| group.columns()[at].clone().into_builder();
        let lies = [
            (6, column(6).set_total_uncompressed_size(1), "unpack to more"),
            (6, column(6).set_num_values(4), "than there are rows"),
            (12, column(12).set_num_values(4), "another number of values than its footer"),
        ];
        for (at, lie, what) in lies {
            let mut columns = group.columns().to_vec();
            columns[at] = lie.build().unwrap();
            let group = group.clone().into_builder().set_column_metadata(columns).build().unwrap();
            let lying = honest.metadata.as_ref().clone().into_builder().set_row_groups(vec![group]);
            let lying = Footer::of(lying.build());
            let error = lying.decode(0, part.clone(), 0).unwrap_err();
            assert!(error.to_string().contains(what), "{what}: {error}");
            assert!(lying.batches(0, part.clone(), None, 10).is_err(), "{what}");
        }
    }

    /// A page's buffer is made as large as the file says that it will be.
    #[test]
    fn a_column_that_says_that_it_unpacks_to_the_absurd_is_refused() {
        let rows = buffer(JournalId([7; 16]), 1, &[plain_event(1)]);
        let rows: Vec<_> = rows.batch().rows().collect();
        let part = Part::whole(super::super::encode(&rows).unwrap().into());
        let honest = Footer::read(&part).unwrap();
        assert_eq!(honest.decode(0, part.clone(), 0).unwrap().count(), 1);
        for claim in [-1, 1 << 30, i64::MAX] {
            let group = honest.metadata.row_group(0).clone();
            let mut columns = group.columns().to_vec();
            let column = columns[6].clone().into_builder().set_total_uncompressed_size(claim);
            columns[6] = column.build().unwrap();
            let group = group.into_builder().set_column_metadata(columns).build().unwrap();
            let lying = honest.metadata.as_ref().clone().into_builder().set_row_groups(vec![group]);
            let error = Footer::of(lying.build()).decode(0, part.clone(), 0).unwrap_err();
            assert!(error.to_string().contains("\"reason\""), "{error}");
        }
    }
}
