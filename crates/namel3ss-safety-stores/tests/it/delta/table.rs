//! What is in a table, and what its log says.

use std::sync::Barrier;

use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{Delivery, Failure, JournalId, SafetyEvent};
use namel3ss_safety_stores::open;
use serde_json::{Value, json};

use super::support::{all, commit, conforms, of, s3, seqs, with_table};
use crate::objects::server::Server;
use crate::objects::support::rows;
use crate::objects::xml_store::{Honours, XmlStore};

#[test]
fn a_folder_conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    let next = std::cell::Cell::new(0);
    conforms(|| {
        next.set(next.get() + 1);
        format!("delta+file://{}/{}?checkpoint=3", folder.path().display(), next.get())
    });
}

#[test]
fn s3_conforms() {
    let server = Server::start("s3");
    let next = std::cell::Cell::new(0);
    conforms(|| {
        next.set(next.get() + 1);
        s3(server.port, &format!("tables/{}?checkpoint=10", next.get()))
    });
}

#[test]
fn a_batch_over_midnight_is_one_commit_of_two_files() {
    with_table(|path, url| {
        let journal = JournalId::generate();
        let times = ["2026-02-28T23:59:59.9Z", "2026-03-01T00:00:00.000001Z"];
        let events: Vec<SafetyEvent> = (1..=6)
            .map(|n: u64| SafetyEvent {
                timestamp: times[(n % 2) as usize].parse().expect("a time"),
                reason: (n == 2).then(|| "why".to_owned()),
                ..plain_event(n)
            })
            .collect();
        let rows = buffer(journal, 1, &events);
        let adapter = open(url).expect("a URL");
        adapter.insert(&rows.batch()).expect("stored");
        adapter.insert(&rows.batch()).expect("known already");
        open(url).expect("a URL").insert(&rows.batch()).expect("known to others too");

        let first = commit(path, 0);
        assert_eq!(
            of(&first, "protocol"),
            [&json!({"minReaderVersion": 1, "minWriterVersion": 2})]
        );
        assert_eq!(of(&first, "metaData")[0]["partitionColumns"], json!(["date"]));
        let second = commit(path, 1);
        let txn = of(&second, "txn");
        assert_eq!(
            (&txn[0]["appId"], &txn[0]["version"]),
            (&json!(journal.to_string()), &json!(6))
        );
        let adds = of(&second, "add");
        let dates: Vec<&Value> = adds.iter().map(|add| &add["partitionValues"]["date"]).collect();
        assert_eq!(dates, ["2026-02-28", "2026-03-01"]);
        let stats: Value = serde_json::from_str(adds[0]["stats"].as_str().unwrap()).unwrap();
        assert_eq!(stats["numRecords"], 3);
        assert_eq!(stats["minValues"]["seq"], 2);
        assert_eq!(stats["maxValues"]["timestamp"], "2026-02-28T23:59:59.900000Z");
        assert_eq!(
            (&stats["nullCount"]["reason"], &stats["nullCount"]["seq"]),
            (&json!(2), &json!(0))
        );
        let file = path.join(adds[0]["path"].as_str().unwrap());
        assert_eq!(file.metadata().expect("it is there").len(), adds[0]["size"].as_u64().unwrap());
        assert!(
            !path.join("_delta_log/00000000000000000002.json").exists(),
            "nothing new, no commit"
        );
        assert_eq!(seqs(url), [1, 2, 3, 4, 5, 6]);
    });
}

#[test]
fn many_who_send_the_same_rows_in_other_batches_store_them_once() {
    with_table(|_, url| {
        let journal = JournalId::generate();
        let start = Barrier::new(6);
        std::thread::scope(|scope| {
            for size in [3_u64, 5, 6, 10, 15, 30] {
                let start = &start;
                scope.spawn(move || {
                    let adapter = open(&format!("{url}?checkpoint=5")).expect("a URL");
                    start.wait();
                    for first in (1..=60).step_by(size as usize) {
                        adapter.insert(&rows(journal, first, size).batch()).expect("stored");
                    }
                });
            }
        });
        assert_eq!(seqs(url), (1..=60).collect::<Vec<_>>());
    });
}

