//! Scans of SQLite tables, ours and others': what is asked in SQL, how long it takes, where it goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{DatasetAdapter as _, JournalId};
use namel3ss_safety_stores::SqliteAdapter;
use namel3ss_safety_stores::read::{DatasetReader as _, Scan, ScanError};
use namel3ss_safety_stores::sqlite::SqliteReader;
use rusqlite::Connection;

use crate::read::pushed;
use crate::scans;
use crate::sqlite::{adapter, rows, with_file};

fn reader(path: &Path, table: &str) -> SqliteReader {
    SqliteReader::new(path, table.parse().unwrap(), false)
}

fn seqs(reader: &SqliteReader, scan: Scan) -> Vec<u64> {
    let rows = scans::given(&mut reader.scan(scan).unwrap()).unwrap();
    rows.into_iter().map(|row| row.id.expect("an id").1.0).collect()
}

/// Tables of others: other types, orders of texts, other columns.
const THEIRS: [&str; 4] = [
    "event_id, timestamp, trace_id, reason, direction, action, severity, confidence, categories, \
     metadata, journal_id, seq",
    "event_id TEXT COLLATE NOCASE, timestamp TEXT COLLATE NOCASE, trace_id TEXT COLLATE NOCASE, \
     reason TEXT COLLATE RTRIM, direction TEXT COLLATE NOCASE, action TEXT COLLATE NOCASE, \
     severity TEXT COLLATE NOCASE, confidence NUMERIC, categories TEXT, metadata TEXT COLLATE NOCASE, \
     journal_id TEXT, seq INT, team TEXT DEFAULT 'k'",
    "event_id NUMERIC, timestamp NUMERIC, trace_id INTEGER, reason REAL, direction NUMERIC, \
     action NUMERIC, severity NUMERIC, confidence TEXT, categories NUMERIC, metadata BLOB, \
     journal_id TEXT, seq INT, UNIQUE (journal_id, seq)",
    "Event_ID TEXT, traceId TEXT, reason TEXT, direction TEXT, action TEXT, severity TEXT, \
     metadata TEXT, journal_id TEXT, seq INT, timestamp, confidence, categories, trace_id AS (traceId)",
];

/// What others may set in a row.
const ODD_ROWS: [&str; 35] = [
    "action = ' DENY'",
    "action = 'maybe'",
    "action = NULL",
    "action = x'626c6f636b'",
    "action = 'would_block', metadata = '{\"k\": \"\\u0061bc\", \"n\": 1.50e1}'",
    "action = 7",
    "direction = 'Response'",
    "direction = NULL",
    "direction = 'sideways'",
    "severity = ' HIGH'",
    "severity = NULL",
    "severity = x'68696768'",
    "trace_id = x'616263', reason = x'616263', event_id = x'616263'",
    "trace_id = 7, reason = 7, event_id = 7",
    "trace_id = 7.0, reason = 7.5, event_id = 1e7",
    "trace_id = 1e20, reason = 1e20",
    "trace_id = NULL, reason = NULL",
    "trace_id = CAST(x'61ff63' AS TEXT), reason = x'61ff63', severity = CAST(x'ff' AS TEXT)",
    "trace_id = CAST(x'61620063' AS TEXT), reason = CAST(x'61620063' AS TEXT)",
    "timestamp = '2026-02-03 04:05:06.789'",
    "timestamp = '2026-03-01T24:00:00.000000Z'",
    "timestamp = '2026-03-01T12:30:00.000000+05:00'",
    "timestamp = '1772368200'",
    "timestamp = 1772368200",
    "timestamp = 1772368200.5",
    "timestamp = CAST('2026-03-01T12:30:00.000000Z' AS BLOB)",
    "timestamp = 'Sun, 01 Mar 2026 12:00:00 GMT'",
    "confidence = 'HIGH'",
    "confidence = ' 0.5 '",
    "confidence = NULL",
    "confidence = 9007199254740993",
    "categories = '[\"p\\u0069i\", 7, 7.50]'",
    "categories = '{\"pii\": true, \"abc\": false}'",
    "categories = 'abc', metadata = 'abc'",
    "categories = 7, metadata = '{\"in\": {\"k\": \"abc\"}, \"mode\": \"abc\", \"team\": \"abc\"}'",
];

