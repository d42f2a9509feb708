//! Several destinations: fed, counted, left behind and recovered, each by itself.

use std::process::Command;

use crate::journals::orphan;
use crate::{Bench, Ran, events, exists};

fn rows(bench: &Bench, from: &str) -> usize {
    bench.run(["tail", "-n", "1000", "-o", "json", "--from", from]).exits(0).json_lines().len()
}

#[test]
fn each_destination_gets_everything() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(7));
    let ran = bench.run(["ingest", &file, "--to", "one.jsonl", "--to", "two.db"]).exits(0);
    let ran = ran.prints("one.jsonl: 7 stored").prints("two.db?table=safety_events: 7 stored");
    ran.prints("logged 7 events");
    assert_eq!((rows(&bench, "one.jsonl"), rows(&bench, "two.db")), (7, 7));
    let json = bench.run(["ingest", &file, "--to", "one.jsonl", "--to", "three.csv", "-o", "json"]);
    let json = json.exits(0).json();
    assert_eq!((&json["logged"], &json["flushed"]), (&7.into(), &7.into()));
    assert_eq!(
        (&json["sinks"][0]["flushed"], &json["sinks"][1]["flushed"]),
        (&7.into(), &7.into())
    );
    // The accounts of finished journals know each of them.
    let json = bench.run(["stats", "-o", "json"]).exits(0).json();
    assert_eq!(
        (&json["totals"]["logged"], &json["totals"]["balanced"]),
        (&14.into(), &true.into())
    );
    let flushed = |name: &str| {
        let sinks = json["sinks"].as_array().unwrap();
        let is_it =
            |sink: &&serde_json::Value| sink["destination"].as_str().unwrap().contains(name);
        sinks.iter().find(is_it).unwrap()["flushed"].as_u64().unwrap()
    };
    assert_eq!((flushed("one.jsonl"), flushed("two.db"), flushed("three.csv")), (14, 7, 7));
    bench.run(["stats"]).exits(0).prints("sinks").prints("three.csv");
    // The same one twice is said before anything is read.
    let ran = bench.run(["ingest", &file, "--to", "one.jsonl", "--to", "./one.jsonl"]).exits(2);
    ran.says("--to is file://").says("which this logger delivers to already");
}

#[test]
fn the_environment_may_name_several() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(3));
    let (one, two) = (bench.path("one.jsonl"), bench.path("two.jsonl"));
    let urls = format!(" file://{}\n file://{} ", one.display(), two.display());
    let run = |args: &[&str]| {
        let mut command: Command = bench.command(args);
        Ran::from(command.env("NAMEL3SS_SAFETY_URL", &urls).output().unwrap())
    };
    run(&["doctor"]).exits(0).prints("one.jsonl").prints("two.jsonl");
    run(&["ingest", &file]).exits(0);
    assert!(exists(one) && exists(two));
    let json = run(&["stats", "-o", "json"]).exits(0).json();
    assert_eq!(
        (&json["datasets"][0]["rows"], &json["datasets"][1]["rows"]),
        (&3.into(), &3.into())
    );
    run(&["tail"]).exits(0);
    let twice = format!("{urls} {urls}");
    let mut command = bench.command(["doctor"]);
    let ran = Ran::from(command.env("NAMEL3SS_SAFETY_URL", &twice).output().unwrap());
    ran.exits(5).prints("twice");
}

#[test]
fn one_that_is_down_is_filed_and_replayed_by_itself() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(3));
    // A folder stands in the place of the second one's file: nothing can be stored there.
    std::fs::create_dir_all(bench.path("later/two.jsonl")).unwrap();
    let ran = bench.run(["ingest", &file, "--to", "one.jsonl", "--to", "later/two.jsonl"]).exits(4);
    let ran = ran.prints("one.jsonl: 3 stored");
    ran.prints("later/two.jsonl: 0 stored, 3 in fallback files");
    assert_eq!(rows(&bench, "one.jsonl"), 3);
    bench.run(["doctor"]).exits(3).prints("1 fallback file").prints("safety_events-");
    // By the word in its folder, while the default dataset is another one.
    bench.run(["replay"]).exits(5).says("later/two.jsonl");
    std::fs::remove_dir(bench.path("later/two.jsonl")).unwrap();
    bench.run(["replay", "--dry-run"]).exits(0).prints("would store 3 rows");
    bench.run(["replay"]).exits(0).prints("stored 3 rows");
    assert_eq!((rows(&bench, "one.jsonl"), rows(&bench, "later/two.jsonl")), (3, 3));
    assert!(!exists(bench.home().join("safety_events.db")));
    bench.run(["doctor"]).exits(0);
}

#[test]
fn an_orphan_is_recovered_to_each_of_its_destinations() {
    let bench = Bench::new();
    orphan(&bench, &["--to", "one.jsonl", "--to", "later/two.jsonl"]);
    std::fs::create_dir_all(bench.path("later/two.jsonl")).unwrap();
    let json = bench.run(["journal", "ls", "-o", "json"]).exits(0).json();
    let sinks = json["journals"][0]["sinks"].as_array().unwrap().clone();
    assert_eq!(sinks.len(), 2, "{json}");
    assert!(sinks.iter().all(|sink| sink["pending"] == 3 && sink["balanced"] == true), "{json}");
    bench.run(["journal", "ls"]).exits(0).prints("one.jsonl (3 pending)");
    bench.run(["doctor"]).exits(3).prints("one.jsonl").prints("later/two.jsonl");
    // One of them can be had, the other one stays.
    std::fs::create_dir_all(bench.path("later/two.jsonl")).unwrap();
    let ran = bench.run(["recover"]).exits(4).says("failed to recover");
    ran.prints("delivered 3 of 3").prints("delivered 0 of 3");
    assert_eq!(rows(&bench, "one.jsonl"), 3);
    let json = bench.run(["journal", "ls", "-o", "json"]).exits(0).json();
    let pending = |at: usize| json["journals"][0]["sinks"][at]["pending"].as_u64().unwrap();
    assert_eq!((pending(0), pending(1)), (0, 3));
    bench.run(["doctor"]).exits(3).prints("one of several destinations");
    // To another place, as its own has gone.
    bench.run(["recover", "--to", "there.jsonl"]).exits(0).prints("delivered 3 of 3");
    assert_eq!((rows(&bench, "one.jsonl"), rows(&bench, "there.jsonl")), (3, 3));
    bench.run(["journal", "ls"]).exits(0).says("no journals");
    bench.run(["doctor"]).exits(0);
}

#[test]
fn recover_to_several_gives_each_what_is_its_own() {
    let bench = Bench::new();
    orphan(&bench, &["--to", "one.jsonl", "--to", "two.jsonl"]);
    // One is its own; what was meant for the other goes to the places that are nobody's own.
    let to = ["recover", "--to", "one.jsonl", "--to", "a.jsonl", "--to", "b.db"];
    bench.run(to).exits(0).prints("delivered 3 of 3");
    for place in ["one.jsonl", "a.jsonl", "b.db"] {
        assert_eq!(rows(&bench, place), 3, "{place}");
    }
    assert!(!exists(bench.path("two.jsonl")));
    bench.run(["journal", "ls"]).exits(0).says("no journals");
}
