//! Replay: idempotent, whole or not at all, and never through a link.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::tests::{bench, rows};
use super::*;
use crate::adapter::{AdapterError, MemoryAdapter};
use crate::event::SafetyEvent;

fn fallback_file(place: &Path) -> PathBuf {
    let sink = SafetyEventSink::builder().fallback_path(Some(place.to_owned())).build();
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
    check("[\n{},\n{\"event_id\": ", 3);
    check("[\n{},\n{]\n", 3);
    check("[\n{},\n7]\n", 3);
    check("[\n{}\n{}]", 3);
    check("[\n{}]\n]", 3);
    check("[\n{\"journal_id\":\"no\",\"seq\":1}]", 2);
    check(&"[".repeat(100_000), 1);
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
