//! `tail` over every dataset that it can read.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{Bench, events};

fn ids(lines: &[serde_json::Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event_id"].as_str().unwrap()).collect()
}

#[test]
fn the_last_events_come_in_their_order() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(30));
    let lines = bench.run(["tail", "-o", "json", "--from", &file]).exits(0).json_lines();
    assert_eq!(lines.len(), 10);
    assert_eq!(ids(&lines)[0], "e21");
    assert_eq!(lines[0].as_object().unwrap().len(), 17);
    let lines = bench.run(["tail", "-n", "2", "-o", "json", "--from", &file]).json_lines();
    assert_eq!(ids(&lines), ["e29", "e30"]);
    bench.run(["tail", "-n", "0", "--from", &file]).exits(0);
    bench.run(["tail", "-n", "1", "--from", &file]).exits(0).prints("block").prints("id=e30");
}

#[test]
fn filters_and_moments_select() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(30));
    let check = |args: &[&str], expected: &[&str]| {
        let all = ["tail", "-o", "json", "--from", &file];
        let lines = bench.run(all.iter().chain(args)).exits(0).json_lines();
        assert_eq!(ids(&lines), expected, "{args:?}");
    };
    check(&["-n", "2", "action=allow"], &["e27", "e29"]);
    check(&["metadata.n=7"], &["e7"]);
    check(&["action!=allow", "event_id~2", "metadata.n!=2", "-n", "3"], &["e24", "e26", "e28"]);
    check(&["--since", "2026-03-01T12:00:29Z"], &["e29", "e30"]);
    check(&["--since", "1h"], &[]);
}

#[test]
fn csv_and_arrays_are_read_as_well() {
    let bench = Bench::new();
    let csv = bench.file("a.csv", "event_id,reason,action\na,'=1+1,block\nb,\"x\ny\",allow\n");
    let lines = bench.run(["tail", "-o", "json", "--from", &csv]).exits(0).json_lines();
    assert_eq!((&lines[0]["reason"], &lines[1]["reason"]), (&"=1+1".into(), &"x\ny".into()));
    let json = bench.file("a.json", "[{\"event_id\":\"a\"},\n{\"event_id\":\"b\"}]");
    let url = format!("file://{json}");
    let lines = bench.run(["tail", "-o", "json", "--from", &url]).exits(0).json_lines();
    assert_eq!(ids(&lines), ["a", "b"]);
}

/// A CSV file or a table without our columns showed `allow`, the present time and a new id.
#[test]
fn what_a_dataset_has_no_column_for_is_shown_as_it_was_logged() {
    let bench = Bench::new();
    let line = "{\"event_id\":\"e-1\",\"timestamp\":\"2026-03-01T12:00:00Z\",\"action\":\"Denied\",\
                \"severity\":\"HIGH\",\"reason\":[\"kept\"],\"rule\":7}\n";
    let file = bench.file("in.jsonl", line);
    let csv = bench.file("own.csv", "team,reason,metadata\n");
    for to in [csv.as_str(), "out.jsonl", "sqlite:///own.db"] {
        bench.run(["ingest", &file, "--to", to]).exits(0);
        let line = &bench.run(["tail", "-o", "json", "--from", to]).exits(0).json_lines()[0];
        assert_eq!((&line["event_id"], &line["action"]), (&"e-1".into(), &"block".into()), "{to}");
        assert_eq!(line["timestamp"], "2026-03-01T12:00:00.000000Z", "{to}");
        assert_eq!((&line["severity"], &line["reason"]), (&"high".into(), &Value::Null), "{to}");
        assert_eq!(line["metadata"], json!({"reason": ["kept"], "rule": 7}), "{to}");
    }
}

#[test]
fn what_can_not_be_read_says_why() {
    let bench = Bench::new();
    bench.run(["tail", "--from", "nothing.jsonl"]).exits(5).says("nothing.jsonl");
    bench.run(["tail", "--from", "events.txt"]).exits(2).says("events.txt");
    bench.run(["tail"]).exits(5).says("safety_events.db");
    let mut command = bench.command(["tail"]);
    command.env("NAMEL3SS_SAFETY_URL", "gopher://bucket/x");
    crate::Ran::from(command.output().unwrap()).exits(5).says("NAMEL3SS_SAFETY_URL");
    let mixed = bench.file("a.jsonl", "{\"event_id\":\"a\"}\n{\"action\":blok}\n");
    bench.run(["tail", "--from", &mixed]).exits(4).says("1 row").prints("id=a");
}

