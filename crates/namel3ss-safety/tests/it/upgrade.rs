//! What the version before kept under a fallback path is taken over: journals, sidecars and fallback
//! files. `fixtures/upgrade-0.1` was written by that version, and has a frozen batch whose rows were
//! stored by a process that was killed before it could write that down.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use namel3ss_safety::internal::journal::cursor::Cursor;
use namel3ss_safety::internal::journal::media::{DiskFolder, Folder};
use namel3ss_safety::internal::journal::{Journal, Options};
use namel3ss_safety::{
    AdapterError, Batch, DatasetAdapter, Delivery, Durability, JournalId, JsonAdapter, RowBuffer,
    Seq, internal::codec,
};

use crate::support::{Dataset, builder, event};

const JOURNAL: JournalId = JournalId(*b"\x01\x99upgrade\x7f\x80one\0\0");
/// Where the first sink's rows went, and the second one's.
const DESTINATIONS: [&str; 2] = ["file:///data/safety.jsonl", "file:///data/b.jsonl"];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures/upgrade-0.1")
}

/// A dataset that goes by the name which the fixture's files hold.
#[derive(Debug)]
struct Named(JsonAdapter, &'static str);

impl DatasetAdapter for Named {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        self.0.insert(batch)
    }

    fn identity(&self) -> String {
        self.1.to_owned()
    }

    fn delivery(&self) -> Delivery {
        self.0.delivery()
    }
}

/// Writes the fixture; run by hand, with the version before, as `write_fixture` is.
#[test]
#[ignore = "it writes into the repository, once a version"]
fn write_fixture_of_the_version_before() {
    if std::env::var_os("N3_SAFETY_WRITE_FIXTURE").is_none() {
        return;
    }
    let _ = fs::remove_dir_all(fixture());
    let (fallback, data) = (fixture().join("fallback"), fixture().join("data"));
    fs::create_dir_all(&data).unwrap();
    // An outage: both sinks filed their rows, and the journal was finished.
    let dead =
        |n: usize| Dataset::named(DESTINATIONS[n], |_| Err(AdapterError::transient("reach it")));
    let logger = builder(dead(0)).also_to(dead(1)).home(&fallback).fallback_path(&fallback);
    let logger = logger.threads(false).build().unwrap();
    for n in 101..=103 {
        let _ = logger.log(&event(n));
    }
    let _ = logger.stop(None);
    drop(logger);
    // A kill: ten of twenty events are stored, five are acknowledged, five are frozen.
    let path = fallback.join("journal/safety_events").join(JOURNAL.to_string());
    let folder: Arc<dyn Folder> = Arc::new(DiskFolder::create(&path, true).unwrap());
    let options = Options {
        ring_bytes: 8 << 10,
        ring_bytes_max: 8 << 10,
        segment_bytes_max: 16 << 10,
        ..Options::default()
    };
    let names = ("safety_events", &[DESTINATIONS[0].to_owned()][..]);
    let journal = Journal::create(folder.clone(), None, JOURNAL, names, options).unwrap();
    let dataset = JsonAdapter::new(data.join("safety.jsonl")).unwrap();
    for run in [1..=5, 6..=10, 11..=20] {
        let mut rows = RowBuffer::new(JOURNAL);
        rows.reset(JOURNAL, Durability::Process);
        for n in run {
            let mut payload = Vec::new();
            codec::encode(&event(n), &mut payload);
            let seq = journal.append(&payload).unwrap();
            assert_eq!(seq, Seq(n));
            rows.push(seq, &payload).unwrap();
        }
        if rows.batch().rows().next().unwrap().seq <= Seq(6) {
            dataset.insert(&rows.batch()).unwrap();
        }
    }
    journal.drain(Seq(0)).unwrap();
    drop(journal);
    let cursor = Cursor::open(&*folder, "safety_events").unwrap();
    let frozen = (Seq(6), Seq(10));
    cursor.save(|state| (state.acked, state.flushed, state.frozen) = (Seq(5), 5, frozen)).unwrap();
}

