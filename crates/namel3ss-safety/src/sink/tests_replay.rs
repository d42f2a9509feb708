//! Replay: idempotent, whole or not at all, and never through a link.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::tests::{bench, rows};
use super::*;
use crate::adapter::{AdapterError, AdapterRegistry, DatasetAdapter, Failure, MemoryAdapter};
use crate::batch::Batch;
use crate::event::SafetyEvent;

fn fallback_file(place: &Path) -> PathBuf {
    let builder = SafetyEventSink::builder().fallback_path(Some(place.to_owned()));
    let sink = builder.home(place).build();
    sink.write(&rows((1..=5).chain(8..=9)).batch()).files.remove(0)
}

#[test]
fn a_file_is_replayed_once_and_moved() {
    let place = tempfile::tempdir().unwrap();
    let file = fallback_file(place.path());
    let (dataset, mut seen) = (MemoryAdapter::default(), Vec::new());
    let mut progress = |done, total| seen.push((done, total));
    let options = ReplayOptions { progress: Some(&mut progress), ..ReplayOptions::default() };
    let copy = fs::read(&file).unwrap();
    let report = replay_file(&file, &dataset, options).unwrap();
    assert_eq!((report.rows, report.batches, report.duplicates), (7, 2, 0));
    assert_eq!(seen, [(5, 7), (7, 7)]);
    assert!(!file.exists());
    let moved = report.moved_to.unwrap();
    assert_eq!(fs::read(&moved).unwrap(), copy);
    // Killed between the insert and the move: the file is still there, and nothing lands twice.
    fs::write(&file, &copy).unwrap();
    let report = replay_file(&file, &dataset, ReplayOptions::default()).unwrap();
    assert_eq!(dataset.len(), 7);
    assert_ne!(report.moved_to.unwrap(), moved, "nothing is overwritten");
    assert!(moved.exists());
    let values: Vec<serde_json::Value> = serde_json::from_slice(&copy).unwrap();
    for (row, mut value) in dataset.rows().into_iter().zip(values) {
        let fields = value.as_object_mut().unwrap();
        assert_eq!(fields.remove("seq").unwrap(), row.seq.0);
        assert_eq!(fields.remove("journal_id").unwrap(), row.journal.to_string());
        assert_eq!(SafetyEvent::from_json(value).unwrap(), row.event);
    }
}

#[test]
fn files_of_copies_of_a_process_are_stored_beside_each_other() {
    let place = tempfile::tempdir().unwrap();
    let dataset = MemoryAdapter::default();
    let files = [0, 1, 2].map(|copy| {
        // The file of a copy: the same ids, and from the third row on events of its own.
        let file = fallback_file(place.path());
        let mut rows: Vec<serde_json::Value> =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        for (at, row) in rows.iter_mut().enumerate() {
            let own = if at < 2 { String::new() } else { format!(" of {copy}") };
            row["event_id"] = format!("{at}{own}").into();
            row["timestamp"] = "2026-03-01T12:00:00Z".into();
        }
        fs::write(&file, serde_json::to_vec(&rows).unwrap()).unwrap();
        file
    });
    for _ in 0..2 {
        for (copy, file) in files.iter().enumerate() {
            let text = fs::read(file).unwrap();
            let report = replay_file(file, &dataset, ReplayOptions::default()).unwrap();
            // Five rows of it have ids of others', but for the first file.
            assert_eq!((report.rows, report.copied), (7, if copy == 0 { 0 } else { 5 }));
            // Killed between the insert and the move.
            fs::write(file, text).unwrap();
        }
        assert_eq!(dataset.len(), 7 + 5 + 5);
    }
}

