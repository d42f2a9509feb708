//! One file in the place of many, at once: their folder is exchanged for another one, which holds
//! links to all other files and the new one. See `docs/design/compact.md`.
//!
//! The other folder is made beside the dataset, since readers of `**/*.parquet` look into hidden
//! folders as well. Its lock keeps compactors apart; what it holds at first is the rest of a crash.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::folder::Folder;

/// The new file before it has its folder.
const MADE: &str = "made.tmp";

/// A folder beside a dataset, ours alone.
#[derive(Debug)]
pub(super) struct Exchange {
    folder: Folder,
    path: PathBuf,
    beside: File,
    /// Folders that were exchanged, and when.
    retired: Vec<(PathBuf, Instant)>,
    made: u32,
}

fn told(kind: io::ErrorKind, text: &str) -> io::Error {
    io::Error::new(kind, text)
}

impl Exchange {
    /// Makes the folder beside `prefix` under `root`.
    pub(super) fn begin(root: PathBuf, prefix: &str) -> io::Result<Self> {
        let folder = Folder::new(root.clone());
        let dataset = folder.open_folder(prefix, false, false)?;
        // Joined with nothing, it would end in a slash.
        let whole = if prefix.is_empty() { root } else { root.join(prefix) };
        let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
            return Err(told(io::ErrorKind::InvalidInput, "it has no parent, name another folder"));
        };
        let path = parent.join(format!(".{}.compact", name.to_string_lossy()));
        loop {
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let beside = match rustix::fs::open(&path, flags, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                other => File::from(other?),
            };
            match rustix::fs::flock(&beside, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {
                    let text = "it is being compacted already, wait for that to end";
                    return Err(told(io::ErrorKind::WouldBlock, text));
                }
                other => other?,
            }
            let ours = rustix::fs::fstat(&beside)?;
            let there = rustix::fs::stat(&path);
            if !there.is_ok_and(|there| there.st_ino == ours.st_ino && there.st_dev == ours.st_dev)
            {
                // The one before us has just removed it.
                continue;
            }
            let owned = rustix::fs::fstat(&dataset)?;
            if owned.st_dev != ours.st_dev {
                let text = "it is a file system of its own, name a folder in it";
                return Err(told(io::ErrorKind::CrossesDevices, text));
            }
            if owned.st_uid != ours.st_uid {
                let text = "it belongs to another user, run as that one";
                return Err(told(io::ErrorKind::PermissionDenied, text));
            }
            let exchange = Self { folder, path, beside, retired: Vec::new(), made: 0 };
            exchange.clear()?;
            return Ok(exchange);
        }
    }

    /// Removes what is there: nothing of it is part of the dataset.
    fn clear(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Puts a file of `bytes` in the place of `sources`, all in the folder `day`; false where that
    /// can't be, since a source is gone or a file of that name is there. `step` is told what is done.
    pub(super) fn replace(
        &mut self,
        day: &str,
        name: &str,
        bytes: &[u8],
        sources: &[&str],
        step: &mut dyn FnMut(),
    ) -> io::Result<bool> {
        let made = self.path.join(MADE);
        let mut file = File::create(&made)?;
        file.write_all(bytes)?;
        // Before writers are held up.
        file.sync_all()?;
        step();
        let held = self.folder.hold(day, false, false, true)?;
        let (month, last) = day.rsplit_once('/').unwrap_or(("", day));
        let month = self.folder.open_folder(month, false, false)?;
        let here = rustix::fs::fstat(&held)?;
        let ours = rustix::fs::fstat(&self.beside)?;
        if here.st_uid != ours.st_uid {
            let text = "a day's folder belongs to another user, run as that one";
            return Err(told(io::ErrorKind::PermissionDenied, text));
        }
        self.made += 1;
        let next = self.path.join(format!("day-{}", self.made));
        rustix::fs::mkdir(&next, Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inside = rustix::fs::open(&next, flags, Mode::empty())?;
        let mut gone = sources.len();
        for entry in rustix::fs::Dir::read_from(&held)? {
            let entry = entry?;
            let there = entry.file_name();
            match there.to_str() {
                Ok("." | "..") => {}
                Ok(there) if sources.contains(&there) => {
                    let like = rustix::fs::statat(&held, there, AtFlags::SYMLINK_NOFOLLOW)?;
                    // Who may read the parts may read the whole.
                    rustix::fs::fchmod(&file, Mode::from_raw_mode(like.st_mode))?;
                    gone -= 1;
                }
                _ => rustix::fs::linkat(&held, there, &inside, there, AtFlags::empty())?,
            }
        }
        if gone > 0 || rustix::fs::statat(&inside, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            std::fs::remove_dir_all(&next)?;
            return Ok(false);
        }
        rustix::fs::renameat(&self.beside, MADE, &inside, name)?;
        rustix::fs::fchmod(&inside, Mode::from_raw_mode(here.st_mode))?;
        rustix::fs::fsync(&inside)?;
        step();
        let old = format!("day-{}", self.made);
        match rustix::fs::renameat_with(&self.beside, &old, &month, last, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let text = "its file system can't exchange folders, keep it on ext4, XFS or Btrfs";
                return Err(told(io::ErrorKind::Unsupported, text));
            }
            other => other?,
        }
        self.retired.push((next, Instant::now()));
        step();
        rustix::fs::fsync(&month)?;
        rustix::fs::fsync(&self.beside)?;
        Ok(true)
    }

    /// Removes the folders that were exchanged so long ago.
    pub(super) fn sweep(&mut self, linger: Duration) -> io::Result<()> {
        while let Some((path, since)) = self.retired.first() {
            if since.elapsed() < linger {
                break;
            }
            std::fs::remove_dir_all(path)?;
            self.retired.remove(0);
        }
        Ok(())
    }

    /// Ends it, once readers that were listing an exchanged folder have had so long.
    pub(super) fn end(mut self, linger: Duration) -> io::Result<()> {
        if let Some((_, since)) = self.retired.last() {
            std::thread::sleep(linger.saturating_sub(since.elapsed()));
        }
        self.sweep(Duration::ZERO)?;
        self.clear()?;
        Ok(rustix::fs::rmdir(&self.path)?)
    }
}
