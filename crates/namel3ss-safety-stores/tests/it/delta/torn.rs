//! Checkpoints that can't be read: a full disk, a copy that broke off.
//!
//! With all of its commits there, a table whose newest checkpoint was torn could be opened by nobody: a
//! fresh logger filed every event, a running one wrote on without a word, and no checkpoint was made
//! any more.

use std::fs;
use std::path::{Path, PathBuf};

use namel3ss_safety::{Failure, JournalId};
use namel3ss_safety_stores::objects::delta::{self, DeltaPlace};
use namel3ss_safety_stores::open;
use serde_json::{Value, json};

use super::others::other;
use super::support::{seqs, with_table};
use crate::objects::support::rows;

fn commit(table: &Path, version: u64) -> PathBuf {
    table.join(format!("_delta_log/{version:020}.json"))
}

fn checkpoint(table: &Path, version: u64) -> PathBuf {
    table.join(format!("_delta_log/{version:020}.checkpoint.parquet"))
}

fn hint(table: &Path) -> PathBuf {
    table.join("_delta_log/_last_checkpoint")
}

fn hinted(table: &Path) -> Value {
    serde_json::from_slice(&fs::read(hint(table)).expect("a hint")).expect("JSON")
}

fn tear(file: &Path) {
    let half = file.metadata().expect("it is there").len() / 2;
    fs::OpenOptions::new().write(true).open(file).expect("a file").set_len(half).expect("cut");
}

/// Commits 0 to 12, of which each but the first holds one row, and checkpoints after 5 and 10.
fn table_of_twelve(url: &str, journal: JournalId) {
    let adapter = open(&format!("{url}?checkpoint=5")).expect("a URL");
    (1..=12).for_each(|seq| adapter.insert(&rows(journal, seq, 1).batch()).expect("stored"));
}

#[test]
fn a_torn_checkpoint_is_passed_over_named_once_and_replaced() {
    with_table(|path, url| {
        let journal = JournalId::generate();
        table_of_twelve(url, journal);
        let torn = checkpoint(path, 10);
        tear(&torn);
        let bytes = fs::read(&torn).unwrap();
        // As readers meet it, before anybody writes.
        assert_eq!(seqs(url), (1..=12).collect::<Vec<_>>());
        let mut reader = delta::Reader::open(&DeltaPlace::parse(url).unwrap()).unwrap();
        reader.look().unwrap();
        assert_eq!(reader.damaged(), ["_delta_log/00000000000000000010.checkpoint.parquet"]);

        let adapter = open(&format!("{url}?checkpoint=5")).expect("a URL");
        adapter.insert(&rows(journal, 10, 4).batch()).expect("three are known");
        assert_eq!(hinted(path)["version"], 13, "a later one, at once");
        assert!(checkpoint(path, 13).exists());
        let told = adapter.notices();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].text.contains("00000000000000000010.checkpoint.parquet"), "{told:?}");
        (14..=21).for_each(|seq| adapter.insert(&rows(journal, seq, 1).batch()).expect("stored"));
        let again = open(url).expect("a URL");
        again.insert(&rows(journal, 1, 21).batch()).expect("known already");
        assert!(adapter.notices().is_empty() && again.notices().is_empty(), "told once");
        assert!(!checkpoint(path, 14).exists(), "then as often as before");
        assert!(checkpoint(path, 15).exists());
        assert_eq!(fs::read(&torn).unwrap(), bytes, "it stays as it is");
        assert_eq!(seqs(url), (1..=21).collect::<Vec<_>>());
        // Somebody else's reader needs a checkpoint where the log was cleaned up.
        (0..=14).for_each(|version| fs::remove_file(commit(path, version)).unwrap());
        let seen = other(&path.display().to_string(), "look");
        assert_eq!((&seen["version"], &seen["rows"]), (&21.into(), &21.into()));
    });
}

/// It goes on in memory, and met the torn one at its own next checkpoint only, silently.
#[test]
fn a_running_writer_gets_past_a_torn_checkpoint() {
    with_table(|path, url| {
        let journal = JournalId::generate();
        let adapter = open(&format!("{url}?checkpoint=5")).expect("a URL");
        let send = |seq| adapter.insert(&rows(journal, seq, 1).batch()).expect("stored");
        (1..=12).for_each(send);
        tear(&checkpoint(path, 10));
        (13..=15).for_each(send);
        assert_eq!(hinted(path)["version"], 15);
        assert_eq!(adapter.notices().len(), 1);
        assert_eq!(seqs(url), (1..=15).collect::<Vec<_>>());

        // Where it can't make another one, it says so.
        [6, 12].iter().for_each(|version| fs::remove_file(commit(path, *version)).unwrap());
        tear(&checkpoint(path, 15));
        (16..=22).for_each(send);
        let told = adapter.notices();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].text.contains("00000000000000000015.checkpoint.parquet"), "{told:?}");
        assert!(
            told[0].text.contains("commit 12, which is needed without it, is gone"),
            "{told:?}"
        );
    });
}