#[test]
fn rows_that_say_no_id_or_moment_are_stored_once() {
    let place = tempfile::tempdir().unwrap();
    let dataset = MemoryAdapter::default();
    let file = fallback_file(place.path());
    for missing in ["event_id", "timestamp"] {
        let rows: Vec<serde_json::Value> =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let rows = rows.into_iter().map(|mut row| {
            row.as_object_mut().unwrap().remove(missing);
            row
        });
        fs::write(&file, serde_json::Value::Array(rows.collect()).to_string()).unwrap();
        let text = fs::read(&file).unwrap();
        // What is missing is made up, another time at each reading.
        for _ in 0..2 {
            let report = replay_file(&file, &dataset, ReplayOptions::default()).unwrap();
            assert_eq!((report.rows, report.copied), (7, 0));
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(dataset.len(), 7, "without {missing}");
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let file = fallback_file(place.path());
    let dataset = MemoryAdapter::default();
    let options = ReplayOptions { dry_run: true, ..ReplayOptions::default() };
    let report = replay_file(&file, &dataset, options).unwrap();
    assert_eq!((report.rows, report.moved_to, dataset.len()), (7, None, 0));
    assert!(file.exists());
}

#[test]
fn rows_made_by_hand_keep_their_identity() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("by-hand.json");
    let text = "[{\"action\":\"block\",\"_error\":\"x\"}, {\"reason\":\"r\"}]";
    let dataset = MemoryAdapter::default();
    for _ in 0..2 {
        fs::write(&file, text).unwrap();
        replay_file(&file, &dataset, ReplayOptions::default()).unwrap();
    }
    assert_eq!(dataset.rows().iter().map(|row| row.seq.0).collect::<Vec<_>>(), [1, 2]);
    assert!(dataset.rows()[0].event.metadata.is_empty());
    fs::write(&file, text.replace("block", "allow")).unwrap();
    replay_file(&file, &dataset, ReplayOptions::default()).unwrap();
    assert_eq!(dataset.len(), 4, "another file has other rows");
}

/// A fallback file that somebody had edited was refused for one word, or its row became `allow`.
#[test]
fn what_a_row_says_is_read_as_everywhere() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("edited.json");
    let text = r#"[{"action":"DENY"}, {"action":"maybe"}, {"confidence":[]}]"#;
    fs::write(&file, text).unwrap();
    let dataset = MemoryAdapter::default();
    replay_file(&file, &dataset, ReplayOptions::default()).unwrap();
    let events: Vec<_> = dataset.rows().into_iter().map(|row| row.event).collect();
    let actions: Vec<_> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["block", "alert", "alert"]);
    assert_eq!(events[1].metadata["action"], "maybe");
    assert_eq!(events[2].metadata["confidence"], serde_json::json!([]));
}

#[test]
fn rows_are_sorted_and_duplicates_dropped() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("mixed.json");
    let id = "0".repeat(31);
    let row = |journal, seq| format!("{{\"journal_id\":\"{id}{journal}\",\"seq\":{seq}}}");
    fs::write(&file, format!("[{},{},{},{}]", row(2, 1), row(1, 2), row(1, 1), row(1, 2))).unwrap();
    let dataset = MemoryAdapter::default();
    let report = replay_file(&file, &dataset, ReplayOptions::default()).unwrap();
    assert_eq!((report.rows, report.duplicates, report.batches), (3, 1, 2));
    let order: Vec<_> = dataset.rows().iter().map(|row| (row.journal.0[15], row.seq.0)).collect();
    assert_eq!(order, [(1, 1), (1, 2), (2, 1)]);
}

#[test]
fn damage_is_located_and_nothing_moves() {
    let check = |text: &str, line: usize| {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("damaged.json");
        fs::write(&file, text).unwrap();
        let dataset = MemoryAdapter::default();
        let error = replay_file(&file, &dataset, ReplayOptions::default()).unwrap_err();
        assert!(matches!(error, ReplayError::Damaged { line: at, .. } if at == line), "{error}");
        assert!(file.exists() && dataset.is_empty());
    };
    check("", 1);
    check("{}", 1);
    check("[\n\n{\"event_id\": ", 3);
    check("[\n{\"journal_id\":\"no\",\"seq\":1}]", 2);
    check(&"[".repeat(100_000), 1);
}

