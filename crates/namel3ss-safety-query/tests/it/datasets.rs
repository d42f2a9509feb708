//! Every kind of dataset: SQL gives what plain reading gives.

use std::path::Path;

use namel3ss_safety::conformance::{buffer, hostile_events};
use namel3ss_safety::{JournalId, ReadRow};
use namel3ss_safety_query::Database;
use namel3ss_safety_stores::open;
use namel3ss_safety_stores::read::{self, Scan, open_reader};
use serde_json::{Value, json};

use crate::rows;

/// All columns of all rows as one JSON text each.
const ALL: &str = "select json_object('event_id', event_id, 'timestamp', timestamp, 'app_name', app_name,
    'chain_name', chain_name, 'agent_name', agent_name, 'policy_name', policy_name, 'reason', reason,
    'trace_id', trace_id, 'session_id', session_id, 'user_id', user_id, 'direction', direction,
    'action', action, 'categories', json(categories), 'severity', severity, 'confidence', confidence,
    'latency_ms', latency_ms, 'metadata', metadata, 'journal_id', journal_id, 'seq', seq) from events";

/// A row as [`ALL`] has it.
fn plain(row: &ReadRow) -> Value {
    let event = &row.event;
    let shown = event.timestamp.to_string().replacen('T', " ", 1);
    json!({
        "event_id": event.event_id, "timestamp": shown.trim_end_matches('Z'),
        "app_name": event.app_name, "chain_name": event.chain_name, "agent_name": event.agent_name,
        "policy_name": event.policy_name, "reason": event.reason, "trace_id": event.trace_id,
        "session_id": event.session_id, "user_id": event.user_id,
        "direction": event.direction.as_str(), "action": event.action.as_str(),
        "categories": event.categories, "severity": event.severity.as_str(),
        "confidence": event.confidence, "latency_ms": event.latency_ms,
        "metadata": serde_json::to_string(&event.metadata).unwrap(),
        "journal_id": row.id.map(|(journal, _)| journal.to_string()),
        "seq": row.id.map(|(_, seq)| seq.0),
    })
}

fn check(url: &str) {
    let reader = open_reader(url).unwrap();
    let batches = reader.scan(Scan::default()).unwrap();
    let all: Vec<ReadRow> =
        batches.flat_map(|batch| read::rows(&batch.unwrap()).collect::<Vec<_>>()).collect();
    assert!(all.len() > 20, "{url}: {}", all.len());
    let mut database = Database::new().unwrap();
    database.add("events", reader.into()).unwrap();
    let given: Vec<Value> = rows(&mut database, ALL)
        .unwrap()
        .iter()
        .map(|row| serde_json::from_str(row[0].trim_matches('\'')).unwrap())
        .collect();
    assert_eq!(given.len(), all.len(), "{url}");
    for (given, row) in given.iter().zip(&all) {
        let expected = plain(row);
        for (key, value) in expected.as_object().unwrap() {
            // SQLite writes 15 digits into JSON.
            let is_near = given[key]
                .as_f64()
                .zip(value.as_f64())
                .is_some_and(|(a, b)| (a - b).abs() <= 1e-12 * b.abs());
            assert!(is_near || given[key] == *value, "{url}: {key}: {} is not {value}", given[key]);
        }
    }
    // What is pushed down leaves out no row.
    for row in all.iter().step_by(5) {
        let expected =
            all.iter().filter(|other| other.event.timestamp >= row.event.timestamp).count();
        let sql =
            format!("select count(*) from events where timestamp >= '{}'", row.event.timestamp);
        assert_eq!(rows(&mut database, &sql).unwrap(), [[expected.to_string()]], "{url}: {sql}");
        let Some(reason) = row.event.reason.as_deref().filter(|text| !text.contains('\0')) else {
            continue;
        };
        let expected =
            all.iter().filter(|other| other.event.reason.as_deref() == Some(reason)).count();
        let mut statement =
            database.prepare("select count(*) from events where reason = :reason").unwrap();
        statement.bind("reason", reason).unwrap();
        let mut counted = statement.rows().unwrap();
        let count = counted.next_row().unwrap().unwrap().value(0);
        assert_eq!(
            count,
            namel3ss_safety_query::Value::Integer(expected as i64),
            "{url}: {reason:?}"
        );
    }
}

fn filled(url: &str) {
    // The longest say nothing about SQL, and years beyond the calendar are shown in another form.
    let is_short = |event: &namel3ss_safety::SafetyEvent| {
        event.reason.as_ref().is_none_or(|text| text.len() < 1000)
            && (0..=253_402_300_799_999_999).contains(&event.timestamp.micros())
            && event.confidence.abs() < 1e15
            && event.latency_ms.abs() < 1e15
    };
    let events: Vec<_> = hostile_events().into_iter().filter(is_short).collect();
    let adapter = open(url).unwrap();
    adapter.insert(&buffer(JournalId([3; 16]), 1, &events).batch()).unwrap();
    check(url);
}

fn in_folder(test: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    test(folder.path());
}

#[test]
fn sqlite_of_ours() {
    in_folder(|folder| filled(&format!("sqlite:///{}", folder.join("a.db").display())));
}

#[test]
fn sqlite_of_others() {
    in_folder(|folder| {
        let path = folder.join("theirs.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch("create table audit(id integer primary key, event_id text, timestamp text, action text, reason text, user text)")
            .unwrap();
        for n in 0..40 {
            let at = format!("2026-03-{:02}T{:02}:00:00Z", 1 + n % 28, n % 24);
            let action = ["Blocked", "allow", "REDACTED"][n % 3];
            connection
                .execute(
                    "insert into audit(event_id, timestamp, action, reason, user) values (?, ?, ?, ?, 'u')",
                    (format!("e{n}"), at, action, format!("r{}", n % 4)),
                )
                .unwrap();
        }
        drop(connection);
        check(&format!("sqlite:///{}?table=audit", path.display()));
    });
}

#[test]
fn json_lines() {
    in_folder(|folder| filled(folder.join("a.jsonl").to_str().unwrap()));
}

#[test]
fn csv() {
    in_folder(|folder| filled(folder.join("a.csv").to_str().unwrap()));
}

#[test]
fn a_folder_of_parquet() {
    in_folder(|folder| filled(&format!("file://{}/?format=parquet", folder.display())));
}

#[test]
fn a_delta_table() {
    in_folder(|folder| filled(&format!("delta+file://{}/table", folder.display())));
}

#[test]
fn a_dataset_that_is_not_there_is_told() {
    let mut database = Database::new().unwrap();
    database.add("events", open_reader("/nowhere/at/all.jsonl").unwrap().into()).unwrap();
    let error = rows(&mut database, "select * from events").unwrap_err();
    let is_told =
        matches!(error, namel3ss_safety_query::QueryError::Scan(read::ScanError::NotThere(_)));
    assert!(is_told, "{error:?}");
    // A statement that does not look at it does not need it.
    assert_eq!(rows(&mut database, "select 1").unwrap(), [["1"]]);
}
