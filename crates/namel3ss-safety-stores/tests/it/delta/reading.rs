//! A reader opens what it needs, goes on with what is new, and says what it can't read.

use std::path::Path;

use namel3ss_safety::ReadError;
use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{Failure, JournalId, SafetyAction, SafetyEvent, Timestamp};
use namel3ss_safety_stores::objects::delta::{DeltaPlace, Reader};
use namel3ss_safety_stores::open;
use serde_json::{Value, json};

use super::others::other;
use super::support::{commit, of, s3, with_table};
use crate::objects::server::Server;
use crate::objects::support::rows;
use crate::objects::xml_store::{Honours, XmlStore};

fn reader(url: &str) -> Reader {
    Reader::open(&DeltaPlace::parse(url).expect("a URL")).expect("a reader")
}

fn seqs_of(reader: &mut Reader) -> Vec<u64> {
    reader.map(|row| row.expect("a whole row").id.expect("its place").1.0).collect()
}

/// What a further look gives.
fn next(reader: &mut Reader) -> Vec<u64> {
    reader.look().expect("a table");
    seqs_of(reader)
}

/// The first thing that is wrong with what a look gives.
fn wrong(reader: &mut Reader) -> String {
    reader.look().expect("a table");
    reader.find_map(Result::err).expect("something is wrong").to_string()
}

/// Stores the events `first` to `last`, of a day each, from 1970-01-02 on.
fn store_days(url: &str, first: u64, last: u64) {
    let adapter = open(url).expect("a URL");
    let journal = JournalId([7; 16]);
    for n in first..=last {
        let event = SafetyEvent { timestamp: noon(n), ..plain_event(n) };
        adapter.insert(&buffer(journal, n, &[event]).batch()).expect("stored");
    }
}

fn noon(day: u64) -> Timestamp {
    Timestamp::from_micros((day * 86_400_000_000 + 43_200_000_000).cast_signed())
}

/// The file that commit `version` has added.
fn file(folder: &Path, version: u64) -> std::path::PathBuf {
    folder.join(of(&commit(folder, version), "add")[0]["path"].as_str().expect("a path"))
}

/// Appends a commit of `actions`, as somebody else would.
fn append(folder: &Path, version: u64, actions: &[Value]) {
    let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
    let path = folder.join(format!("_delta_log/{version:020}.json"));
    std::fs::write(path, lines.join("\n")).expect("the log is there");
}

#[test]
fn files_and_row_groups_of_other_times_are_not_read() {
    with_table(|folder, url| {
        store_days(url, 1, 5);
        // Two days without statistics: one is known by its day.
        for version in [2, 3] {
            let mut actions = commit(folder, version);
            let add = actions.iter_mut().find_map(|action| action.get_mut("add"));
            add.and_then(Value::as_object_mut).expect("a file").remove("stats");
            append(folder, version, &actions);
        }
        for version in [1, 2] {
            std::fs::write(file(folder, version), "no Parquet at all").unwrap();
        }
        let since = |moment: Timestamp| {
            let mut since = reader(url);
            since.only_since(moment);
            next(&mut since)
        };
        assert_eq!(since(noon(4)), [4, 5]);
        let after = Timestamp::from_micros(noon(4).micros() + 1000);
        assert_eq!(since(after), [5]);
        // Somebody else's days may begin at another hour.
        let mut early = reader(url);
        early.only_since(noon(3));
        assert!(wrong(&mut early).contains("date=1970-01-03/events_"));
        for (count, expected) in [(1, vec![5]), (2, vec![4, 5]), (3, vec![3, 4, 5])] {
            let mut newest = reader(url);
            newest.look_at_newest(count).expect("a table");
            assert_eq!(seqs_of(&mut newest), expected);
        }
        let first = "date=1970-01-02/events_";
        assert!(wrong(&mut reader(url)).contains(first), "the file is named");

        let at = |seq: u64| Timestamp::from_micros(noon(9).micros() + seq.cast_signed() * 10_000);
        let events: Vec<SafetyEvent> =
            (1..=60_000).map(|n| SafetyEvent { timestamp: at(n), ..plain_event(n) }).collect();
        let batch = buffer(JournalId::generate(), 1, &events);
        open(url).expect("a URL").insert(&batch.batch()).expect("stored");
        let large = file(folder, 6);
        let mut bytes = std::fs::read(&large).unwrap();
        // The first row group is damaged, and nobody notices who wants later rows.
        bytes[4..10_000].fill(0);
        std::fs::write(&large, bytes).unwrap();
        assert_eq!(since(at(55_000)).first(), Some(&50_001));
        let mut newest = reader(url);
        newest.look_at_newest(12_345).expect("a table");
        assert_eq!(seqs_of(&mut newest), (47_656..=60_000).collect::<Vec<_>>());
        let mut all = reader(url);
        all.only_since(noon(9));
        assert!(wrong(&mut all).contains("date=1970-01-10/events_"));
    });
}

