//! Inputs as people have them: each was refused, or stored with a wrong verdict.

use serde_json::{Value, json};

use crate::{Bench, Ran};

/// Ingests a fixture; returns the run and what was stored.
fn ingest(bench: &Bench, name: &str, more: &[&str]) -> (Ran, Vec<Value>) {
    let file = format!("{}/tests/fixtures/ingest/{name}", env!("CARGO_MANIFEST_DIR"));
    let args = ["ingest", &file, "--to", "out.jsonl", "-o", "json"];
    let ran = bench.run(args.iter().chain(more));
    (ran, stored(bench))
}

fn stored(bench: &Bench) -> Vec<Value> {
    match std::fs::read_to_string(bench.path("out.jsonl")) {
        Ok(text) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        Err(_) => Vec::new(),
    }
}

/// What the fields of each stored row must be; `metadata` too.
#[track_caller]
fn check(name: &str, exit: i32, expected: &[Value]) {
    let bench = Bench::new();
    let (ran, rows) = ingest(&bench, name, &[]);
    let ran = ran.exits(exit);
    assert_eq!(rows.len(), expected.len(), "{name}: {rows:#?} {ran:#?}");
    for (row, expected) in rows.iter().zip(expected) {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&row[field], value, "{name}: {field} of {row}");
        }
    }
}

#[test]
fn actions_are_read_in_every_spelling() {
    let action = |action: &str| json!({"action": action, "metadata": {}});
    let block = || action("block");
    let truth = json!({"action": "alert", "metadata": {"action": true}});
    check(
        "action.jsonl",
        0,
        &[block(), block(), block(), block(), truth, action("allow"), block()],
    );
}

#[test]
fn what_does_not_fit_its_field_stands_in_metadata() {
    let metadata = |metadata: Value| json!({"action": "block", "metadata": metadata});
    check(
        "types.jsonl",
        0,
        &[
            metadata(json!({"confidence": "HIGH"})),
            metadata(json!({"confidence": "0,87"})),
            metadata(json!({"confidence": "87%"})),
            metadata(json!({"latency_ms": "12ms"})),
            metadata(json!({"confidence": true})),
            metadata(json!({"reason": ["a", "b"]})),
            metadata(json!({"reason": {"code": 1}})),
            metadata(json!({"user_id": {"id": 1}})),
        ],
    );
    check(
        "meta.jsonl",
        0,
        &[
            metadata(json!({"metadata": []})),
            metadata(json!({"metadata": "free text"})),
            metadata(json!({})),
            metadata(json!({"metadata": 5})),
        ],
    );
    check(
        "nan.jsonl",
        0,
        &[
            json!({"action": "block", "reason": "a", "metadata": {}}),
            metadata(json!({"score": "Infinity"})),
            json!({"action": "allow"}),
        ],
    );
}

#[test]
fn severities_and_directions_are_read_in_every_spelling() {
    check(
        "sev.jsonl",
        0,
        &[
            json!({"action": "block", "severity": "high", "direction": "input"}),
            json!({"action": "block", "severity": "critical", "direction": "output"}),
            json!({"direction": "input"}),
            json!({"direction": "output"}),
            json!({"direction": "input"}),
        ],
    );
}

#[test]
fn moments_are_read_in_every_form() {
    let at = |at: &str| json!({"action": "block", "timestamp": format!("{at}Z"), "metadata": {}});
    check(
        "epoch.jsonl",
        0,
        &[
            at("2022-11-15T17:59:59.945000"),
            at("2022-11-15T17:59:59.945123"),
            at("2022-11-15T17:59:59.945000"),
            at("2022-11-15T17:59:59.000000"),
            at("2022-11-15T17:59:59.500000"),
        ],
    );
    let impossible = |text: &str| json!({"action": "block", "metadata": {"timestamp": text}});
    check(
        "epoch.csv",
        0,
        &[
            at("2022-11-15T17:59:59.000000"),
            at("2022-11-15T17:59:59.250000"),
            at("2022-11-15T17:59:59.000000"),
            at("2022-11-15T15:59:59.000000"),
            impossible("15/11/2022 17:59"),
        ],
    );
    let noon = || at("2026-03-01T12:00:00.000000");
    check(
        "k_times.jsonl",
        0,
        &[
            at("2026-03-01T06:30:00.123456"),
            noon(),
            noon(),
            at("2026-03-01T12:00:00.123000"),
            noon(),
            at("2026-03-01T00:00:00.000000"),
            noon(),
            impossible("2026-06-30T23:59:60Z"),
            noon(),
            noon(),
            noon(),
            json!({"action": "block"}),
        ],
    );
}

#[test]
fn tables_are_read_whatever_stands_between_their_cells() {
    let row = json!({"action": "block", "reason": "pii", "metadata": {}});
    check("semi.csv", 0, std::slice::from_ref(&row));
    check("tab.tsv", 0, &[row]);
    check("h_case.csv", 0, &[json!({"action": "block", "reason": "pii", "policy_name": "p"})]);
    let rows = [
        json!({"action": "block", "reason": "multi\r\nline"}),
        json!({"action": "allow", "reason": "x"}),
        json!({"action": "block", "reason": "y"}),
    ];
    check("h_crlf.csv", 0, &rows);
}

