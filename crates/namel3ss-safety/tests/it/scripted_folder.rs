//! A folder in memory of which a test decides the calls: they fail, end the process, or let something
//! happen meanwhile.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use namel3ss_safety::internal::journal::media::{Folder, Mapping, MediumFile, MemoryFolder};

/// What becomes of a call; each is as ever unless a test says otherwise.
pub(crate) trait Decide: Debug + Send + Sync + 'static {
    /// Before something is made, removed, renamed, allocated or synced.
    fn change(&self) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, _name: &str, _bytes: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    /// Before `bytes` are written: how many of them are, and what the caller is told.
    fn write(&self, bytes: usize) -> (usize, io::Result<()>) {
        (bytes, Ok(()))
    }

    /// After a file was synced.
    fn synced(&self) {}
}

#[derive(Debug)]
pub(crate) struct Decided<D> {
    inner: MemoryFolder,
    by: Arc<D>,
}

#[derive(Debug)]
struct DecidedFile<D> {
    name: String,
    inner: Arc<dyn MediumFile>,
    by: Arc<D>,
}

impl<D: Decide> Decided<D> {
    pub(crate) fn folder(inner: &MemoryFolder, by: &Arc<D>) -> Arc<dyn Folder> {
        Arc::new(Self { inner: inner.clone(), by: by.clone() })
    }

    fn file(&self, name: &str, inner: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        Arc::new(DecidedFile { name: name.to_owned(), inner, by: self.by.clone() })
    }
}

impl<D: Decide> Folder for Decided<D> {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn MediumFile>> {
        self.by.change()?;
        Ok(self.file(name, self.inner.create(name, len)?))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        self.by.open(name)?;
        Ok(self.file(name, self.inner.open(name)?))
    }
    fn map(&self, name: &str, len: usize) -> io::Result<Option<Mapping>> {
        self.inner.map(name, len)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.by.change()?;
        self.inner.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.by.change()?;
        self.inner.rename(from, to)
    }
    fn sync(&self) -> io::Result<()> {
        self.by.change()?;
        self.inner.sync()
    }
    fn remove_all(&self) -> io::Result<()> {
        self.by.change()?;
        self.inner.remove_all()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl<D: Decide> MediumFile for DecidedFile<D> {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.by.read(&self.name, at..at + buf.len() as u64)?;
        self.inner.read_at(buf, at)
    }
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let (written, told) = self.by.write(bytes.len());
        if written > 0 {
            self.inner.write_at(&bytes[..written], at)?;
        }
        told
    }
    fn sync(&self) -> io::Result<()> {
        self.by.change()?;
        self.inner.sync()?;
        self.by.synced();
        Ok(())
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.by.change()?;
        self.inner.allocate(len)
    }
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }
}
