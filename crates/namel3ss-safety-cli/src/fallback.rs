//! Fallback files that wait to be replayed, by the folders that hold them.

use std::path::{Path, PathBuf};

use namel3ss_safety::internal::sink::{
    FallbackFolder, default_fallback_path, usual_fallback_folders,
};

/// A folder that was looked into, or why not.
pub(crate) type Looked = Result<FallbackFolder, (PathBuf, std::io::Error)>;

/// The usual folders of a home, and those within them. What is somebody else's is left out: a file that
/// anybody could put at a well-known place under `/tmp` must never reach a dataset.
pub(crate) fn usual(home: &Path) -> Vec<Looked> {
    let folders = usual_fallback_folders(home, &given_none());
    folders
        .iter()
        .filter(|folder| is_ours(folder))
        .flat_map(|f| with_those_within(f, false))
        .collect()
}

/// The folder of programs that are given none: what `NAMEL3SS_SAFETY_FALLBACK_PATH` names, which Python's
/// global logger takes as well, or else the documented one.
pub(crate) fn given_none() -> PathBuf {
    let named = std::env::var_os("NAMEL3SS_SAFETY_FALLBACK_PATH").filter(|named| !named.is_empty());
    named.map_or_else(default_fallback_path, PathBuf::from)
}

/// A folder of fallback files and those within it for other destinations.
pub(crate) fn with_those_within(path: &Path, any_owner: bool) -> Vec<Looked> {
    let look = |path: &Path| {
        FallbackFolder::open(path, any_owner).map_err(|error| (path.to_owned(), error))
    };
    let folder = look(path);
    let within = match &folder {
        Ok(folder) => folder.paths_within().unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    std::iter::once(folder).chain(within.iter().map(|path| look(path))).collect()
}

/// Whether a folder is there, is no link and belongs to us.
pub(crate) fn is_ours(folder: &Path) -> bool {
    let Ok(metadata) = folder.symlink_metadata() else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw()
    }
    #[cfg(not(unix))]
    metadata.is_dir()
}
