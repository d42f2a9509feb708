//! What a killed process leaves: listed, counted, shown, found by the doctor, delivered by hand.

use std::path::Path;
use std::process::{Command, Stdio};

use namel3ss_safety::{AdapterRegistry, JournalKind, JsonAdapter, SafetyEvent, SafetyEventLogger};

use crate::{Bench, events};

/// Logs three events and dies before they are delivered; `args` are `--to`, `--dataset`, and
/// `--flush yes` to deliver them first.
pub(crate) fn orphan(bench: &Bench, args: &[&str]) {
    let values = |name: &str| -> Vec<&str> {
        let named = args.chunks(2).filter(|pair| pair[0] == name);
        named.map(|pair| pair[1]).collect()
    };
    let default = format!("sqlite:///{}/safety_events.db", bench.home().display());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journals::program_that_dies", "--ignored", "--quiet"])
        .current_dir(bench.path(""))
        .env("N3_TEST_HOME", bench.home())
        .env(
            "N3_TEST_TO",
            match &values("--to")[..] {
                [] => default,
                to => to.join("\n"),
            },
        )
        .env("N3_TEST_FLUSH", values("--flush").concat())
        .env("N3_TEST_DATASET", values("--dataset").first().unwrap_or(&"safety_events"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
}

#[test]
#[ignore = "the program of `orphan`"]
fn program_that_dies() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let to = variable("N3_TEST_TO");
    let mut to = to.lines().map(|url| namel3ss_safety_stores::open(url).unwrap());
    let registry = AdapterRegistry::default();
    registry.register(variable("N3_TEST_DATASET"), to.next().unwrap());
    let logger = to
        .fold(SafetyEventLogger::builder(), |builder, adapter| builder.also_to(adapter))
        .adapter_registry(registry)
        .target_dataset(variable("N3_TEST_DATASET"))
        .home(variable("N3_TEST_HOME"))
        .flush_interval_seconds(3600.0)
        .build()
        .unwrap();
    logger.start();
    for line in events(3).lines() {
        let event = SafetyEvent::from_json(serde_json::from_str(line).unwrap()).unwrap();
        let _ = logger.log(&event);
    }
    if !variable("N3_TEST_FLUSH").is_empty() {
        assert!(logger.flush(None).complete);
    }
    std::process::abort();
}

/// Everything was delivered, and it was called an orphan.
#[test]
fn a_journal_without_pending_events_is_settled() {
    let bench = Bench::new();
    orphan(&bench, &["--to", "out.jsonl", "--flush", "yes"]);
    let json = bench.run(["journal", "ls", "-o", "json"]).exits(0).json();
    for journal in json["journals"].as_array().unwrap() {
        assert_eq!((&journal["state"], &journal["pending"]), (&"settled".into(), &0.into()));
    }
    let ran = bench.run(["journal", "ls"]).exits(0);
    assert!(!ran.stdout.contains("orphan"), "{ran:#?}");
    bench.run(["doctor"]).exits(0);
}

#[test]
fn an_orphan_is_seen_by_every_verb_and_delivered_by_recover() {
    let bench = Bench::new();
    orphan(&bench, &["--to", "out.jsonl", "--dataset", "chat"]);

    let json = bench.run(["journal", "ls", "-o", "json"]).exits(0).json();
    let journal = &json["journals"][0];
    assert_eq!((&journal["state"], &journal["dataset"]), (&"orphan".into(), &"chat".into()));
    assert_eq!((&journal["pending"], &journal["balanced"]), (&3.into(), &true.into()));
    bench.run(["journal", "ls"]).exits(0).prints("orphan").prints("out.jsonl");

    let json = bench.run(["stats", "-o", "json"]).exits(0).json();
    assert_eq!(json["totals"]["logged"], 3);
    assert_eq!(json["totals"]["balanced"], true);
    bench.run(["stats"]).exits(0).prints("logged = flushed + fallback + dropped + pending");

    let home = bench.home();
    let home = home.to_str().unwrap();
    // A URL that ends in a slash names objects, unless journals are there.
    let slash = format!("file://{home}/");
    assert_eq!(bench.run(["tail", "-o", "json", "--from", &slash]).exits(0).json_lines().len(), 3);
    let lines = bench.run(["tail", "-o", "json", "--from", home]).exits(0).json_lines();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[2]["event_id"], &lines[2]["seq"]), (&"e3".into(), &3.into()));

    bench.run(["doctor"]).exits(3).prints("3 events").prints("n3-safety recover --dataset chat");
    let dry = bench.run(["recover", "--dry-run", "-o", "json"]).exits(0).json();
    assert_eq!((&dry["recovered"][0]["events"], &dry["delivered"]), (&3.into(), &0.into()));
    bench.run(["recover", "--dataset", "other"]).exits(0).says("no journals were left behind");

    bench.run(["recover"]).exits(0).prints("delivered 3 of 3 events of chat");
    let lines = bench.run(["tail", "-o", "json", "--from", "out.jsonl"]).exits(0).json_lines();
    assert_eq!(lines.len(), 3);
    bench.run(["recover"]).exits(0).says("no journals were left behind");
    bench.run(["journal", "ls"]).exits(0).says("no journals");
    // The account of a journal outlives it.
    let json = bench.run(["stats", "-o", "json"]).exits(0).json();
    assert_eq!((&json["totals"]["logged"], &json["totals"]["flushed"]), (&3.into(), &3.into()));
    assert_eq!(json["finished"][0]["dataset"], "chat");
    bench.run(["stats"]).exits(0).prints("chat");
    bench.run(["doctor"]).exits(0);
}

