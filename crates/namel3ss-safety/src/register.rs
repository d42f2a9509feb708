//! The register of a home: the folders outside it that are in use, which are fallback paths and
//! journal folders. With it `n3-safety doctor`, `recover`, `replay` and `stats` find everything that
//! programs with this home have left anywhere.
//!
//! It is the folder `folders/` in the home, with a small file for each registered folder: named by a
//! hash of the path, its content the path. Entries are made whole (written under another name, then
//! renamed) and never changed, so that no lock is needed, and a process that stops in the middle holds
//! nobody up.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::home::make_private;

/// The folder's name in the home.
pub const REGISTER_NAME: &str = "folders";
/// The most entries. From here on, entries of folders that are gone make room for new ones.
pub const FOLDERS_MAX: usize = 4096;
/// The longest path that is entered: the longest that the system takes.
const PATH_BYTES_MAX: usize = 4096;
/// How many paths with the same hash are told apart.
const SAME_HASH_MAX: u32 = 8;

/// Enters `folder` in the register of `home`, unless it is there or lies within the home.
///
/// # Errors
/// The file system's own, or because the register is full of folders that exist.
pub fn add(home: &Path, folder: &Path) -> io::Result<()> {
    let (home, folder) = (std::path::absolute(home)?, std::path::absolute(folder)?);
    if folder.starts_with(&home) {
        return Ok(());
    }
    let path = bytes_of(&folder);
    if path.len() > PATH_BYTES_MAX {
        return Err(io::Error::other("the path is too long"));
    }
    let register = home.join(REGISTER_NAME);
    let hash = crc32c::crc32c(&path);
    for n in 0..SAME_HASH_MAX {
        let entry = register.join(format!("{hash:08x}-{n}"));
        match read(&entry) {
            Ok(known) if known == path => return Ok(()),
            // A hash that another path has too.
            Ok(known) if !known.is_empty() => {}
            Ok(_) => return write(&register, &entry, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_private(&register)?;
                make_room(&register)?;
                return write(&register, &entry, &path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many paths have the same hash"))
}

/// The folders in the register of `home` that exist, in the order of their paths.
///
/// # Errors
/// The file system's own; a register that is not there yet is empty.
pub fn folders(home: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = entries(&home.join(REGISTER_NAME))?
        .iter()
        .filter_map(|entry| read(entry).ok())
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(from_bytes(path)))
        .filter(|folder| folder.is_absolute() && folder.is_dir())
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

fn entries(register: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(register) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let is_one = |name: &OsString| !name.to_string_lossy().starts_with('.');
    Ok(entries.flatten().filter(|e| is_one(&e.file_name())).map(|e| e.path()).collect())
}

/// Removes entries of folders that are gone, once there are too many entries.
fn make_room(register: &Path) -> io::Result<()> {
    let entries = entries(register)?;
    if entries.len() < FOLDERS_MAX {
        return Ok(());
    }
    let mut left = entries.len();
    for entry in &entries {
        let is_gone = read(entry).map(|path| !Path::new(&from_bytes(path)).exists());
        if is_gone.unwrap_or(false) && std::fs::remove_file(entry).is_ok() {
            left -= 1;
        }
    }
    if left < FOLDERS_MAX {
        return Ok(());
    }
    let text = format!("{} names {left} folders, which is the most", register.display());
    Err(io::Error::other(text))
}

fn write(register: &Path, entry: &Path, path: &[u8]) -> io::Result<()> {
    let random = u128::from_le_bytes(crate::id::os_random());
    let hidden = register.join(format!(".{random:032x}.tmp"));
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&hidden)
        .and_then(|mut file| file.write_all(path).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&hidden, entry));
    if written.is_err() {
        let _ = std::fs::remove_file(&hidden);
    }
    written
}

/// The content of an entry: a plain file, and no link.
fn read(entry: &Path) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    }
    let file = options.open(entry)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{} is no plain file", entry.display())));
    }
    let mut path = Vec::new();
    file.take(PATH_BYTES_MAX as u64).read_to_end(&mut path)?;
    Ok(path)
}

#[cfg(unix)]
fn bytes_of(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

#[cfg(unix)]
fn from_bytes(path: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(path)
}

#[cfg(not(unix))]
fn bytes_of(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(not(unix))]
fn from_bytes(path: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&path).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_entered_once_and_found_while_it_is_there() {
        let place = tempfile::tempdir().unwrap();
        let home = place.path().join("home");
        let [one, two] = ["one", "two"].map(|name| place.path().join(name));
        assert_eq!(folders(&home).unwrap(), [] as [PathBuf; 0]);
        std::fs::create_dir(&one).unwrap();
        for folder in [&two, &one, &one] {
            add(&home, folder).unwrap();
        }
        assert_eq!(folders(&home).unwrap(), std::slice::from_ref(&one), "two is not there yet");
        std::fs::create_dir(&two).unwrap();
        assert_eq!(folders(&home).unwrap(), [one, two]);
        assert_eq!(std::fs::read_dir(home.join(REGISTER_NAME)).unwrap().count(), 2);
        std::fs::create_dir(home.join("fallback")).unwrap();
        add(&home, &home.join("fallback")).unwrap();
        assert_eq!(folders(&home).unwrap().len(), 2, "what lies in the home is found anyway");
    }

    #[test]
    fn paths_with_the_same_hash_are_both_kept() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        add(place.path().join("home").as_path(), &folder).unwrap();
        let home = place.path().join("home");
        let hash = crc32c::crc32c(&bytes_of(&folder));
        let entry = home.join(REGISTER_NAME).join(format!("{hash:08x}-0"));
        std::fs::write(&entry, "/another").unwrap();
        add(&home, &folder).unwrap();
        assert_eq!(folders(&home).unwrap(), std::slice::from_ref(&folder));
        // A crash left an empty entry: it is written again.
        std::fs::write(&entry, "").unwrap();
        std::fs::remove_file(home.join(REGISTER_NAME).join(format!("{hash:08x}-1"))).unwrap();
        add(&home, &folder).unwrap();
        assert_eq!(folders(&home).unwrap(), [folder]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_in_it_are_no_entries() {
        let place = tempfile::tempdir().unwrap();
        let register = place.path().join(REGISTER_NAME);
        std::fs::create_dir(&register).unwrap();
        std::fs::write(place.path().join("path"), "/tmp").unwrap();
        std::os::unix::fs::symlink(place.path().join("path"), register.join("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, register.join("pipe"), rustix::fs::Mode::RUSR)
            .unwrap();
        assert_eq!(folders(place.path()).unwrap(), [] as [PathBuf; 0]);
    }
}
