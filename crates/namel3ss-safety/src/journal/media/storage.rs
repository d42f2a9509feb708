//! What a journal needs of a folder and its files.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::lock::FolderLock;
use super::mmap::Mapping;

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

    /// Where somebody has removed the folder: makes it anew, empty, and takes its lock. `None` where
    /// it is there.
    ///
    /// # Errors
    /// The medium's own.
    fn restore(&self) -> io::Result<Option<FolderLock>> {
        Ok(None)
    }

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

    /// Whether its name was removed; what is written to it then goes with this process.
    ///
    /// # Errors
    /// The medium's own.
    fn is_removed(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// How long it is.
    ///
    /// # Errors
    /// The medium's own.
    fn size(&self) -> io::Result<u64>;
}

/// Whether an error lies with the one file that it was met at, so that the file is damage and the
/// others go on. Otherwise it lies with the process, the folder or the moment (no descriptors, no
/// memory, no room, another user), passes, and must not cost a healthy file its place.
#[must_use]
pub fn lies_with_file(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    #[cfg(unix)]
    if let Some(code) = error.raw_os_error() {
        let passing = [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EROFS,
            libc::EINTR,
            libc::EAGAIN,
            libc::EBUSY,
            libc::ETIMEDOUT,
            libc::ENOTCONN,
            libc::EACCES,
            libc::EPERM,
            libc::ESTALE,
            libc::ENOENT,
            libc::EBADF,
            libc::ENODEV,
        ];
        return !passing.contains(&code);
    }
    matches!(error.kind(), Kind::InvalidData | Kind::IsADirectory)
}

/// The blocks in which a file is read where it can't be read as a whole.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Reads as [`MediumFile::read_at`] does, and around what can't be read: that reads as zero, up to
/// `failures_max` blocks of 4 KiB; behind them everything does. Also what was wrong, if anything;
/// `failures_max` is lowered by what was met.
///
/// # Errors
/// The medium's own, where it does not lie with the file.
pub fn read_around(
    file: &dyn MediumFile,
    buf: &mut [u8],
    at: u64,
    failures_max: &mut u32,
) -> io::Result<(usize, Option<io::Error>)> {
    let mut wrong = match file.read_at(buf, at) {
        Ok(got) => return Ok((got, None)),
        Err(error) if lies_with_file(&error) => error,
        Err(error) => return Err(error),
    };
    let length = buf.len();
    buf.fill(0);
    for (block, bytes) in buf.chunks_mut(BLOCK_BYTES).enumerate() {
        if *failures_max == 0 {
            break;
        }
        match file.read_at(bytes, at + (block * BLOCK_BYTES) as u64) {
            Ok(_) => {}
            Err(error) if lies_with_file(&error) => {
                bytes.fill(0);
                *failures_max -= 1;
                wrong = error;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((length, Some(wrong)))
}
