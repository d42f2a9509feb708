//! `ingest` of every format, into datasets that are read back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use crate::{Bench, Ran, events};

#[test]
fn events_land_in_the_default_dataset() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(250));
    let json = bench.run(["ingest", &file, "-o", "json"]).exits(0).json();
    assert_eq!((json["logged"].as_u64(), json["flushed"].as_u64()), (Some(250), Some(250)));
    let lines = bench.run(["tail", "-n", "300", "-o", "json"]).exits(0).json_lines();
    assert_eq!(lines.len(), 250);
    assert_eq!(lines[249]["event_id"], "e250");
    assert_eq!(lines[249]["metadata"]["n"], 250);
    let last = bench.run(["tail", "-n", "2", "-o", "json"]).exits(0).json_lines();
    assert_eq!((&last[0]["event_id"], last.len()), (&"e249".into(), 2));
    assert!(bench.run(["tail", "-n", "0"]).exits(0).stdout.is_empty());
    bench.run(["stats"]).exits(0).prints("250 rows");
    bench.run(["doctor"]).exits(0);
}

#[test]
fn every_format_goes_into_every_dataset() {
    let bench = Bench::new();
    let jsonl = bench.file("a.jsonl", events(3));
    let array =
        bench.file("b.json", "[{\"event_id\":\"x\",\"action\":\"allow\"},\n {\"event_id\":\"y\"}]");
    let csv = bench.file("c.csv", "event_id,action,unknown\np,block,7\nq,,\n");
    for to in ["out.db", "out.csv", "out.json", "out.jsonl"] {
        for (input, n) in [(&jsonl, 3), (&array, 2), (&csv, 2)] {
            let json = bench.run(["ingest", "-o", "json", "--to", to, input]).exits(0).json();
            assert_eq!(json["flushed"], n, "{to} {input}");
        }
        let lines = bench.run(["tail", "-o", "json", "--from", to]).exits(0).json_lines();
        let ids: Vec<_> = lines.iter().map(|l| l["event_id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["e1", "e2", "e3", "x", "y", "p", "q"], "{to}");
        assert_eq!(lines[5]["metadata"]["unknown"], "7", "{to}");
        assert_eq!(lines[5]["action"], "block", "{to}");
    }
}

#[test]
fn a_file_url_without_slashes_is_a_relative_path() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(3));
    bench.run(["ingest", &file, "--to", "file:new/x%20y.jsonl"]).exits(0);
    assert!(crate::exists(bench.path("new/x y.jsonl")));
    for from in ["file:new/x%20y.jsonl", "new/x y.jsonl"] {
        let lines = bench.run(["tail", "-o", "json", "--from", from]).exits(0).json_lines();
        assert_eq!(lines.len(), 3, "{from}");
    }
}

/// A dataset in a folder that did not exist filed every batch.
#[test]
fn a_missing_folder_is_made_or_refused_at_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(3));
    bench.file("taken", "");
    let kinds = [
        "x.jsonl",
        "x.json",
        "x.csv",
        "x.db",
        #[cfg(feature = "parquet")]
        "x/",
        #[cfg(feature = "delta")]
        "delta",
    ];
    for (n, kind) in kinds.iter().enumerate() {
        let url = |folder: &str| match *kind {
            "delta" => format!("delta+file://{}", bench.path(folder).join("x").display()),
            name => bench.path(folder).join(name).display().to_string(),
        };
        let folder = format!("new{n}/deep");
        bench.run(["doctor"]).exits(0);
        bench.run(["ingest", &file, "--to", &url(&folder)]).exits(0);
        for folder in [format!("new{n}"), folder.clone()] {
            let mode = std::fs::metadata(bench.path(&folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{kind} {folder}");
        }
        let ran = bench.run(["ingest", &file, "--to", &url("taken/deep")]).exits(5);
        ran.says("make the folder");
    }
}

/// A JSON array that lost its end between two elements was read as if that were all.
#[test]
fn a_json_array_without_its_end_is_reported() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(3));
    bench.run(["ingest", &file, "--to", "out.json"]).exits(0);
    let whole = std::fs::read_to_string(bench.path("out.json")).unwrap();
    let second = whole.match_indices(",\n{").nth(1).unwrap().0;
    for cut in [second, second + 1, second + 2] {
        bench.file("cut.json", &whole[..cut]);
        let ran = bench.run(["tail", "-o", "json", "--from", "cut.json"]).exits(4);
        assert_eq!(ran.says("the array has no end").json_lines().len(), 2);
        bench.run(["ingest", "cut.json", "--to", "again.jsonl"]).exits(4);
    }
}

