//! Journals on a disk of which some blocks can't be read: that costs what lies in them.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::internal::journal::media::{Folder, MemoryFolder};

use crate::damage::subject;
use crate::recovery::{Recovered, recover};
use crate::scripted_folder::{Decide, Decided};
use crate::support::Dataset;

/// A disk of which some blocks can't be read: in which file, and which of its bytes lie in them; it
/// can't be opened at all where there are none.
#[derive(Debug)]
struct BadBlocks(String, Range<u64>);

/// The blocks that these bytes lie in.
fn blocks(bytes: &Range<u64>) -> Range<u64> {
    bytes.start & !4095..bytes.end.next_multiple_of(4096)
}

fn bad_block() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Decide for BadBlocks {
    fn open(&self, name: &str) -> io::Result<()> {
        let Self(bad, bytes) = self;
        if bad == name && bytes.is_empty() { Err(bad_block()) } else { Ok(()) }
    }

    fn read(&self, name: &str, bytes: Range<u64>) -> io::Result<()> {
        let Self(bad, of) = self;
        let of = blocks(of);
        let overlaps = bad == name && bytes.start < of.end && of.start < bytes.end;
        if overlaps { Err(bad_block()) } else { Ok(()) }
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
            let disk = Arc::new(BadBlocks(name.clone(), bad));
            let folder = Decided::folder(&subject.folder.copy(), &disk);
            let Recovered { events, missing, damage } = recover(folder);
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
            let shared: Arc<dyn Folder> = Arc::new(MemoryFolder::default());
            let story = format!("{name}, {bad:?}");
            let left = subject.folder.copy();
            let disk = Arc::new(BadBlocks(name.clone(), bad));
            let logger = crate::support::builder(Dataset::named("memory://", |_| Ok(())))
                .no_fallback()
                .medium(shared)
                .left_behind(vec![Decided::folder(&left, &disk)])
                .threads(false)
                .build()
                .unwrap();
            assert!(logger.flush(Some(Duration::from_secs(20))).complete, "{story}");
            let names = left.list().unwrap();
            assert_eq!(names, [format!("{name}.damaged")], "{story}: {:?}", logger.notices());
        }
    }
}
