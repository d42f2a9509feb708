//! The folder of the fallback files: made by us, owned by us, opened once without following a
//! link, and used through that handle, so that nobody can put another one in its place.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Why a folder is not used.
#[derive(Debug)]
pub(super) enum Refused {
    /// Somebody else could read or change what is in it.
    Foreign(String),
    /// The file system said no.
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Foreign(text) => io::Error::new(io::ErrorKind::PermissionDenied, text),
            Refused::Io(error) => error,
        }
    }
}

/// How far a folder that is there already is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// A well-known name that anybody may have made first: ours alone, and its mode is put right.
    Nobody,
    /// A folder that the user chose: ours, or root's, and not open to everybody.
    Owner,
    /// A folder whose files are replayed: ours, and nobody else may write to it.
    Reading,
    /// As before, but root trusts another owner's folder too, because it was named.
    ReadingAnyOwner,
}

impl Trust {
    fn is_for_reading(self) -> bool {
        matches!(self, Self::Reading | Self::ReadingAnyOwner)
    }

    /// Whether what belongs to the user `owner` is trusted.
    fn takes(self, owner: u32) -> bool {
        let us = rustix::process::geteuid();
        owner == us.as_raw()
            // Root can read and change whatever it likes anyway.
            || (self == Self::Owner && owner == 0)
            || (self == Self::ReadingAnyOwner && us.is_root())
    }
}

/// The lock of a folder, held by at most one [`Folder`] in all processes.
#[derive(Debug)]
pub(super) struct FolderLock<'f>(&'f File);

impl Drop for FolderLock<'_> {
    fn drop(&mut self) {
        // Said, not left to the close: a forked child may have the same open file.
        let _ = rustix::fs::flock(self.0, FlockOperation::Unlock);
    }
}

/// A folder that was checked, and stays open.
#[derive(Debug)]
pub(super) struct Folder {
    dir: File,
    path: PathBuf,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const OURS: Mode = Mode::RWXU;
const FILE: Mode = Mode::RUSR.union(Mode::WUSR);

impl Folder {
    /// Makes `path` if it is missing (0700, with its parents), opens it and checks whose it is.
    pub(super) fn make(path: &Path, trust: Trust) -> Result<Self, Refused> {
        let path = plain(path);
        let missing: Vec<&Path> =
            path.ancestors().filter(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let folder = Self::open(&path)?;
        folder.check(trust)?;
        for made in missing {
            let parent = made.parent().filter(|p| !p.as_os_str().is_empty());
            let parent = File::open(parent.unwrap_or_else(|| Path::new(".")))?;
            sync(&parent)?;
        }
        Ok(folder)
    }

    /// Opens `path`, which must be a folder and no link.
    pub(super) fn open(path: &Path) -> Result<Self, Refused> {
        let path = plain(path);
        match rustix::fs::open(&path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Self { dir: File::from(fd), path }),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let text = format!("{} is a link or no folder: name a real folder", path.display());
                Err(Refused::Foreign(text))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens `path`, which must be a folder that is trusted so far.
    pub(super) fn open_trusted(path: &Path, trust: Trust) -> Result<Self, Refused> {
        let folder = Self::open(path)?;
        folder.check(trust)?;
        Ok(folder)
    }

    fn check(&self, trust: Trust) -> Result<(), Refused> {
        let stat = rustix::fs::fstat(&self.dir)?;
        let mode = mode(&stat);
        let shown = self.path.display();
        if !trust.takes(stat.st_uid) {
            let text = format!("{shown} belongs to user {}: name a folder of our own", stat.st_uid);
            return Err(Refused::Foreign(text));
        }
        if trust.is_for_reading() {
            return only_the_owner_writes(mode, &shown).map_err(Refused::Foreign);
        }
        let ours = stat.st_uid == rustix::process::geteuid().as_raw();
        if trust == Trust::Nobody {
            if mode.intersects(Mode::RWXG | Mode::RWXO) {
                rustix::fs::fchmod(&self.dir, OURS)?;
            }
            return Ok(());
        }
        let parent = rustix::fs::statat(&self.dir, c"..", AtFlags::SYMLINK_NOFOLLOW)?;
        let shared = self::mode(&parent).intersects(Mode::SVTX | Mode::WOTH);
        if mode.contains(Mode::WOTH) || (ours && shared && mode.contains(Mode::WGRP)) {
            let text = format!("others may write to {shown}: run chmod go-w on it");
            return Err(Refused::Foreign(text));
        }
        Ok(())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file that nobody else can open, under a name that no file has.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(&self.dir, name, flags | OFlags::CLOEXEC, FILE)?.into())
    }

    /// Opens a file for reading: a plain one, and no link. Never waits for a pipe's other end.
    pub(super) fn read(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP) => return Err(io::Error::other("it is a link: name the file itself")),
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no plain file"));
        }
        Ok(fd.into())
    }

