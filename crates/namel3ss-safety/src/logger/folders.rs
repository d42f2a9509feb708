//! The folders outside the home that a logger uses, and those in which a version before kept its
//! journals.

use std::path::{Path, PathBuf};

use super::choices::JournalKind;
use super::shared::{Shared, lock};
use crate::journal::{inspect, slug};

impl Shared {
    /// Where orphans are looked for: under this logger's own root and, because a version before kept
    /// the journals of a logger with a fallback path under that path, there as well.
    ///
    /// After a change of user it is the new user's root alone: the others are refused.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        if let Some(moved) = lock(&self.moved).clone() {
            return vec![moved];
        }
        let root = &self.config.root;
        let former = self.config.sink().fallback_path().filter(|path| path != root);
        std::iter::once(root.clone()).chain(former.map(Path::to_owned)).collect()
    }

    /// Enters the folders that are in use outside the home in its register, so that `n3-safety`
    /// finds what is left in them.
    pub(super) fn enter_register(&self) {
        let config = &self.config;
        if config.medium.is_some() {
            return;
        }
        let journals = match &config.journal {
            JournalKind::Folder(path) => Some(&**path),
            _ => None,
        };
        let sink = config.sink();
        for folder in journals.into_iter().chain(sink.fallback_path()) {
            sink.enter_register(&config.home, folder);
        }
    }

    /// Takes over the fallback files that a version before wrote to the folder in which it kept this
    /// dataset's journals: it named no destination there, and each file was for that of the journals.
    /// Where several datasets or destinations had the folder, the files wait for a person.
    pub(super) fn take_over_files(&self) {
        let sink = self.config.sink();
        let Some(former) = sink.fallback_path().filter(|path| *path != self.config.root) else {
            return;
        };
        if !sink.has_unnamed_files() {
            return;
        }
        let ours = slug(&self.config.dataset);
        let Ok(datasets) = std::fs::read_dir(former.join("journal")) else { return };
        let datasets: Vec<_> = datasets.flatten().map(|dataset| dataset.file_name()).collect();
        if datasets != [std::ffi::OsStr::new(&ours)] {
            return;
        }
        let destination = sink.identity();
        let mut journals = inspect::list(former).unwrap_or_default().into_iter();
        let is_same = |found: inspect::Found| {
            found.journal.is_ok_and(|info| info.header.place_of(&destination) == Some(0))
        };
        if journals.all(is_same) {
            sink.take_over_files();
        }
    }
}