#[test]
fn ragged_rows_are_told_by_their_lines() {
    let bench = Bench::new();
    let (ran, rows) = ingest(&bench, "h_ragged.csv", &[]);
    let json = ran.exits(4).says("bad line 2:").says("bad line 3:").json();
    assert_eq!((&json["flushed"], &json["bad"]), (&1.into(), &2.into()));
    assert_eq!((&rows[0]["action"], &rows[0]["reason"]), (&"block".into(), &"ok".into()));
    // With CRLF the number was one too small after a cell of several lines.
    let text = "action,reason\r\nblock,\"multi\r\nline\"\r\nallow,x\r\nblock,y,z\r\n";
    let ran = bench.feed(["ingest", "--to", "two.jsonl"], text.as_bytes());
    ran.exits(4).says("bad line 5: 3 cells where the header has 2");
}

#[test]
fn json_is_read_however_it_is_laid_out() {
    let block = || json!({"action": "block", "metadata": {}});
    let with_reason = || json!({"action": "block", "reason": "x"});
    check("pretty_crlf.json", 0, &[with_reason()]);
    check("pretty_space.json", 0, &[with_reason(), json!({"action": "allow"})]);
    check("arr_crlf.json", 0, &[block()]);
    check("k_concat.json", 0, &[block()]);
}

#[test]
fn utf_16_is_read() {
    check("utf16.jsonl", 0, &[json!({"action": "block", "reason": "café"})]);
}

#[test]
fn a_line_of_a_container_runtime_gives_its_time() {
    let at = "2026-03-01T12:00:00.000000Z";
    check("k_cri.log", 0, &[json!({"action": "block", "reason": "cri", "timestamp": at})]);
}

#[test]
fn a_guardrails_own_word_is_a_block() {
    check("bedrock.jsonl", 0, &[json!({"action": "block"})]);
}

/// Its verdict stands where nobody looked, and it was stored as allow.
#[test]
fn a_log_without_actions_is_refused_by_its_name() {
    let bench = Bench::new();
    let (ran, rows) = ingest(&bench, "litellm.jsonl", &[]);
    ran.exits(2).says("nothing stored").says("LiteLLM");
    assert!(rows.is_empty());
    assert!(!bench.path("out.jsonl").exists());
}

const VERDICTS: &str = r#"{"ts":"2026-03-01T12:00:00Z","verdict":"intervention","rule":"r1","msg":"m"}
{"ts":"2026-03-01T12:00:01Z","verdict":"none","rule":"r2","msg":"n"}
{"ts":"2026-03-01T12:00:02Z","verdict":"block","rule":"r3","msg":"o"}
"#;

/// All three lines were stored as allow.
#[test]
fn without_an_action_nothing_is_stored_and_a_mapping_is_proposed() {
    let bench = Bench::new();
    let file = bench.file("verdicts.jsonl", VERDICTS);
    let hint = "hint: --map action=verdict --map timestamp=ts --map reason=msg\n";
    let said = "n3-safety: no action in 3 lines (ts, verdict, rule, msg), nothing stored\n";
    for ran in [
        bench.run(["ingest", &file, "--to", "out.jsonl"]),
        bench.feed(["ingest", "--to", "out.jsonl"], VERDICTS.as_bytes()),
        bench.run(["ingest", &file]),
    ] {
        let ran = ran.exits(2);
        assert_eq!((&*ran.stderr, &*ran.stdout), (&*format!("{said}{hint}"), ""));
    }
    assert!(!bench.path("out.jsonl").exists());
    assert!(!bench.home().join("journal").exists());
    // A mapping that finds nothing is one that was misspelt.
    let ran = bench.run(["ingest", &file, "--to", "out.jsonl", "--map", "action=verdikt"]);
    ran.exits(2).says("no action at 'verdikt' in 3 lines");
    assert!(stored(&bench).is_empty());

    let map = ["ingest", &file, "--to", "out.jsonl", "--map", "action=verdict"];
    let value = ["--map-value", "action:intervention=block", "--map", "timestamp=ts"];
    bench.run(map.iter().chain(&value)).exits(0);
    let rows = stored(&bench);
    let actions: Vec<_> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["block", "allow", "block"]);
    assert_eq!(rows[0]["timestamp"], "2026-03-01T12:00:00.000000Z");
    assert_eq!(rows[0]["metadata"]["rule"], "r1");
}

