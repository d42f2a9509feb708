//! A dataset of objects: who keeps them, and where.

use std::path::PathBuf;

use namel3ss_safety::Batching;

use super::format::{Compression, Format};

/// Who keeps the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// A bucket of Amazon S3, or of a store that speaks its protocol.
    S3(String),
    /// A bucket of Google Cloud Storage.
    Gcs(String),
    /// A container of Azure Blob Storage.
    Azure(String),
    /// A local folder, absolute.
    Folder(PathBuf),
}

/// A dataset of objects: who keeps them, under which prefix, in which format.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) root: Root,
    /// Without slashes at its ends; empty for none.
    pub(super) prefix: String,
    pub(super) format: Format,
    pub(super) compression: Compression,
    pub(super) batching: Batching,
    /// The store's own parameters, which may be secrets.
    pub(super) options: Vec<(String, String)>,
}
