//! Our adapters pass the suite, and what is particular to files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use namel3ss_safety::conformance::{Subject, buffer, copies, plain_event, run};
use namel3ss_safety::{
    AdapterError, CsvAdapter, DatasetAdapter, Failure, JournalId, JsonAdapter, MemoryAdapter,
    RowBuffer, SafetyEvent, Seq,
};
use namel3ss_safety::{ReadRow, internal::adapter};

pub(crate) const FILES: [&str; 3] = ["safety.csv", "safety.json", "safety.jsonl"];

pub(crate) fn open(path: &Path) -> Arc<dyn DatasetAdapter> {
    if path.extension().is_some_and(|e| e == "csv") {
        Arc::new(CsvAdapter::new(path).expect("a file name"))
    } else {
        Arc::new(JsonAdapter::new(path).expect("a known extension"))
    }
}

pub(crate) fn read(path: &Path) -> Vec<ReadRow> {
    if !path.exists() {
        return Vec::new();
    }
    let text = fs::read(path).expect("the file can be read");
    if path.extension().is_some_and(|e| e == "json") && !text.is_empty() {
        serde_json::from_slice::<Vec<serde_json::Value>>(&text).expect("one valid array");
    }
    if path.extension().is_some_and(|e| e == "csv") {
        let rows = adapter::csv::read(path).expect("a header");
        rows.map(|row| row.expect("a whole row")).collect()
    } else {
        let rows = adapter::json::read(path).expect("a file");
        rows.map(|row| row.expect("a whole row")).collect()
    }
}

pub(crate) fn rows(journal: JournalId, first: u64, count: u64) -> RowBuffer {
    let events: Vec<SafetyEvent> = (first..first + count).map(plain_event).collect();
    buffer(journal, first, &events)
}

pub(crate) fn seqs(path: &Path) -> Vec<u64> {
    let mut seqs: Vec<u64> = read(path).iter().filter_map(|row| row.id.map(|id| id.1.0)).collect();
    seqs.sort_unstable();
    seqs
}

pub(crate) fn insert(adapter: &dyn DatasetAdapter, rows: &RowBuffer) -> Result<(), AdapterError> {
    adapter.insert(&rows.batch())
}

pub(crate) fn sidecar(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
    path.with_file_name(format!(".{name}.ledger"))
}

/// One check for each kind of file.
pub(crate) fn each(check: impl Fn(&Path)) {
    for name in FILES {
        let folder = tempfile::tempdir().expect("a folder");
        check(&folder.path().join(name));
    }
}

#[test]
fn memory_conforms() {
    let subject = || {
        let memory = Arc::new(MemoryAdapter::default());
        let rows = memory.clone();
        Subject::new(memory, move || {
            let row =
                |r: adapter::StoredRow| ReadRow { id: Some((r.journal, r.seq)), event: r.event };
            rows.rows().into_iter().map(row).collect()
        })
    };
    run(subject);
    copies(subject);
}

fn file_conforms(name: &'static str) {
    let subject = || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        let again = path.clone();
        Subject::new(open(&path), move || {
            let _keep = &folder;
            read(&path)
        })
        .reopened_by(move || open(&again))
    };
    run(subject);
    copies(subject);
}

#[test]
fn csv_conforms() {
    file_conforms("safety.csv");
}

#[test]
fn json_array_conforms() {
    file_conforms("safety.json");
}

#[test]
fn json_lines_conform() {
    file_conforms("safety.jsonl");
}

