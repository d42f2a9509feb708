//! Rows as the bytes of one object, and back. The same rows give the same bytes.

#[cfg(feature = "object")]
use std::io::Write as _;
use std::io::{BufReader, Read};

use namel3ss_safety::{
    AdapterError, Batch, Row,
    internal::{json, memory},
};
use namel3ss_safety::{
    ReadError, ReadRow,
    internal::adapter::{csv, json::Reader as JsonReader},
};

use super::format::{Compression, Format};

/// About what a row takes as text.
const ROW_BYTES: usize = 512;
/// The most bytes that an object may unpack to: 1 GiB. What this library writes stays far below.
const UNPACKED_BYTES_MAX: u64 = 1 << 30;

/// What an encoder takes for itself: of Parquet a compressor and a page for each of 19 columns. Measured:
/// 6 MiB, and in a thread whose small allocations take a page each, 9 MiB.
const ENCODER_BYTES: usize = 12 << 20;
/// And for each row: the list of rows, twice, and their columns.
const ENCODED_ROW_BYTES: usize = 2 * size_of::<Row<'_>>() + 512;
/// Payloads are in columns and in compressed pages at the same time.
const PAYLOAD_COPIES: usize = 3;

/// Whether there is memory to encode `batch`, which the encoders don't ask for: one that can't have it
/// ends the process.
///
/// # Errors
/// If there is not.
pub(super) fn check_memory(
    batch: &Batch<'_>,
    format: Format,
    compression: Compression,
) -> Result<(), AdapterError> {
    let payloads: usize = batch.row_bytes().sum();
    let bytes = match (format, compression) {
        (Format::Parquet, _) => ENCODER_BYTES + payloads.saturating_mul(PAYLOAD_COPIES),
        // As text, which grows by doubling, and compressed.
        (_, compression) => {
            let text: usize = batch.row_bytes().map(json::row_bytes_max).sum();
            let encoder = if compression == Compression::None { 0 } else { ENCODER_BYTES };
            text.saturating_mul(3).saturating_add(encoder)
        }
    };
    let rows = batch.len().saturating_mul(ENCODED_ROW_BYTES);
    match memory::has(bytes.saturating_add(rows)) {
        true => Ok(()),
        false => Err(AdapterError::no_memory("encode the rows")),
    }
}

/// `rows` as one object.
///
/// # Errors
/// If this build lacks the format or the compression, or the encoder fails.
pub(super) fn encode(
    rows: &[Row<'_>],
    format: Format,
    compression: Compression,
) -> Result<Vec<u8>, AdapterError> {
    if format == Format::Parquet {
        return parquet(rows);
    }
    let mut out = Vec::with_capacity(rows.len().saturating_mul(ROW_BYTES));
    match format {
        Format::Parquet => {}
        Format::Csv => csv::write(rows.iter().copied(), &mut out),
        Format::Jsonl => json::write_lines(rows.iter().copied(), &mut out),
        Format::Json => json::write_list(rows.iter().copied(), &mut out),
    }
    compress(out, compression)
}

/// Reads an object of [`encode`] back that is text; says of each row whether it makes sense. Parquet is
/// read by its row groups instead.
///
/// # Errors
/// Says what is wrong with it; a compressed one may unpack to 1 GiB at most.
pub(super) fn decode(
    object: impl Read,
    format: Format,
    compression: Compression,
) -> Result<Vec<Result<ReadRow, ReadError>>, ReadError> {
    let unpacked = unpack(object, compression)?.take(UNPACKED_BYTES_MAX);
    Ok(match format {
        Format::Parquet => {
            return Err(ReadError::Dataset("Parquet is not in this build".to_owned()));
        }
        Format::Csv => csv::Reader::new(unpacked)?.collect(),
        Format::Json | Format::Jsonl => JsonReader::new(BufReader::new(unpacked)).collect(),
    })
}

#[cfg(feature = "parquet")]
fn parquet(rows: &[Row<'_>]) -> Result<Vec<u8>, AdapterError> {
    crate::parquet::encode(rows)
}

#[cfg(not(feature = "parquet"))]
fn parquet(_rows: &[Row<'_>]) -> Result<Vec<u8>, AdapterError> {
    Err(AdapterError::config(
        "encode the rows: Parquet is not in this build, use json, jsonl or csv",
    ))
}

#[cfg(feature = "object")]
fn compress(text: Vec<u8>, compression: Compression) -> Result<Vec<u8>, AdapterError> {
    let failed = |error| AdapterError::io("compress the rows", error);
    match compression {
        Compression::None => Ok(text),
        Compression::Zstd => zstd::bulk::compress(&text, 3).map_err(failed),
        Compression::Gzip => {
            // Its header names no time and no file, so the bytes are the same each time.
            let out = Vec::with_capacity(text.len() / 4);
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(6));
            encoder.write_all(&text).and_then(|()| encoder.finish()).map_err(failed)
        }
    }
}

#[cfg(not(feature = "object"))]
fn compress(text: Vec<u8>, compression: Compression) -> Result<Vec<u8>, AdapterError> {
    match compression {
        Compression::None => Ok(text),
        _ => Err(AdapterError::config("compress the rows: not in this build")),
    }
}

#[cfg(feature = "object")]
fn unpack<'r>(
    object: impl Read + 'r,
    compression: Compression,
) -> Result<Box<dyn Read + 'r>, ReadError> {
    Ok(match compression {
        Compression::None => Box::new(object),
        Compression::Zstd => Box::new(zstd::Decoder::new(object)?),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(object)),
    })
}

#[cfg(not(feature = "object"))]
fn unpack<'r>(
    object: impl Read + 'r,
    compression: Compression,
) -> Result<Box<dyn Read + 'r>, ReadError> {
    match compression {
        Compression::None => Ok(Box::new(object)),
        _ => Err(ReadError::Dataset("compression is not in this build".to_owned())),
    }
}
