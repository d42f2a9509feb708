//! `stats` over datasets.

use crate::{Bench, events};

#[test]
fn datasets_are_counted_by_policy_and_action() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(5));
    let csv = bench.file("b.csv", "action\nredact\n");
    let json = bench.run(["stats", "-o", "json", "--from", &file, "--from", &csv]).exits(0).json();
    assert_eq!(json["datasets"][0]["rows"], 5);
    assert_eq!(json["datasets"][0]["policies"]["pii"]["allow"], 3);
    assert_eq!(json["datasets"][0]["actions"]["block"], 2);
    assert_eq!(json["datasets"][1]["actions"]["redact"], 1);
    bench.run(["stats", "--from", &file]).exits(0).prints("5 rows").prints("pii");
}

#[test]
fn nothing_yet_is_no_failure_and_nonsense_is() {
    let bench = Bench::new();
    bench.run(["stats"]).exits(0).says("not there yet");
    bench.run(["stats", "--from", "nothing.csv"]).exits(5);
    bench.run(["stats", "--from", "sqlite:///a.db?table=a;b"]).exits(2);
    let bad = bench.file("a.jsonl", "{}\n[]\n5\n{\"action\":1}\n");
    bench.run(["stats", "--from", &bad]).exits(4).says("could not be read");
}

/// Rows of one dataset stood beside what was flushed to all.
#[test]
fn numbers_are_told_apart_by_their_destination() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(5));
    bench.run(["ingest", &file]).exits(0);
    bench.run(["ingest", &file, "--to", "out.jsonl"]).exits(0);
    let json = bench.run(["stats", "-o", "json"]).exits(0).json();
    assert_eq!((&json["datasets"][0]["rows"], &json["totals"]["flushed"]), (&5.into(), &10.into()));
    let flushed: Vec<_> = json["sinks"].as_array().unwrap().iter().map(|s| &s["flushed"]).collect();
    assert_eq!(flushed, [5, 5]);
    bench
        .run(["stats"])
        .exits(0)
        .prints("safety_events.db?table=safety_events")
        .prints("out.jsonl");
    // A clean stop leaves nothing behind.
    bench.run(["journal", "ls"]).exits(0).says("no journals");
}
