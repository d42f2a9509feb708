//! `tail` and `stats` over folders of objects by day.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use crate::Bench;

/// `n` events of a day, one a second from noon on, with the ids `{day}-1` and so on.
pub(crate) fn day(day: &str, n: usize) -> String {
    let event = |i: usize| {
        let (minute, second) = (i / 60, i % 60);
        format!(
            "{{\"event_id\":\"{day}-{i}\",\"timestamp\":\"{day}T12:{minute:02}:{second:02}Z\",\
             \"policy_name\":\"pii\",\"action\":\"block\"}}\n"
        )
    };
    (1..=n).map(event).collect()
}

pub(crate) fn ids(lines: &[serde_json::Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event_id"].as_str().unwrap()).collect()
}

fn objects_of(folder: PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn folders_of_every_format_are_read_and_counted() {
    for format in ["parquet", "jsonl", "json", "csv"] {
        let bench = Bench::new();
        let url = format!("file://{}/?format={format}", bench.path("data").display());
        bench.run(["tail", "--from", &url]).exits(5).says("no such folder");
        for (name, n) in [("2026-03-01", 20), ("2026-03-02", 5)] {
            let file = bench.file("a.jsonl", day(name, n));
            bench.run(["ingest", &file, "--to", &url]).exits(0);
        }
        let lines = bench.run(["tail", "-n", "7", "-o", "json", "--from", &url]).json_lines();
        let mut expected: Vec<String> = (19..=20).map(|i| format!("2026-03-01-{i}")).collect();
        expected.extend((1..=5).map(|i| format!("2026-03-02-{i}")));
        assert_eq!(ids(&lines), expected, "{format}");
        assert_eq!(lines[0].as_object().unwrap().len(), 19, "17 fields, and where it is from");
        let since = ["tail", "--since", "2026-03-02T12:00:04Z", "-o", "json", "--from", &url];
        assert_eq!(ids(&bench.run(since).exits(0).json_lines()), ["2026-03-02-4", "2026-03-02-5"]);
        let filtered = ["tail", "event_id~-03-01-2", "-o", "json", "--from", &url];
        let lines = bench.run(filtered).exits(0).json_lines();
        assert_eq!(ids(&lines), ["2026-03-01-2", "2026-03-01-20"]);
        let json = bench.run(["stats", "-o", "json", "--from", &url]).exits(0).json();
        assert_eq!(json["datasets"][0]["rows"], 25);
        assert_eq!(json["datasets"][0]["actions"]["block"], 25);
    }
}

#[test]
fn what_need_not_be_read_is_not() {
    let bench = Bench::new();
    let data = bench.path("data");
    let url = format!("file://{}/", data.display());
    for name in ["2026-03-01", "2026-03-02"] {
        let file = bench.file("a.jsonl", day(name, 20));
        bench.run(["ingest", &file, "--to", &url]).exits(0);
    }
    let older = objects_of(data.join("year=2026/month=03/day=01"));
    std::fs::write(&older[0], "no Parquet at all").unwrap();
    // Also without the slash that a URL ends with.
    let path = data.to_str().unwrap();
    let lines = bench.run(["tail", "-n", "20", "-o", "json", "--from", path]).json_lines();
    assert_eq!(ids(&lines)[0], "2026-03-02-1");
    let since = ["tail", "--since", "2026-03-02", "-n", "1", "-o", "json", "--from", path];
    assert_eq!(ids(&bench.run(since).exits(0).json_lines()), ["2026-03-02-20"]);
    for verb in ["tail", "stats"] {
        let args = ["-n", "21"].iter().filter(|_| verb == "tail");
        let ran = bench.run([verb, "--from", path].iter().chain(args));
        ran.exits(1).says("year=2026/month=03/day=01/events_");
    }
    // The default dataset, of which `doctor` says whether it can be read.
    let mut command = bench.command(["doctor"]);
    command.env("NAMEL3SS_SAFETY_URL", format!("file://{}/", bench.path("none").display()));
    crate::Ran::from(command.output().unwrap()).prints("is made at the first delivery");
}

#[test]
fn following_lists_what_is_new() {
    let bench = Bench::new();
    let url = format!("file://{}/", bench.path("data").display());
    let yesterday = namel3ss_safety::Timestamp::now().micros() - 86_400_000_000;
    let yesterday = namel3ss_safety::Timestamp::from_micros(yesterday);
    let now = format!(
        "{{\"event_id\":\"first\",\"action\":\"block\"}}\n\
         {{\"event_id\":\"old\",\"timestamp\":\"{yesterday}\"}}\n"
    );
    bench.run(["ingest", &bench.file("a.jsonl", now), "--to", &url]).exits(0);
    let mut command = bench.command(["tail", "-f", "-n", "1", "-o", "json", "--from", &url]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"first\""));
    let next = bench.file("a.jsonl", "{\"event_id\":\"next\",\"action\":\"block\"}");
    bench.run(["ingest", &next, "--to", &url]).exits(0);
    assert!(lines.next().unwrap().unwrap().contains("\"next\""));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn days_are_compacted_and_read_on() {
    let bench = Bench::new();
    let url = format!("file://{}/", bench.path("data").display());
    let days = ["2026-03-01", "2026-03-02"];
    for name in days {
        for part in day(name, 40).lines().collect::<Vec<_>>().chunks(8) {
            let file = bench.file("a.jsonl", part.join("\n"));
            bench.run(["ingest", &file, "--to", &url]).exits(0);
        }
    }
    let compact = |args: &[&str]| bench.run(["compact", &url].iter().chain(args));
    compact(&["--dry-run"]).exits(0).prints("would be").prints("year=2026/month=03/day=02");
    assert_eq!(objects_of(bench.path("data/year=2026/month=03/day=01")).len(), 5);
    let json = compact(&["--before", "2026-03-02", "-o", "json"]).exits(0).json();
    assert_eq!(json["days"].as_array().unwrap().len(), 1);
    assert_eq!(json["totals"]["objects_before"], 5);
    assert_eq!(json["totals"]["objects_after"], 1);
    assert_eq!(json["totals"]["rows"], 40);
    compact(&[]).exits(0).prints("all days");
    compact(&[]).exits(0).prints("nothing to merge");
    for name in days {
        let folder = name.replacen('-', "/month=", 1).replacen('-', "/day=", 1);
        assert_eq!(objects_of(bench.path(&format!("data/year={folder}"))).len(), 1);
    }
    let json = bench.run(["stats", "-o", "json", "--from", &url]).exits(0).json();
    assert_eq!(json["datasets"][0]["rows"], 80);
    let since = ["tail", "--since", "2026-03-02T12:00:39Z", "-o", "json", "--from", &url];
    assert_eq!(ids(&bench.run(since).json_lines()), ["2026-03-02-39", "2026-03-02-40"]);
    // A day that has not ended so long ago stays.
    let file = bench.file("a.jsonl", "{\"action\":\"block\"}\n{\"action\":\"block\"}");
    bench.run(["ingest", &file, "--to", &url]).exits(0);
    compact(&["--older-than", "1h"]).exits(0).prints("nothing to merge");
    let csv = format!("{url}?format=csv");
    bench.run(["compact", &csv]).exits(5).says("only Parquet");
    bench.run(["compact", "file:///nowhere/at/all/"]).exits(1).says("no such folder");
    compact(&["--before", "2026-03-02", "--older-than", "2d"]).exits(2);
}
