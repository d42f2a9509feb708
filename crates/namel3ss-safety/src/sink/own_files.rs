//! Which fallback files a sink is to replay.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::locks::lock;

/// How many files are remembered; further ones are found when these are gone.
pub(super) const OWN_FILES_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct OwnFiles {
    pub(super) waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) files: VecDeque<OwnFile>,
    /// Files that are left for a person, as long as this process runs.
    pub(super) left: BTreeSet<PathBuf>,
    /// After a failure, nothing is replayed before this moment of the monotonic clock.
    pub(super) not_before: Duration,
    pub(super) failures: u32,
}

#[derive(Debug)]
pub(super) struct OwnFile {
    pub(super) path: PathBuf,
    pub(super) tries: u32,
}

impl OwnFiles {
    pub(super) fn add(&self, path: PathBuf) {
        let mut waiting = lock(&self.waiting);
        if waiting.files.len() >= OWN_FILES_MAX {
            waiting.files.pop_front();
        }
        waiting.files.push_back(OwnFile { path, tries: 0 });
    }

    /// Leaves a file for a person.
    pub(super) fn leave(&self, path: &Path) {
        let mut waiting = lock(&self.waiting);
        if waiting.left.len() < OWN_FILES_MAX {
            waiting.left.insert(path.to_owned());
        }
    }

    pub(super) fn find(&self, found: Vec<PathBuf>) {
        let mut waiting = lock(&self.waiting);
        let found: BTreeSet<PathBuf> = found.into_iter().collect();
        waiting.left.retain(|path| found.contains(path));
        let known: BTreeSet<&PathBuf> = waiting.files.iter().map(|file| &file.path).collect();
        let room = OWN_FILES_MAX.saturating_sub(known.len());
        let is_new = |path: &&PathBuf| !known.contains(path) && !waiting.left.contains(*path);
        let new: Vec<PathBuf> = found.iter().filter(is_new).take(room).cloned().collect();
        waiting.files.extend(new.into_iter().map(|path| OwnFile { path, tries: 0 }));
    }
}
