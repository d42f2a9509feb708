//! Other people's clients read our tables.

use std::process::Command;

use namel3ss_safety::conformance::{buffer, hostile_events, plain_event};
use namel3ss_safety::internal::codec::{Entries, Head, Source, Texts};
use namel3ss_safety::{JournalId, SafetyEvent, Seq};
use namel3ss_safety_stores::open;

use crate::mysql::Mysql;
use crate::objects::server::python_with;
use crate::postgres::Postgres;
use crate::servers::{Database as _, fresh_table};

/// An event with a whole number that Python has, and Rust has not.
struct Huge(SafetyEvent, String);

impl Source for Huge {
    fn head(&self) -> Head<'_> {
        self.0.head()
    }

    fn categories(&self, into: &mut Texts<'_, '_>) {
        Source::categories(&self.0, into);
    }

    fn metadata(&self, into: &mut Entries<'_, '_>) {
        into.entry("n", |slot| slot.number(&self.1));
    }
}

/// Stores hostile events in a table and as JSON lines, and has a client compare them.
fn reads_back(kind: &str, packages: &[&str], url: &str, place: &str, table: &str) {
    let events = hostile_events();
    let folder = tempfile::tempdir().expect("a folder");
    let lines = folder.path().join("events.jsonl").display().to_string();
    let mut rows = buffer(JournalId::generate(), 1, &events);
    let mut next = Seq(events.len() as u64);
    for digits in ["18446744073709551616", "-1000000000000000000000000000001", &"9".repeat(4_300)] {
        next.0 += 1;
        rows.push_event(next, &Huge(plain_event(next.0), digits.to_owned()));
    }
    for url in [url, &format!("file://{lines}")] {
        open(url).expect("a URL").insert(&rows.batch()).expect("stored");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/clients.py");
    let done = Command::new(python_with(packages))
        .args([script, kind, place, table, &lines])
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(said, format!("read back {} rows\n", rows.len()));
}

#[test]
fn psycopg_reads_every_row_as_it_was() {
    let place = Postgres::place(Postgres::USER, "127.0.0.1", Postgres::shared().port);
    let table = fresh_table();
    reads_back("postgres", &["psycopg", "psycopg-binary"], &Postgres::url(&table), &place, &table);
}

#[test]
fn pymysql_reads_every_row_as_it_was() {
    let table = fresh_table();
    let place = format!("127.0.0.1/{}/safety", Mysql::shared().port);
    reads_back("mysql", &["pymysql"], &Mysql::url(&table), &place, &table);
}

#[test]
fn pythons_sqlite3_reads_every_row_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("safety.db").display().to_string();
    // Any package will do: the client is Python's own.
    reads_back("sqlite", &["pymysql"], &format!("sqlite:///{path}"), &path, "safety_events");
}
