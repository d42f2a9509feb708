//! What happens between two requests, made to happen: a store that runs something before it creates
//! an object. Files of a folder stand for the objects of a store that can't exchange folders.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::AtomicU8;

use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{DatasetAdapter as _, JournalId, SafetyEvent};

use super::*;
use crate::objects::adapter::honours;
use crate::objects::folder::Folder;
use crate::objects::store::Body;

type Before = Box<dyn FnOnce() + Send>;

/// A folder that is a store.
struct Interposed {
    folder: Folder,
    /// What happens before the next object is created whose key has this in it.
    before: Mutex<Option<(&'static str, Before)>>,
}

impl fmt::Debug for Interposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interposed")
    }
}

impl Store for Interposed {
    fn create(&self, key: &str, body: &Body, how: Durability) -> Result<Created, AdapterError> {
        let before = self.before.lock().unwrap().take_if(|(part, _)| key.contains(*part));
        if let Some((_, before)) = before {
            before();
        }
        self.folder.create(key, body, how)
    }

    fn overwrite(&self, key: &str, body: &Body) -> Result<(), AdapterError> {
        self.folder.overwrite(key, body)
    }

    fn size(&self, key: &str) -> Result<Option<u64>, AdapterError> {
        self.folder.size(key)
    }

    #[cfg(feature = "delta")]
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AdapterError> {
        self.folder.get(key)
    }

    fn range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, AdapterError> {
        self.folder.range(key, range)
    }

    fn remove(&self, keys: &[String]) -> Result<(), AdapterError> {
        self.folder.remove(keys)
    }

    fn objects(
        &self,
        folder: &str,
        range: &Range<String>,
    ) -> Result<Option<Vec<Object>>, AdapterError> {
        self.folder.objects(folder, range)
    }

    fn folders(&self, folder: &str, stem: &str) -> Result<Option<Vec<String>>, AdapterError> {
        self.folder.folders(folder, stem)
    }
}

struct Bench {
    folder: tempfile::TempDir,
}

const JOURNAL: JournalId = JournalId([7; 16]);

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn adapter(&self, before: Option<(&'static str, Before)>) -> ObjectStoreAdapter {
        let root = self.folder.path().to_owned();
        ObjectStoreAdapter {
            place: Place::parse(root.to_str().unwrap()).unwrap(),
            store: Box::new(Interposed { folder: Folder::new(root), before: before.into() }),
            honours: AtomicU8::new(honours::YES),
            blind: false.into(),
        }
    }

    /// Stores the rows from the seq `first` on, of an hour of one day.
    fn store(&self, adapter: &ObjectStoreAdapter, first: u64, rows: u64) {
        let event = |seq: u64| SafetyEvent {
            timestamp: Timestamp::from_micros(seq.cast_signed() * 1_000_000),
            ..plain_event(seq)
        };
        let events: Vec<SafetyEvent> = (first..first + rows).map(event).collect();
        adapter.insert(&buffer(JOURNAL, first, &events).batch()).unwrap();
    }

    fn compact(&self, adapter: &ObjectStoreAdapter) -> CompactedDay {
        let options = CompactOptions {
            before: Timestamp::now(),
            target_bytes: CompactOptions::TARGET_BYTES,
            dry_run: false,
            linger: Duration::ZERO,
        };
        let mut compaction =
            Compaction { adapter, options: &options, exchange: None, stopped: false };
        let mut report = CompactedDay::default();
        let [day] = &partitions(&adapter.place, &*adapter.store, None, None).unwrap()[..] else {
            panic!("one day")
        };
        compaction.day(day, &mut report, &mut |_| true).unwrap();
        report
    }

    /// The names of all objects, and the seqs of all their rows, as a reader finds them that knows
    /// nothing of merged objects.
    fn found(&self) -> (Vec<String>, Vec<u64>) {
        let day = self.folder.path().join("year=1970/month=01/day=01");
        let mut names: Vec<String> = std::fs::read_dir(&day)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let rows = names.iter().flat_map(|name| {
            crate::parquet::decode(std::fs::read(day.join(name)).unwrap()).unwrap()
        });
        let mut seqs: Vec<u64> = rows.map(|row| row.id.unwrap().1.0).collect();
        seqs.sort_unstable();
        (names, seqs)
    }
}

#[test]
fn a_batch_that_is_merged_between_a_look_and_its_creation_is_not_there_twice() {
    // A writer lost the answer to a batch and sends it again. It has looked for merged objects and
    // found none; before its request arrives, the batch is merged and its key is free.
    let bench = std::sync::Arc::new(Bench::new());
    let plain = bench.adapter(None);
    (0..3).for_each(|n| bench.store(&plain, n * 10 + 1, 10));
    let compacts = {
        let bench = bench.clone();
        move || drop(bench.compact(&bench.adapter(None)))
    };
    let late = bench.adapter(Some(("events_", Box::new(compacts))));
    bench.store(&late, 11, 10);
    let (names, seqs) = bench.found();
    assert_eq!(names, ["merged_00000001.parquet"]);
    assert_eq!(seqs, (1..=30).collect::<Vec<_>>());
}

