//! Small objects become large ones, and no row is lost or doubled: whoever is killed, writes, sends
//! again, compacts at the same time, or reads.

pub(crate) mod crashes;
mod at_once;

use std::path::{Path, PathBuf};
use std::time::Duration;

use namel3ss_safety::ReadRow;
use namel3ss_safety::conformance::{buffer, hostile_events, plain_event};
use namel3ss_safety::{DatasetAdapter, Failure, JournalId, RowBuffer, SafetyEvent, Timestamp};
use namel3ss_safety_stores::objects::{CompactOptions, CompactedDay, Place, compact};
use namel3ss_safety_stores::open;

use super::server::Server;
use super::stores::{self, azurite, gcs};
use super::support::all;
use super::xml_store::{Honours, XmlStore};

const JOURNALS: [JournalId; 2] = [JournalId([1; 16]), JournalId([2; 16])];
/// Batches of each journal in `fill`, and rows of each batch.
const BATCHES: u64 = 12;
const ROWS: u64 = 5;

fn s3(port: u16, place: &str) -> String {
    format!(
        "s3://safety/{place}?endpoint=http://127.0.0.1:{port}&access_key_id=test\
         &secret_access_key=testtest"
    )
}

fn noon(day: u32) -> i64 {
    let text = format!("2026-03-{day:02}T12:00:00Z");
    text.parse::<Timestamp>().expect("a time").micros()
}

/// A batch of `fill`: rows of two journals take turns in time, and each is of 1 March.
fn batch(journal: JournalId, batch: u64) -> RowBuffer {
    let first = batch * ROWS + 1;
    let event = |seq: u64| SafetyEvent {
        // The later of a batch come a little before the earlier ones.
        timestamp: Timestamp::from_micros(noon(1) + (seq ^ 1).cast_signed() * 1_000_000),
        ..plain_event(seq)
    };
    let events: Vec<SafetyEvent> = (first..first + ROWS).map(event).collect();
    buffer(journal, first, &events)
}

