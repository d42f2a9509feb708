//! Fallback files that wait to be replayed, and the folders in which they usually are.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use namel3ss_safety::sink::{DESTINATION_NAME, default_fallback_path};

use crate::error::Error;

/// The most of a destination that is read.
const DESTINATION_BYTES_MAX: u64 = 64 << 10;

/// The usual folders, as far as they exist and are ours: a file that somebody else put at a
/// well-known place under `/tmp` must never reach a dataset.
pub(crate) fn usual_folders(home: &Path) -> Vec<PathBuf> {
    let shared = default_fallback_path();
    let mut folders = Vec::new();
    #[cfg(unix)]
    {
        let mut own = shared.clone().into_os_string();
        own.push(format!("-{}", rustix::process::geteuid().as_raw()));
        folders.push(PathBuf::from(own));
    }
    folders.push(shared);
    folders.push(home.join("fallback"));
    folders.retain(|folder| is_ours(folder));
    folders.sort();
    folders
}

/// A folder of fallback files and those of further sinks within it.
pub(crate) fn with_those_within(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let within = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let is_sinks = |path: &PathBuf| is_ours(path) && path.join(DESTINATION_NAME).is_file();
    folders.extend(within.filter(is_sinks));
    folders[1..].sort();
    folders
}

/// Where the folder of a fallback file says that its rows go, if it says so.
pub(crate) fn destination_of(file: &Path) -> Result<Option<String>, Error> {
    let said = file.parent().unwrap_or_else(|| Path::new("")).join(DESTINATION_NAME);
    let read = std::fs::File::open(&said).and_then(|file| {
        let mut text = String::new();
        file.take(DESTINATION_BYTES_MAX).read_to_string(&mut text).map(|_| text)
    });
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::failed(format!("read {}: {error}", said.display()))),
    }
}

/// Whether a folder is there, is no link and belongs to us.
fn is_ours(folder: &Path) -> bool {
    let Ok(metadata) = folder.symlink_metadata() else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw()
    }
    #[cfg(not(unix))]
    metadata.is_dir()
}

/// The fallback files in a folder, oldest first; what is in `replayed/` does not wait any more.
pub(crate) fn waiting_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if is_name(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    // The names begin with the date, so this is their order but for the count at their end.
    files.sort_by_key(|path| natural(path));
    Ok(files)
}

fn natural(path: &Path) -> (String, u64) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    match stem.rsplit_once('_') {
        Some((head, count)) => (head.to_owned(), count.parse().unwrap_or(u64::MAX)),
        None => (stem, 0),
    }
}

/// `safety_events_YYYYMMDD_HHMMSS_{count}.json`.
fn is_name(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = name.trim_end_matches(".json").rsplitn(4, '_').collect();
    name.ends_with(".json")
        && parts.len() == 4
        && parts[..3].iter().all(|part| digits(part))
        && parts[1].len() == 6
        && parts[2].len() == 8
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
        let found = waiting_in(folder.path()).unwrap();
        let found: Vec<_> =
            found.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(found, [names[2], names[1], names[0]]);
    }
}
