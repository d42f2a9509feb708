//! A folder on disk: ours alone (0700), opened without following links, with files allocated
//! before they are written, so that a full disk is an error and never a signal.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::lock::FolderLock;
use super::mmap::Mapping;
use super::storage::{Folder, MediumFile};
use crate::home::make_private;
use crate::journal::names::ASIDE_SUFFIX;
use crate::journal::names::CURSOR_PREFIX;
use crate::limits::check_file_size;
use crate::locks::lock;
use crate::process::forget_in_child;

/// A folder whose files can be mapped, if `mapped` was asked for and the file system can.
#[derive(Debug)]
pub struct DiskFolder {
    /// Another one once it was made anew.
    #[cfg(unix)]
    dir: Mutex<Arc<File>>,
    path: PathBuf,
    mapped: bool,
    /// Set once the file system turned out not to know fallocate: files are sparse then, and
    /// never mapped, because a full disk would answer a touch of the mapping with SIGBUS.
    sparse: AtomicBool,
}

impl DiskFolder {
    /// Opens the folder at `path`, making it and those above it where missing.
    ///
    /// # Errors
    /// If it is a link, is somebody else's, or can't be made.
    pub fn create(path: &Path, mapped: bool) -> io::Result<Self> {
        make_private(path)?;
        Self::open(path, mapped)
    }

    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// If it is missing, a link, or somebody else's.
    #[cfg(unix)]
    pub fn open(path: &Path, mapped: bool) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&dir)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the folder belongs to another user",
            ));
        }
        if stat.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&dir, Mode::RWXU)?;
        }
        let dir = Mutex::new(Arc::new(dir));
        Ok(Self { dir, path: path.to_owned(), mapped, sparse: AtomicBool::new(false) })
    }

    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// If it is missing.
    #[cfg(not(unix))]
    pub fn open(path: &Path, mapped: bool) -> io::Result<Self> {
        std::fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), mapped, sparse: AtomicBool::new(false) })
    }

    /// Takes the folder's lock; `None` while another process, or another logger, has it.
    ///
    /// # Errors
    /// If the lock file can't be opened; `NotFound` if the folder has been removed meanwhile.
    pub fn lock(&self) -> io::Result<Option<FolderLock>> {
        let file = self.open_file("lock", true)?;
        match file.try_lock() {
            // Whoever had it may have removed the file after it was opened here: then it is no
            // lock any more, and another one may stand in its place.
            Ok(()) if self.is_still_named(&file, "lock") => {
                let forgotten = forget_in_child(&file);
                Ok(Some(FolderLock { _forgotten: forgotten, _file: file, reserved: None }))
            }
            Ok(()) => Ok(None),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    #[cfg(unix)]
    fn is_still_named(&self, file: &File, name: &str) -> bool {
        let named = rustix::fs::statat(&*self.dir(), name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        let opened = rustix::fs::fstat(file);
        matches!((named, opened), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    #[cfg(not(unix))]
    fn is_still_named(&self, _file: &File, _name: &str) -> bool {
        // An open file can't be removed here.
        true
    }

    #[cfg(unix)]
    fn dir(&self) -> Arc<File> {
        lock(&self.dir).clone()
    }

    fn disk_file(&self, file: File) -> DiskFile {
        DiskFile { file, sparse: self.sparse.load(Ordering::Relaxed) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(unix)]
    fn open_at(&self, name: &str, extra: rustix::fs::OFlags) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags};
        // Without waiting: somebody may have put a pipe there.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | extra;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(&*self.dir(), name, flags, mode)?);
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"))
    }

    #[cfg(unix)]
    fn open_file(&self, name: &str, create: bool) -> io::Result<File> {
        use rustix::fs::OFlags;
        self.open_at(name, if create { OFlags::CREATE } else { OFlags::empty() })
    }

    #[cfg(not(unix))]
    fn open_file(&self, name: &str, create: bool) -> io::Result<File> {
        File::options().read(true).write(true).create(create).open(self.path.join(name))
    }

    #[cfg(unix)]
    fn create_new(&self, name: &str) -> io::Result<File> {
        use rustix::fs::OFlags;
        self.open_at(name, OFlags::CREATE | OFlags::EXCL)
    }

    #[cfg(not(unix))]
    fn create_new(&self, name: &str) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(self.path.join(name))
    }
}

impl Folder for DiskFolder {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn MediumFile>> {
        let mut file = self.disk_file(self.create_new(name)?);
        let mut allocated = file.allocate(len);
        if allocated.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::Unsupported) {
            self.sparse.store(true, Ordering::Relaxed);
            file.sparse = true;
            allocated = file.allocate(len);
        }
        if let Err(error) = allocated {
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        Ok(Arc::new(self.disk_file(self.open_file(name, false)?)))
    }

    #[cfg(unix)]
    fn map(&self, name: &str, len: usize) -> io::Result<Option<Mapping>> {
        if !self.mapped || self.sparse.load(Ordering::Relaxed) {
            return Ok(None);
        }
        Mapping::of_file(&self.open_file(name, false)?, len).map(Some)
    }

    #[cfg(not(unix))]
    fn map(&self, _name: &str, _len: usize) -> io::Result<Option<Mapping>> {
        Ok(None)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        #[cfg(unix)]
        {
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(&*self.dir())? {
                // A name that is no UTF-8 is none of ours.
                if let Ok(name) = entry?.file_name().to_str()
                    && name != "."
                    && name != ".."
                {
                    names.push(name.to_owned());
                }
            }
            Ok(names)
        }
        #[cfg(not(unix))]
        std::fs::read_dir(&self.path)?
            .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        #[cfg(unix)]
        {
            Ok(rustix::fs::unlinkat(&*self.dir(), name, rustix::fs::AtFlags::empty())?)
        }
        #[cfg(not(unix))]
        std::fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        #[cfg(unix)]
        {
            Ok(rustix::fs::renameat(&*self.dir(), from, &*self.dir(), to)?)
        }
        #[cfg(not(unix))]
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(unix)]
        self.dir().sync_all()?;
        Ok(())
    }

    fn remove_all(&self) -> io::Result<()> {
        // The lock goes last: while it is there, nobody else takes the folder for an orphan. The
        // cursors go before it: whoever finds segments must find how far they are delivered.
        let mut names = self.list()?;
        names.sort_by_key(|name| name.starts_with(CURSOR_PREFIX));
        let (kept, ours): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.ends_with(ASIDE_SUFFIX));
        for name in ours.iter().filter(|name| *name != "lock") {
            self.remove(name)?;
        }
        let _ = self.remove("lock");
        // What was set aside is a person's to remove.
        if kept.is_empty() { std::fs::remove_dir(&self.path) } else { Ok(()) }
    }

    #[cfg(unix)]
    fn restore(&self) -> io::Result<Option<FolderLock>> {
        // Moved it has its name still, and goes on there.
        if rustix::fs::fstat(&*self.dir())?.st_nlink > 0 {
            return Ok(None);
        }
        let anew = Self::create(&self.path, self.mapped)?;
        let Some(held) = anew.lock()? else {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has locked it"));
        };
        *lock(&self.dir) = anew.dir();
        Ok(Some(held))
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

#[derive(Debug)]
struct DiskFile {
    file: File,
    sparse: bool,
}

impl MediumFile for DiskFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match read_once(&self.file, &mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, at)
    }

    #[cfg(windows)]
    fn write_at(&self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = std::os::windows::fs::FileExt::seek_write(&self.file, bytes, at)?;
            bytes = &bytes[n..];
            at += n as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        check_file_size(len)?;
        #[cfg(target_os = "linux")]
        if !self.sparse {
            use rustix::fs::{FallocateFlags, fallocate};
            loop {
                return match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                    Ok(()) => Ok(()),
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => Err(error.into()),
                };
            }
        }
        if self.file.metadata()?.len() < len {
            self.file.set_len(len)?;
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    #[cfg(unix)]
    fn is_removed(&self) -> io::Result<bool> {
        Ok(std::os::unix::fs::MetadataExt::nlink(&self.file.metadata()?) == 0)
    }
}

#[cfg(unix)]
fn read_once(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, at)
}

#[cfg(windows)]
fn read_once(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, at)
}
