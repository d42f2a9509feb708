//! Where a table lies: `delta+` before the URL of a folder or bucket, and how often its log is
//! summed up.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use namel3ss_safety::AdapterError;
use namel3ss_safety::internal::nearest::nearest;

use super::log::FOLDER;
use crate::objects::format::{Compression, Format};
use crate::objects::place::{Place, Root};
use crate::objects::url::absolute;

/// What stands before the URL of what holds the table.
pub(crate) const SCHEME: &str = "delta+";
/// Commits between two checkpoints, unless `checkpoint=` says otherwise: at a commit a minute, one
/// checkpoint in 100 minutes. Each one rewrites the list of all files.
const CHECKPOINT: u64 = 100;
const CHECKPOINT_MAX: u64 = 100_000;

/// A Delta table's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaPlace {
    pub(super) place: Place,
    /// Commits between two checkpoints of ours; 0 for none.
    pub(super) checkpoint: u64,
}

fn wrong(what: impl std::fmt::Display) -> AdapterError {
    AdapterError::config(format!("open the Delta table: {what}"))
}

impl DeltaPlace {
    /// Whether a URL names a Delta table.
    #[must_use]
    pub fn is_meant(url: &str) -> bool {
        url.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
    }

    /// From a URL: `delta+s3://bucket/table`, `delta+gs://…`, `delta+az://…`, `delta+file:///table`,
    /// with the parameters of [`Place::parse`] but `format` and `compression`, and with
    /// `checkpoint`: after how many commits the log is summed up, 100 unless it is given, 0 for
    /// never.
    ///
    /// # Errors
    /// Says what is wrong, and repeats nothing that could be a secret.
    pub fn parse(url: &str) -> Result<Self, AdapterError> {
        let inner = url.get(SCHEME.len()..).filter(|inner| inner.contains("://"));
        let inner = inner.filter(|_| Self::is_meant(url));
        let inner = inner.ok_or_else(|| {
            wrong("write delta+s3://, delta+gs://, delta+az:// or delta+file:///")
        })?;
        let (whole, query) = inner.split_once('?').unwrap_or((inner, ""));
        let mut checkpoint = CHECKPOINT;
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                "checkpoint" => {
                    let commits = value.parse().ok().filter(|n| *n <= CHECKPOINT_MAX);
                    checkpoint = commits.ok_or_else(|| {
                        wrong(format_args!("checkpoint= takes 0 to {CHECKPOINT_MAX} commits"))
                    })?;
                }
                "format" | "compression" => {
                    return Err(wrong(format_args!("its files are Parquet, leave {name}= out")));
                }
                _ if nearest(&name, ["checkpoint"]).is_some() => {
                    return Err(wrong("unknown parameter, did you mean checkpoint=?"));
                }
                _ => rest.push(pair),
            }
        }
        let mut place = Place::parse(&format!("{whole}?{}", rest.join("&")))?;
        // What a folder's name says means nothing here.
        (place.format, place.compression) = (Format::Parquet, Compression::None);
        Ok(Self { place, checkpoint })
    }

    /// The table in a local folder.
    ///
    /// # Errors
    /// If its path is not UTF-8.
    pub fn in_folder(path: &Path) -> Result<Self, AdapterError> {
        let path = path.to_str().ok_or_else(|| wrong("the folder's path is not UTF-8"))?;
        let mut place = Place::parse("file:///")?;
        place.root = Root::Folder(absolute(path)?);
        place.format = Format::Parquet;
        Ok(Self { place, checkpoint: CHECKPOINT })
    }

    /// Whether a local folder is a table.
    #[must_use]
    pub fn is_table(path: &Path) -> bool {
        let is_of_log = |name: &OsStr| {
            let name = name.to_string_lossy();
            name.ends_with(".json") || name.ends_with(".checkpoint.parquet")
        };
        std::fs::read_dir(path.join(FOLDER))
            .is_ok_and(|mut names| names.any(|name| name.is_ok_and(|e| is_of_log(&e.file_name()))))
    }

    /// The table's folder, where it is a local one.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        self.place.folder()
    }

    /// The table's URL without secrets: opening it leads to the same table.
    #[must_use]
    pub fn identity(&self) -> String {
        let whole = self.place.identity();
        let (base, rest) = whole.split_once("?format=parquet").unwrap_or((&whole, ""));
        match rest.strip_prefix('&') {
            Some(rest) => format!("{SCHEME}{base}?{rest}"),
            None => format!("{SCHEME}{base}"),
        }
    }
}
