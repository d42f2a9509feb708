//! Tables of others in SQLite: what has no column, and what others write, reads back.

use namel3ss_safety::conformance::{buffer, hostile_events, plain_event, same_event};
use namel3ss_safety::{DatasetAdapter as _, Delivery, Failure, JournalId, SafetyEvent, Timestamp};
use namel3ss_safety_stores::read::{DatasetReader as _, Scan};
use namel3ss_safety_stores::sqlite::SqliteReader;
use rusqlite::Connection;

use crate::scans::{given, stored};
use crate::sqlite::{adapter, all, rows, with_file};

fn reader(path: &std::path::Path, table: &str) -> SqliteReader {
    SqliteReader::new(path, table.parse().unwrap(), false)
}

/// `tail` showed such a table's rows as `allow`, of this moment and with new ids.
#[test]
fn another_table_keeps_its_columns_and_the_rest_goes_through_metadata() {
    with_file(|path| {
        let journal = JournalId::generate();
        let theirs = Connection::open(path).unwrap();
        theirs
            .execute_batch(
                "CREATE TABLE safety_events (Event_ID TEXT, team TEXT, reason TEXT, metadata TEXT)",
            )
            .unwrap();
        let adapter = adapter(path);
        let event = SafetyEvent { timestamp: Timestamp::from_micros(1_500_000), ..plain_event(9) };
        let mut events = vec![event];
        events.extend(hostile_events());
        let sent = buffer(journal, 1, &events);
        adapter.insert(&sent.batch()).unwrap();
        assert_eq!(adapter.delivery(), Delivery::AtLeastOnce);
        let found = all(path);
        assert_eq!(found.len(), events.len());
        for (found, sent) in found.iter().zip(sent.batch().rows()) {
            assert_eq!(found.id, Some((journal, sent.seq)));
            assert!(same_event(&found.event, &sent.event.to_event()), "{:?}", found.event.event_id);
        }
        let stored = "SELECT metadata FROM safety_events WHERE Event_ID = 'event-9'";
        let stored: String = theirs.query_row(stored, [], |row| row.get(0)).unwrap();
        assert!(stored.contains("\"action\":\"block\""), "{stored}");
        let from = Some("2026-01-01T00:00:00Z".parse().unwrap());
        let since = reader(path, "safety_events").scan(Scan { from, ..Scan::default() });
        let since = given(&mut since.unwrap()).unwrap();
        assert!(!since.is_empty() && since.iter().all(|row| row.event.event_id != "event-9"));

        theirs.execute_batch("ALTER TABLE safety_events DROP COLUMN metadata").unwrap();
        let error = crate::sqlite::adapter(path).insert(&rows(journal, 1, 1).batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Config);
        assert!(error.to_string().contains("lacks timestamp, app_name"), "{error}");
    });
}

/// Rows that another program stored beside ours: an unknown word made a row unreadable, a null one
/// was an `allow`.
#[test]
fn words_of_others_are_read_as_everywhere() {
    with_file(|path| {
        adapter(path).insert(&rows(JournalId::generate(), 1, 1).batch()).unwrap();
        let theirs = Connection::open(path).unwrap();
        theirs.execute_batch("CREATE TABLE t AS SELECT * FROM safety_events LIMIT 0").unwrap();
        for word in ["'DENY'", "'maybe'", "NULL", "''"] {
            theirs.execute(&format!("INSERT INTO t (action) VALUES ({word})"), []).unwrap();
        }
        let found = stored(&reader(path, "t")).unwrap();
        let found: Vec<SafetyEvent> = found.into_iter().map(|row| row.event).collect();
        let actions: Vec<&str> = found.iter().map(|event| event.action.as_str()).collect();
        assert_eq!(actions, ["block", "alert", "alert", "alert"]);
        assert_eq!(found[1].metadata["action"], "maybe");
    });
}

/// A table of others: what is compared is what its columns hold.
#[test]
fn ids_and_moments_are_compared_as_the_columns_have_them() {
    let columns = [
        ("event_id NUMERIC, timestamp TEXT COLLATE NOCASE", true),
        ("event_id TEXT COLLATE NOCASE, timestamp BLOB", true),
        ("event_id, metadata TEXT", true),
        ("timestamp TEXT, metadata TEXT", true),
        ("metadata TEXT", false),
    ];
    for (columns, compares) in columns {
        with_file(|path| {
            let metadata = if columns.contains("metadata") { "" } else { ", metadata TEXT" };
            let table = format!(
                "CREATE TABLE safety_events (journal_id TEXT, seq TEXT, {columns}{metadata}, UNIQUE (journal_id, seq))"
            );
            Connection::open(path).unwrap().execute_batch(&table).unwrap();
            let event = |n: u64| SafetyEvent { event_id: format!("00{n}"), ..plain_event(n) };
            let journal = JournalId::generate();
            let sent = buffer(journal, 1, &[event(1), event(2), event(3)]);
            (0..2).for_each(|_| adapter(path).insert(&sent.batch()).unwrap());
            // 1 is another event now, 3 is the same.
            let others = buffer(journal, 1, &[event(8), event(2), event(3), event(4)]);
            let answer = adapter(path).insert(&others.batch());
            match compares {
                true => {
                    let error = answer.expect_err(columns);
                    assert_eq!(*error.failure(), Failure::IdsTaken(vec![0]), "{columns}");
                }
                false => answer.expect(columns),
            }
            let count = "SELECT count(*) FROM safety_events";
            let count: i64 =
                Connection::open(path).unwrap().query_row(count, [], |row| row.get(0)).unwrap();
            assert_eq!(count, 4, "{columns}");
        });
    }
}