#[test]
fn of_what_a_crash_left_whole_rows_stay_and_the_rest_of_one_is_cut_off() {
    each(|path| {
        let journal = JournalId::generate();
        insert(&*open(path), &rows(journal, 1, 3)).unwrap();
        let committed = fs::read(path).unwrap();
        let ledger = fs::read(sidecar(path)).unwrap();
        // As a kill in the middle of an append leaves it, from its first byte to its last.
        let more = rows(journal, 4, 2);
        insert(&*open(path), &more).unwrap();
        let longer = fs::read(path).unwrap();
        let common = longer.iter().zip(&committed).take_while(|(a, b)| a == b).count();
        // Each byte at both ends, and some between.
        let torn = (common..=longer.len())
            .filter(|at| at % 13 == 0 || *at < common + 5 || *at > longer.len() - 20);
        for torn in torn {
            let mut content = longer[..torn].to_vec();
            content.extend_from_slice(committed.get(torn..).unwrap_or_default());
            fs::write(path, &content).unwrap();
            fs::write(sidecar(path), &ledger).unwrap();
            // A batch that is there already still leaves the file whole.
            insert(&*open(path), &rows(journal, 1, 3)).unwrap();
            let seqs = seqs(path);
            assert!((3..=5).contains(&seqs.len()), "torn at {torn}");
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "torn at {torn}");
            insert(&*open(path), &more).unwrap();
            assert!(fs::read(path).unwrap() == longer, "torn at {torn}");
        }
    });
}

#[test]
fn a_deleted_or_moved_file_begins_anew() {
    each(|path| {
        let journal = JournalId::generate();
        let adapter = open(path);
        insert(&*adapter, &rows(journal, 1, 3)).unwrap();
        let old = path.with_extension("1");
        fs::rename(path, &old).unwrap();
        // Delivered into the old file, so not again into the new one.
        insert(&*adapter, &rows(journal, 1, 5)).unwrap();
        assert_eq!(seqs(path), [4, 5]);
        fs::remove_file(path).unwrap();
        insert(&*adapter, &rows(journal, 6, 1)).unwrap();
        assert_eq!(seqs(path), [6]);
        fs::File::create(path).unwrap();
        insert(&*adapter, &rows(journal, 7, 1)).unwrap();
        assert_eq!(seqs(path), [7]);
        // An editor that puts a new file in its place: the old one is nobody's any more.
        let new = path.with_extension("2");
        fs::copy(path, &new).unwrap();
        fs::rename(new, path).unwrap();
        insert(&*adapter, &rows(journal, 8, 1)).unwrap();
        assert_eq!(seqs(path), [7, 8]);
        fs::remove_file(path).unwrap();
        fs::remove_file(sidecar(path)).unwrap();
        insert(&*adapter, &rows(journal, 1, 1)).unwrap();
        assert_eq!(seqs(path), [1]);
    });
}

#[test]
fn without_a_sidecar_a_file_is_taken_as_it_is() {
    each(|path| {
        let journal = JournalId::generate();
        insert(&*open(path), &rows(journal, 1, 3)).unwrap();
        for content in [None, Some(&b"rubbish"[..])] {
            match content {
                None => fs::remove_file(sidecar(path)).unwrap(),
                Some(rubbish) => fs::write(sidecar(path), rubbish).unwrap(),
            }
            let before = read(path);
            let next = 1 + before.len() as u64;
            insert(&*open(path), &rows(journal, next, 1)).unwrap();
            let after = read(path);
            assert_eq!(after[..before.len()], before[..]);
            assert_eq!(after.len(), before.len() + 1);
        }
    });
}

