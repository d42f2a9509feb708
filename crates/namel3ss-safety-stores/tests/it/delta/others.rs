//! Other people's tools read our tables, and write to them between our commits.

use std::process::Command;

use namel3ss_safety::conformance::{buffer, hostile_events, plain_event};
use namel3ss_safety::{Failure, JournalId, SafetyAction, SafetyEvent, Timestamp};
use namel3ss_safety_stores::open;
use serde_json::Value;

use super::support::{s3, seqs, with_table};
use crate::objects::server::{Server, python_with};
use crate::objects::support::rows;

fn python() -> String {
    python_with(&["deltalake", "polars", "pyarrow"])
}

fn run(script: &str, arguments: &[&str]) -> String {
    let script = format!("{}/it/delta/{script}", env!("CARGO_MANIFEST_DIR"));
    let done = Command::new(python()).arg(script).args(arguments).output().expect("Python runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

/// What deltalake sees in the table in `folder` once it has done `what`.
pub(crate) fn other(folder: &str, what: &str) -> Value {
    serde_json::from_str(&run("other.py", &[folder, what])).expect("JSON")
}

/// Hostile rows, and plain ones over three days.
fn events() -> Vec<SafetyEvent> {
    // What Python's calendar can name.
    let years = -62_135_596_800_000_000..253_402_300_800_000_000_i64;
    let mut events: Vec<SafetyEvent> = hostile_events()
        .into_iter()
        .filter(|event| years.contains(&event.timestamp.micros()))
        .collect();
    let night: Timestamp = "2026-02-27T23:00:00.123456Z".parse().expect("a time");
    events.extend((0..10_000_u64).map(|n| SafetyEvent {
        timestamp: Timestamp::from_micros(night.micros() + n.cast_signed() * 10_000_001),
        action: SafetyAction::ALL[(n % 4) as usize],
        ..plain_event(n)
    }));
    events
}

fn read_back(delta: &str, table: &str, endpoint: &str) {
    let events = events();
    let folder = tempfile::tempdir().expect("a folder");
    let lines = folder.path().display().to_string();
    let rows = buffer(JournalId::generate(), 1, &events);
    let lines_url = format!("file://{lines}/?format=jsonl");
    open(&lines_url).expect("a URL").insert(&rows.batch()).expect("stored");
    let adapter = open(delta).expect("a URL");
    for from in (0..events.len()).step_by(1_000) {
        let to = (from + 1_000).min(events.len());
        adapter.insert(&rows.batch().slice(from..to)).expect("stored");
    }
    let said = run("read_back.py", &[table, endpoint, &lines]);
    assert!(said.starts_with(&format!("read back {} rows of version 11", events.len())), "{said}");
}

#[test]
fn deltalake_and_polars_read_every_row_as_it_was() {
    with_table(|path, url| {
        read_back(&format!("{url}?checkpoint=4"), &path.display().to_string(), "");
    });
}

#[test]
fn deltalake_and_polars_read_from_s3() {
    let server = Server::start("s3");
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    read_back(&s3(server.port, "read/back?checkpoint=10"), "s3://safety/read/back", &endpoint);
}

#[test]
fn others_append_between_our_commits() {
    with_table(|folder, url| {
        let path = folder.display().to_string();
        let (ours, theirs) = (JournalId::generate(), JournalId::generate());
        let url = format!("{url}?checkpoint=5");
        let adapter = open(&url).expect("a URL");
        adapter.insert(&rows(ours, 1, 10).batch()).expect("stored");
        let seen = other(&path, &format!("append:{theirs}:101:105"));
        assert_eq!((&seen["version"], &seen["rows"]), (&2.into(), &15.into()));
        adapter.insert(&rows(ours, 11, 10).batch()).expect("stored");
        adapter.insert(&rows(ours, 1, 20).batch()).expect("known already");
        let seen = other(&path, "checkpoint");
        assert_eq!((&seen["version"], &seen["rows"]), (&3.into(), &25.into()));
        // From their checkpoint on.
        let again = open(&url).expect("a URL");
        again.insert(&rows(ours, 15, 10).batch()).expect("stored");
        adapter.insert(&rows(ours, 31, 10).batch()).expect("stored");
        // Now they have nothing but our checkpoint to begin from.
        let log = folder.join("_delta_log");
        assert!(log.join("00000000000000000005.checkpoint.parquet").exists());
        (0..=4).for_each(|n| std::fs::remove_file(log.join(format!("{n:020}.json"))).unwrap());
        let seen = other(&path, &format!("append:{theirs}:106:107"));
        assert_eq!((&seen["version"], &seen["rows"]), (&6.into(), &41.into()));
        assert_eq!(seen["different"], 41);
        // They rewrite every file of ours, and remove what they replace.
        let seen = other(&path, "compact");
        assert_eq!((&seen["rows"], &seen["files"]), (&41.into(), &1.into()));
        for adapter in [&adapter, &again, &open(&url).expect("a URL")] {
            adapter.insert(&rows(ours, 1, 24).batch()).expect("known already");
            adapter.insert(&rows(ours, 25, 10).batch()).expect("stored");
        }
        let seen = other(&path, &format!("append:{theirs}:108:108"));
        assert_eq!((&seen["rows"], &seen["different"]), (&48.into(), &48.into()));
        let expected: Vec<u64> = (1..=40).chain(101..=108).collect();
        assert_eq!(seqs(&url), expected);
    });
}

/// As a later version of this library may leave its table.
#[test]
fn a_column_may_come_while_rows_are_stored() {
    with_table(|folder, url| {
        let (path, journal) = (folder.display().to_string(), JournalId::generate());
        let adapter = open(url).expect("a URL");
        adapter.insert(&rows(journal, 1, 10).batch()).expect("stored");
        other(&path, "add-column");
        adapter.insert(&rows(journal, 5, 10).batch()).expect("stored");
        open(url).expect("a URL").insert(&rows(journal, 10, 10).batch()).expect("stored");
        // Rows of theirs, with the column, in a file of its own.
        other(&path, &format!("append:{journal}:101:103"));
        adapter.insert(&rows(journal, 20, 1).batch()).expect("stored");
        let expected: Vec<u64> = (1..=20).chain(101..=103).collect();
        assert_eq!(seqs(url), expected);
        let seen = other(&path, "compact");
        assert_eq!((&seen["rows"], &seen["different"]), (&23.into(), &23.into()));
        adapter.insert(&rows(journal, 15, 7).batch()).expect("stored");
        let expected: Vec<u64> = (1..=21).chain(101..=103).collect();
        assert_eq!(seqs(url), expected);
    });
}

#[test]
fn tables_of_others_are_written_to_or_refused_with_the_reason() {
    with_table(|path, url| {
        let journal = JournalId::generate();
        for (what, missing) in [
            ("create", None),
            ("create-by-date", None),
            ("create-short", Some("it has no column reason, latency_ms")),
            ("create-by-action", Some("it is partitioned by action")),
        ] {
            let (path, url) = (path.join(what).display().to_string(), format!("{url}/{what}"));
            other(&path, what);
            let stored = open(&url).expect("a URL").insert(&rows(journal, 1, 5).batch());
            match (stored, missing) {
                (Ok(()), None) => {
                    let seen = other(&path, &format!("append:{journal}:6:7"));
                    assert_eq!((&seen["rows"], &seen["different"]), (&8.into(), &8.into()));
                    assert_eq!(seqs(&url), [1, 1, 2, 3, 4, 5, 6, 7], "{what}");
                    other(&path, "constrain");
                    let adapter = open(&url).expect("a URL");
                    let error = adapter.insert(&rows(journal, 6, 5).batch()).expect_err("refused");
                    assert_eq!(*error.failure(), Failure::Config);
                    assert!(
                        error.to_string().contains("checkConstraints")
                            || error.to_string().contains("writer version 3"),
                        "{error}"
                    );
                }
                (Err(error), Some(missing)) => {
                    assert_eq!(*error.failure(), Failure::Config);
                    assert!(error.to_string().contains(missing), "{error}");
                }
                (stored, _) => panic!("{what}: {stored:?}"),
            }
        }
    });
}

#[test]
fn what_no_calendar_holds_is_read_all_the_same() {
    with_table(|path, url| {
        let events = hostile_events();
        let rows = buffer(JournalId::generate(), 1, &events);
        open(url).expect("a URL").insert(&rows.batch()).expect("stored");
        let seen = other(&path.display().to_string(), "checkpoint");
        assert_eq!(seen["rows"], events.len());
    });
}