#[test]
fn a_look_asks_for_no_file_that_it_does_not_need() {
    let store = XmlStore::start(Honours::Amazon);
    let url = s3(store.port, "p?checkpoint=10");
    store_days(&url, 1, 30);
    let before = store.heard().len();
    let mut since = reader(&url);
    since.only_since(noon(29));
    assert_eq!(next(&mut since), [29, 30]);
    assert_eq!(next(&mut since), [0_u64; 0]);
    store_days(&url, 31, 31);
    assert_eq!(next(&mut since), [31]);
    let heard = store.heard().split_off(before);
    let read =
        |part: &str| heard.lines().filter(|l| l.starts_with("GET") && l.contains(part)).count();
    assert_eq!(read("events_"), 3, "{heard}");
}

#[test]
fn following_reads_the_commits_that_came_since() {
    with_table(|folder, url| {
        let url = &format!("{url}?checkpoint=5");
        let path = folder.display().to_string();
        let (ours, theirs) = (JournalId::generate(), JournalId::generate());
        let mut early = reader(url);
        assert_eq!(next(&mut early), [0_u64; 0], "there is no table");
        assert_eq!(early.version(), None);
        let adapter = open(url).expect("a URL");
        adapter.insert(&rows(ours, 1, 10).batch()).expect("stored");
        let mut newest = reader(url);
        newest.look_at_newest(2).expect("a table");
        assert_eq!(seqs_of(&mut newest), [9, 10]);
        assert_eq!(next(&mut early), (1..=10).collect::<Vec<_>>());
        let mut both = |expected: &[u64]| {
            for reader in [&mut early, &mut newest] {
                assert_eq!(next(reader), expected);
                assert_eq!(next(reader), [0_u64; 0]);
            }
        };
        // Of ours and theirs, and of days long gone.
        adapter.insert(&rows(ours, 11, 2).batch()).expect("stored");
        other(&path, &format!("append:{theirs}:101:103"));
        store_days(url, 201, 204);
        both(&[11, 12, 101, 102, 103, 201, 202, 203, 204]);
        // They delete rows, and so write the others anew.
        other(&path, "delete:9:11");
        both(&[]);
        other(&path, "delete:103:103");
        both(&[101, 102]);
        adapter.insert(&rows(ours, 13, 1).batch()).expect("stored");
        other(&path, &format!("append:{theirs}:105:105"));
        both(&[13, 105]);
        other(&path, "compact");
        both(&[]);
        adapter.insert(&rows(ours, 14, 1).batch()).expect("stored");
        both(&[14]);
        let mut expected: Vec<u64> =
            (1..=8).chain([12, 13, 14, 101, 102, 105]).chain(201..=204).collect();
        expected.sort_unstable();
        let mut all = next(&mut reader(url));
        all.sort_unstable();
        assert_eq!(all, expected);

        // The table is removed and made anew.
        std::fs::remove_dir_all(folder).expect("it is there");
        both(&[]);
        store_days(url, 1, 3);
        both(&[1, 2, 3]);
        std::fs::remove_dir_all(folder).expect("it is there");
        store_days(url, 4, 9);
        both(&[4, 5, 6, 7, 8, 9]);
    });
}

#[test]
fn commits_that_are_gone_before_they_are_read_are_told() {
    with_table(|folder, url| {
        let url = &format!("{url}?checkpoint=5");
        store_days(url, 1, 2);
        let mut late = reader(url);
        assert_eq!(next(&mut late), [1, 2]);
        store_days(url, 3, 8);
        for version in 0..=4 {
            let name = format!("_delta_log/{version:020}.json");
            std::fs::remove_file(folder.join(name)).expect("a commit");
        }
        let error = late.look().expect_err("commits are missing").to_string();
        assert!(error.contains("what came after commit 2 was cleaned up"), "{error}");
        assert_eq!(next(&mut reader(url)), (1..=8).collect::<Vec<_>>());
    });
}

