//! `tail`, `stats` and `doctor` over Delta Lake tables, beside the `deltalake` package that writes to
//! them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::objects::{day, ids};
use crate::{Bench, Ran};

/// Has deltalake do something with a table, and says how many rows it sees then.
fn deltalake(table: &str, what: &str) -> u64 {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let packages = ["python", "deltalake", "polars", "pyarrow"];
    let python = Command::new(crates.join("../scripts/servers")).args(packages).output().unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    let script = crates.join("namel3ss-safety-stores/tests/it/delta/other.py");
    let done = Command::new(python.trim()).arg(script).args([table, what]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    said["rows"].as_u64().unwrap()
}

fn files_of(table: &Path, date: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(table.join(format!("date={date}"))).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn tables_are_read_counted_and_skipped_through() {
    let bench = Bench::new();
    let table = bench.path("table");
    let path = table.to_str().unwrap();
    let url = format!("delta+file://{path}");
    bench.run(["tail", "--from", &url]).exits(5).says("no such folder");
    for (name, n) in [("2026-03-01", 20), ("2026-03-02", 5)] {
        let file = bench.file("a.jsonl", day(name, n));
        bench.run(["ingest", &file, "--to", &url]).exits(0);
    }
    let tail = |args: &[&str], from: &str| {
        let all = ["tail", "-o", "json", "--from", from];
        bench.run(all.iter().chain(args)).exits(0).json_lines()
    };
    let mut expected: Vec<String> = (19..=20).map(|i| format!("2026-03-01-{i}")).collect();
    expected.extend((1..=5).map(|i| format!("2026-03-02-{i}")));
    for from in [&url, path, &format!("{path}/")] {
        assert_eq!(ids(&tail(&["-n", "7"], from)), expected, "{from}");
    }
    let lines = tail(&["--since", "2026-03-02T12:00:04Z"], &url);
    assert_eq!(ids(&lines), ["2026-03-02-4", "2026-03-02-5"]);
    assert_eq!(lines[0].as_object().unwrap().len(), 19, "17 fields, and where it is from");
    let lines = tail(&["event_id~-03-01-2"], &url);
    assert_eq!(ids(&lines), ["2026-03-01-2", "2026-03-01-20"]);
    let json = bench.run(["stats", "-o", "json", "--from", &url]).exits(0).json();
    assert_eq!(json["datasets"][0]["rows"], 25);
    assert_eq!(json["datasets"][0]["actions"]["block"], 25);
    assert_eq!(json["datasets"][0]["first"], "2026-03-01T12:00:01.000000Z");

    // As the default dataset, which `doctor` looks at too.
    let by_default = |url: &str, args: &[&str]| {
        let mut command = bench.command(args);
        Ran::from(command.env("NAMEL3SS_SAFETY_URL", url).output().unwrap())
    };
    by_default(&url, &["tail", "-n", "1"]).exits(0).prints("id=2026-03-02-5");
    by_default(&url, &["doctor"]).exits(0).prints("stores each row once");
    let none = format!("delta+file://{}", bench.path("none").display());
    by_default(&none, &["doctor"]).prints("is made at the first delivery");
    bench.run(["compact", path]).exits(2).says("OPTIMIZE");

    // What need not be read is not.
    std::fs::write(&files_of(&table, "2026-03-01")[0], "no Parquet at all").unwrap();
    assert_eq!(ids(&tail(&["-n", "5"], &url))[0], "2026-03-02-1");
    assert_eq!(tail(&["--since", "2026-03-02"], &url).len(), 5);
    for verb in ["tail", "stats"] {
        let args = ["-n", "6"].iter().filter(|_| verb == "tail");
        let ran = bench.run([verb, "--from", path].iter().chain(args));
        ran.exits(1).says("date=2026-03-01/events_").says("it ends before a part of it");
    }
    by_default(&url, &["doctor"]).exits(0);
    std::fs::remove_file(&files_of(&table, "2026-03-02")[0]).unwrap();
    bench.run(["tail", "-n", "1", "--from", &url]).exits(1).says("it is missing");
    by_default(&url, &["doctor"]).exits(5).prints("can't be read");
}

/// Neither `tail` nor `stats` could read a table of which a checkpoint was torn, and no file was named.
#[test]
fn a_torn_checkpoint_is_done_without_and_named_by_doctor() {
    let bench = Bench::new();
    let table = bench.path("table");
    let url = format!("delta+file://{}?checkpoint=2", table.display());
    let ingest = |name: &str| {
        let file = bench.file("a.jsonl", day(name, 10));
        bench.run(["ingest", &file, "--to", &url])
    };
    let doctor = || {
        let mut command = bench.command(["doctor"]);
        Ran::from(command.env("NAMEL3SS_SAFETY_URL", &url).output().unwrap())
    };
    let rows = || bench.run(["stats", "-o", "json", "--from", &url]).exits(0).json();
    let file = |name: &str| table.join("_delta_log").join(name);
    for name in ["2026-03-01", "2026-03-02"] {
        ingest(name).exits(0);
    }
    doctor().exits(0);
    let torn = file("00000000000000000002.checkpoint.parquet");
    std::fs::write(&torn, "PAR1").unwrap();
    assert_eq!(rows()["datasets"][0]["rows"], 20);
    assert_eq!(
        bench.run(["tail", "-n", "100", "-o", "json", "--from", &url]).exits(0).json_lines().len(),
        20
    );
    doctor().exits(3).prints("_delta_log/00000000000000000002.checkpoint.parquet can't be read");
    ingest("2026-03-03").exits(0).says("00000000000000000002.checkpoint.parquet");
    assert!(file("00000000000000000003.checkpoint.parquet").exists());
    assert_eq!(rows()["datasets"][0]["rows"], 30);
    doctor().exits(3).prints("delete the file");
    std::fs::remove_file(&torn).unwrap();
    doctor().exits(0);
    // With neither of them, no row can be read.
    std::fs::write(file("00000000000000000003.checkpoint.parquet"), "").unwrap();
    std::fs::remove_file(file("00000000000000000001.json")).unwrap();
    bench.run(["stats", "--from", &url]).exits(5).says("00000000000000000003.checkpoint.parquet");
    doctor()
        .exits(3)
        .prints("00000000000000000003.checkpoint.parquet can't be read, as it is torn");
}

#[test]
fn rows_of_others_are_read_and_what_can_not_be_is_told() {
    let bench = Bench::new();
    let table = bench.path("table");
    let path = table.to_str().unwrap();
    let stats = || bench.run(["stats", "-o", "json", "--from", path]);
    for name in ["2026-03-01", "2026-03-02"] {
        let file = bench.file("a.jsonl", day(name, 10));
        bench.run(["ingest", &file, "--to", &format!("delta+file://{path}")]).exits(0);
    }
    let theirs = "0123456789abcdef0123456789abcdef";
    let rows = deltalake(path, &format!("append:{theirs}:101:105"));
    assert_eq!((rows, &stats().exits(0).json()["datasets"][0]["rows"]), (25, &25.into()));
    assert_eq!(deltalake(path, "checkpoint"), 25);
    assert_eq!(deltalake(path, "delete:104:105"), 23);
    assert_eq!(deltalake(path, "compact"), 23);
    assert_eq!(stats().exits(0).json()["datasets"][0]["rows"], 23);
    let since = ["tail", "--since", "2026-03-02T12:00:09Z", "-o", "json", "--from", path];
    let lines = bench.run(since).exits(0).json_lines();
    assert_eq!(ids(&lines), ["2026-03-02-9", "2026-03-02-10"]);
    // One row of theirs has no timestamp.
    deltalake(path, "like-spark");
    let counted = stats().exits(4).says("1 rows could not be read").json();
    assert_eq!(counted["datasets"][0]["rows"], 25);
    for (what, exit, part) in
        [("create-short", 5, "it has no column reason"), ("create-by-action", 5, "by action")]
    {
        let other = bench.path(what);
        let other = other.to_str().unwrap();
        deltalake(other, what);
        bench.run(["tail", "--from", other]).exits(exit).says(part);
        bench.run(["stats", "--from", other]).exits(exit).says(part);
    }
}

#[test]
fn following_reads_what_is_committed() {
    let bench = Bench::new();
    let table = bench.path("table");
    let path = table.to_str().unwrap();
    let url = format!("delta+file://{path}");
    let mut command = bench.command(["tail", "-f", "-n", "1", "-o", "json", "--from", &url]);
    // It waits for a table that is not there yet.
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("waiting for delta+file://"));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    let ingest = |events: String| {
        bench.run(["ingest", &bench.file("a.jsonl", events), "--to", &url]).exits(0);
    };
    ingest("{\"event_id\":\"first\",\"action\":\"block\"}".to_owned());
    assert!(next().contains("\"first\""));
    // Of a day long gone.
    ingest(day("2026-03-01", 2));
    assert!(next().contains("\"2026-03-01-1\"") && next().contains("\"2026-03-01-2\""));
    deltalake(path, "append:0123456789abcdef0123456789abcdef:7:7");
    assert!(next().contains("\"theirs\""));
    // All of the day's rows lie in another file by now.
    deltalake(path, "compact");
    ingest("{\"event_id\":\"next\",\"action\":\"block\"}".to_owned());
    assert!(next().contains("\"next\""));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_bucket_that_does_not_answer_is_told_without_its_secrets() {
    let bench = Bench::new();
    let url = "delta+s3://safety/t?endpoint=http://127.0.0.1:1&access_key_id=canary\
               &secret_access_key=canary&max_retries=0&timeout=5";
    for verb in ["tail", "stats"] {
        let ran = bench.run([verb, "--from", url]).exits(1).says("delta+s3://safety/t");
        assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
    }
}
