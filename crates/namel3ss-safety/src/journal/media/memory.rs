//! Files in memory: the journal that is off, and the disk that a test can fail or cut.
//!
//! A clone is the same folder: a test keeps one, drops the journal ("kill -9": everything that was
//! written stays), or cuts the power (what was not synced is lost, whole or in part).

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use super::mmap::Mapping;
use super::storage::{Folder, MediumFile};
use crate::journal::names::ASIDE_SUFFIX;
use crate::locks::lock;
use crate::memory;

/// A folder in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryFolder {
    state: Arc<Mutex<State>>,
}

/// What a test makes the folder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Each creation, allocation and growth answers "no space left".
    Full,
    /// Each write answers "input/output error".
    WriteFails,
    /// Each sync answers "input/output error", once a file: then it lies and says ok, as kernels
    /// do, while what was not synced is gone.
    SyncFails,
    /// Each creation answers "too many open files".
    OpenFails,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Arc<MemoryFile>>,
    /// What a power cut goes back to: the names that were synced.
    durable: BTreeMap<String, Arc<MemoryFile>>,
    maps: BTreeMap<String, Arc<Mapping>>,
    fault: Option<Fault>,
}

#[derive(Debug)]
struct MemoryFile {
    content: Mutex<Content>,
    folder: std::sync::Weak<Mutex<State>>,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    sync_failed: bool,
}

impl MemoryFolder {
    /// Starts or stops failing.
    pub fn set_fault(&self, fault: Option<Fault>) {
        lock(&self.state).fault = fault;
    }

