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
fn damage_is_told_and_costs_its_own_rows_only() {
    let bench = Bench::new();
    let bad = bench.file("safety_events_20260301_120000_2.json", "{\"action\":\"block\"}");
    bench.run(["replay", "--dry-run", &bad]).exits(3).says("failed to read");
    bench.file(NAME, array(1));
    let json = bench.run(["replay", "--dry-run", "-o", "json", "."]).exits(4).json();
    assert_eq!((json["rows"].as_u64(), json["failed"].as_u64()), (Some(1), Some(1)));
    bench.run(["replay", "--dry-run", "nothing.json"]).exits(1).says("nothing.json");
    // One row that is none costs itself, and is kept.
    std::fs::remove_file(bad).unwrap();
    bench.file(NAME, array(3).replacen("{\"event_id\":\"e2\"", "{]", 1));
    let ran = bench.run(["replay", "--to", "out.jsonl", "."]).exits(4);
    ran.says("1 rows of").says("this row is not JSON").prints("stored 2 rows");
    let ran = bench.run(["replay", "--to", "out.jsonl", "."]).exits(3).says("its text was no row");
    ran.says("safety_events_");
}

/// Files of a folder that said nothing went to the default dataset, which was a guess.
#[test]
fn rows_go_where_their_folder_says_and_nowhere_else() {
    let bench = Bench::new();
    let file = bench.file(NAME, array(3));
    bench.run(["replay", "."]).exits(5).says("does not say where it goes").says("--to URL");
    bench.run(["replay", &file]).exits(5).says("--to URL");
    bench.run(["replay", "--dry-run", "."]).exits(0).prints("name it with --to URL");
    assert!(exists(&file));
    // The home is not there yet, and neither is the dataset in it.
    assert!(!exists(bench.home()));
    let destination =
        format!("sqlite:///{}?table=safety_events", bench.home().join("own.db").display());
    bench.file("destination", "nonsense:here");
    bench.run(["replay", "."]).exits(5).says("nonsense:here").says("--to URL");
    bench.file("destination", &destination);
    bench.run(["replay", "."]).exits(0).prints("stored 3 rows").prints(&destination);
    let from = bench.home().join("own.db");
    let lines = bench.run(["tail", "-o", "json", "--from", from.to_str().unwrap()]).exits(0);
    assert_eq!(lines.json_lines().len(), 3);
}

#[cfg(unix)]
#[test]
fn what_others_could_have_written_is_not_replayed() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    let folder = bench.path("shared");
    std::fs::create_dir(&folder).unwrap();
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let file = folder.join(NAME);
    std::fs::write(&file, array(3)).unwrap();
    let run = || bench.run(["replay", "--to", "out.jsonl", "shared"]);
    let run_file = || bench.run(["replay", "--to", "out.jsonl", file.to_str().unwrap()]);
    chmod(&folder, 0o777);
    run().exits(1).says("chmod go-w");
    run_file().exits(1).says("chmod go-w");
    chmod(&folder, 0o755);
    chmod(&file, 0o666);
    run().exits(1).says("chmod go-w");
    // A pipe in the place of the word held it for ever.
    chmod(&file, 0o600);
    let pipe = folder.join("destination");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    run().exits(1).says("no plain file");
    std::fs::remove_file(&pipe).unwrap();
    assert!(!exists(bench.path("out.jsonl")));
    if rustix::process::geteuid().is_root() {
        // Root may name what is another user's.
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        std::os::unix::fs::chown(&folder, Some(12_345), None).unwrap();
    }
    run().exits(0).prints("stored 3 rows");
}

/// What a dataset had to say was told by `ingest` and `recover`, and not here.
#[test]
fn what_the_dataset_reports_is_told() {
    let bench = Bench::new();
    let file = bench.file(NAME, array(2));
    bench.run(["ingest", &bench.file("a.jsonl", events(1)), "--to", "out.jsonl"]).exits(0);
    let mut text = std::fs::read_to_string(bench.path("out.jsonl")).unwrap();
    text.push_str("{\"theirs\":");
    bench.file("out.jsonl", text);
    let ran = bench.run(["replay", "--to", "out.jsonl", &file]).exits(0).prints("stored 2 rows");
    ran.says("warning: 10 bytes at the end of").says("were no whole row");
    let rows = std::fs::read_to_string(bench.path("out.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 3, "{rows}");
}
