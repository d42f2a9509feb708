//! The fallback files that wait in a folder, and the destination that the folder names for them: what
//! a replay reads before it reads a file.
//!
//! Nothing is believed that somebody else could have put there: folders and files must be ours, and
//! nobody else may be able to write to them; links are not followed, and pipes not waited for.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::folder::{Folder, Trust};
use crate::register;

/// The file, in a folder of fallback files, that names where they go: a destination without secrets.
pub const DESTINATION_NAME: &str = "destination";

/// The longest destination that is read.
const DESTINATION_BYTES_MAX: u64 = 64 << 10;

/// A folder of fallback files that is trusted, as it was when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackFolder {
    path: PathBuf,
    destination: Option<String>,
    files: Vec<PathBuf>,
}

impl FallbackFolder {
    /// Opens the folder `path`: ours, or, with `any_owner` and as root, another user's.
    ///
    /// # Errors
    /// Because it is not there, is no folder, or somebody else could write to it; from the file system.
    pub fn open(path: &Path, any_owner: bool) -> io::Result<Self> {
        let trust = if any_owner { Trust::ReadingAnyOwner } else { Trust::Reading };
        let folder = Folder::open_trusted(path, trust)?;
        // Destination and files of one moment: a folder gets another destination only while no files
        // wait in it.
        let _locked = folder.try_lock();
        let destination = destination_in(&folder, trust)?;
        let files = fallback_files(&folder)?.into_iter().map(|name| path.join(name)).collect();
        Ok(Self { path: path.to_owned(), destination, files })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its files go; `None` if it does not say.
    #[must_use]
    pub fn destination(&self) -> Option<&str> {
        self.destination.as_deref()
    }

    /// The files that wait in it, oldest first.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The paths of the folders within it for other destinations than its own.
    ///
    /// # Errors
    /// From the file system.
    pub fn paths_within(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let is_ones = is_destinations_name(&entry.file_name().to_string_lossy());
            if is_ones && entry.file_type()?.is_dir() {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths)
    }
}

/// The folders in which fallback files of programs with this home are, as far as they exist: the one of
/// those that are given none, this user's own beside it, the one within the home, and those of its
/// register.
#[must_use]
pub fn usual_fallback_folders(home: &Path, given_none: &Path) -> Vec<PathBuf> {
    let mut folders = vec![per_user(given_none), given_none.to_owned(), home.join("fallback")];
    folders.extend(register::folders(home).unwrap_or_default());
    folders.retain(|folder| folder.symlink_metadata().is_ok_and(|found| found.is_dir()));
    folders.sort();
    folders.dedup();
    folders
}

/// The folder that this user has to themselves beside one that somebody else holds.
pub(super) fn per_user(path: &Path) -> PathBuf {
    #[cfg(unix)]
    let user = rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    let user = "user";
    let mut name = path.as_os_str().to_owned();
    name.push(format!("-{user}"));
    PathBuf::from(name)
}

/// What a folder says its files are for.
pub(super) fn destination_in(folder: &Folder, trust: Trust) -> io::Result<Option<String>> {
    let in_the_file = |error: io::Error| {
        let shown = folder.path().join(DESTINATION_NAME);
        io::Error::new(error.kind(), format!("{}: {error}", shown.display()))
    };
    let file = match folder.read_trusted(DESTINATION_NAME, trust) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(in_the_file(error)),
    };
    let mut text = String::new();
    file.take(DESTINATION_BYTES_MAX).read_to_string(&mut text).map_err(in_the_file)?;
    Ok(Some(text))
}

/// The names of the files that wait in a folder, oldest first.
pub(super) fn fallback_files(folder: &Folder) -> io::Result<Vec<String>> {
    let mut names = folder.names()?;
    names.retain(|name| is_fallback_name(name) && folder.size_and_time(name).is_some());
    // The names begin with the date, so this is their order but for the count at their end.
    names.sort_by_cached_key(|name| natural(name));
    Ok(names)
}

fn natural(name: &str) -> (String, u64) {
    let stem = name.trim_end_matches(".json");
    match stem.rsplit_once('_') {
        Some((head, count)) => (head.to_owned(), count.parse().unwrap_or(u64::MAX)),
        None => (stem.to_owned(), 0),
    }
}

/// `safety_events_YYYYMMDD_HHMMSS_{count}.json`.
pub(super) fn is_fallback_name(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some(stem) = name.strip_suffix(".json") else { return false };
    let parts: Vec<&str> = stem.rsplitn(4, '_').collect();
    parts.len() == 4
        && parts[..3].iter().all(|part| digits(part))
        && parts[1].len() == 6
        && parts[2].len() == 8
}

/// `{dataset}-{hash}`, or with a number behind it.
fn is_destinations_name(name: &str) -> bool {
    let is_hash = |part: &str| part.len() == 8 && part.bytes().all(|b| b.is_ascii_hexdigit());
    name.rsplit('-').take(2).any(is_hash) && name.contains('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fallback_files_wait_and_the_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "safety_events_20260301_120000_10.json",
            "safety_events_20260301_120000_2.json",
            "safety_events_20260228_120000_3.json",
        ];
        for name in names.iter().chain(&["safety_events.json", "x_20260301_120000_.json", "a.txt"])
        {
            std::fs::write(folder.path().join(name), "[]").unwrap();
        }
        for name in ["safety_events-0123abcd", "a-b-0123abcd-1", "replayed", "journal"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let found = FallbackFolder::open(folder.path(), false).unwrap();
        assert_eq!(found.destination(), None);
        let expected: Vec<_> = names.iter().rev().map(|name| folder.path().join(name)).collect();
        assert_eq!(found.files(), expected);
        let within = found.paths_within().unwrap();
        let expected = ["a-b-0123abcd-1", "safety_events-0123abcd"];
        assert_eq!(within, expected.map(|name| folder.path().join(name)));
    }

    /// A pipe named `destination` in a shared folder held a replay for ever, and files that anybody
    /// could have put there were stored.
    #[cfg(unix)]
    #[test]
    fn what_others_could_have_put_there_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("fallback");
        std::fs::create_dir(&folder).unwrap();
        let check = |mode: u32, refused: Option<&str>| {
            std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
            let error = FallbackFolder::open(&folder, true).err().map(|error| error.to_string());
            match refused {
                Some(part) => assert!(error.unwrap().contains(part)),
                None => assert_eq!(error, None),
            }
        };
        check(0o777, Some("chmod go-w"));
        check(0o770, Some("chmod go-w"));
        check(0o755, None);
        let said = folder.join(DESTINATION_NAME);
        std::fs::write(&said, "file:///a.jsonl").unwrap();
        check(0o700, None);
        std::fs::set_permissions(&said, PermissionsExt::from_mode(0o646)).unwrap();
        check(0o700, Some("chmod go-w"));
        std::fs::remove_file(&said).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &said, rustix::fs::Mode::RUSR).unwrap();
        check(0o700, Some("no plain file"));
        std::fs::remove_file(&said).unwrap();
        std::os::unix::fs::symlink("elsewhere", &said).unwrap();
        check(0o700, Some("it is a link"));
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(FallbackFolder::open(&link, true).is_err());
        if rustix::process::geteuid().is_root() {
            // Only root can give a folder away, and look into another's where it names it.
            std::fs::remove_file(&said).unwrap();
            std::os::unix::fs::chown(&folder, Some(12_345), None).unwrap();
            check(0o700, None);
            let refused = FallbackFolder::open(&folder, false).unwrap_err().to_string();
            assert!(refused.contains("belongs to user 12345"), "{refused}");
        }
    }
}