/// Stores a batch as a sink does: what may pass is tried again. In a bucket, an object may go between
/// two requests, into a merged one.
fn store(adapter: &dyn DatasetAdapter, rows: &RowBuffer) {
    for _ in 0..100 {
        match adapter.insert(&rows.batch()) {
            Ok(()) => return,
            Err(error) if *error.failure() == Failure::Transient => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it does not pass");
}

/// Many small objects.
fn fill(url: &str) {
    let adapter = open(url).expect("a URL");
    for journal in JOURNALS {
        for n in 0..BATCHES {
            store(&*adapter, &batch(journal, n));
        }
    }
}

const TOTAL: usize = (JOURNALS.len() as u64 * BATCHES * ROWS) as usize;

fn options() -> CompactOptions {
    CompactOptions {
        before: Timestamp::from_micros(noon(28)),
        target_bytes: CompactOptions::TARGET_BYTES,
        dry_run: false,
        linger: Duration::ZERO,
    }
}

/// So that there are several merged objects, and merged ones that are merged further.
fn small() -> CompactOptions {
    CompactOptions { target_bytes: 40_000, ..options() }
}

fn compacted(url: &str, options: &CompactOptions) -> Vec<CompactedDay> {
    let place = Place::parse(url).expect("a URL");
    let (days, ended) = compact(place, options, &mut |_| true).expect("compacted");
    assert!(ended);
    assert!(days.iter().all(|day| day.errors.is_empty()), "{days:?}");
    days
}

/// Every Parquet file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The rows of every file, also those that are there twice.
fn raw(folder: &Path) -> Vec<ReadRow> {
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("a file");
        namel3ss_safety_stores::parquet::decode(bytes).expect("Parquet")
    };
    files(folder).iter().flat_map(read).collect()
}

fn ids(rows: &[ReadRow]) -> Vec<(JournalId, u64)> {
    let mut ids: Vec<_> = rows
        .iter()
        .map(|row| row.id.map(|(journal, seq)| (journal, seq.0)).expect("ours"))
        .collect();
    ids.sort();
    ids
}

#[track_caller]
fn each_once(rows: &[ReadRow], total: usize) {
    let mut found = ids(rows);
    assert_eq!(found.len(), total);
    found.dedup();
    assert_eq!(found.len(), total, "rows are there twice");
}

struct Folder {
    folder: tempfile::TempDir,
    url: String,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("file://{}/data/", folder.path().display());
        Self { folder, url }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

#[test]
fn many_objects_become_one_by_time_with_every_row_as_it_was() {
    let folder = Folder::new();
    let adapter = open(&folder.url).expect("a URL");
    let moved = |(n, event): (usize, SafetyEvent)| SafetyEvent {
        timestamp: Timestamp::from_micros(
            noon(1 + (n % 2) as u32) + (n as i64 * 7_919) % 1_000_003,
        ),
        ..event
    };
    let events: Vec<SafetyEvent> = hostile_events()
        .into_iter()
        .chain((0..400).map(plain_event))
        .enumerate()
        .map(moved)
        .collect();
    for journal in JOURNALS {
        for (n, events) in events.chunks(7).enumerate() {
            adapter.insert(&buffer(journal, n as u64 * 7 + 1, events).batch()).expect("stored");
        }
    }
    let mut before = raw(&folder.path());
    let count = files(&folder.path()).len() as u64;
    let planned = compacted(&folder.url, &CompactOptions { dry_run: true, ..options() });
    assert_eq!(files(&folder.path()).len() as u64, count, "a dry run changes nothing");
    let days = compacted(&folder.url, &options());
    assert_eq!(days.len(), 2);
    assert_eq!(days.iter().map(|day| day.objects[0]).sum::<u64>(), count);
    for (day, planned) in days.iter().zip(&planned) {
        assert_eq!((day.objects, day.rows), (planned.objects, planned.rows));
        assert!(day.objects[1] == 1 && day.bytes[1] < day.bytes[0], "{day:?}");
    }
    let names: Vec<_> = files(&folder.path());
    assert!(names.iter().all(|name| name.ends_with("merged_00000001.parquet")), "{names:?}");
    let mut after = raw(&folder.path());
    let by_time = |row: &ReadRow| (row.event.timestamp.micros(), row.id);
    assert!(after.is_sorted_by_key(by_time));
    // NaN is not equal to itself; its text is.
    before.sort_by_key(|row| row.id);
    after.sort_by_key(|row| row.id);
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    assert_eq!(all(&folder.url).len(), after.len());
    let again = compacted(&folder.url, &options());
    assert!(again.iter().all(|day| day.rows == 0 && day.objects == [1, 1]));
    let beside = std::fs::read_dir(folder.folder.path()).unwrap().count();
    assert_eq!(beside, 1, "nothing is left beside the dataset");
}

#[test]
fn a_target_size_is_kept_and_row_groups_tell_their_times() {
    let folder = Folder::new();
    let adapter = open(&folder.url).expect("a URL");
    for n in 0..30_u64 {
        let event = |seq: u64| SafetyEvent {
            timestamp: Timestamp::from_micros(noon(1) + seq.cast_signed() * 1_000),
            // What does not compress.
            reason: Some(fastrand::Rng::with_seed(seq).u128(..).to_string()),
            ..plain_event(seq)
        };
        let first = n * 2_000 + 1;
        let events: Vec<SafetyEvent> = (first..first + 2_000).map(event).collect();
        adapter.insert(&buffer(JOURNALS[0], first, &events).batch()).expect("stored");
    }
    let largest = files(&folder.path()).iter().map(|f| f.metadata().unwrap().len()).max().unwrap();
    let [day] =
        &compacted(&folder.url, &CompactOptions { target_bytes: 8 * largest, ..options() })[..]
    else {
        panic!("one day")
    };
    assert!((4..=8).contains(&day.objects[1]), "{day:?}");
    for file in files(&folder.path()) {
        let bytes = file.metadata().unwrap().len();
        assert!(bytes <= 8 * largest + largest / 2, "{bytes} of {largest}");
    }
    each_once(&raw(&folder.path()), 60_000);
    let mut reader =
        namel3ss_safety_stores::objects::Reader::open(Place::parse(&folder.url).expect("a URL"))
            .expect("a reader");
    reader.only_since(Timestamp::from_micros(noon(1) + 59_000_000));
    reader.look().expect("a listing");
    assert!(reader.count() < 20_000, "most of it is skipped");
}

#[test]
fn a_batch_that_is_sent_again_after_it_was_merged_is_known() {
    let (amazon, azure, google) =
        (Server::start("s3"), azurite(), XmlStore::start(Honours::Google));
    let folder = Folder::new();
    let urls = [
        folder.url.clone(),
        s3(amazon.port, "again"),
        stores::azure(azure.port, "again"),
        gcs(google.port, "again"),
    ];
    for url in urls {
        fill(&url);
        compacted(&url, &options());
        fill(&url);
        // In other batches, as a fallback file is replayed; and with rows that are new.
        let event = |seq: u64| SafetyEvent {
            timestamp: Timestamp::from_micros(noon(1) + (seq ^ 1).cast_signed() * 1_000_000),
            ..plain_event(seq)
        };
        let last = BATCHES * ROWS;
        let events: Vec<SafetyEvent> = (3..=last + 2).map(event).collect();
        open(&url).expect("a URL").insert(&buffer(JOURNALS[0], 3, &events).batch()).expect("known");
        each_once(&all(&url), TOTAL + 2);
        let [day] = &compacted(&url, &options())[..] else { panic!("one day") };
        assert_eq!((day.objects, day.rows), ([2, 1], TOTAL as u64 + 2), "{day:?}");
        each_once(&all(&url), TOTAL + 2);
    }
    each_once(&raw(&folder.path()), TOTAL + 2);
}

#[test]
fn what_is_not_ours_stays_as_it_is() {
    let folder = Folder::new();
    fill(&folder.url);
    let day = folder.path().join("year=2026/month=03/day=01");
    std::fs::write(day.join("events_stranger.parquet"), "no Parquet").unwrap();
    std::fs::write(day.join("notes.txt"), "of somebody").unwrap();
    let place = Place::parse(&folder.url).expect("a URL");
    let (days, _) = compact(place, &options(), &mut |_| true).expect("compacted");
    assert_eq!((days[0].objects, days[0].rows), ([25, 2], TOTAL as u64));
    assert!(days[0].errors[0].contains("events_stranger"), "{:?}", days[0].errors);
    assert_eq!(std::fs::read(day.join("notes.txt")).unwrap(), b"of somebody");
    std::fs::remove_file(day.join("events_stranger.parquet")).unwrap();
    each_once(&raw(&folder.path()), TOTAL);
    let refused = |url: &str, part: &str| {
        let place = Place::parse(url).expect("a URL");
        let error = compact(place, &options(), &mut |_| true).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    refused("file:///nowhere/?format=json", "only Parquet");
    // A store that overwrites: two compactors could publish the same generation.
    let careless = XmlStore::start(Honours::Nothing);
    let url = s3(careless.port, "p");
    fill(&url);
    refused(&url, "without overwriting");
    each_once(&all(&url), TOTAL);
}

/// Earlier builds told readers by `ARROW:schema` that words are dictionaries, on which some engines fail.
/// Such objects are read, and compacted together with new ones into objects of plain texts.
#[test]
fn objects_with_dictionary_types_are_read_and_compacted_with_new_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures/parquet-dictionary");
    let (day, data) = ("year=2026/month=03/day=01", folder.path().join("data"));
    std::fs::create_dir_all(data.join(day)).expect("a folder");
    for path in files(&old) {
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, data.join(day).join(name)).expect("a copy");
    }
    assert_eq!(files(&data).len(), 2);
    assert!(files(&data).iter().all(|path| has_arrow_schema(path)));
    let url = format!("file://{}/", data.display());
    assert_eq!(all(&url).len(), 6);

    fill(&url);
    let mut before = raw(&data);
    assert_eq!(before.len(), 6 + TOTAL);
    compacted(&url, &options());
    assert_eq!(files(&data).len(), 1);
    assert!(files(&data).iter().all(|path| !has_arrow_schema(path)));
    let mut after = raw(&data);
    for rows in [&mut before, &mut after] {
        rows.sort_by_key(|row| row.id);
    }
    assert_eq!(after, before);
}

fn has_arrow_schema(path: &Path) -> bool {
    let bytes = std::fs::read(path).expect("a file");
    bytes.windows(12).any(|found| found == b"ARROW:schema")
}
