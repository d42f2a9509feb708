//! A folder that can become another one while it is in use: a journal in memory moves to a disk, and
//! a finished one lets go of the descriptors of its folder.

use std::io;
use std::sync::{Arc, Mutex};

use super::lock::FolderLock;
use super::mmap::Mapping;
use super::storage::{Folder, MediumFile};
use crate::locks::lock;

/// Passes each call on to the folder that it is now.
#[derive(Debug)]
pub struct MovableFolder {
    now: Mutex<Arc<dyn Folder>>,
}

impl MovableFolder {
    /// Is `folder` at first.
    #[must_use]
    pub fn new(folder: Arc<dyn Folder>) -> Self {
        Self { now: Mutex::new(folder) }
    }

    /// Is `folder` from now on. Files that are open stay what they were.
    pub fn move_to(&self, folder: Arc<dyn Folder>) {
        // The former one is dropped after the lock was let go of.
        let _former = std::mem::replace(&mut *lock(&self.now), folder);
    }

    /// What it is now.
    #[must_use]
    pub fn now(&self) -> Arc<dyn Folder> {
        lock(&self.now).clone()
    }
}

impl Folder for MovableFolder {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn MediumFile>> {
        self.now().create(name, len)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        self.now().open(name)
    }

    fn map(&self, name: &str, len: usize) -> io::Result<Option<Mapping>> {
        self.now().map(name, len)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.now().list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.now().remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.now().rename(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        self.now().sync()
    }

    fn remove_all(&self) -> io::Result<()> {
        self.now().remove_all()
    }

    fn restore(&self) -> io::Result<Option<FolderLock>> {
        self.now().restore()
    }

    fn describe(&self) -> String {
        self.now().describe()
    }
}
