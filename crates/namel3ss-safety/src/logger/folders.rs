//! The folders outside the home that a logger uses, and those in which a version before kept its
//! journals.

use std::path::Path;

use super::choices::JournalKind;
use super::shared::Shared;
use crate::notice::Level;
use crate::register;
use crate::sink::default_fallback_path;

impl Shared {
    /// Where orphans are looked for: under this logger's own root and, because a version before kept
    /// the journals of a logger with a fallback path under that path, there as well.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Path> {
        let root = &*self.config.root;
        let former = self.config.sink().fallback_path().filter(move |path| *path != root);
        std::iter::once(root).chain(former)
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
        // Everybody looks into the usual folder.
        let usual = default_fallback_path();
        let fallback = config.sink().fallback_path().filter(|path| *path != usual);
        for folder in journals.into_iter().chain(fallback) {
            if let Err(error) = register::add(&config.home, folder) {
                let text = format!(
                    "the folder {} can't be entered in the register of {}: {error}; n3-safety finds \
                     what is left there only where it is named",
                    folder.display(),
                    config.home.display()
                );
                config.notices.say(Level::Warning, "register", text);
            }
        }
    }
}