#[test]
fn a_pushed_filter_equals_the_plain_one() {
    for (encoding, most) in [("UTF-8", 1), ("UTF-16le", 1)] {
        with_file(|path| {
            let theirs = Connection::open(path).unwrap();
            theirs.pragma_update(None, "encoding", encoding).unwrap();
            let mut tables = vec!["safety_events".to_owned()];
            // How texts are encoded matters where bytes and numbers stand among them.
            let theirs_tried = if encoding == "UTF-8" { &THEIRS[..] } else { &THEIRS[..1] };
            for (columns, n) in theirs_tried.iter().zip(0..) {
                theirs.execute_batch(&format!("CREATE TABLE t{n} ({columns})")).unwrap();
                tables.push(format!("t{n}"));
            }
            let events = scans::events();
            for table in &tables {
                let adapter = SqliteAdapter::open(path, table.parse().unwrap()).unwrap();
                let rows = buffer(JournalId::generate(), 1, &events);
                adapter.insert(&rows.batch()).unwrap();
                let trace = if table == "t3" { "traceId" } else { "trace_id" };
                let copied = format!(
                    "event_id, timestamp, {trace}, reason, direction, action, severity, confidence, \
                     categories, metadata, journal_id"
                );
                let mut seq = 10_000;
                for set in ODD_ROWS {
                    seq += 1;
                    let copy = format!(
                        "INSERT INTO {table} ({copied}, seq) \
                         SELECT {copied}, {seq} FROM {table} WHERE seq = 1"
                    );
                    theirs.execute(&copy, []).unwrap();
                    let set = set.replace("trace_id", trace);
                    let set = format!("UPDATE {table} SET {set} WHERE seq = {seq}");
                    // Our own table refuses some.
                    if theirs.execute(&set, []).is_err() {
                        assert_eq!(table, "safety_events", "{set}");
                    }
                }
                let reader = reader(path, table);
                scans::newest_rows_are_the_last_of_all(&reader);
                scans::fewer_columns_hold_the_same(&reader);
                scans::a_pushed_filter_equals_the_plain_one(&reader, most);
            }
        });
    }
}

#[test]
fn a_scan_of_our_own_table_gives_what_is_asked_for() {
    with_file(|path| {
        pushed::a_pushed_filter_equals_the_plain_one(&format!("sqlite:///{}", path.display()));
    });
    with_file(|path| {
        pushed::a_scan_goes_on_behind_a_position(&format!("sqlite:///{}", path.display()));
    });
}

#[test]
fn a_scan_goes_on_behind_what_was_there() {
    with_file(|path| {
        let journal = JournalId::generate();
        adapter(path).insert(&rows(journal, 1, 2500).batch()).unwrap();
        let reader = reader(path, "safety_events");
        let newest = Scan { newest_first: true, limit: Some(2), ..Scan::default() };
        let mut batches = reader.scan(newest).unwrap();
        assert_eq!(scans::given(&mut batches).unwrap().len(), 2);
        let after = batches.position();
        adapter(path).insert(&rows(journal, 2501, 1500).batch()).unwrap();
        let mut batches = reader.scan(Scan { after, ..Scan::default() }).unwrap();
        let found: Vec<u64> = scans::given(&mut batches)
            .unwrap()
            .into_iter()
            .map(|row| row.id.unwrap().1.0)
            .collect();
        assert_eq!(found, (2501..=4000).collect::<Vec<_>>());
        let after = batches.position();
        assert!(seqs(&reader, Scan { after, ..Scan::default() }).is_empty());
        // From a moment on, and the newest of them.
        let from = Some(plain_event(3900).timestamp);
        assert_eq!(
            seqs(&reader, Scan { from, ..Scan::default() }),
            (3900..=4000).collect::<Vec<_>>()
        );
        let scan = Scan { from, newest_first: true, limit: Some(3), ..Scan::default() };
        assert_eq!(seqs(&reader, scan), [4000, 3999, 3998]);
    });
}

/// A statement is ended wherever it is, also while it has found nothing yet.
#[test]
fn a_deadline_ends_a_statement() {
    with_file(|path| {
        let slow = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000000000) \
                    SELECT n AS rowid, 'a' AS trace_id FROM n WHERE n < 0";
        let theirs = Connection::open(path).unwrap();
        theirs.execute_batch(&format!("CREATE VIEW slow AS {slow}")).unwrap();
        let began = Instant::now();
        let deadline = Some(began + Duration::from_millis(300));
        let scan = Scan { deadline, ..Scan::default() };
        let ended =
            reader(path, "slow").scan(scan).and_then(|mut batches| scans::given(&mut batches));
        assert_eq!(ended.unwrap_err(), ScanError::Deadline);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    });
}

#[test]
fn a_table_is_described_and_a_missing_one_is_told_with_the_others() {
    with_file(|path| {
        let nowhere = reader(path, "safety_events").describe().unwrap_err();
        assert!(matches!(&nowhere, ScanError::NotThere(text) if text.contains("nothing has been")));
        adapter(path).insert(&rows(JournalId::generate(), 1, 3).batch()).unwrap();
        let described = reader(path, "safety_events").describe().unwrap();
        let moment = |n| plain_event(n).timestamp;
        assert_eq!(described.time_range, Some((moment(1), moment(3))));
        assert_eq!(described.tables, ["safety_events"]);
        assert_eq!(described.columns.len(), 19);
        assert!(described.bytes.unwrap() > 0);
        let missing = reader(path, "nowhere").scan(Scan::default()).unwrap_err();
        assert!(matches!(&missing, ScanError::NotThere(_)), "{missing}");
        let text = missing.to_string();
        assert!(text.contains("there is no table \"nowhere\", there is safety_events"), "{text}");
    });
}
