//! `replay` of fallback files.

use crate::{Bench, events, exists};

const NAME: &str = "safety_events_20260301_120000_1.json";

fn array(n: usize) -> String {
    format!("[\n{}\n]\n", events(n).trim_end().replace('\n', ",\n"))
}

#[test]
fn a_dry_run_reads_and_moves_nothing() {
    let bench = Bench::new();
    let file = bench.file(NAME, array(3));
    let json = bench.run(["replay", "--dry-run", "-o", "json", &file]).exits(0).json();
    assert_eq!((json["rows"].as_u64(), json["failed"].as_u64()), (Some(3), Some(0)));
    assert!(exists(&file));
    bench.run(["replay", "--dry-run", "."]).exits(0).prints("would store 3 rows");
}

#[test]
fn rows_land_and_the_file_is_moved() {
    let bench = Bench::new();
    let file = bench.file(NAME, array(3));
    bench.file("notes.json", "{}");
    bench.run(["replay", "--to", "out.jsonl", "."]).exits(0).prints("stored 3 rows");
    assert!(!exists(&file));
    assert!(exists(bench.path("replayed").join(NAME)));
    assert!(exists(bench.path("notes.json")));
    let rows = std::fs::read_to_string(bench.path("out.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 3);
    bench.run(["replay", "--to", "out.jsonl", "."]).exits(0).says("no fallback files wait");
}

#[test]
fn damage_is_told_and_costs_its_own_file_only() {
    let bench = Bench::new();
    let bad = bench.file("safety_events_20260301_120000_2.json", "[{\"action\":\"block\"},");
    bench.run(["replay", "--dry-run", &bad]).exits(3).says("failed to read");
    bench.file(NAME, array(1));
    let json = bench.run(["replay", "--dry-run", "-o", "json", "."]).exits(4).json();
    assert_eq!((json["rows"].as_u64(), json["failed"].as_u64()), (Some(1), Some(1)));
    bench.run(["replay", "--dry-run", "nothing.json"]).exits(1).says("nothing.json");
}
