//! The few calls on files that datasets need: opened without following links, told apart, locked
//! for a bounded time, read and written at a place.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{AdapterError, Failure};
use crate::limits::check_file_size;

/// How long to wait for another process that is writing to the same dataset.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);

/// Which file it is, whatever its name. The birth tells a new file from an old one whose inode it
/// was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) birth: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let birth = metadata
            .created()
            .ok()
            .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
            .and_then(|d| u64::try_from(d.as_nanos()).ok())
            .unwrap_or(0);
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            Self { device: metadata.dev(), inode: metadata.ino(), birth }
        }
        #[cfg(not(unix))]
        Self { device: 0, inode: 0, birth }
    }
}

/// Opens a regular file for reading and writing, creating it for its owner alone; a link in its
/// place is refused.
pub(super) fn open(path: &Path) -> Result<(File, FileId), AdapterError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path).map_err(|error| {
        if std::fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) {
            return AdapterError::config(format!(
                "open {}: it is a symbolic link, name the file itself",
                path.display()
            ));
        }
        AdapterError::io(format_args!("open {}", path.display()), error)
    })?;
    let metadata = file
        .metadata()
        .map_err(|error| AdapterError::io(format_args!("look at {}", path.display()), error))?;
    if !metadata.is_file() {
        return Err(AdapterError::config(format!(
            "open {}: it is no regular file, name one that is",
            path.display()
        )));
    }
    Ok((file, FileId::of(&metadata)))
}

/// Waits for the exclusive lock, but not for ever: a stopped process may hold it.
pub(super) fn lock(file: &File, path: &Path) -> Result<(), AdapterError> {
    let start = Instant::now();
    let mut wait = Duration::from_micros(20);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT_MAX => {
                std::thread::sleep(wait);
                wait = (wait * 2).min(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(AdapterError::new(
                    Failure::Transient,
                    format!(
                        "lock {}: another process has held it for {} s, see which one is stuck",
                        path.display(),
                        LOCK_WAIT_MAX.as_secs()
                    ),
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(AdapterError::io(format_args!("lock {}", path.display()), error));
            }
        }
    }
}

/// Reads from a place until `bytes` is full or the file ends; says how many.
pub(super) fn read_at(mut file: &File, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
    file.seek(SeekFrom::Start(at))?;
    let mut read = 0;
    while read < bytes.len() {
        match file.read(&mut bytes[read..]) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Writes all of `bytes` at a place: one call to the kernel, unless it takes only a part.
pub(super) fn write_at(mut file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    check_file_size(at.saturating_add(bytes.len() as u64))?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

/// Makes the names in the folder of `path` survive a power cut.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        #[cfg(unix)]
        Some(folder) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
