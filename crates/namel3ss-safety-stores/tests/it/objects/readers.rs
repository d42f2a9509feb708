//! Other people's tools read what we write.

use std::process::Command;
use std::time::Duration;

use namel3ss_safety::conformance::{buffer, hostile_events, plain_event, same_event};
use namel3ss_safety::{JournalId, SafetyAction, SafetyEvent, Timestamp};
use namel3ss_safety_stores::objects::{CompactOptions, Place, compact};
use namel3ss_safety_stores::open;

use super::server::{Server, python_with};
use super::stores::{AZURE_KEY, azure, azurite};
use super::support::{all, seqs_of};

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
    // On a day of its own.
    let noon: Timestamp = "2026-03-02T12:00:00Z".parse().expect("a time");
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
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/objects/read_back.py");
    let folders = [path("parquet"), path("jsonl"), path("extremes"), micros.join(",")];
    let said = run(&python, &[&[script], &folders.each_ref().map(String::as_str)[..]].concat());
    assert!(said.starts_with(&format!("read back {} rows", events.len())), "{said}");
}

/// Files of a version with one column more, or one less, and between them those of this one.
#[test]
fn files_of_other_versions_are_read_and_known_for_the_same_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}/?format=parquet", folder.path().display());
    let journal = JournalId::generate();
    let noon: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
    let event = |n| SafetyEvent { timestamp: noon, ..plain_event(n) };
    let batch =
        |first: u64| buffer(journal, first, &(first..first + 10).map(event).collect::<Vec<_>>());
    let store = |first| open(&url).expect("a URL").insert(&batch(first).batch());
    [1, 11, 21].into_iter().for_each(|first| store(first).expect("stored"));
    let script = "import glob, sys, pyarrow as pa, pyarrow.parquet as pq\n\
        more, less, _ = sorted(glob.glob(sys.argv[1] + '/**/*.parquet', recursive=True))\n\
        table = pq.read_table(more, partitioning=None)\n\
        pq.write_table(table.append_column('team', pa.array(['ours'] * 10)), more)\n\
        table = pq.read_table(less, partitioning=None)\n\
        pq.write_table(table.drop_columns(['session_id']), less)";
    let path = folder.path().display().to_string();
    run(&python_with(&["pyarrow"]), &["-c", script, &path]);
    let rows = all(&url);
    assert_eq!(seqs_of(&rows), (1..=30).collect::<Vec<_>>());
    for row in &rows {
        assert!(same_event(&row.event, &event(row.id.expect("an id").1.0)), "{row:?}");
    }
    [1, 11, 21, 31].into_iter().for_each(|first| store(first).expect("known, or stored"));
    assert_eq!(seqs_of(&all(&url)), (1..=40).collect::<Vec<_>>());
    // Merged with others, the column would be lost: its file stays, and that is said.
    let options = CompactOptions {
        before: "2026-03-03T00:00:00Z".parse().expect("a time"),
        target_bytes: CompactOptions::TARGET_BYTES,
        dry_run: false,
        linger: Duration::ZERO,
    };
    let place = Place::parse(&url).expect("a URL");
    let (days, _) = compact(place, &options, &mut |_| true).expect("compacted");
    assert_eq!((days[0].objects, days[0].errors.len()), ([4, 3], 2), "{days:?}");
    assert_eq!(seqs_of(&all(&url)), (1..=40).collect::<Vec<_>>());
    let kept = "import glob, sys, pyarrow.parquet as pq\n\
        names = [pq.read_schema(p).names for p in glob.glob(sys.argv[1] + '/**/*.parquet', recursive=True)]\n\
        print(len(names), sum('team' in n for n in names))";
    assert_eq!(run(&python_with(&["pyarrow"]), &["-c", kept, &path]).trim(), "3 1");
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
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/objects/clouds.py");
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