#[test]
fn new_rows_beside_merged_ones_stay() {
    // The same, but of the rows that are sent one half was never stored.
    let bench = std::sync::Arc::new(Bench::new());
    let plain = bench.adapter(None);
    (0..3).for_each(|n| bench.store(&plain, n * 10 + 1, 10));
    bench.compact(&plain);
    bench.store(&plain, 31, 5);
    let compacts = {
        let bench = bench.clone();
        move || drop(bench.compact(&bench.adapter(None)))
    };
    let late = bench.adapter(Some(("events_", Box::new(compacts))));
    bench.store(&late, 26, 20);
    let (_, seqs) = bench.found();
    assert_eq!(seqs, (1..=45).collect::<Vec<_>>());
    bench.compact(&plain);
    assert_eq!(bench.found().1, (1..=45).collect::<Vec<_>>());
}

#[test]
fn a_compactor_that_was_stopped_for_long_takes_its_object_back() {
    // It has merged what there was and is stopped before it publishes. Another one publishes under
    // the same generation; more comes; that is merged further, and the generation is free again.
    let bench = std::sync::Arc::new(Bench::new());
    let plain = bench.adapter(None);
    (0..3).for_each(|n| bench.store(&plain, n * 10 + 1, 10));
    let others = {
        let bench = bench.clone();
        move || {
            let plain = bench.adapter(None);
            bench.compact(&plain);
            bench.store(&plain, 31, 10);
            bench.compact(&plain);
        }
    };
    let late = bench.adapter(Some((MERGED, Box::new(others))));
    let report = bench.compact(&late);
    let (names, seqs) = bench.found();
    assert_eq!(names, ["merged_00000002.parquet"], "{report:?}");
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
    assert_eq!(report.rows, 0, "it has merged nothing that lasted");
}

#[test]
fn what_lies_there_twice_is_mended() {
    let bench = Bench::new();
    let plain = bench.adapter(None);
    (0..3).for_each(|n| bench.store(&plain, n * 10 + 1, 10));
    let day = bench.folder.path().join("year=1970/month=01/day=01");
    let saved: Vec<_> = bench
        .found()
        .0
        .into_iter()
        .map(|name| (day.join(&name), std::fs::read(day.join(&name)).unwrap()))
        .collect();
    bench.compact(&plain);
    // A request that was under way when its sender died is carried out after all.
    for (path, bytes) in &saved[1..] {
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(bench.found().1.len(), 50);
    let report = bench.compact(&plain);
    assert_eq!((report.mended, report.rows), (2, 0));
    assert_eq!(bench.found().1, (1..=30).collect::<Vec<_>>());

    // Two merged objects that have some rows in common, and each some of its own.
    let whole = day.join("merged_00000001.parquet");
    let first = std::fs::read(&whole).unwrap();
    std::fs::remove_file(&whole).unwrap();
    std::fs::write(&saved[2].0, &saved[2].1).unwrap();
    bench.store(&plain, 31, 10);
    bench.compact(&plain);
    std::fs::rename(&whole, day.join("merged_00000002.parquet")).unwrap();
    std::fs::write(&whole, first).unwrap();
    assert_eq!(bench.found().1.len(), 50);
    bench.compact(&plain);
    assert_eq!(bench.found().1, (1..=40).collect::<Vec<_>>());
}

#[test]
fn an_object_that_holds_no_row_is_removed() {
    let bench = Bench::new();
    let plain = bench.adapter(None);
    bench.store(&plain, 1, 10);
    let day = bench.folder.path().join("year=1970/month=01/day=01");
    let empty = crate::parquet::encode(&[]).unwrap();
    std::fs::write(day.join("events_empty.parquet"), empty).unwrap();
    assert_eq!(bench.compact(&plain).mended, 1);
    assert_eq!(bench.found().1.len(), 10);
}

/// Compaction reads objects as they are: a scan gives a row once that stands there twice, with whatever it holds
/// the second time, so that merging what a scan gives would lose it.
#[cfg(feature = "read")]
#[test]
fn compact_keeps_rows_that_scan_would_join() {
    use crate::read::{Scan, open_reader, rows};
    let bench = Bench::new();
    let adapter = bench.adapter(None);
    let event = |seq: u64, reason: &str| SafetyEvent {
        timestamp: Timestamp::from_micros(seq.cast_signed() * 1_000_000),
        reason: Some(reason.to_owned()),
        ..plain_event(seq)
    };
    let (one, other) = (
        buffer(JOURNAL, 1, &[event(1, "first"), event(2, "x")]),
        buffer(JOURNAL, 1, &[event(1, "second")]),
    );
    let twice: Vec<_> = one.batch().rows().chain(other.batch().rows()).collect();
    let day = bench.folder.path().join("year=1970/month=01/day=01");
    std::fs::create_dir_all(&day).unwrap();
    let name = format!("events_{JOURNAL}_{:020}-{:020}.parquet", 1, 2);
    let file = crate::parquet::encode(&twice).unwrap();
    std::fs::write(day.join(&name), &file).unwrap();
    bench.store(&adapter, 3, 2);
    bench.store(&adapter, 5, 2);
    let scanned = || {
        let url = format!("file://{}/", bench.folder.path().display());
        let batches = open_reader(&url).unwrap().scan(Scan::default()).unwrap();
        batches.map(|batch| rows(&batch.unwrap()).count()).sum::<usize>()
    };
    assert_eq!(scanned(), 6);
    bench.compact(&adapter);
    assert_eq!(std::fs::read(day.join(&name)).unwrap(), file);
    let (names, seqs) = bench.found();
    assert_eq!((names.len(), seqs), (2, vec![1, 1, 2, 3, 4, 5, 6]));
    assert_eq!(scanned(), 6);
}