#[test]
fn a_commit_whose_answer_is_lost_is_known_for_our_own() {
    let store = XmlStore::start(Honours::Amazon);
    let url = s3(store.port, "p");
    let adapter = open(&url).expect("a URL");
    let journal = JournalId::generate();
    for (first, lost) in [(1, "_delta_log/"), (6, "events_"), (11, "_delta_log/")] {
        store.lose_answers_to(lost, 2);
        // The driver may repeat the request by itself, or leave that to us.
        for _ in 0..5 {
            match adapter.insert(&rows(journal, first, 5).batch()) {
                Ok(()) => break,
                Err(error) => assert_eq!(*error.failure(), Failure::Transient, "{error}"),
            }
        }
        assert_eq!(seqs(&url), (1..first + 5).collect::<Vec<_>>());
    }
    let commits = store.keys().iter().filter(|key| key.ends_with(".json")).count();
    assert_eq!(commits, 4, "the table, and one for each batch");
}

#[test]
fn a_store_that_overwrites_is_refused() {
    for honours in [Honours::Nothing, Honours::Refuses] {
        let store = XmlStore::start(honours);
        let adapter = open(&s3(store.port, "p")).expect("a URL");
        let error =
            adapter.insert(&rows(JournalId::generate(), 1, 5).batch()).expect_err("refused");
        assert_eq!(*error.failure(), Failure::Config);
        assert!(error.to_string().contains("without overwriting"), "{error}");
        assert!(store.keys().iter().all(|key| !key.contains("_delta_log")), "{:?}", store.keys());
    }
}

#[test]
fn a_store_that_can_not_be_listed_is_refused() {
    let store = XmlStore::start(Honours::Amazon);
    store.be_blind();
    let adapter = open(&s3(store.port, "p")).expect("a URL");
    let error = adapter.insert(&rows(JournalId::generate(), 1, 5).batch()).expect_err("refused");
    assert!(error.to_string().contains("listing it is not permitted"), "{error}");
}

#[test]
fn a_batch_costs_one_short_read_and_two_writes() {
    let store = XmlStore::start(Honours::Amazon);
    let adapter = open(&s3(store.port, "p?checkpoint=0")).expect("a URL");
    let journal = JournalId::generate();
    let noon = "2026-03-01T12:00:00Z".parse().expect("a time");
    let event = |n| SafetyEvent { timestamp: noon, ..plain_event(n) };
    let send = |n| adapter.insert(&buffer(journal, n, &[event(n)]).batch()).expect("stored");
    send(1);
    let requests = || {
        let heard = store.heard();
        ["GET /", "PUT /"].map(|verb| heard.lines().filter(|line| line.starts_with(verb)).count())
    };
    let (before, lists) = (requests(), store.lists());
    (2..=31).for_each(send);
    let after = requests();
    assert_eq!([after[0] - before[0], after[1] - before[1]], [30, 60], "reads and writes");
    assert_eq!(store.lists(), lists, "nothing is listed");
}

#[test]
fn opening_reads_from_the_last_checkpoint_on() {
    with_table(|path, url| {
        let url = format!("{url}?checkpoint=10");
        let journal = JournalId::generate();
        let adapter = open(&url).expect("a URL");
        for batch in 0..25 {
            adapter.insert(&rows(journal, batch * 10 + 1, 10).batch()).expect("stored");
        }
        let log = path.join("_delta_log");
        let hint = std::fs::read(log.join("_last_checkpoint")).expect("a checkpoint");
        let hint: Value = serde_json::from_slice(&hint).expect("JSON");
        assert_eq!(hint["version"], 20);
        assert_eq!(hint["size"], 2 + 1 + 20, "protocol, metadata, a transaction id, files");
        assert!(log.join("00000000000000000010.checkpoint.parquet").exists());
        // As others clean a log up.
        (0..=19).for_each(|n| std::fs::remove_file(log.join(format!("{n:020}.json"))).unwrap());
        std::fs::remove_file(log.join("00000000000000000010.checkpoint.parquet")).unwrap();
        let other = open(&url).expect("a URL");
        other.insert(&rows(journal, 100, 10).batch()).expect("known already");
        other.insert(&rows(journal, 245, 20).batch()).expect("stored");
        adapter.insert(&rows(journal, 260, 20).batch()).expect("stored");
        std::fs::remove_file(log.join("_last_checkpoint")).unwrap();
        assert_eq!(seqs(&url), (1..280).collect::<Vec<_>>());

        std::fs::remove_file(log.join("00000000000000000022.json")).unwrap();
        let error = open(&url).unwrap().insert(&rows(journal, 1, 1).batch()).expect_err("a gap");
        assert!(error.to_string().contains("commit 22 is missing"), "{error}");
    });
}