#[cfg(feature = "delta")]
#[test]
fn events_land_in_a_delta_table() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(250));
    let table = format!("delta+file://{}", bench.path("events").display());
    for _ in 0..2 {
        let json = bench.run(["ingest", &file, "--to", &table, "-o", "json"]).exits(0).json();
        assert_eq!(json["flushed"], 250);
    }
    let log = bench.path("events").join("_delta_log");
    let commits =
        ["0", "1", "2"].map(|n| std::fs::read_to_string(log.join(format!("{n:0>20}.json"))));
    let [made, first, second] = commits.map(|commit| commit.expect("a commit"));
    assert!(made.contains("\"metaData\""), "{made}");
    assert!([first, second].iter().all(|commit| commit.contains("\\\"numRecords\\\":")));
    let json = bench.run(["stats", "-o", "json", "--from", &table]).exits(0).json();
    assert_eq!(json["datasets"][0]["rows"], 500);

    let url = "delta+s3://safety/events?secret_access_key=canary&endpoint=http://127.0.0.1:1";
    let doctor =
        Ran::from(bench.command(["doctor"]).env("NAMEL3SS_SAFETY_URL", url).output().unwrap());
    assert!(doctor.stdout.contains("delta+s3://safety/events?endpoint="), "{doctor:#?}");
    let wrong = format!("{table}?chekpoint=canary");
    let refused = bench.run(["ingest", &file, "--to", &wrong]).exits(5);
    let refused = refused.says("did you mean checkpoint=?");
    for ran in [doctor, refused] {
        assert!(!format!("{ran:?}").contains("canary"), "{ran:#?}");
    }
}

#[test]
fn bad_lines_are_counted_with_their_numbers() {
    let bench = Bench::new();
    let input = b"{\"event_id\":\"a\"}\nnonsense\n{\"action\":\n\n[1]\n{\"action\":\"blok\"}\n";
    let ran = bench.feed(["ingest", "-", "--to", "out.jsonl", "-o", "json"], input).exits(4);
    let json = ran.json();
    assert_eq!((json["flushed"].as_u64(), json["bad"].as_u64()), (Some(2), Some(3)));
    assert_eq!(json["bad_lines"][0]["line"], 2);
    let ran = ran.says("bad line 2:").says("bad line 3:").says("warning: line 6:");
    ran.says("bad line 5:");
    let many = "x\n".repeat(1000);
    let ran = bench.feed(["ingest", "-", "--to", "out.jsonl"], many.as_bytes()).exits(4);
    assert!(ran.stderr.lines().count() < 30, "{ran:#?}");
    ran.says("980 more lines").prints("1000 bad lines");
}

#[test]
fn other_peoples_lines_are_mapped() {
    let bench = Bench::new();
    let line =
        "{\"ts\":\"2026-03-01T12:00:00Z\",\"verdict\":\"block\",\"who\":{\"id\":7},\"x\":1}\n";
    let args = [
        "ingest",
        "--to",
        "out.jsonl",
        "--map",
        "timestamp=ts",
        "--map",
        "action=verdict",
        "--map",
        "user_id=who.id",
        "--map",
        "metadata.y=x",
        "--map",
        "reason=why",
    ];
    bench.feed(args, line.as_bytes()).exits(0).says("path 'why'");
    let line = &bench.run(["tail", "--from", "out.jsonl", "-o", "json"]).json_lines()[0];
    assert_eq!(line["timestamp"], "2026-03-01T12:00:00.000000Z");
    assert_eq!((&line["action"], &line["user_id"]), (&"block".into(), &"7".into()));
    assert_eq!(line["metadata"], serde_json::json!({"y": 1}));
}

#[test]
fn what_can_not_be_done_says_why() {
    let bench = Bench::new();
    bench.run(["ingest", "nothing.jsonl"]).exits(1).says("nothing.jsonl");
    bench.run(["ingest", "."]).exits(1).says("it is a folder");
    let file = bench.file("a.jsonl", events(1));
    bench.run(["ingest", &file, "--to", "sqlit:///x.db"]).exits(2).says("did you mean");
    bench.run(["ingest", &file, "--format", "ndjsn"]).exits(2).says("'ndjson'");
    let mut command = bench.command(["ingest", &file]);
    command.env("NAMEL3SS_SAFETY_URL", "nonsense://x");
    Ran::from(command.output().unwrap()).exits(5);
    bench.run(["ingest"]).exits(0).prints("logged 0 events");
}

#[test]
fn hostile_input_costs_its_own_lines() {
    let bench = Bench::new();
    let mut input = Vec::new();
    input.extend_from_slice(b"{\"action\":\"block\"}\n\xff\xfe\n\0\0\0\n");
    input.extend_from_slice("[".repeat(100_000).as_bytes());
    input.push(b'\n');
    input.extend_from_slice(format!("{{\"reason\":\"{}\"}}\n", "x".repeat(10 << 20)).as_bytes());
    input.extend_from_slice("{\"a\":".repeat(100_000).as_bytes());
    input.extend_from_slice(b"\n{\"reason\":\"\\ud83d\",\"event_id\":\"\\u001b[31m\"}\n");
    let args = ["ingest", "--format", "ndjson", "--to", "out.jsonl", "-o", "json"];
    let json = bench.feed(args, &input).exits(4).json();
    assert_eq!((json["flushed"].as_u64(), json["bad"].as_u64()), (Some(3), Some(4)));
    let lines = bench.run(["tail", "--from", "out.jsonl", "-o", "json"]).exits(0).json_lines();
    assert_eq!(lines[1]["metadata"]["truncated"], true);
    assert_eq!(lines[2]["reason"], "\u{fffd}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_delivers_what_was_read() {
    let bench = Bench::new();
    let mut command = bench.command(["ingest", "-", "--to", "out.jsonl", "-o", "json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(events(3).as_bytes()).unwrap();
    // A bad line is told at once: then everything before it was read.
    stdin.write_all(b"bad\n{\"event_id\":\"never fin").unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.next().unwrap().unwrap().contains("bad line 4"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(4));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["flushed"].as_u64(), json["bad"].as_u64()), (Some(3), Some(1)));
    assert_eq!(json["interrupted"], true);
}