#[test]
fn recover_can_deliver_to_another_place() {
    let bench = Bench::new();
    orphan(&bench, &["--to", "out.jsonl"]);
    bench.run(["recover", "--to", "nonsense://x"]).exits(2);
    std::fs::create_dir_all(bench.path("missing/there.db")).unwrap();
    let ran = bench.run(["recover", "--to", "missing/there.db"]).exits(1).says("failed to recover");
    let ran = ran.says("missing/there.db");
    ran.prints("delivered 0 of 3");
    bench.run(["journal", "ls"]).exits(0).prints("orphan");
    bench.run(["recover", "--to", "there.db"]).exits(0).prints("delivered 3 of 3");
    let lines = bench.run(["tail", "-o", "json", "--from", "there.db"]).exits(0).json_lines();
    assert_eq!(lines.len(), 3);
    assert!(!crate::exists(bench.path("out.jsonl")));
}

#[test]
fn recover_knows_a_databases_own_table() {
    let bench = Bench::new();
    orphan(&bench, &["--to", "sqlite:///out.db?table=guards", "--dataset", "chat"]);
    bench.run(["recover"]).exits(0).prints("delivered 3 of 3 events of chat");
    let from = "sqlite:///out.db?table=guards";
    let lines = bench.run(["tail", "-o", "json", "--from", from]).exits(0).json_lines();
    assert_eq!(lines.len(), 3);
}

#[test]
fn the_next_logger_of_the_same_dataset_adopts() {
    let bench = Bench::new();
    orphan(&bench, &[]);
    // Its program may never start again: until its events are delivered, the record needs care.
    bench
        .run(["doctor"])
        .exits(3)
        .prints("3 events")
        .prints("-> start its program again, or: n3-safety recover");
    let one = bench.file("one.jsonl", "{\"event_id\":\"later\",\"action\":\"block\"}\n");
    bench.run(["ingest", &one]).exits(0);
    let lines = bench.run(["tail", "-o", "json"]).exits(0).json_lines();
    assert_eq!(lines.len(), 4);
}

