//! What a dataset of objects needs from whatever holds them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

#[cfg(all(unix, feature = "parquet"))]
use super::exchange::Exchange;
use namel3ss_safety::{AdapterError, Durability, Timestamp};

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

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Its name in its folder.
    pub(super) name: String,
    pub(super) bytes: u64,
    /// When it was stored, by the store's own clock.
    pub(super) stored: Timestamp,
}

/// The bytes of an object, shared rather than copied with what sends them.
#[derive(Clone, Debug)]
pub(super) struct Body(Arc<Vec<u8>>);

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A place that keeps objects under keys.
pub(super) trait Store: fmt::Debug + Send + Sync {
    /// Makes an object of `body` unless there is one of that key, wholly or not at all.
    fn create(
        &self,
        key: &str,
        body: &Body,
        durability: Durability,
    ) -> Result<Created, AdapterError>;

    /// Makes an object of `body`, whatever was there.
    fn overwrite(&self, key: &str, body: &Body) -> Result<(), AdapterError>;

    /// An object's bytes; `None` where there is none.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AdapterError>;

    /// Bytes of an object; `None` where there is none. Fewer than asked for where it ends before.
    #[cfg_attr(
        not(feature = "parquet"),
        expect(dead_code, reason = "only Parquet is read in parts")
    )]
    fn range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, AdapterError>;

    /// Takes objects away; one that is gone already is no error.
    fn remove(&self, keys: &[String]) -> Result<(), AdapterError>;

    /// What puts one object in the place of many at once, below `folder`; `None` where there is no
    /// such thing.
    #[cfg(all(unix, feature = "parquet"))]
    fn exchange(&self, _folder: &str) -> Result<Option<Exchange>, AdapterError> {
        Ok(None)
    }

    /// The objects right under `folder` whose names lie in `range`, sorted by their names;
    /// `None` where listing is not permitted.
    fn objects(
        &self,
        folder: &str,
        range: &Range<String>,
    ) -> Result<Option<Vec<Object>>, AdapterError>;

    /// The names of the folders right under `folder` that begin with `stem`, sorted; `None` as above.
    fn folders(&self, folder: &str, stem: &str) -> Result<Option<Vec<String>>, AdapterError>;
}