#[test]
fn a_torn_last_line_without_a_sidecar_is_completed_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.jsonl");
    fs::write(&path, "{\"event_id\":\"theirs\"}").unwrap();
    insert(&*open(&path), &rows(JournalId::generate(), 1, 1)).unwrap();
    assert_eq!(read(&path)[0].event.event_id, "theirs");
    assert_eq!(seqs(&path), [1]);

    let path = folder.path().join("theirs.csv");
    fs::write(&path, "reason,metadata\nwhole,{}\n\"torn, and quo").unwrap();
    insert(&*open(&path), &rows(JournalId::generate(), 1, 1)).unwrap();
    let read = read(&path);
    assert_eq!(read.len(), 3);
    assert_eq!(read[1].event.reason.as_deref(), Some("torn, and quo"));

    let path = folder.path().join("theirs.json");
    for (theirs, count) in [("[]", 1), (" [ {\"event_id\":\"a\"} ]", 2), ("[{},\n{}\n]\n\n", 3)] {
        let _ = fs::remove_file(&path);
        fs::write(&path, theirs).unwrap();
        insert(&*open(&path), &rows(JournalId::generate(), 1, 1)).unwrap();
        assert_eq!(self::read(&path).len(), count, "{theirs}");
    }
    let _ = fs::remove_file(&path);
    fs::write(&path, "[{}").unwrap();
    let error = insert(&*open(&path), &rows(JournalId::generate(), 1, 1)).unwrap_err();
    assert_eq!(*error.failure(), Failure::Config);
    assert_eq!(fs::read(&path).unwrap(), b"[{}");
}

#[test]
fn another_header_keeps_its_columns_and_the_rest_goes_through_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.csv");
    fs::write(&path, "team,seq,metadata,reason,journal_id,event_id\n").unwrap();
    let journal = JournalId::generate();
    let event = SafetyEvent { reason: Some("because".into()), ..plain_event(9) };
    insert(&*open(&path), &buffer(journal, 1, std::slice::from_ref(&event))).unwrap();
    let row = &read(&path)[0];
    assert_eq!(row.id, Some((journal, Seq(1))));
    // What has no column stands in the metadata, and is read from there: `tail` showed `allow` and
    // the present time.
    assert!(fs::read_to_string(&path).unwrap().contains("policy_name"));
    assert_eq!(row.event, event);

    let path = folder.path().join("narrow.csv");
    fs::write(&path, "event_id,reason").unwrap();
    let error = insert(&*open(&path), &rows(journal, 1, 1)).unwrap_err();
    assert_eq!(*error.failure(), Failure::Config);
    assert!(error.to_string().contains("lacks timestamp, app_name"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"event_id,reason");
}

/// Needs a small file system of its own, such as `mount -t tmpfs -o size=1m`: name its folder in
/// `N3_SAFETY_SMALL_DISK`, or it does nothing.
#[test]
fn a_full_disk_passes_and_leaves_the_file_valid() {
    let Some(disk) = std::env::var_os("N3_SAFETY_SMALL_DISK").map(PathBuf::from) else { return };
    for name in FILES {
        let (path, ballast) = (disk.join(name), disk.join("ballast"));
        fs::write(&ballast, vec![7; 256 << 10]).unwrap();
        let journal = JournalId::generate();
        let adapter = open(&path);
        let mut stored = 0;
        let error = loop {
            match insert(&*adapter, &rows(journal, stored + 1, 50)) {
                Ok(()) => stored += 50,
                Err(error) => break error,
            }
        };
        assert_eq!(*error.failure(), Failure::Transient, "{error}");
        assert_eq!(seqs(&path), (1..=stored).collect::<Vec<_>>());
        fs::remove_file(&ballast).unwrap();
        insert(&*adapter, &rows(journal, stored + 1, 50)).unwrap();
        assert_eq!(seqs(&path), (1..=stored + 50).collect::<Vec<_>>());
        fs::remove_file(&path).unwrap();
        fs::remove_file(sidecar(&path)).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn links_are_refused_and_files_are_their_owners_alone() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    each(|path| {
        let target = path.with_extension("target");
        fs::write(&target, "").unwrap();
        symlink(&target, path).unwrap();
        let error = insert(&*open(path), &rows(JournalId::generate(), 1, 1)).unwrap_err();
        assert_eq!(*error.failure(), Failure::Config);
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"");
        fs::remove_file(path).unwrap();
        insert(&*open(path), &rows(JournalId::generate(), 1, 1)).unwrap();
        for file in [path, &sidecar(path)] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    });
}