/// One row that somebody had edited, or that a full disk had cut, kept the whole file from its dataset.
#[test]
fn a_row_that_cannot_be_read_costs_one_row() {
    let check = |text: &str, stored: usize, line: usize, left: &str| {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("damaged.json");
        fs::write(&file, text).unwrap();
        let dataset = MemoryAdapter::default();
        let report = replay_file(&file, &dataset, ReplayOptions::default()).unwrap();
        assert_eq!((dataset.len(), report.rows, report.refused), (stored, stored as u64, 1));
        let why = report.refused_because.unwrap();
        assert!(why.starts_with(&format!("line {line}: ")), "{why}");
        assert!(!file.exists());
        assert_eq!(fs::read_to_string(report.moved_to.unwrap()).unwrap(), text);
        match report.left_in {
            None => assert_eq!(left, ""),
            Some(path) => {
                let rows = fs::read_to_string(&path).unwrap();
                assert!(rows.starts_with(&format!("[\n{left}")), "{rows}");
                // It is no row yet: nothing is stored of it, and it stays.
                let again = replay_file(&path, &dataset, ReplayOptions::default());
                assert!(matches!(again, Err(ReplayError::Damaged { .. })), "{again:?}");
                assert!(path.exists());
            }
        }
    };
    check("[\n{},\n{\"event_id\": ", 1, 3, r#"{"_raw":"{\"event_id\":","_error":"the file ends"#);
    check("[\n{},\n{]\n", 1, 3, r#"{"_raw":"{]","_error":"this row is not JSON""#);
    check("[\n{},\n{]},\n{}\n]\n", 2, 3, r#"{"_raw":"{]}","_error""#);
    check("[\n{},\n7]\n", 1, 3, r#"{"_raw":"7","_error":"a row is a JSON object"}"#);
    let no_id = r#"{"journal_id":"no","seq":1}"#;
    let left = r#"{"journal_id":"no","seq":1,"_error":"journal_id is 32"#;
    check(&format!("[\n{no_id},\n{{}}\n]"), 1, 2, left);
    check("[\n{}\n]\n]", 1, 4, r#"{"_raw":"]","_error":"it stands behind"#);
    // Nothing is left of what was cut away.
    check("[\n{}\n", 1, 3, "");
}

/// One row that the dataset refuses kept the others of its file from it, at each replay again.
#[test]
fn a_row_that_the_dataset_refuses_costs_one_row() {
    // By a dataset that can't tell which one it is, and by one that can.
    costs_one_row(super::tests::refuses(&[2, 8]));
    costs_one_row(|seqs| {
        let bad = |(at, seq): (usize, &u64)| [2, 8].contains(seq).then_some(at);
        match seqs.iter().enumerate().filter_map(bad).collect::<Vec<_>>() {
            bad if bad.is_empty() => Ok(()),
            bad => Err(AdapterError::new(Failure::Poison(bad), "insert: something")),
        }
    });
}

fn costs_one_row(answer: impl FnMut(&[u64]) -> Result<(), AdapterError> + Send + 'static) {
    let place = tempfile::tempdir().unwrap();
    let file = fallback_file(place.path());
    let bench = bench(answer);
    let report = replay_file(&file, &*bench.adapter, ReplayOptions::default()).unwrap();
    assert_eq!((report.rows, report.refused), (5, 2));
    assert_eq!(*bench.adapter.stored.lock().unwrap(), [1, 3, 4, 5, 9]);
    let left = report.left_in.unwrap();
    assert_eq!(super::tests::seqs_in(&left), [2, 8]);
    let text = fs::read_to_string(&left).unwrap();
    assert_eq!(text.matches("\"_error\":\"insert: something\"").count(), 2);
    // A file of nothing but such rows stays as it is.
    let again = replay_file(&left, &*bench.adapter, ReplayOptions::default());
    assert!(matches!(again, Err(ReplayError::Insert { .. } | ReplayError::Refused { .. })));
    assert_eq!(fs::read_to_string(&left).unwrap(), text);
    // Once the cause is mended they land, without their reasons.
    let dataset = MemoryAdapter::default();
    replay_file(&left, &dataset, ReplayOptions::default()).unwrap();
    assert_eq!(dataset.len(), 2);
    assert!(dataset.rows().iter().all(|row| row.event.metadata.is_empty()));
}

#[test]
fn where_memory_is_scarce_a_file_lands_in_parts() {
    let bench = bench(|seqs| match seqs.len() > 2 {
        true => Err(AdapterError::no_memory("encode the rows")),
        false => Ok(()),
    });
    let file = fallback_file(bench.folder.path());
    let report = replay_file(&file, &*bench.adapter, ReplayOptions::default()).unwrap();
    assert_eq!((report.rows, report.moved_to.is_some()), (7, true));
    assert_eq!(*bench.adapter.stored.lock().unwrap(), [1, 2, 3, 4, 5, 8, 9]);
}

#[test]
fn replayed_files_have_a_bound() {
    let place = tempfile::tempdir().unwrap();
    let replayed = place.path().join(REPLAYED);
    fs::create_dir(&replayed).unwrap();
    for n in 0..REPLAYED_FILES_MAX + 5 {
        let path = replayed.join(format!("old_{n}.json"));
        fs::write(&path, "[]").unwrap();
        let day = Duration::from_secs(86_400 * (n as u64 + 1));
        fs::File::open(path).unwrap().set_modified(std::time::UNIX_EPOCH + day).unwrap();
    }
    fs::write(replayed.join("note.txt"), "not ours").unwrap();
    let file = fallback_file(place.path());
    let report = replay_file(&file, &MemoryAdapter::default(), ReplayOptions::default()).unwrap();
    assert!(report.moved_to.unwrap().exists());
    let left = fs::read_dir(&replayed).unwrap().count();
    assert_eq!(left, REPLAYED_FILES_MAX + 1, "and the one that is not ours");
    assert!(!replayed.join("old_0.json").exists() && replayed.join("old_900.json").exists());
}

/// Two loggers with one folder put their files side by side, and a replay stored the rows of both in
/// one dataset.
#[test]
fn files_for_different_destinations_are_never_mixed() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("fallback");
    let failing = |identity: &'static str| {
        let adapter = Named(identity);
        let registry = AdapterRegistry::default();
        registry.register(DATASET_DEFAULT, Arc::new(adapter));
        let builder = SafetyEventSink::builder().registry(Arc::new(registry)).home(place.path());
        let builder = builder.retry_delay(Duration::ZERO).max_retries(1);
        builder.fallback_path(Some(folder.clone())).build()
    };
    let (one, two) = (failing("test:one"), failing("test:two"));
    let destination = |file: &Path| FallbackFolder::open(file.parent().unwrap(), false).unwrap();
    let check = |sink: &SafetyEventSink, seq: u64, itself: bool, to: Option<&str>| {
        let file = sink.write(&rows([seq]).batch()).files.remove(0);
        assert_eq!(file.parent() == Some(&folder), itself, "{}", file.display());
        let found = destination(&file);
        assert_eq!(found.destination(), to);
        assert!(found.files().contains(&file));
        file
    };
    let first = check(&one, 1, true, Some("test:one"));
    let second = check(&two, 2, false, Some("test:two"));
    check(&two, 3, false, Some("test:two"));
    // No adapter: nobody knows where they go, so no folder says so.
    let nobody = SafetyEventSink::builder().home(place.path());
    let nobody = nobody.fallback_path(Some(folder.clone())).build();
    check(&nobody, 4, false, None);
    // An empty folder is anybody's.
    fs::remove_file(first).unwrap();
    check(&two, 5, true, Some("test:two"));
    check(&one, 6, false, Some("test:one"));
    // A folder whose files have no destination, as a version before wrote them, gets none.
    fs::remove_file(folder.join(DESTINATION_NAME)).unwrap();
    check(&two, 7, false, Some("test:two"));
    // What stands in the place of the word, and is none, is left alone.
    fs::create_dir(folder.join(DESTINATION_NAME)).unwrap();
    check(&two, 8, false, Some("test:two"));
    assert!(second.exists());
}

/// A dataset that takes nothing, and has a name.
#[derive(Debug)]
struct Named(&'static str);

impl DatasetAdapter for Named {
    fn insert(&self, _batch: &Batch<'_>) -> Result<(), AdapterError> {
        Err(AdapterError::config("reach it"))
    }

    fn identity(&self) -> String {
        self.0.to_owned()
    }

    fn delivery(&self) -> crate::adapter::Delivery {
        crate::adapter::Delivery::AtLeastOnce
    }
}

/// What a run had filed stayed there for ever unless somebody ran `n3-safety replay`.
#[test]
fn the_next_run_replays_what_an_earlier_one_has_left() {
    let down = Arc::new(AtomicU32::new(1));
    let answers = down.clone();
    let bench = bench(move |seqs| match answers.load(Ordering::SeqCst) {
        0 if seqs.contains(&3) => Err(AdapterError::new(crate::adapter::Failure::Unknown, "no")),
        0 => Ok(()),
        _ => Err(AdapterError::transient("reach it")),
    });
    bench.sink.write(&rows(1..=4).batch());
    let next = bench.next_run();
    next.find_own_files();
    // The dataset is still down, which the next run finds out: no file is given up for that.
    for _ in 0..20 {
        bench.clock.advance(Duration::from_secs(61));
        assert!(next.replay_next().is_some_and(|replayed| replayed.result.is_err()));
    }
    // Another process at the same file has it alone.
    let file = fs::File::open(&bench.files()[0]).unwrap();
    file.lock().unwrap();
    down.store(0, Ordering::SeqCst);
    bench.clock.advance(Duration::from_secs(61));
    assert!(next.replay_next().unwrap().result.is_err());
    drop(file);
    bench.clock.advance(Duration::from_secs(61));
    assert_eq!(next.replay_own(), 1);
    assert_eq!((next.replayed(), next.fell_back()), (3, 0));
    assert_eq!(*bench.adapter.stored.lock().unwrap(), [1, 2, 4]);
    // The row that was refused is left for a person, in this run and in the next one.
    assert_eq!(super::tests::seqs_in(&bench.files()[0]), [3]);
    next.find_own_files();
    assert!(next.replay_next().is_none());
    let last = bench.next_run();
    last.find_own_files();
    let asked = bench.adapter.asked.lock().unwrap().len();
    assert!(matches!(last.replay_next().unwrap().result, Err(ReplayError::Refused { .. })));
    assert_eq!(bench.adapter.asked.lock().unwrap().len(), asked, "it is not even tried");
    bench.clock.advance(Duration::from_secs(61));
    last.find_own_files();
    assert!(last.replay_next().is_none());
    assert_eq!(bench.files().len(), 1);
}

#[test]
fn a_failed_insert_leaves_the_file() {
    let place = tempfile::tempdir().unwrap();
    let file = fallback_file(place.path());
    let bench =
        bench(
            |seqs| {
                if seqs.contains(&8) { Err(AdapterError::config("reach it")) } else { Ok(()) }
            },
        );
    let error = replay_file(&file, &*bench.adapter, ReplayOptions::default()).unwrap_err();
    assert!(matches!(error, ReplayError::Insert { stored: 5, transient: false, .. }), "{error}");
    assert!(file.exists());
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let file = fallback_file(place.path());
    let link = place.path().join("link.json");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let dataset = MemoryAdapter::default();
    for path in [link.as_path(), place.path(), Path::new("/"), Path::new("..")] {
        assert!(matches!(
            replay_file(path, &dataset, ReplayOptions::default()),
            Err(ReplayError::Read { .. })
        ));
    }
    // A `replayed` that leads elsewhere is not followed either.
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), place.path().join(REPLAYED)).unwrap();
    let error = replay_file(&file, &dataset, ReplayOptions::default()).unwrap_err();
    assert!(matches!(error, ReplayError::Move { .. }), "{error}");
    assert!(file.exists());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn own_files_are_replayed_when_the_dataset_is_back() {
    let down = Arc::new(AtomicU32::new(1));
    let answers = down.clone();
    let bench = bench(move |seqs| match answers.load(Ordering::SeqCst) {
        0 => Ok(()),
        2 if seqs == [9] => Ok(()),
        _ => Err(AdapterError::transient("reach it")),
    });
    bench.sink.write(&rows(1..=3).batch());
    bench.sink.write(&rows(4..=6).batch());
    assert!(bench.sink.replay_next().is_none(), "not while it is failing");
    // Back for batches, and not for the files: they stay, and nothing opens.
    down.store(2, Ordering::SeqCst);
    bench.sink.write(&rows([9]).batch());
    assert_eq!(bench.sink.replay_own(), 0);
    assert!(bench.sink.healthy());
    assert!(bench.sink.replay_next().is_none(), "it waits after a failure");
    assert_eq!(bench.files().len(), 2);
    down.store(0, Ordering::SeqCst);
    bench.clock.advance(Duration::from_secs(2));
    assert_eq!(bench.sink.replay_own(), 2);
    assert_eq!((bench.sink.replayed(), bench.files().len()), (6, 0));
    let mut stored = bench.adapter.stored.lock().unwrap().clone();
    stored.sort_unstable();
    assert_eq!(stored, [1, 2, 3, 4, 5, 6, 9]);
}

#[test]
fn a_file_that_never_lands_is_left_for_a_person() {
    let bench =
        bench(|seqs| if seqs == [2] { Ok(()) } else { Err(AdapterError::transient("reach it")) });
    bench.sink.write(&rows([1]).batch());
    bench.sink.write(&rows([2]).batch());
    let mut tries = 0;
    for _ in 0..20 {
        bench.clock.advance(Duration::from_secs(120));
        tries += u32::from(bench.sink.replay_next().is_some());
    }
    assert_eq!((tries, bench.files().len()), (5, 1));
}
