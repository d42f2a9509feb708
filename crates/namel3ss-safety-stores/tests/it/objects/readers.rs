//! Other people's tools read what we write.

use std::process::Command;

use namel3ss_safety::conformance::{buffer, hostile_events, plain_event};
use namel3ss_safety::{JournalId, SafetyAction, SafetyEvent, Timestamp};
use namel3ss_safety_stores::open;

use super::common::rows;
use super::server::{Server, python_with};

fn run(python: &str, arguments: &[&str]) -> String {
    let done = Command::new(python).args(arguments).output().expect("Python runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

#[test]
fn pyarrow_polars_duckdb_and_pandas_read_every_row_as_it_was() {
    // What Python's calendar can name.
    let years = -62_135_596_800_000_000..253_402_300_800_000_000_i64;
    let mut events: Vec<SafetyEvent> = hostile_events()
        .into_iter()
        .filter(|event| years.contains(&event.timestamp.micros()))
        .collect();
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
    let python = python_with(&["duckdb", "pandas", "polars", "pyarrow", "pytz"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/objects/read_back.py");
    let said = run(&python, &[script, &path("parquet"), &path("jsonl")]);
    assert!(said.starts_with(&format!("read back {} rows", events.len())), "{said}");
}

#[test]
fn boto3_reads_what_was_written_to_s3() {
    let server = Server::start("s3");
    let url = format!(
        "s3://safety/p?format=csv&endpoint=http://127.0.0.1:{}&access_key_id=test&secret_access_key=testtest",
        server.port
    );
    let journal = JournalId::generate();
    open(&url).expect("a URL").insert(&rows(journal, 1, 3).batch()).expect("stored");
    let script = "import boto3, csv, sys\n\
        s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1',\n\
            aws_access_key_id='test', aws_secret_access_key='testtest')\n\
        [key] = [o['Key'] for o in s3.list_objects_v2(Bucket='safety', Prefix='p/year=')['Contents']]\n\
        text = s3.get_object(Bucket='safety', Key=key)['Body'].read().decode()\n\
        print(key, [row['event_id'] for row in csv.DictReader(text.splitlines())])";
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let said = run(&python_with(&["boto3"]), &["-c", script, &endpoint]);
    assert!(said.contains(&format!("events_{journal}_00000000000000000001-")), "{said}");
    assert!(said.trim_end().ends_with("['event-1', 'event-2', 'event-3']"), "{said}");
}