#[test]
fn a_table_that_is_removed_or_made_anew_is_noticed() {
    // The next version was free, and the commit made there was behind others that were no more.
    with_table(|path, url| {
        let journal = JournalId::generate();
        let (adapter, other) = (open(url).expect("a URL"), open(url).expect("a URL"));
        adapter.insert(&rows(journal, 1, 5).batch()).expect("stored");
        adapter.insert(&rows(journal, 6, 5).batch()).expect("stored");
        std::fs::remove_dir_all(path).expect("it is there");
        adapter.insert(&rows(journal, 11, 5).batch()).expect("stored");
        assert_eq!(seqs(url), (11..=15).collect::<Vec<_>>());
        adapter.insert(&rows(journal, 16, 5).batch()).expect("stored");

        std::fs::remove_dir_all(path).expect("it is there");
        (0..3).for_each(|n| other.insert(&rows(journal, 21 + n, 1).batch()).expect("stored"));
        adapter.insert(&rows(journal, 11, 10).batch()).expect("the new table has none of them");
        assert_eq!(seqs(url), (11..=23).collect::<Vec<_>>());
    });
}

#[test]
fn tables_that_ask_for_too_much_are_refused_by_name() {
    with_table(|path, url| {
        let journal = JournalId::generate();
        let adapter = open(url).expect("a URL");
        adapter.insert(&rows(journal, 1, 5).batch()).expect("stored");
        // Somebody makes it a table with deletion vectors.
        let upgrade = json!({"protocol": {
            "minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"],
        }});
        let commit = path.join("_delta_log/00000000000000000002.json");
        std::fs::write(commit, upgrade.to_string()).unwrap();
        for adapter in [adapter, open(url).expect("a URL")] {
            let error = adapter.insert(&rows(journal, 6, 5).batch()).expect_err("refused");
            assert_eq!(*error.failure(), Failure::Config);
            assert!(error.to_string().contains("the feature deletionVectors"), "{error}");
        }
        assert!(!path.join("_delta_log/00000000000000000003.json").exists());
    });
}

#[test]
fn an_adapter_says_what_it_is_and_repeats_no_secret() {
    let adapter = open("delta+file:///data/events.jsonl?rows=500&seconds=2&checkpoint=7").unwrap();
    assert_eq!(adapter.identity(), "delta+file:///data/events.jsonl/");
    assert_eq!(open(&adapter.identity()).unwrap().identity(), adapter.identity());
    let batching = adapter.batching();
    assert_eq!((batching.rows_max, batching.wait_max.as_secs()), (500, 2));
    assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));

    let cloud = open(&s3(1, "a/b").replace("testtest", "canary")).expect("a URL");
    assert_eq!(cloud.identity(), "delta+s3://safety/a/b?endpoint=http%3A%2F%2F127.0.0.1%3A1");
    assert_eq!(open(&cloud.identity()).unwrap().identity(), cloud.identity());
    let error = cloud.insert(&rows(JournalId::generate(), 1, 1).batch()).expect_err("no server");
    assert_eq!(*error.failure(), Failure::Transient);
    assert!(!format!("{cloud:?} {error} {error:?}").contains("canary"));
    let abfss = open("delta+abfss://safety@mine.dfs.core.windows.net/a?sas_token=canary").unwrap();
    assert_eq!(abfss.identity(), "delta+az://safety/a?account_name=mine");
    assert!(all("delta+file:///nowhere/at/all").is_empty());
}

/// S3 answers so where another write of the key is under way, which may yet fail. A data file was taken
/// for another's of the same name, and the batch for one that nothing can be done about.
#[test]
fn a_write_that_meets_another_one_is_tried_again() {
    let store = XmlStore::start(Honours::Amazon);
    let url = s3(store.port, "p");
    let adapter = open(&url).expect("a URL");
    let journal = JournalId::generate();
    for (first, keys) in [(1, "events_"), (6, "_delta_log/"), (11, "events_")] {
        store.conflict_over(keys, 1);
        let error = adapter.insert(&rows(journal, first, 5).batch()).expect_err("a conflict");
        assert_eq!(*error.failure(), Failure::Transient, "{error}");
        adapter.insert(&rows(journal, first, 5).batch()).expect("stored");
        assert_eq!(seqs(&url), (1..first + 5).collect::<Vec<_>>());
    }
}
