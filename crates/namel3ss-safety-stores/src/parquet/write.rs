//! Writing one Parquet file in memory.

use namel3ss_safety::{AdapterError, Failure, Row};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::columns;

/// Rows in a row group.
const GROUP_ROWS: usize = 25_000;
/// Rows in a data page: what a reader that looks for an hour can skip.
const PAGE_ROWS: usize = 5_000;
/// Rows that are turned into columns at once: few enough to stay in the CPU's cache meanwhile.
pub(super) const CHUNK_ROWS: usize = 2_500;

/// `rows` as one Parquet file.
///
/// # Errors
/// `Poison` for seqs beyond 63 bits, which no journal reaches.
pub fn encode(rows: &[Row<'_>]) -> Result<Vec<u8>, AdapterError> {
    let too_large = |row: &Row<'_>| i64::try_from(row.seq.0).is_err();
    let poison: Vec<usize> =
        rows.iter().enumerate().filter(|(_, row)| too_large(row)).map(|(at, _)| at).collect();
    if !poison.is_empty() {
        let text = "encode the rows: a seq is beyond 63 bits";
        return Err(AdapterError::new(Failure::Poison(poison), text));
    }
    written(rows).map_err(|error| AdapterError::config(format!("encode the rows: {error}")))
}

fn written(rows: &[Row<'_>]) -> Result<Vec<u8>, ParquetError> {
    let mut writer = writer(Vec::with_capacity(rows.len().saturating_mul(80)))?;
    for chunk in rows.chunks(CHUNK_ROWS) {
        writer.write(&columns::of(chunk)?)?;
    }
    writer.into_inner()
}

/// What writes a file of ours. Arrow's own schema is left out of it: that would tell readers to make
/// dictionaries of the texts that are dictionaries in memory here, and some engines fail on those.
/// Parquet's own types say all that the file holds.
pub(super) fn writer(out: Vec<u8>) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let options =
        ArrowWriterOptions::new().with_properties(properties()).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(out, columns::schema(), options)
}

fn properties() -> WriterProperties {
    let column = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        // The version of a library must not change the bytes of the same rows.
        .set_created_by("namel3ss-safety".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(CHUNK_ROWS)
        .set_statistics_enabled(EnabledStatistics::None);
    for name in ["timestamp", "seq"] {
        properties = properties
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED)
            .set_column_statistics_enabled(column(name), EnabledStatistics::Page);
    }
    // Texts that are all different: a dictionary of them would be tried in vain. Ids of ours begin
    // with the time, so each has a prefix in common with the one before. Digits with no lengths
    // between them are compressed a fifth faster than with them.
    for (name, encoding) in [
        ("event_id", Encoding::DELTA_BYTE_ARRAY),
        ("trace_id", Encoding::DELTA_LENGTH_BYTE_ARRAY),
        ("metadata", Encoding::PLAIN),
    ] {
        properties = properties
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), encoding);
    }
    properties.build()
}