#[cfg(unix)]
#[test]
fn following_shows_what_comes_and_ends_with_ctrl_c() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(1));
    let mut command = bench.command(["tail", "-f", "-o", "json", "--from", &file]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"e1\""));
    let mut append = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    append.write_all(b"{\"event_id\":\"ne").unwrap();
    append.write_all(b"w\"}\n").unwrap();
    assert!(lines.next().unwrap().unwrap().contains("\"new\""));
    // A rotation puts another file there.
    std::fs::rename(&file, bench.path("old")).unwrap();
    bench.file("a.jsonl", "{\"event_id\":\"rotated\"}\n");
    assert!(lines.next().unwrap().unwrap().contains("\"rotated\""));
    interrupt(child);
}

/// Ends a `tail -f` as a person does.
#[cfg(unix)]
fn interrupt(mut child: std::process::Child) {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// It failed with "there is no table", although it had promised to wait.
#[cfg(unix)]
#[test]
fn following_waits_for_a_file_and_for_a_table_in_it() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(1));
    let other = "sqlite:///x.db?table=other";
    bench.run(["ingest", &file, "--to", other]).exits(0);
    let missing = bench.run(["tail", "--from", "x.db"]).exits(5);
    missing.says("there is no table \"safety_events\", there is other");
    bench.run(["stats", "--from", "x.db"]).exits(5).says("there is other");
    for from in ["x.db", "y.db", "z.csv"] {
        let mut command = bench.command(["tail", "-f", "-o", "json", "--from", from]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(said.next().unwrap().unwrap().contains(&format!("waiting for {from}")));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        bench.run(["ingest", &file, "--to", from]).exits(0);
        assert!(lines.next().unwrap().unwrap().contains("\"e1\""), "{from}");
        interrupt(child);
    }
}

/// Nobody saw an event for ten seconds, or until its program was started again.
#[test]
fn what_is_not_delivered_yet_is_shown_and_marked() {
    let bench = Bench::new();
    bench.run(["ingest", &bench.file("a.jsonl", events(1))]).exits(0);
    crate::journals::orphan(&bench, &[]);
    // These go elsewhere.
    crate::journals::orphan(&bench, &["--to", "other.jsonl"]);
    let ran = bench.run(["tail"]).exits(0).says("hint: * not delivered yet: 3 events, the oldest");
    assert_eq!(ran.stdout.lines().count(), 4, "{ran:#?}");
    assert_eq!(ran.stdout.matches("Z* ").count(), 3, "{ran:#?}");
    let lines = bench.run(["tail", "-n", "2", "-o", "json", "action=allow"]).exits(0).json_lines();
    assert_eq!(
        (lines[1]["event_id"].as_str(), &lines[1]["state"]),
        (Some("e3"), &"waiting".into())
    );
    let json = bench.run(["stats", "-o", "json"]).exits(0).json();
    let dataset = &json["datasets"][0];
    assert_eq!((&dataset["rows"], &dataset["waiting"]["rows"]), (&1.into(), &3.into()));
    bench.run(["stats"]).exits(0).prints("waiting");
    bench.run(["recover"]);
    let ran = bench.run(["tail"]).exits(0);
    assert_eq!((ran.stdout.matches("Z* ").count(), ran.stdout.lines().count()), (0, 4), "{ran:#?}");
    // A dataset that does not exist yet, for which events wait.
    let bench = Bench::new();
    crate::journals::orphan(&bench, &[]);
    let ran = bench.run(["tail"]).exits(0).says("nothing has been delivered there yet");
    assert_eq!(ran.stdout.lines().count(), 3);
    bench.run(["stats"]).exits(0).says("is not there yet").prints("waiting");
}

