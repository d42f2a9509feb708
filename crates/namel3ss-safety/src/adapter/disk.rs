//! The few calls on files that datasets need: opened without following links, told apart, locked
//! for a bounded time, read and written at an offset.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::{AdapterError, Failure};
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

    /// Whether both are the same file, perhaps seen through another mount: a remount or a reboot may
    /// give a disk another device number, and inode and birth stay.
    pub(super) fn is_same(self, other: Self) -> bool {
        self == other || (self.birth != 0 && Self { device: other.device, ..self } == other)
    }
}

/// The absolute path of a file, with its folder's real name: as far as there is one yet.
///
/// # Errors
/// For a path that names no file.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let absolute = std::path::absolute(path)?;
    let folder = absolute.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let there = folder.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    let real = there.map(|(there, real)| match folder.strip_prefix(there) {
        Ok(rest) if rest.as_os_str().is_empty() => real,
        Ok(rest) => real.join(rest),
        Err(_) => folder.to_owned(),
    });
    Ok(real.unwrap_or_else(|| folder.to_owned()).join(name))
}

/// Makes a folder for its owner alone (0700), with those above it, unless it is there.
///
/// # Errors
/// If it can't be made: says which one.
pub fn make_folder(folder: &Path) -> Result<(), AdapterError> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| {
        let text = format!("make the folder {}: {error}; name another path", folder.display());
        AdapterError::config(text)
    })
}

/// How a file is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// At offsets.
    Anywhere,
    /// At its end, wherever that is by then: what another program has appended meanwhile is not
    /// overwritten, and one that it has truncated gets no hole.
    AtEnd,
}

/// Opens a regular file for reading and writing, creating it for its owner alone; a link in its
/// place is refused.
pub(super) fn open(path: &Path, writes: Writes) -> Result<(File, FileId), AdapterError> {
    let mut options = OpenOptions::new();
    match writes {
        Writes::Anywhere => options.read(true).write(true),
        Writes::AtEnd => options.read(true).append(true),
    };
    options.create(true).truncate(false);
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

/// Reads from an offset until `bytes` is full or the file ends; returns how many.
pub(super) fn read_at(file: &File, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match read_once(file, at + read as u64, &mut bytes[read..]) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(unix)]
fn read_once(file: &File, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, at)
}

#[cfg(not(unix))]
fn read_once(mut file: &File, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
    file.read(bytes)
}

/// Writes all of `bytes` at an offset: one call to the kernel, unless it takes only a part. A file
/// that is open for [`Writes::AtEnd`] gets them there, on Linux.
pub(super) fn write_at(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    check_file_size(at.saturating_add(bytes.len() as u64))?;
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, at);
    #[cfg(not(unix))]
    {
        let mut file = file;
        io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
        io::Write::write_all(&mut file, bytes)
    }
}

/// The bytes `at..to` of a file, as a stream.
#[derive(Debug)]
pub(super) struct Section<'f> {
    pub(super) file: &'f File,
    pub(super) at: u64,
    pub(super) to: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.to - self.at).unwrap_or(usize::MAX).min(bytes.len());
        let read = read_once(self.file, self.at, &mut bytes[..left])?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Whole pages are written past the page cache, and none of another size.
const PAGE_BYTES: u64 = 4096;
/// With less than this the call for the disk costs more than the pages.
const UNCACHED_BYTES_MIN: usize = 256 << 10;

/// As [`write_at`], for what is written once and seldom read again: asks the kernel to bring it to
/// the disk soon and to forget it then (`RWF_DONTCACHE`, Linux 6.14), so that a dataset that grows
/// by hundreds of megabytes a second reuses the same few pages instead of filling the memory with
/// what nobody reads. Pages that the machine has not used for long can cost more than all else
/// (measured in a virtual machine: 8 µs each, and 1.2 µs in this way).
///
/// `*uncached` is cleared where the kernel or the file system can't; it then writes plainly.
pub(super) fn append_at(file: &File, at: u64, bytes: &[u8], uncached: &mut bool) -> io::Result<()> {
    check_file_size(at.saturating_add(bytes.len() as u64))?;
    // The last page stays in the cache: the next append goes on there.
    let whole = bytes.len().saturating_sub(((at + bytes.len() as u64) % PAGE_BYTES) as usize);
    let mut done = 0;
    while *uncached && whole >= UNCACHED_BYTES_MIN && done < whole {
        match write_uncached(file, at + done as u64, &bytes[done..whole])? {
            Some(0) => return Err(io::ErrorKind::WriteZero.into()),
            Some(written) => done += written,
            None => *uncached = false,
        }
    }
    write_at(file, at + done as u64, &bytes[done..])
}

/// `None` where it can't be done.
#[cfg(target_os = "linux")]
fn write_uncached(file: &File, at: u64, bytes: &[u8]) -> io::Result<Option<usize>> {
    use rustix::io::{Errno, ReadWriteFlags, pwritev2};
    /// From `linux/fs.h`; a kernel that does not know it answers `EOPNOTSUPP`.
    const RWF_DONTCACHE: u32 = 0x80;
    let flags = ReadWriteFlags::from_bits_retain(RWF_DONTCACHE);
    loop {
        return match pwritev2(file, &[io::IoSlice::new(bytes)], at, flags) {
            Ok(written) => Ok(Some(written)),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM) => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
}

#[cfg(not(target_os = "linux"))]
fn write_uncached(_: &File, _: u64, _: &[u8]) -> io::Result<Option<usize>> {
    Ok(None)
}

/// Makes the names in the folder of `path` survive a power cut.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        #[cfg(unix)]
        Some(folder) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
