//! The folder of the fallback files where there are no Unix permissions: the system's own rules
//! for the folder hold, and nothing is ever overwritten.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Why a folder is not used.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is a link, or no folder.
    Foreign(String),
    /// The file system said no.
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
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

/// How far a folder that is there already is trusted; here the system's rules decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// A well-known name.
    Nobody,
    /// A folder that the user chose.
    Owner,
    /// A folder whose files are replayed.
    Reading,
    /// As before, of any owner.
    ReadingAnyOwner,
}

/// The lock of a folder; there are none here.
#[derive(Debug)]
pub(super) struct FolderLock;

/// A folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn make(path: &Path, _trust: Trust) -> Result<Self, Refused> {
        fs::create_dir_all(path)?;
        Self::open(path)
    }

    pub(super) fn open(path: &Path) -> Result<Self, Refused> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        if !fs::symlink_metadata(path)?.is_dir() {
            let text = format!("{} is a link or no folder: name a real folder", path.display());
            return Err(Refused::Foreign(text));
        }
        Ok(Self { path: path.to_owned() })
    }

    pub(super) fn open_trusted(path: &Path, _trust: Trust) -> Result<Self, Refused> {
        Self::open(path)
    }

    pub(super) fn read_trusted(&self, name: &str, _trust: Trust) -> io::Result<File> {
        self.read(name)
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?;
        entries.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned())).collect()
    }

    pub(super) fn size_and_time(&self, name: &str) -> Option<(u64, i64)> {
        let metadata = fs::symlink_metadata(self.path.join(name)).ok().filter(|m| m.is_file())?;
        let written = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some((metadata.len(), written.as_secs() as i64))
    }

    pub(super) fn try_lock(&self) -> Option<FolderLock> {
        Some(FolderLock)
    }

    pub(super) fn replace(&self, from: &str, name: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        File::create_new(self.path.join(name))
    }

    pub(super) fn read(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::Error::other("it is a link or no plain file: name the file itself"));
        }
        File::open(path)
    }

    /// There is no portable way to tell; a file that was replaced is read again next time.
    pub(super) fn is_still(&self, name: &str, _file: &File) -> io::Result<bool> {
        Ok(self.path.join(name).is_file())
    }

    pub(super) fn publish(&self, from: &str, to: &Self, name: &str) -> io::Result<()> {
        // The name is taken with an empty file of our own, which the rename then replaces.
        drop(to.create(name)?);
        fs::rename(self.path.join(from), to.path.join(name))
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    /// A folder can't be synced here.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn ours_within(&self, name: &str) -> Result<Self, Refused> {
        self.within(name)
    }

    pub(super) fn within(&self, name: &str) -> Result<Self, Refused> {
        let path = self.path.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Self::open(&path),
        }
    }
}