#[cfg(unix)]
#[test]
fn following_shows_each_event_once() {
    let bench = Bench::new();
    bench.run(["ingest", &bench.file("a.jsonl", events(1))]).exits(0);
    crate::journals::orphan(&bench, &[]);
    let mut command = bench.command(["tail", "-f", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let shown: Vec<_> = (0..4).map(|_| next()["state"].clone()).collect();
    assert_eq!(shown.iter().filter(|state| *state == "waiting").count(), 3);
    // The next look finds what has come since, and nothing of what was found before.
    let mut journals = Vec::new();
    for _ in 0..2 {
        crate::journals::orphan(&bench, &[]);
        let rows: Vec<_> = (0..3).map(|_| next()).collect();
        assert_eq!(ids(&rows), ["e1", "e2", "e3"]);
        journals.extend(rows.iter().map(|row| row["journal_id"].clone()));
    }
    journals.dedup();
    assert_eq!(journals.len(), 2);
    // Their delivery is not shown again, the next event is.
    bench.run(["recover"]).exits(0);
    let file = bench.file("b.jsonl", "{\"event_id\":\"next\",\"action\":\"block\"}\n");
    bench.run(["ingest", &file]).exits(0);
    assert_eq!(next()["event_id"], "next");
    interrupt(child);
}

#[test]
fn an_empty_result_says_so() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(3));
    let tail = |args: &[&str]| {
        let all = ["tail", "--from", &file];
        let ran = bench.run(all.iter().chain(args)).exits(0);
        assert!(ran.stdout.is_empty(), "{ran:#?}");
        ran.stderr
    };
    let near = "hint: none of 3 events matches: did you mean policy_name=pii?\n";
    assert_eq!(tail(&["policy_name=pi"]), near);
    assert_eq!(tail(&["--since", "1h"]), "hint: none of 3 events matches\n");
    let empty = bench.file("b.jsonl", "");
    bench.run(["tail", "--from", &empty]).exits(0).says("hint: there are no events in");
    bench.run(["stats", "--from", &empty]).exits(0).says("hint: there are no events in");
}

/// It was said that nothing had been delivered there yet.
#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_not_called_empty() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    std::fs::create_dir(bench.path("closed")).unwrap();
    for name in ["closed/x.db", "closed/x.jsonl"] {
        bench.run(["ingest", &bench.file("a.jsonl", events(1)), "--to", name]).exits(0);
    }
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // Where another user may look as well.
    set(bench.folder.path(), 0o755);
    set(&bench.path("closed"), 0);
    let is_root = rustix::process::geteuid().is_root();
    let program = bench.path("n3-safety");
    if is_root {
        // Root may read everything, and others perhaps not this program.
        std::fs::copy(env!("CARGO_BIN_EXE_n3-safety"), &program).unwrap();
        set(&program, 0o755);
    }
    for verb in ["tail", "stats"] {
        for name in ["closed/x.db", "closed/x.jsonl"] {
            let mut command = bench.command([verb, "--from", name]);
            if is_root {
                use std::os::unix::process::CommandExt as _;
                let mut other = std::process::Command::new(&program);
                other.args(command.get_args()).current_dir(bench.folder.path());
                other.env_remove("NAMEL3SS_SAFETY_URL").env("NAMEL3SS_SAFETY_HOME", bench.home());
                other.uid(65_534).gid(65_534);
                command = other;
            }
            let ran = crate::Ran::from(command.output().unwrap());
            let ran = ran.exits(1).says("ermission denied");
            assert!(!ran.stderr.contains("delivered there yet"), "{ran:#?}");
        }
    }
    set(&bench.path("closed"), 0o700);
}

/// The dataset could only be named by `--from`.
#[test]
fn the_dataset_may_come_first() {
    let bench = Bench::new();
    bench.file("a.jsonl", events(4));
    bench.run(["ingest", "a.jsonl", "--to", "sqlite:///a.db?table=own"]).exits(0);
    let url = format!("file://{}", bench.path("a.jsonl").display());
    for dataset in ["a.jsonl", "./a.jsonl", "file:a.jsonl", &url, "sqlite:a.db?table=own"] {
        let args = ["tail", dataset, "action=block", "metadata.n!=2", "-o", "json"];
        assert_eq!(ids(&bench.run(args).exits(0).json_lines()), ["e4"], "{dataset}");
        let json = bench.run(["stats", dataset, "-o", "json"]).exits(0).json();
        assert_eq!(json["datasets"][0]["rows"], 4, "{dataset}");
    }
    let json = bench.run(["stats", "a.jsonl", "sqlite:///a.db?table=own", "-o", "json"]).json();
    assert_eq!(json["datasets"].as_array().unwrap().len(), 2);
    // A key of the metadata may end as a file does.
    let ran = bench.run(["tail", "a.jsonl", "metadata.csv=7"]).exits(0);
    ran.says("none of 4 events matches");
    bench.run(["tail", "nothing.jsonl"]).exits(5).says("nothing.jsonl");
    bench.run(["tail", "action=block", "a.jsonl"]).exits(2).says("comes before all filters");
    bench.run(["tail", "a.jsonl", "--from", "a.db"]).exits(2).says("name one dataset");
    bench.run(["tail", "nonsense"]).exits(2).says("a filter is field=value");
}
