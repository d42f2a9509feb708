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

/// Columns were as wide as their characters are many: behind a Chinese name, which takes two columns
/// of a terminal for each character, the numbers stood beside their heads.
#[test]
fn columns_stand_below_each_other_whatever_the_script() {
    let bench = Bench::new();
    // A wide name, one with an emoji, one with a combining mark, a plain one.
    let names = ["\u{5b89}\u{5168}\u{7b56}\u{7565}", "\u{1f6a8}pii", "cafe\u{301}", "injection"];
    let lines: String = names
        .iter()
        .map(|name| format!("{{\"action\":\"block\",\"policy_name\":\"{name}\"}}\n"))
        .collect();
    let file = bench.file("a.jsonl", lines);
    let shown = bench.run(["stats", "--from", &file]).exits(0).stdout;
    // Terminal columns up to the end of the first number, by the widths that terminals use.
    let end = |name: &str, columns: usize| {
        let line =
            shown.lines().find(|line| line.starts_with(name)).expect("a line of that policy");
        columns + line[name.len()..].find(|c: char| c.is_ascii_digit()).expect("a number")
    };
    let ends = [end(names[0], 8), end(names[1], 5), end(names[2], 4), end(names[3], 9)];
    assert_eq!(ends, [ends[3]; 4], "{shown}");
}