    /// Cuts the power: names go back to the last sync of the folder, and of each file the bytes
    /// since its last sync stay or vanish, in runs of 512, as `keep` says.
    pub fn power_cut(&self, mut keep: impl FnMut() -> bool) {
        let mut state = lock(&self.state);
        state.files = state.durable.clone();
        for file in state.files.values() {
            let mut content = lock(&file.content);
            let mut after = content.synced.clone();
            after.resize(content.bytes.len().max(after.len()), 0);
            for (new, old) in after.chunks_mut(512).zip(content.bytes.chunks(512)) {
                if keep() {
                    new[..old.len()].copy_from_slice(old);
                }
            }
            content.bytes.clone_from(&after);
            content.synced = after;
        }
        // The ring is never synced: a cut leaves any of its pages old or new.
        let State { files, maps, .. } = &*state;
        for (name, mapping) in maps {
            let synced = files.get(name).map(|file| lock(&file.content).synced.clone());
            let synced = synced.unwrap_or_default();
            let mut old = synced.chunks_exact(8).map(|bytes| {
                // Infallible: chunks_exact gives eight bytes.
                u64::from_le_bytes(bytes.try_into().unwrap_or_default())
            });
            for page in mapping.words().chunks(512) {
                let kept = keep();
                for word in page {
                    let old = old.next().unwrap_or(0);
                    if !kept {
                        word.store(old, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Changes the bytes of a file, for tests of damage; of a mapped file too, as far as it is
    /// mapped.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let state = lock(&self.state);
        let file = state.files[name].clone();
        let mut content = lock(&file.content);
        let mapping = state.maps.get(name);
        for (bytes, word) in
            content.bytes.chunks_exact_mut(8).zip(mapping.iter().flat_map(|m| m.words()))
        {
            bytes.copy_from_slice(&word.load(Ordering::Acquire).to_le_bytes());
        }
        edit(&mut content.bytes);
        for (bytes, word) in
            content.bytes.chunks_exact(8).zip(mapping.iter().flat_map(|m| m.words()))
        {
            // Infallible: chunks_exact gives eight bytes.
            let value = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            if word.load(Ordering::Relaxed) != value {
                word.store(value, Ordering::Release);
            }
        }
        let bytes = content.bytes.clone();
        content.synced = bytes;
    }

    /// A copy of the folder as it is, sharing nothing with it.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = lock(&self.state);
        let copy = Self::default();
        {
            let mut to = lock(&copy.state);
            for (name, file) in &state.files {
                let from = lock(&file.content);
                let content = Mutex::new(Content {
                    bytes: from.bytes.clone(),
                    synced: from.synced.clone(),
                    sync_failed: false,
                });
                let folder = Arc::downgrade(&copy.state);
                to.files.insert(name.clone(), Arc::new(MemoryFile { content, folder }));
            }
            to.durable = to.files.clone();
            for (name, mapping) in &state.maps {
                let words = mapping.words();
                if let Ok(new) = Mapping::anonymous(words.len() * 8) {
                    for (to, from) in new.words().iter().zip(words) {
                        let word = from.load(Ordering::Relaxed);
                        if word != 0 {
                            to.store(word, Ordering::Relaxed);
                        }
                    }
                    to.maps.insert(name.clone(), Arc::new(new));
                }
            }
        }
        copy
    }

    fn check(&self, faults: &[Fault]) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.state);
        match state.fault {
            Some(fault) if faults.contains(&fault) => Err(fault.error()),
            _ => Ok(state),
        }
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Full => io::ErrorKind::StorageFull.into(),
            Self::WriteFails | Self::SyncFails => io::Error::other("input/output error"),
            Self::OpenFails => io::Error::other("too many open files"),
        }
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl Folder for MemoryFolder {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn MediumFile>> {
        let mut state = self.check(&[Fault::Full, Fault::OpenFails])?;
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file =
            Arc::new(MemoryFile { content: Mutex::default(), folder: Arc::downgrade(&self.state) });
        // Zero pages of a Vec cost nothing until written, as in a sparse file.
        let bytes = usize::try_from(len).unwrap_or(usize::MAX);
        if !memory::has(bytes) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        lock(&file.content).bytes = vec![0; bytes];
        state.files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        let state = self.check(&[Fault::OpenFails])?;
        let file = state.files.get(name).cloned().ok_or_else(|| missing(name))?;
        // A reader of the ring's file must see what was stored through its mapping.
        if let Some(mapping) = state.maps.get(name) {
            let mut content = lock(&file.content);
            for (bytes, word) in content.bytes.chunks_exact_mut(8).zip(mapping.words()) {
                bytes.copy_from_slice(&word.load(Ordering::Acquire).to_le_bytes());
            }
        }
        Ok(file)
    }

    fn map(&self, name: &str, len: usize) -> io::Result<Option<Mapping>> {
        let mapping = Mapping::anonymous(len)?;
        let mut state = lock(&self.state);
        let file = state.files.get(name).cloned().ok_or_else(|| missing(name))?;
        let content = lock(&file.content);
        for (bytes, word) in content.bytes.chunks_exact(8).zip(mapping.words()) {
            let value = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            if value != 0 {
                word.store(value, Ordering::Relaxed);
            }
        }
        drop(content);
        // Two owners of the same memory: the journal's ring, and this folder for whoever reads
        // the file after the journal is gone.
        let shared = Arc::new(mapping);
        state.maps.insert(name.to_owned(), shared.clone());
        Ok(Some(Mapping::shared(shared)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.state).files.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.maps.remove(name);
        state.files.remove(name).map(drop).ok_or_else(|| missing(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        let file = state.files.remove(from).ok_or_else(|| missing(from))?;
        if let Some(mapping) = state.maps.remove(from) {
            state.maps.insert(to.to_owned(), mapping);
        }
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.durable = state.files.clone();
        Ok(())
    }

    fn remove_all(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        // What was set aside is a person's to remove.
        state.files.retain(|name, _| name.ends_with(ASIDE_SUFFIX));
        state.durable.retain(|name, _| name.ends_with(ASIDE_SUFFIX));
        state.maps.clear();
        Ok(())
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

impl MemoryFile {
    fn fault(&self) -> Option<Fault> {
        self.folder.upgrade().and_then(|state| lock(&state).fault)
    }
}

impl MediumFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let content = lock(&self.content);
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(content.bytes.len());
        let n = buf.len().min(content.bytes.len() - from);
        buf[..n].copy_from_slice(&content.bytes[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let fault = self.fault();
        if let Some(fault @ Fault::WriteFails) = fault {
            return Err(fault.error());
        }
        let mut content = lock(&self.content);
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let to = from.saturating_add(bytes.len());
        if to > content.bytes.len() {
            if let Some(fault @ Fault::Full) = fault {
                return Err(fault.error());
            }
            memory::resize(&mut content.bytes, to, 0)?;
        }
        content.bytes[from..to].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let fault = self.fault();
        let mut content = lock(&self.content);
        if content.sync_failed {
            // The lie: ok, but what the failed sync lost is not on the disk.
            return Ok(());
        }
        if let Some(fault @ Fault::SyncFails) = fault {
            content.sync_failed = true;
            return Err(fault.error());
        }
        let Content { bytes, synced, .. } = &mut *content;
        synced.clone_from(bytes);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut content = lock(&self.content);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > content.bytes.len() {
            if let Some(fault @ Fault::Full) = self.fault() {
                return Err(fault.error());
            }
            memory::resize(&mut content.bytes, len, 0)?;
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.content).bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_takes_what_was_not_synced() {
        let folder = MemoryFolder::default();
        let file = folder.create("a", 1024).unwrap();
        folder.sync().unwrap();
        file.write_at(&[1; 512], 0).unwrap();
        file.sync().unwrap();
        file.write_at(&[2; 512], 512).unwrap();
        folder.create("b", 8).unwrap();
        folder.power_cut(|| false);
        assert_eq!(folder.list().unwrap(), ["a"]);
        let mut bytes = [9; 1024];
        folder.open("a").unwrap().read_at(&mut bytes, 0).unwrap();
        assert_eq!((bytes[0], bytes[511], bytes[512]), (1, 1, 0));
    }

    #[test]
    fn a_failed_sync_lies_afterwards() {
        let folder = MemoryFolder::default();
        let file = folder.create("a", 512).unwrap();
        folder.sync().unwrap();
        file.write_at(&[1; 512], 0).unwrap();
        folder.set_fault(Some(Fault::SyncFails));
        assert!(file.sync().is_err());
        folder.set_fault(None);
        assert!(file.sync().is_ok());
        folder.power_cut(|| false);
        let mut byte = [9];
        folder.open("a").unwrap().read_at(&mut byte, 0).unwrap();
        assert_eq!(byte, [0]);
    }
}