#[test]
fn what_a_missing_action_means_can_be_said() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", "{\"reason\":\"x\"}\n{\"action\":\"block\"}\n");
    let run = |more: &[&str]| {
        let args = ["ingest", &file, "--to", "out.jsonl", "-o", "json"];
        let ran = bench.run(args.iter().chain(more)).exits(0);
        let rows = stored(&bench);
        std::fs::remove_file(bench.path("out.jsonl")).unwrap();
        let actions: Vec<_> = rows.iter().map(|row| row["action"].clone()).collect();
        (ran, actions)
    };
    let (ran, actions) = run(&[]);
    assert_eq!(actions, ["alert", "block"]);
    assert_eq!(ran.says("warning: line 1:").json()["no_action"], 1);
    let (ran, actions) = run(&["--missing-action", "alert"]);
    assert_eq!((actions, ran.stderr.as_str()), (vec!["alert".into(), "block".into()], ""));
    let (ran, actions) = run(&["--missing-action", "skip"]);
    assert_eq!((actions, &ran.json()["skipped"]), (vec!["block".into()], &1.into()));
    let none = bench.file("b.jsonl", "{\"reason\":\"x\"}\n");
    let all = ["ingest", &none, "--to", "out.jsonl", "--missing-action"];
    bench.run(all.iter().chain(&["skip"])).exits(0).prints("1 without an action left out");
    assert!(stored(&bench).is_empty());
    bench.run(all.iter().chain(&["alert"])).exits(0).prints("logged 1 events");
}

#[test]
fn records_that_decided_nothing_are_left_out_and_counted() {
    let bench = Bench::new();
    let text = "{\"action\":\"not_run\"}\n{\"action\":\"skipped\"}\n{\"action\":\"deny\"}\n";
    let ran = bench.feed(["ingest", "--to", "out.jsonl", "-o", "json"], text.as_bytes()).exits(0);
    assert_eq!(ran.json()["no_decision"], 2);
    assert_eq!(stored(&bench).len(), 1);
    let ran = bench.feed(["ingest", "--to", "out.jsonl"], b"{\"action\":\"disabled\"}\n").exits(0);
    ran.prints("1 that are no decision left out");
}

#[test]
fn packed_inputs_and_envelopes_are_opened() {
    use std::io::Write as _;
    let bench = Bench::new();
    let records = json!({"Records": [{"action": "block", "reason": "a"}, {"action": "deny"}]});
    let text = records.to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = bench.file("a.json.gz", gzip.finish().unwrap());
    let zstd = bench.file("a", zstd::bulk::compress(text.as_bytes(), 3).unwrap());
    for file in [&gzip, &zstd] {
        bench.run(["ingest", file, "--to", "out.jsonl"]).exits(0).prints("2 stored");
    }
    let docker = json!({"log": "{\"action\":\"block\"}\n", "stream": "stdout",
                        "time": "2026-03-01T12:00:00.5Z"});
    bench.feed(["ingest", "--to", "out.jsonl"], format!("{docker}\n").as_bytes()).exits(0);
    let last = stored(&bench).pop().unwrap();
    assert_eq!((&last["action"], &last["metadata"]), (&"block".into(), &json!({})));
    assert_eq!(last["timestamp"], "2026-03-01T12:00:00.500000Z");
    let parquet = bench.file("a.parquet", "PAR1...");
    bench.run(["ingest", &parquet, "--to", "out.jsonl"]).exits(1).says("it is Parquet");
}

/// An array that was cut between two elements was taken for a whole one.
#[test]
fn a_cut_array_is_not_taken_for_a_whole_one() {
    let bench = Bench::new();
    let file = bench.file("a.json", "[{\"action\":\"block\"},\n{\"action\":\"block\"},\n");
    let json = bench.run(["ingest", &file, "--to", "out.jsonl", "-o", "json"]).exits(4).json();
    assert_eq!((&json["flushed"], &json["bad_lines"][0]["line"]), (&2.into(), &3.into()));
}

#[test]
fn ingesting_a_file_again_adds_nothing() {
    let bench = Bench::new();
    let text = "{\"event_id\":\"a\",\"action\":\"block\"}\n{\"event_id\":\"b\",\"action\":\"block\"}\n\
                {\"event_id\":\"a\",\"action\":\"block\"}\n{\"action\":\"block\"}\n";
    let file = bench.file("a.jsonl", text);
    for to in ["out.db", "out.jsonl", "out.csv"] {
        let args = ["ingest", &file, "--to", to, "--dedupe", "event_id", "-o", "json"];
        let first = bench.run(args).exits(0).says("1 lines have no event_id").json();
        assert_eq!((&first["flushed"], &first["duplicates"]), (&3.into(), &1.into()), "{to}");
        let second = bench.run(args).exits(0).json();
        assert_eq!((&second["flushed"], &second["duplicates"]), (&1.into(), &3.into()), "{to}");
    }
    // What waits for the dataset in a journal counts as well.
    let bench = Bench::new();
    crate::journals::orphan(&bench, &[]);
    let same = bench.file("a.jsonl", crate::events(3));
    let json = bench.run(["ingest", &same, "--dedupe", "event_id", "-o", "json"]).exits(0).json();
    assert_eq!((&json["flushed"], &json["duplicates"]), (&0.into(), &3.into()));

    let two = ["ingest", &file, "--to", "a.db", "--to", "b.db", "--dedupe", "event_id"];
    bench.run(two).exits(2).says("name one with --to");
}