/// A copy of the fixture, because taking it over changes it.
fn copied() -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), &to),
                false => drop(fs::copy(entry.path(), to).unwrap()),
            }
        }
    }
    let place = tempfile::tempdir().unwrap();
    copy(&fixture(), place.path());
    place
}

fn ids(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let id = |line: &str| -> u64 {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["event_id"].as_str().unwrap().parse().unwrap()
    };
    text.lines().map(id).collect()
}

/// Journals were under the fallback path. A logger with the same path, whose journals are in the home
/// now, left them where they were: their events were neither delivered nor seen by `n3-safety`.
#[test]
fn a_journal_under_the_fallback_path_is_delivered() {
    let place = copied();
    let (home, fallback) = (place.path().join("home"), place.path().join("fallback"));
    let journal = fallback.join("journal/safety_events").join(JOURNAL.to_string());
    assert!(journal.exists());
    let data = place.path().join("data/safety.jsonl");
    assert_eq!(ids(&data), (1..=10).collect::<Vec<_>>());
    let dataset = Arc::new(Named(JsonAdapter::new(&data).unwrap(), DESTINATIONS[0]));
    let logger = builder(dataset).home(&home).fallback_path(&fallback).threads(false);
    let logger = logger.build().unwrap();
    let _ = logger.log(&event(21));
    let report = logger.stop(None);
    assert!(report.complete, "{report:?}");
    // The frozen batch is in the dataset already, which the sidecar knows.
    let found = ids(&data);
    assert_eq!(found.iter().filter(|id| **id <= 21).count(), 21, "{found:?}");
    assert!((1..=21).all(|id| found.contains(&id)), "{found:?}");
    assert_eq!(logger.stats().total_recovered, 15);
    assert!(!journal.exists());
    // The files in the folder itself named no destination: they are that of the journals there.
    let mut found = found;
    found.sort_unstable();
    assert_eq!(found, (1..=21).chain(101..=103).collect::<Vec<_>>());
    assert_eq!(logger.stats().total_replayed, 3);
    let said = fs::read_to_string(fallback.join("destination")).unwrap();
    assert_eq!(said, DESTINATIONS[0]);
    let folder = logger.journal_folder().unwrap();
    assert!(folder.starts_with(home.join("journal/safety_events")), "{}", folder.display());
    // What is outside the home is found by its register.
    assert_eq!(namel3ss_safety::internal::register::folders(&home).unwrap(), [fallback]);
}

/// A further sink's files had a folder of their own, which said where they go.
#[test]
fn files_of_a_further_sink_are_replayed() {
    let place = copied();
    let (home, fallback) = (place.path().join("home"), place.path().join("fallback"));
    let named = |file: &str, n: usize| {
        let adapter = JsonAdapter::new(place.path().join(file)).unwrap();
        Arc::new(Named(adapter, DESTINATIONS[n]))
    };
    let first = named("data/safety.jsonl", 0);
    let logger = builder(first).also_to(named("b.jsonl", 1)).home(home).fallback_path(&fallback);
    let logger = logger.threads(false).build().unwrap();
    assert!(logger.flush(None).complete);
    assert_eq!(ids(&place.path().join("b.jsonl")), [101, 102, 103]);
    assert_eq!(ids(&place.path().join("data/safety.jsonl")).len(), 23);
}

/// A folder that another destination's journals were in, too, says nothing of its files.
#[test]
fn files_of_unknown_destination_wait_for_a_person() {
    let place = copied();
    let (home, fallback) = (place.path().join("home"), place.path().join("fallback"));
    let dataset = Dataset::named("file:///data/elsewhere.jsonl", |_| Ok(()));
    let logger = builder(dataset.clone()).home(home).fallback_path(&fallback).threads(false);
    let logger = logger.build().unwrap();
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.len(), 0);
    assert!(!fallback.join("destination").exists());
    assert!(fallback.join("journal/safety_events").join(JOURNAL.to_string()).exists());
}
