//! What a dataset of objects needs from whatever holds them.

use std::fmt;
use std::ops::Range;

use namel3ss_safety::{AdapterError, Durability};

/// The largest object that is fetched to be compared: 1 GiB. Those of this library are cut at
/// 64 MiB of payload.
pub(super) const OBJECT_BYTES_MAX: u64 = 1 << 30;

/// What became of an object that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    /// It is there, and was not before.
    New,
    /// One of that key was there, and stays as it is.
    Exists,
    /// The store can't create without overwriting; nothing was written.
    #[cfg_attr(not(feature = "object"), expect(dead_code, reason = "a folder always can"))]
    Unsupported,
}

/// A place that keeps objects under keys.
pub(super) trait Store: fmt::Debug + Send + Sync {
    /// Makes an object of `bytes` unless there is one of that key, wholly or not at all.
    fn create(
        &self,
        key: &str,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<Created, AdapterError>;

    /// Makes an object of `bytes`, whatever was there.
    fn overwrite(&self, key: &str, bytes: &[u8]) -> Result<(), AdapterError>;

    /// An object's bytes; `None` where there is none.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AdapterError>;

    /// The names of the objects right under `folder` that lie in `range`, sorted; `None` where
    /// listing is not permitted.
    fn objects(
        &self,
        folder: &str,
        range: &Range<String>,
    ) -> Result<Option<Vec<String>>, AdapterError>;

    /// The names of the folders right under `folder` that begin with `stem`, as above.
    fn folders(&self, folder: &str, stem: &str) -> Result<Option<Vec<String>>, AdapterError>;
}
