//! Objects as files under a local folder: created under a hidden name, renamed into place without
//! overwriting, never through a symbolic link below that folder.
//!
//! A crash leaves at most the hidden file of the object that was being written, which the next
//! attempt at the same object takes over. `durability="power"` syncs the file and every folder that
//! leads to it.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use namel3ss_safety::AdapterError;
use namel3ss_safety::internal::limits::check_file_size;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::created::Created;

/// How long to wait for another process that is writing the same object.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a hidden file may be taken away while it is locked.
const TRIES: u32 = 100;

/// A local folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
}

impl Folder {
    /// Nothing is made before the first object.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of `key`, and the name in it.
    pub(super) fn open<'k>(&self, key: &'k str) -> io::Result<(File, &'k str)> {
        let (folders, name) = parted(key);
        Ok((self.open_folder(folders, false, false)?, name))
    }

    /// A folder that is not exchanged for another one while it is held: by several that write to it,
    /// or by one `alone`.
    pub(super) fn hold(
        &self,
        folders: &str,
        make: bool,
        sync: bool,
        alone: bool,
    ) -> io::Result<File> {
        for _ in 0..TRIES {
            let held = self.open_folder(folders, make, sync)?;
            wait_for_lock(|| if alone { held.try_lock() } else { held.try_lock_shared() })?;
            let ours = rustix::fs::fstat(&held)?;
            // Whoever held it before may have put another one there.
            match self.open_folder(folders, false, false) {
                Ok(there) if is_same(&ours, &rustix::fs::fstat(&there)?) => return Ok(held),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Err(io::Error::other("others keep exchanging it"))
    }

    pub(super) fn open_folder(&self, folders: &str, make: bool, sync: bool) -> io::Result<File> {
        if make {
            make_root(&self.root)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(&self.root, flags, Mode::empty())?;
        for name in folders.split('/').filter(|name| !name.is_empty()) {
            if make {
                match rustix::fs::mkdirat(&at, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if sync {
                rustix::fs::fsync(&at)?;
            }
            at = rustix::fs::openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(File::from(at))
    }

    pub(super) fn write(
        &self,
        key: &str,
        bytes: &[u8],
        sync: bool,
        replace: bool,
    ) -> io::Result<Created> {
        let (folders, name) = parted(key);
        let folder = self.hold(folders, true, sync, false)?;
        if !replace && rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return exists(&folder, name, sync);
        }
        let hidden = format!(".{name}.tmp");
        let mut file = lock(&folder, &hidden)?;
        check_file_size(bytes.len() as u64)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_all()?;
        }
        let renamed = if replace {
            rustix::fs::renameat(&folder, hidden.as_str(), &folder, name)
        } else {
            rename(&folder, &hidden, name)
        };
        if renamed.is_err() {
            // Ours while we hold its lock.
            let _ = rustix::fs::unlinkat(&folder, hidden.as_str(), AtFlags::empty());
        }
        match renamed {
            Err(Errno::EXIST) => return exists(&folder, name, sync),
            other => other?,
        }
        if sync {
            rustix::fs::fsync(&folder)?;
        }
        Ok(Created::New)
    }

    /// What `wanted` makes of the names right under `folder`, by their names.
    pub(super) fn names<T>(
        &self,
        folder: &str,
        wanted: impl Fn(&File, &str) -> io::Result<Option<T>>,
    ) -> Result<Option<Vec<T>>, AdapterError> {
        let read = || -> io::Result<Vec<T>> {
            let folder = self.open_folder(folder, false, false)?;
            let mut found = Vec::new();
            for entry in rustix::fs::Dir::read_from(&folder)? {
                if let Ok(name) = entry?.file_name().to_str()
                    && let Some(made) = wanted(&folder, name)?
                {
                    found.push((name.to_owned(), made));
                }
            }
            found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            Ok(found.into_iter().map(|(_, made)| made).collect())
        };
        match read() {
            Ok(names) => Ok(Some(names)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Vec::new())),
            Err(error) => Err(self.failed("list", error)),
        }
    }

    /// The file of an object, to be read; `None` where there is none.
    #[cfg(feature = "parquet")]
    pub(super) fn file(&self, key: &str) -> Result<Option<File>, AdapterError> {
        let file =
            self.open(key).and_then(|(folder, name)| open_file(&folder, name, OFlags::RDONLY));
        match file {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    pub(super) fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, AdapterError> {
        let read = || -> io::Result<Vec<u8>> {
            let (folder, name) = self.open(key)?;
            let mut bytes = Vec::new();
            let mut file = open_file(&folder, name, OFlags::RDONLY)?;
            file.seek(SeekFrom::Start(range.start))?;
            file.take(range.end - range.start).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    pub(super) fn failed(&self, doing: &str, error: io::Error) -> AdapterError {
        AdapterError::io(format_args!("{doing} an object in {}", self.root.display()), error)
    }
}

/// The folders of a key, and the name in them.
pub(super) fn parted(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Makes the folder and those that lead to it, for its owner alone.
fn make_root(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root)
}

/// Somebody stored it, perhaps without syncing it.
fn exists(folder: &File, name: &str, sync: bool) -> io::Result<Created> {
    if sync {
        open_file(folder, name, OFlags::RDONLY)?.sync_all()?;
        rustix::fs::fsync(folder)?;
    }
    Ok(Created::Exists)
}

pub(super) fn open_file(folder: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::NotADirectory, "no regular file stands there"))
    }
}

/// The hidden file, made where it is missing, and ours alone.
fn lock(folder: &File, hidden: &str) -> io::Result<File> {
    for _ in 0..TRIES {
        let file = open_file(folder, hidden, OFlags::RDWR | OFlags::CREATE)?;
        wait_for_lock(|| file.try_lock())?;
        // Whoever held it before may have renamed it into place.
        let ours = rustix::fs::fstat(file.as_fd())?;
        match rustix::fs::statat(folder, hidden, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if is_same(&there, &ours) => return Ok(file),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other("others keep taking its hidden file away"))
}

/// Waits for a lock that `take` takes.
fn wait_for_lock(take: impl Fn() -> Result<(), TryLockError>) -> io::Result<()> {
    let start = Instant::now();
    let mut wait = Duration::from_micros(20);
    loop {
        match take() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT_MAX => {
                std::thread::sleep(wait);
                wait = (wait * 2).min(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "another process has been writing it for 10 s, see which one is stuck",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Gives the hidden file its name, unless there is one of that name.
fn rename(folder: &File, hidden: &str, name: &str) -> Result<(), Errno> {
    match rustix::fs::renameat_with(folder, hidden, folder, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            // The file system can't; a second name can't take the place of a file either.
            rustix::fs::linkat(folder, hidden, folder, name, AtFlags::empty())?;
            rustix::fs::unlinkat(folder, hidden, AtFlags::empty())
        }
        other => other,
    }
}
