//! Journals on a disk of which some blocks can't be read: that costs what lies in them.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::journal::media::{Folder, Mapping, MediumFile, MemoryFolder};

use crate::bench::Dataset;
use crate::damage::subject;
use crate::recovery::{Recovered, recover};

/// A folder on a disk of which some blocks can't be read.
#[derive(Clone, Debug)]
struct BadBlocks {
    inner: MemoryFolder,
    /// Which file, and which of its bytes; nothing of it can be opened where there are none.
    bad: (String, Range<u64>),
}

#[derive(Debug)]
struct BadFile {
    inner: Arc<dyn MediumFile>,
    bad: Range<u64>,
}

/// The blocks that these bytes lie in.
fn blocks(bytes: &Range<u64>) -> Range<u64> {
    bytes.start & !4095..bytes.end.next_multiple_of(4096)
}

fn bad_block() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Folder for BadBlocks {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn MediumFile>> {
        self.inner.create(name, len)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        let inner = self.inner.open(name)?;
        match &self.bad {
            (bad, range) if bad == name && range.is_empty() => Err(bad_block()),
            (bad, range) if bad == name => Ok(Arc::new(BadFile { inner, bad: blocks(range) })),
            _ => Ok(inner),
        }
    }
    fn map(&self, name: &str, len: usize) -> io::Result<Option<Mapping>> {
        self.inner.map(name, len)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
    fn remove_all(&self) -> io::Result<()> {
        for name in self.list()?.iter().filter(|name| !name.ends_with(".damaged")) {
            self.remove(name)?;
        }
        Ok(())
    }
    fn describe(&self) -> String {
        "bad blocks".to_owned()
    }
}

impl MediumFile for BadFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let overlaps = at < self.bad.end && self.bad.start < at + buf.len() as u64;
        if overlaps { Err(bad_block()) } else { self.inner.read_at(buf, at) }
    }
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.inner.write_at(bytes, at)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }
}

/// One block of one file could not be read (EIO), and nothing of the whole journal was delivered, at
/// any time. Now it costs what lies in that block, and its file is set aside.
#[test]
fn a_block_that_can_t_be_read_costs_what_lies_in_it() {
    let subject = subject();
    for (name, frames) in &subject.frames {
        let size = subject.folder.open(name).unwrap().size().unwrap();
        let middle = (size / 2) & !4095;
        for bad in [0..0, 0..1, 0..size, middle..middle + 1, size - 1..size] {
            let story = format!("{name}, {bad:?} of {size}");
            let all = bad.start == 0;
            let block = blocks(&bad);
            let in_block =
                |frame: &&(u64, u64, u64)| all || (frame.0 < block.end && block.start < frame.1);
            let lost: BTreeSet<u64> =
                frames.iter().filter(in_block).map(|(.., seq)| *seq).collect();
            let inner = subject.folder.copy();
            let folder = BadBlocks { inner: inner.clone(), bad: (name.clone(), bad) };
            let Recovered { events, missing, damage } = recover(Arc::new(folder));
            for (seq, payload) in &subject.events {
                let expected = (!lost.contains(seq)).then_some(payload);
                assert_eq!(events.get(seq), expected, "{story}: {seq}, {damage:?}");
            }
            let last = events.keys().last().copied().unwrap_or(0);
            let known: Vec<u64> = lost.iter().copied().filter(|seq| *seq < last).collect();
            let told: Vec<u64> = missing.iter().flat_map(|(first, last)| *first..=*last).collect();
            assert_eq!(told, known, "{story}: {damage:?}");
            assert!(damage.iter().any(|one| one.contains("can't be read")), "{story}: {damage:?}");
        }
    }
}

#[test]
fn a_file_that_can_t_be_read_is_set_aside_and_outlives_its_journal() {
    let subject = subject();
    for name in subject.names("seg") {
        for bad in [0..0, 4096..4097] {
            let inner = MemoryFolder::default();
            let shared: Arc<dyn Folder> = Arc::new(inner);
            let story = format!("{name}, {bad:?}");
            let left = subject.folder.copy();
            let folder = BadBlocks { inner: left.clone(), bad: (name.clone(), bad) };
            let logger = crate::bench::builder(Dataset::named("memory://", |_| Ok(())))
                .no_fallback()
                .medium(shared)
                .left_behind(vec![Arc::new(folder)])
                .threads(false)
                .build()
                .unwrap();
            assert!(logger.flush(Some(Duration::from_secs(20))).complete, "{story}");
            let names = left.list().unwrap();
            assert_eq!(names, [format!("{name}.damaged")], "{story}: {:?}", logger.notices());
        }
    }
}
