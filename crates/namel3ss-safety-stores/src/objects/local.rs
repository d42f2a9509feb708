//! Objects as files in a local folder.

use std::io;
use std::ops::Range;

use namel3ss_safety::{AdapterError, Durability, Timestamp};
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

#[cfg(feature = "parquet")]
use super::exchange::Exchange;
use super::folder::{Folder, open_file, parted};
#[cfg(feature = "delta")]
use super::store::OBJECT_BYTES_MAX;
use super::store::{Body, Created, Object, Store};

impl Store for Folder {
    fn create(
        &self,
        key: &str,
        body: &Body,
        durability: Durability,
    ) -> Result<Created, AdapterError> {
        let sync = durability == Durability::Power;
        self.write(key, body.as_ref(), sync, false).map_err(|error| self.failed("create", error))
    }

    fn overwrite(&self, key: &str, body: &Body) -> Result<(), AdapterError> {
        let replaced = self.write(key, body.as_ref(), true, true);
        replaced.map(drop).map_err(|error| self.failed("replace", error))
    }

    fn size(&self, key: &str) -> Result<Option<u64>, AdapterError> {
        let size = || -> io::Result<u64> {
            let (folder, name) = self.open(key)?;
            Ok(open_file(&folder, name, OFlags::RDONLY)?.metadata()?.len())
        };
        match size() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("look at", error)),
        }
    }

    #[cfg(feature = "delta")]
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AdapterError> {
        match self.read(key, 0..OBJECT_BYTES_MAX + 1)? {
            Some(bytes) if bytes.len() as u64 > OBJECT_BYTES_MAX => Err(AdapterError::config(
                "read an object: it is larger than this library makes them, move it away",
            )),
            other => Ok(other),
        }
    }

    fn range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, AdapterError> {
        self.read(key, range)
    }

    fn remove(&self, keys: &[String]) -> Result<(), AdapterError> {
        let remove = |key: &String| -> io::Result<()> {
            let (folders, name) = parted(key);
            let folder = self.hold(folders, false, false, false)?;
            Ok(rustix::fs::unlinkat(&folder, name, AtFlags::empty())?)
        };
        keys.iter().try_for_each(|key| match remove(key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", error))
            }
            _ => Ok(()),
        })
    }

    #[cfg(feature = "parquet")]
    fn local(&self) -> Option<&Folder> {
        Some(self)
    }

    #[cfg(feature = "parquet")]
    fn exchange(&self, folder: &str) -> Result<Option<Exchange>, AdapterError> {
        let begun = Exchange::begin(self.root.clone(), folder);
        begun.map(Some).map_err(|error| self.failed("exchange", error))
    }

    fn objects(
        &self,
        folder: &str,
        range: &Range<String>,
    ) -> Result<Option<Vec<Object>>, AdapterError> {
        self.names(folder, |folder, name| {
            if *name < *range.start || *name >= *range.end {
                return Ok(None);
            }
            let found = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => found,
                // It was taken away meanwhile.
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let micros = i64::try_from(found.st_mtime_nsec).unwrap_or(0) / 1_000;
            let stored = found.st_mtime.saturating_mul(1_000_000).saturating_add(micros);
            Ok(Some(Object {
                name: name.to_owned(),
                bytes: u64::try_from(found.st_size).unwrap_or(0),
                stored: Timestamp::from_micros(stored),
            }))
        })
    }

    fn folders(&self, folder: &str, stem: &str) -> Result<Option<Vec<String>>, AdapterError> {
        self.names(folder, |_, name| Ok(name.starts_with(stem).then(|| name.to_owned())))
    }
}
