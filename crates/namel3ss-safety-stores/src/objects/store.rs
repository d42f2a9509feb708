//! What a dataset of objects needs from whatever holds them.

use std::fmt;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(all(unix, feature = "parquet"))]
use super::{exchange::Exchange, folder::Folder};
use namel3ss_safety::{AdapterError, Durability, Notice, Timestamp};

pub(super) use super::created::Created;

/// The largest object that is read: 1 GiB. Those of this library are cut at 64 MiB of payload.
pub(super) const OBJECT_BYTES_MAX: u64 = 1 << 30;

/// How much of an object is in memory at once where it is read from end to end: 8 MiB.
const PART_BYTES: usize = 8 << 20;

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

    /// How many bytes an object has; `None` where there is none.
    fn size(&self, key: &str) -> Result<Option<u64>, AdapterError>;

    /// A small object's bytes; `None` where there is none.
    #[cfg(feature = "delta")]
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AdapterError>;

    /// Bytes of an object; `None` where there is none. Fewer than asked for where it ends before.
    fn range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, AdapterError>;

    /// Whether an object holds exactly `body`, which is not empty; `None` where there is none. It is
    /// read in parts, of which one at a time is in memory.
    fn holds(&self, key: &str, body: &[u8]) -> Result<Option<bool>, AdapterError> {
        let mut from = 0;
        for expected in body.chunks(PART_BYTES) {
            let to = from + expected.len();
            // A byte more at the end: a longer object is another one.
            let asked = from as u64..(to + usize::from(to == body.len())) as u64;
            match self.range(key, asked)? {
                Some(part) if part == expected => from = to,
                Some(_) => return Ok(Some(false)),
                None => return Ok(None),
            }
        }
        Ok(Some(true))
    }

    /// Takes what it has to report since it was last asked.
    fn notices(&self) -> Vec<Notice> {
        Vec::new()
    }

    /// Takes objects away; one that is gone already is no error.
    fn remove(&self, keys: &[String]) -> Result<(), AdapterError>;

    /// What puts one object in the place of many at once, below `folder`; `None` where there is no
    /// such thing.
    #[cfg(all(unix, feature = "parquet"))]
    fn exchange(&self, _folder: &str) -> Result<Option<Exchange>, AdapterError> {
        Ok(None)
    }

    /// The folder of this machine that it is, whose objects are files.
    #[cfg(all(unix, feature = "parquet"))]
    fn local(&self) -> Option<&Folder> {
        None
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

/// A store of which is noted why it failed: whoever reads an object tells only that it could not.
#[derive(Debug)]
pub(super) struct Noting<'a> {
    store: &'a dyn Store,
    failed: Mutex<Option<AdapterError>>,
}

impl<'a> Noting<'a> {
    pub(super) fn new(store: &'a dyn Store) -> Self {
        Self { store, failed: Mutex::default() }
    }

    /// Why it failed last, if it did.
    pub(super) fn failed(&self) -> Option<AdapterError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Store for Noting<'_> {
    fn create(&self, key: &str, body: &Body, how: Durability) -> Result<Created, AdapterError> {
        self.store.create(key, body, how)
    }

    fn overwrite(&self, key: &str, body: &Body) -> Result<(), AdapterError> {
        self.store.overwrite(key, body)
    }

    fn size(&self, key: &str) -> Result<Option<u64>, AdapterError> {
        self.store.size(key)
    }

    #[cfg(feature = "delta")]
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AdapterError> {
        self.store.get(key)
    }

    fn range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, AdapterError> {
        self.store.range(key, range).map_err(|error| {
            let told = AdapterError::new(error.failure().clone(), error.to_string());
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            told
        })
    }

    fn remove(&self, keys: &[String]) -> Result<(), AdapterError> {
        self.store.remove(keys)
    }

    fn objects(
        &self,
        folder: &str,
        range: &Range<String>,
    ) -> Result<Option<Vec<Object>>, AdapterError> {
        self.store.objects(folder, range)
    }

    fn folders(&self, folder: &str, stem: &str) -> Result<Option<Vec<String>>, AdapterError> {
        self.store.folders(folder, stem)
    }
}

/// An object that is read in parts, of which one at a time is in memory.
pub(super) struct Parts<'a> {
    store: &'a dyn Store,
    key: &'a str,
    /// Up to here it was fetched.
    at: u64,
    end: u64,
    part: Cursor<Vec<u8>>,
}

impl<'a> Parts<'a> {
    /// An object that has so many `bytes`; `None` where it is gone.
    ///
    /// # Errors
    /// If its first part can't be fetched, or it has more than 1 GiB.
    pub(super) fn open(
        store: &'a dyn Store,
        key: &'a str,
        bytes: u64,
    ) -> Result<Option<Self>, AdapterError> {
        if bytes > OBJECT_BYTES_MAX {
            let text = "read an object: it is larger than this library makes them, move it away";
            return Err(AdapterError::config(text));
        }
        let mut parts = Self { store, key, at: 0, end: bytes, part: Cursor::default() };
        Ok(parts.fetch()?.then_some(parts))
    }

    /// Fetches the next part, if there is one; false where the object is gone.
    fn fetch(&mut self) -> Result<bool, AdapterError> {
        let to = self.end.min(self.at + PART_BYTES as u64);
        if self.at < to {
            let Some(part) = self.store.range(self.key, self.at..to)? else { return Ok(false) };
            // One that ends too early is read to its end: what is missing is missed by the reader.
            self.at = if part.is_empty() { self.end } else { self.at + part.len() as u64 };
            self.part = Cursor::new(part);
        }
        Ok(true)
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let is_used = self.part.position() >= self.part.get_ref().len() as u64;
        if is_used && !self.fetch().map_err(io::Error::other)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is gone"));
        }
        self.part.read(into)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::objects::folder::Folder;

    /// Two objects were compared with both of them in memory, up to 1 GiB.
    #[test]
    fn an_object_of_several_parts_is_compared_to_its_last_byte() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::new(folder.path().to_owned());
        let body: Vec<u8> = (0..2 * PART_BYTES + 3).map(|at| (at % 251) as u8).collect();
        assert_eq!(store.holds("a", &body).unwrap(), None);
        store.create("a", &Body::from(body.clone()), Durability::Process).unwrap();
        assert_eq!(store.holds("a", &body).unwrap(), Some(true));
        assert_eq!(store.holds("a", &body[..2 * PART_BYTES]).unwrap(), Some(false), "a longer one");
        let mut other = body.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(store.holds("a", &other).unwrap(), Some(false));
        other = body;
        other.push(0);
        assert_eq!(store.holds("a", &other).unwrap(), Some(false), "a shorter one");
    }

    #[test]
    fn an_object_is_read_in_parts_from_end_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::new(folder.path().to_owned());
        assert!(Parts::open(&store, "a", 5).unwrap().is_none());
        for bytes in [0, 1, PART_BYTES, 2 * PART_BYTES + 3] {
            let body: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            store.overwrite("a", &Body::from(body.clone())).unwrap();
            assert_eq!(store.size("a").unwrap(), Some(bytes as u64));
            let mut read = Vec::new();
            let mut parts = Parts::open(&store, "a", bytes as u64).unwrap().unwrap();
            parts.read_to_end(&mut read).unwrap();
            assert!(read == body, "{bytes}");
        }
    }
}