    /// As [`Folder::read`], of a file that is trusted as far as its folder is.
    pub(super) fn read_trusted(&self, name: &str, trust: Trust) -> io::Result<File> {
        let file = self.read(name)?;
        let stat = rustix::fs::fstat(&file)?;
        if !trust.takes(stat.st_uid) {
            let text = format!("it belongs to user {}: replay files of your own", stat.st_uid);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        only_the_owner_writes(mode(&stat), &"it")
            .map_err(|text| io::Error::new(io::ErrorKind::PermissionDenied, text))?;
        Ok(file)
    }

    /// The names of all entries.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir)? {
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

    /// The size of a plain file and when it was last written to; `None` for anything else.
    pub(super) fn size_and_time(&self, name: &str) -> Option<(u64, i64)> {
        let stat = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        plain.then_some((stat.st_size as u64, stat.st_mtime as i64))
    }

    /// Takes the folder's lock; `None` while another one has it. Where a file system has no such
    /// locks, everybody gets it.
    pub(super) fn try_lock(&self) -> Option<FolderLock<'_>> {
        match rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => None,
            _ => Some(FolderLock(&self.dir)),
        }
    }

    /// Moves `from` to `name` within it, over a file that is there.
    pub(super) fn replace(&self, from: &str, name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.dir, from, &self.dir, name)?)
    }

    /// Whether `name` is still the file that `file` is open on.
    pub(super) fn is_still(&self, name: &str, file: &File) -> io::Result<bool> {
        let there = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let open = rustix::fs::fstat(file)?;
        Ok((there.st_dev, there.st_ino) == (open.st_dev, open.st_ino))
    }

    /// Moves `from` to the folder `to` (which may be this one) unless `name` is taken there: then
    /// the error is of the kind `AlreadyExists`.
    pub(super) fn publish(&self, from: &str, to: &Self, name: &str) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        {
            use rustix::fs::{RenameFlags, renameat_with};
            match renameat_with(&self.dir, from, &to.dir, name, RenameFlags::NOREPLACE) {
                // Not every file system and not every kernel has it.
                Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {}
                result => return Ok(result?),
            }
        }
        self.publish_by_link(from, to, name)
    }

    /// As [`Folder::publish`], where a rename can't be told not to replace.
    pub(super) fn publish_by_link(&self, from: &str, to: &Self, name: &str) -> io::Result<()> {
        match rustix::fs::linkat(&self.dir, from, &to.dir, name, AtFlags::empty()) {
            Ok(()) => self.remove(from),
            Err(Errno::EXIST) => Err(Errno::EXIST.into()),
            // Nor has every one hard links.
            Err(_) => self.publish_by_claim(from, to, name),
        }
    }

    /// As [`Folder::publish`], where there are no hard links either. A crash in between leaves an
    /// empty file, and the hidden one.
    pub(super) fn publish_by_claim(&self, from: &str, to: &Self, name: &str) -> io::Result<()> {
        // The name is taken with an empty file of our own, which the rename then replaces.
        drop(to.create(name)?);
        Ok(rustix::fs::renameat(&self.dir, from, &to.dir, name)?)
    }

    /// Removes a file.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    /// Makes the names in it survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync(&self.dir)
    }

    /// A folder of ours within it, made if it is missing.
    pub(super) fn within(&self, name: &str) -> Result<Self, Refused> {
        match rustix::fs::mkdirat(&self.dir, name, OURS) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let path = self.path.join(name);
        match rustix::fs::openat(&self.dir, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Self { dir: File::from(fd), path }),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let text = format!("{} is a link or no folder: move it away", path.display());
                Err(Refused::Foreign(text))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Folder {
    /// A folder within one that the user chose, which somebody else may have made.
    pub(super) fn ours_within(&self, name: &str) -> Result<Self, Refused> {
        let folder = self.within(name)?;
        folder.check(Trust::Owner)?;
        Ok(folder)
    }
}

fn only_the_owner_writes(mode: Mode, shown: &dyn fmt::Display) -> Result<(), String> {
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        return Err(format!("others than the owner may write to {shown}: run chmod go-w on it"));
    }
    Ok(())
}

/// A trailing slash would make the kernel follow a link after all.
fn plain(path: &Path) -> PathBuf {
    let path: PathBuf = path.components().collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode)
}

fn sync(dir: &File) -> io::Result<()> {
    match rustix::fs::fsync(dir) {
        // Some file systems have nothing to sync for a folder, and say so.
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