#[test]
fn whatever_a_checkpoint_or_the_hint_is_instead_every_row_is_read() {
    let footerless = |file: &Path| {
        // The footer is as it was: what it speaks of is not.
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[4..middle].fill(0xff);
        fs::write(file, bytes).unwrap();
    };
    type Harm<'a> = &'a dyn Fn(&Path);
    let kinds: [(&str, Harm<'_>, bool); 10] = [
        ("torn", &|table| tear(&checkpoint(table, 10)), true),
        ("empty", &|table| fs::write(checkpoint(table, 10), "").unwrap(), true),
        ("another file", &|table| fs::write(checkpoint(table, 10), "{\"a\":1}\n").unwrap(), true),
        ("damaged within", &|table| footerless(&checkpoint(table, 10)), true),
        (
            "a file of rows",
            &|table| {
                let mut day = fs::read_dir(table).unwrap().map(|entry| entry.unwrap().path());
                let day = day.find(|path| path.to_string_lossy().contains("date="));
                let rows = fs::read_dir(day.unwrap()).unwrap().next().unwrap().unwrap().path();
                fs::copy(rows, checkpoint(table, 10)).unwrap();
            },
            true,
        ),
        (
            "a part missing",
            &|table| {
                let part =
                    "_delta_log/00000000000000000010.checkpoint.0000000001.0000000002.parquet";
                fs::rename(checkpoint(table, 10), table.join(part)).unwrap();
                let of = json!({"version": 10, "size": 12, "parts": 2});
                fs::write(hint(table), of.to_string()).unwrap();
            },
            true,
        ),
        ("hint torn", &|table| fs::write(hint(table), "{\"versi").unwrap(), false),
        ("hint empty", &|table| fs::write(hint(table), "").unwrap(), false),
        ("hint to nothing", &|table| fs::write(hint(table), "{\"version\":4711}").unwrap(), false),
        ("hint to an old one", &|table| fs::write(hint(table), "{\"version\":5}").unwrap(), false),
    ];
    for (kind, harm, is_told) in kinds {
        with_table(|path, url| {
            let journal = JournalId::generate();
            table_of_twelve(url, journal);
            harm(path);
            assert_eq!(seqs(url), (1..=12).collect::<Vec<_>>(), "{kind}");
            let adapter = open(&format!("{url}?checkpoint=5")).expect("a URL");
            (11..=15).for_each(|seq| adapter.insert(&rows(journal, seq, 1).batch()).expect(kind));
            assert_eq!(adapter.notices().len(), usize::from(is_told), "{kind}");
            assert_eq!(hinted(path)["version"], 15, "{kind}");
            assert_eq!(seqs(url), (1..=15).collect::<Vec<_>>(), "{kind}");
            // deltalake takes its seconds to start.
            if ["empty", "a part missing", "hint to nothing"].contains(&kind) {
                let seen = other(&path.display().to_string(), "look");
                assert_eq!((&seen["version"], &seen["rows"]), (&15.into(), &15.into()), "{kind}");
            }
        });
    }
}

#[test]
fn where_the_commits_are_gone_too_the_torn_file_is_named() {
    with_table(|path, url| {
        let journal = JournalId::generate();
        table_of_twelve(url, journal);
        (0..=4).for_each(|version| fs::remove_file(commit(path, version)).unwrap());
        tear(&checkpoint(path, 10));
        // The one before, and what was committed since.
        assert_eq!(seqs(url), (1..=12).collect::<Vec<_>>());
        tear(&checkpoint(path, 5));
        let adapter = open(url).expect("a URL");
        for _ in 0..2 {
            let error = adapter.insert(&rows(journal, 13, 1).batch()).expect_err("unreadable");
            assert_eq!(*error.failure(), Failure::Config);
            let text = error.to_string();
            assert!(text.contains("_delta_log/00000000000000000010.checkpoint.parquet"), "{text}");
            assert!(text.contains("commit 0, which is needed without it, is gone"), "{text}");
            assert_eq!(delta::read(url).expect_err("unreadable").to_string(), text);
        }
        assert!(!commit(path, 13).exists());
    });
}

/// A table that ended before what its checkpoint holds would get those commits twice.
#[test]
fn the_commits_that_a_torn_checkpoint_holds_are_not_made_again() {
    with_table(|path, url| {
        let journal = JournalId::generate();
        table_of_twelve(url, journal);
        (10..=12).for_each(|version| fs::remove_file(commit(path, version)).unwrap());
        assert_eq!(seqs(url), (1..=10).collect::<Vec<_>>());
        tear(&checkpoint(path, 10));
        let error = open(url).unwrap().insert(&rows(journal, 10, 5).batch()).expect_err("a gap");
        assert!(error.to_string().contains("commit 10, which is needed"), "{error}");
        assert!(!commit(path, 10).exists());
    });
}
