//! Other people's tools read what we write.

use std::process::Command;

use namel3ss_safety::conformance::{buffer, hostile_events, plain_event};
use namel3ss_safety::{JournalId, SafetyAction, SafetyEvent, Timestamp};
use namel3ss_safety_stores::open;

use super::server::{Server, python_with};
use super::stores::{AZURE_KEY, azure, azurite};

fn run(python: &str, arguments: &[&str]) -> String {
    let done = Command::new(python).args(arguments).output().expect("Python runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

/// Hostile events whose moments Python's calendar can name, and those whose it can't.
fn nameable() -> (Vec<SafetyEvent>, Vec<SafetyEvent>) {
    let years = -62_135_596_800_000_000..253_402_300_800_000_000_i64;
    hostile_events().into_iter().partition(|event| years.contains(&event.timestamp.micros()))
}

#[test]
fn pyarrow_polars_duckdb_and_pandas_read_every_row_as_it_was() {
    let (mut events, extremes) = nameable();
    let noon: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
    events.extend((0..30_000_u64).map(|n| SafetyEvent {
        timestamp: Timestamp::from_micros(noon.micros() + n.cast_signed() * 1_000),
        action: SafetyAction::ALL[(n % 4) as usize],
        ..plain_event(n)
    }));
    let folder = tempfile::tempdir().expect("a folder");
    let path = |format: &str| format!("{}/{format}", folder.path().display());
    let rows = buffer(JournalId::generate(), 1, &events);
    for format in ["parquet", "jsonl"] {
        let url = format!("file://{}/?format={format}", path(format));
        open(&url).expect("a URL").insert(&rows.batch()).expect("stored");
    }
    let others = format!("file://{}/?format=parquet", path("extremes"));
    let beyond = buffer(JournalId::generate(), 1, &extremes);
    open(&others).expect("a URL").insert(&beyond.batch()).expect("stored");
    let micros: Vec<String> =
        extremes.iter().map(|event| event.timestamp.micros().to_string()).collect();
    let python = python_with(&["duckdb", "pandas", "polars", "pyarrow", "pytz"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/objects/read_back.py");
    let folders = [path("parquet"), path("jsonl"), path("extremes"), micros.join(",")];
    let said = run(&python, &[&[script], &folders.each_ref().map(String::as_str)[..]].concat());
    assert!(said.starts_with(&format!("read back {} rows", events.len())), "{said}");
}

/// Stores hostile events in a bucket, and has its provider's own client compare them.
fn reads_back(url: &str, client: &[&str], packages: &[&str]) {
    let (events, _) = nameable();
    let folder = tempfile::tempdir().expect("a folder");
    let lines = folder.path().display().to_string();
    let rows = buffer(JournalId::generate(), 1, &events);
    for url in [url, &format!("file://{lines}/?format=jsonl")] {
        open(url).expect("a URL").insert(&rows.batch()).expect("stored");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/objects/clouds.py");
    let arguments = [&[script], client, &[lines.as_str()]].concat();
    let said = run(&python_with(packages), &arguments);
    assert!(said.starts_with(&format!("read back {} rows", events.len())), "{said}");
}

#[test]
fn boto3_reads_every_row_as_it_was() {
    let server = Server::start("s3");
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    for format in ["csv", "json", "parquet"] {
        let url = format!(
            "s3://safety/{format}?format={format}&endpoint={endpoint}\
             &access_key_id=test&secret_access_key=testtest"
        );
        reads_back(&url, &["s3", &endpoint, "testtest", format], &["boto3", "pyarrow"]);
    }
}

#[test]
fn azures_own_client_reads_every_row_as_it_was() {
    let server = azurite();
    let endpoint = format!("http://127.0.0.1:{}/devstoreaccount1", server.port);
    for format in ["csv", "json", "parquet"] {
        let url = azure(server.port, &format!("{format}?format={format}"));
        let packages = ["azure-storage-blob", "pyarrow"];
        reads_back(&url, &["azure", &endpoint, AZURE_KEY, format], &packages);
    }
}
