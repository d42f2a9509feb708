//! How rows look in an object, and how it is compressed: words, extensions.

use std::fmt;
use std::str::FromStr;

use namel3ss_safety::AdapterError;
use namel3ss_safety::internal::nearest::nearest;

/// How rows look in an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet: see [`crate::parquet`].
    #[default]
    Parquet,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// CSV with a header: see [`namel3ss_safety::internal::adapter::csv`].
    Csv,
}

/// How an object of text is compressed; Parquet compresses by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Zstandard ([RFC 8878](https://www.rfc-editor.org/rfc/rfc8878)).
    Zstd,
    /// gzip ([RFC 1952](https://www.rfc-editor.org/rfc/rfc1952)).
    Gzip,
}

impl Format {
    /// The words for all formats.
    pub const WORDS: [&'static str; 4] = ["parquet", "json", "jsonl", "csv"];

    /// Its word, which is its extension as well.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }
}

impl Compression {
    /// The words for all compressions.
    pub const WORDS: [&'static str; 3] = ["none", "zstd", "gzip"];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What it adds to an object's name.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = AdapterError;

    fn from_str(word: &str) -> Result<Self, AdapterError> {
        match word.to_ascii_lowercase().as_str() {
            "parquet" => Ok(Self::Parquet),
            "json" => Ok(Self::Json),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "csv" => Ok(Self::Csv),
            _ => Err(unknown("format", word, &Self::WORDS)),
        }
    }
}

impl FromStr for Compression {
    type Err = AdapterError;

    fn from_str(word: &str) -> Result<Self, AdapterError> {
        match word.to_ascii_lowercase().as_str() {
            "none" | "" => Ok(Self::None),
            "zstd" | "zst" => Ok(Self::Zstd),
            "gzip" | "gz" => Ok(Self::Gzip),
            _ => Err(unknown("compression", word, &Self::WORDS)),
        }
    }
}

fn unknown(what: &str, word: &str, known: &[&'static str]) -> AdapterError {
    let shown: String = word.chars().take(20).collect();
    AdapterError::config(match nearest(word, known.iter().copied()) {
        Some(near) => format!("use the {what} {shown:?}: did you mean {near:?}?"),
        None => format!("use the {what} {shown:?}: it is one of {}", known.join(", ")),
    })
}