#[test]
fn a_file_with_deleted_rows_is_refused_and_the_others_are_read() {
    with_table(|folder, url| {
        store_days(url, 1, 3);
        let features = ["deletionVectors"];
        let protocol = json!({"minReaderVersion": 3, "minWriterVersion": 7,
                              "readerFeatures": features, "writerFeatures": features});
        append(folder, 4, &[json!({"protocol": protocol})]);
        assert_eq!(next(&mut reader(url)), [1, 2, 3], "no file has any");
        let mut following = reader(url);
        following.look_at_newest(1).expect("a table");
        assert_eq!(seqs_of(&mut following), [3]);
        // The one file goes, and the same with some rows deleted comes; in either order.
        let mut add = of(&commit(folder, 1), "add")[0].clone();
        let remove = json!({"remove": {"path": add["path"], "dataChange": true}});
        add["deletionVector"] = json!({"storageType": "u", "pathOrInlineDv": "x", "offset": 1});
        for (version, actions) in
            [(5, [json!({"add": add}), remove.clone()]), (5, [remove, json!({"add": add})])]
        {
            append(folder, version, &actions);
            let error = wrong(&mut reader(url));
            assert!(error.contains("date=1970-01-02/events_"), "{error}");
            assert!(error.contains("deletion vector") && error.contains("PURGE"), "{error}");
            let mut since = reader(url);
            since.only_since(noon(2));
            assert_eq!(next(&mut since), [2, 3]);
        }
        assert!(wrong(&mut following).contains("deletion vector"));
        let too_much = json!({"minReaderVersion": 3, "minWriterVersion": 7,
                              "readerFeatures": ["v2Checkpoint"], "writerFeatures": ["v2Checkpoint"]});
        append(folder, 6, &[json!({"protocol": too_much})]);
        for reader in [&mut reader(url), &mut following] {
            let error = reader.look().expect_err("refused");
            assert_eq!(*error.failure(), Failure::Config);
            assert!(error.to_string().contains("the feature v2Checkpoint"), "{error}");
        }
    });
}

#[test]
fn tables_and_rows_of_others_are_read() {
    with_table(|path, url| {
        for (what, refused) in [
            ("create", None),
            ("create-by-date", None),
            ("create-short", Some("it has no column reason")),
            ("create-by-action", Some("it is partitioned by action")),
        ] {
            let (path, url) = (path.join(what).display().to_string(), format!("{url}/{what}"));
            other(&path, what);
            match (reader(&url).look(), refused) {
                (Ok(()), None) => {
                    // What they demand of writers is nothing to readers.
                    other(&path, "constrain");
                    assert_eq!(next(&mut reader(&url)), [1], "{what}");
                }
                (Err(error), Some(part)) => {
                    assert_eq!(*error.failure(), Failure::Config);
                    assert!(error.to_string().contains(part), "{error}");
                }
                (got, _) => panic!("{what}: {got:?}"),
            }
        }
        let (path, url) = (path.join("spark"), format!("{url}/spark"));
        store_days(&url, 1, 2);
        other(&path.display().to_string(), "like-spark");
        let mut all = reader(&url);
        all.look().expect("a table");
        let read: Vec<_> = all.collect();
        assert_eq!(read.len(), 5);
        let [whole, nulls] = [2, 3].map(|at| read[at].as_ref().expect("a row"));
        assert_eq!((whole.id, nulls.id), (None, None));
        assert_eq!(whole.event.timestamp.to_string(), "3000-01-01T12:00:00.000000Z");
        assert_eq!((whole.event.confidence, &whole.event.metadata["n"]), (0.5, &json!(1)));
        assert_eq!((nulls.event.confidence, nulls.event.metadata.len()), (1.0, 0));
        // One unknown word made a row unreadable.
        let actions = (whole.event.action, nulls.event.action);
        assert_eq!(actions, (SafetyAction::Block, SafetyAction::Alert));
        assert_eq!(whole.event.metadata["direction"], "sideways");
        let error = read[4].as_ref().expect_err("it has no timestamp");
        assert!(matches!(error, ReadError::Row { number: 3, .. }), "{error}");
        for (day, count) in [(376_000, 3), (377_000, 0)] {
            let mut since = reader(&url);
            since.only_since(noon(day));
            since.look().expect("a table");
            assert_eq!(since.count(), count, "by the day of the file, which says nothing else");
        }
    });
}

#[test]
fn a_bucket_is_read_on_and_on() {
    let server = Server::start("s3");
    let url = s3(server.port, "tables/read?checkpoint=10");
    let journal = JournalId::generate();
    let adapter = open(&url).expect("a URL");
    adapter.insert(&rows(journal, 101, 10).batch()).expect("stored");
    let (mut all, mut newest) = (reader(&url), reader(&url));
    assert_eq!(next(&mut all).len(), 10);
    newest.look_at_newest(2).expect("a table");
    assert_eq!(seqs_of(&mut newest), [109, 110]);
    adapter.insert(&rows(journal, 111, 2).batch()).expect("stored");
    for reader in [&mut all, &mut newest] {
        assert_eq!(next(reader), [111, 112]);
        assert_eq!(next(reader), [0_u64; 0]);
    }
}