#[test]
fn damage_is_found_and_costs_its_own_events_only() {
    let bench = Bench::new();
    orphan(&bench, &["--to", "out.jsonl"]);
    let json = bench.run(["journal", "ls", "-o", "json"]).exits(0).json();
    let folder = std::path::PathBuf::from(json["journals"][0]["path"].as_str().unwrap());
    // The middle event's text, wherever the journal keeps it.
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(2).position(|pair| pair == b"e2") {
            bytes[at] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    bench.run(["journal", "ls"]).exits(3).says("damaged");
    bench.run(["doctor"]).exits(3).prints("damaged");
    bench.run(["recover"]).exits(3).says("damaged");
    let lines = bench.run(["tail", "-o", "json", "--from", "out.jsonl"]).exits(0).json_lines();
    let ids: Vec<_> = lines.iter().map(|line| line["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["e1", "e3"]);
}

/// A folder or a link that is called like a segment cost all events of the journal: none of them was
/// delivered, and `recover` said that no journals were left behind.
#[test]
fn strangers_among_the_files_of_a_journal_are_found_and_cost_nothing() {
    let bench = Bench::new();
    orphan(&bench, &["--to", "out.jsonl"]);
    let json = bench.run(["journal", "ls", "-o", "json"]).exits(0).json();
    let folder = std::path::PathBuf::from(json["journals"][0]["path"].as_str().unwrap());
    std::fs::create_dir(folder.join("seg-00000000000000000001-00000001.n3j")).unwrap();
    let link = folder.join("spill-00000000000000000002-00000002.n3j");
    std::os::unix::fs::symlink("/dev/zero", link).unwrap();
    bench.run(["journal", "ls"]).exits(3).says("can't be read");
    bench.run(["doctor"]).exits(3).prints("can't be read");
    let ran = bench.run(["recover", "--dry-run"]).exits(3).prints("would deliver 3 events");
    assert!(!ran.stderr.contains("set aside"), "{ran:#?}");
    // It ended with 0, and nothing showed afterwards that something had been set aside.
    let ran = bench.run(["recover"]).exits(3).prints("delivered 3 of 3 events");
    let aside = folder.join("seg-00000000000000000001-00000001.n3j.damaged");
    let text = format!("damaged: {} is set aside", aside.display());
    ran.says(&text);
    let lines = bench.run(["tail", "-o", "json", "--from", "out.jsonl"]).exits(0).json_lines();
    assert_eq!(lines.len(), 3);
    assert!(aside.is_dir());
    let ran = bench.run(["journal", "ls"]).exits(3).prints("set aside").says(&text);
    assert!(!ran.stderr.contains("failed to"), "{ran:#?}");
    let json = bench.run(["journal", "ls", "-o", "json"]).exits(3).json();
    assert_eq!(json["journals"][0]["set_aside"].as_array().unwrap().len(), 2, "{json}");
    let text = format!("{} was damaged and is set aside", aside.display());
    bench.run(["doctor"]).exits(3).prints(&text).prints("then remove it");
    bench.run(["stats"]).exits(0).prints("(set aside)");
    let json = bench.run(["recover", "-o", "json"]).exits(3).json();
    assert_eq!(json["set_aside"].as_array().unwrap().len(), 2, "{json}");
    std::fs::remove_dir_all(&folder).unwrap();
    bench.run(["recover"]).exits(0).says("no journals were left behind");
    bench.run(["doctor"]).exits(0);
}

#[test]
fn what_is_no_journal_is_an_error_or_nothing() {
    let bench = Bench::new();
    bench.run(["journal", "ls"]).exits(0).says("no journals");
    bench.run(["journal", "ls", "nowhere"]).exits(1).says("nowhere");
    bench.run(["journal"]).exits(2);
    bench.run(["recover"]).exits(0).says("no journals were left behind");
    // A folder that is called like a journal, and holds nonsense.
    let folder = bench.home().join("journal/x/0123456789abcdef0123456789abcdef");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("seg-1.n3j"), "nonsense").unwrap();
    bench.run(["journal", "ls"]).exits(3).prints("unreadable");
    bench.run(["doctor"]).exits(3).prints("can't be read");
    bench.run(["recover"]).exits(3).says("left out");
    bench.run(["stats"]).exits(0).prints("(unreadable)");
}

#[test]
fn an_outage_ends_in_fallback_files_that_replay() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(3));
    // A folder stands in the place of the dataset's file: nothing can be stored there.
    std::fs::create_dir_all(bench.path("later/out.jsonl")).unwrap();
    let to = bench.path("later/out.jsonl");
    let to = to.to_str().unwrap();
    let json = bench.run(["ingest", &file, "--to", to, "-o", "json"]).exits(4).json();
    assert_eq!((&json["fallback"], &json["flushed"]), (&3.into(), &0.into()));
    // The folder says where they go.
    bench.run(["doctor"]).exits(3).prints("1 fallback file").prints("later/out.jsonl");
    std::fs::remove_dir(bench.path("later/out.jsonl")).unwrap();
    bench.run(["replay", "--to", to]).exits(0).prints("stored 3 rows");
    let lines = bench.run(["tail", "-o", "json", "--from", to]).exits(0).json_lines();
    assert_eq!(lines.len(), 3);
    bench.run(["doctor"]).exits(0);
}

