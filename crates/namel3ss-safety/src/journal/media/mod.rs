//! What a journal stands on: a folder of files, as little of it as a journal needs.
//!
//! Three of them: a folder on disk with a mapped ring (`mmap`, the default), a folder on disk
//! without one (`file`, where fallocate or mmap won't do), and memory (journal off; in tests also
//! a disk that loses unsynced writes, or fails, on command).

mod mmap;
mod file;
mod memory;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use self::file::{DiskFolder, FolderLock};
pub use self::memory::{Fault, MemoryFolder};
pub use self::mmap::{ForkGuard, Mapping};

/// A folder of files. Names are ours: plain, without separators.
pub trait Folder: fmt::Debug + Send + Sync {
    /// Makes a file that must not exist yet, with `len` bytes allocated, all zero.
    ///
    /// # Errors
    /// The medium's own, `StorageFull` among them: space is claimed here, not at the first write.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn MediumFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// The medium's own.
    fn open(&self, name: &str) -> io::Result<Arc<dyn MediumFile>>;

    /// Maps the first `len` bytes of a file that may still be shorter, or gives `None` where the
    /// medium has no mappings.
    ///
    /// # Errors
    /// The medium's own.
    fn map(&self, name: &str, len: usize) -> io::Result<Option<Mapping>>;

    /// The names of all files.
    ///
    /// # Errors
    /// The medium's own.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file.
    ///
    /// # Errors
    /// The medium's own.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Renames a file, replacing none of ours.
    ///
    /// # Errors
    /// The medium's own.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, renames and removals survive a power cut.
    ///
    /// # Errors
    /// The medium's own.
    fn sync(&self) -> io::Result<()>;

    /// Removes the folder itself with all that is in it, but for files that were set aside: if
    /// there are such, they and the folder stay.
    ///
    /// # Errors
    /// The medium's own.
    fn remove_all(&self) -> io::Result<()>;

    /// Where it is, for people.
    fn describe(&self) -> String;
}

/// An open file.
pub trait MediumFile: fmt::Debug + Send + Sync {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// The medium's own.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The medium's own; a part may have been written then.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes what was written survive a power cut. After an error the file must be given up: the
    /// kernel may have dropped what it could not write, and a second call would say ok.
    ///
    /// # Errors
    /// The medium's own.
    fn sync(&self) -> io::Result<()>;

    /// Allocates space up to `len` bytes.
    ///
    /// # Errors
    /// The medium's own, `StorageFull` among them.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// How long it is.
    ///
    /// # Errors
    /// The medium's own.
    fn size(&self) -> io::Result<u64>;
}