/// A journal of three events for `to` in the folder `journals`, of a program that has ended without
/// delivering them.
fn left_in(journals: &Path, home: &Path, to: &Path) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journals::program_that_leaves", "--ignored", "--quiet"])
        .env("NAMEL3SS_SAFETY_HOME", home)
        .env("N3_TEST_TO", to)
        .env("N3_TEST_JOURNALS", journals)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "the program of `left_in`"]
fn program_that_leaves() {
    let variable = |name: &str| std::path::PathBuf::from(std::env::var_os(name).unwrap());
    let registry = AdapterRegistry::default();
    let dataset = JsonAdapter::new(variable("N3_TEST_TO")).unwrap();
    registry.register("safety_events", std::sync::Arc::new(dataset));
    let builder = SafetyEventLogger::builder().adapter_registry(registry);
    let builder = builder.journal(JournalKind::Folder(variable("N3_TEST_JOURNALS")));
    let logger = builder.no_fallback().threads(false).build().unwrap();
    for _ in 0..3 {
        let _ = logger.log(&SafetyEvent::default());
    }
}

/// Only the home was looked into: what a program with a folder of its own for journals had left was
/// "none left behind" for `doctor`, and `recover` never delivered it.
#[test]
fn a_journal_outside_the_home_is_found_by_every_verb() {
    let bench = Bench::new();
    let outside = bench.path("outside");
    left_in(&outside, &bench.home(), &bench.path("out.jsonl"));
    let outside = outside.to_str().unwrap();
    bench.run(["doctor"]).exits(3).prints(outside).prints("n3-safety recover");
    bench.run(["journal", "ls"]).exits(0).prints("orphan");
    let json = bench.run(["stats", "-o", "json"]).exits(0).json();
    assert_eq!((&json["totals"]["logged"], &json["totals"]["pending"]), (&3.into(), &3.into()));
    bench.run(["recover"]).exits(0).prints("delivered 3 of 3 events");
    let lines = bench.run(["tail", "-o", "json", "--from", "out.jsonl"]).exits(0).json_lines();
    assert_eq!(lines.len(), 3);
    bench.run(["doctor"]).exits(0);
    let json = bench.run(["stats", "-o", "json"]).exits(0).json();
    assert_eq!((&json["totals"]["logged"], &json["totals"]["flushed"]), (&3.into(), &3.into()));
}

#[test]
fn recover_works_in_a_home_that_does_not_exist_yet() {
    let bench = Bench::new();
    let outside = bench.path("outside");
    // It was meant for the default dataset of a home that is gone.
    let to = bench.home().join("safety.jsonl");
    left_in(&outside, &bench.home(), &to);
    std::fs::remove_dir_all(bench.home()).unwrap();
    bench.run(["recover"]).exits(0).says("no journals were left behind");
    bench.run(["recover", "nowhere"]).exits(1).says("nowhere");
    let outside = outside.to_str().unwrap();
    bench.run(["recover", outside]).exits(0).prints("delivered 3 of 3 events");
    let from = to.to_str().unwrap();
    let lines = bench.run(["tail", "-o", "json", "--from", from]).exits(0).json_lines();
    assert_eq!(lines.len(), 3);
}
