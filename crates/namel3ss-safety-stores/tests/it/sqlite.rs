//! SQLite passes the suite, and what is particular to it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::jobs::{helper, helper_path};
use namel3ss_safety::ReadRow;
use namel3ss_safety::conformance::{Subject, buffer, copies, plain_event, run};
use namel3ss_safety::{
    DatasetAdapter, Delivery, Durability, Failure, JournalId, RowBuffer, SafetyEvent, Seq,
};
use namel3ss_safety_stores::read::{DatasetReader as _, Scan};
use namel3ss_safety_stores::sqlite::SqliteReader;
use namel3ss_safety_stores::{SqliteAdapter, Table, open};
use rusqlite::Connection;

const JOB: &str = "N3_SAFETY_TEST_JOB";

pub(crate) fn adapter(path: &Path) -> SqliteAdapter {
    SqliteAdapter::open(path, Table::default()).expect("a file name")
}

pub(crate) fn all(path: &Path) -> Vec<ReadRow> {
    if !path.exists() {
        return Vec::new();
    }
    crate::scans::stored(&reader(path, false)).expect("a table")
}

fn reader(path: &Path, immutable: bool) -> SqliteReader {
    SqliteReader::new(path, Table::default(), immutable)
}

pub(crate) fn rows(journal: JournalId, first: u64, count: u64) -> RowBuffer {
    let events: Vec<SafetyEvent> = (first..first + count).map(plain_event).collect();
    buffer(journal, first, &events)
}

fn seqs(path: &Path) -> Vec<u64> {
    let mut seqs: Vec<u64> = all(path).iter().filter_map(|row| Some(row.id?.1.0)).collect();
    seqs.sort_unstable();
    seqs
}

pub(crate) fn with_file(check: impl Fn(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    check(&folder.path().join("events.db"));
}

fn subject() -> Subject {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.db");
    let url = format!("sqlite:///{}", path.display());
    let again = url.clone();
    Subject::new(open(&url).expect("a URL"), move || {
        let _keep = &folder;
        all(&path)
    })
    .reopened_by(move || open(&again).expect("a URL"))
}

#[test]
fn sqlite_conforms() {
    run(subject);
}

/// Three copies of one process: 11 of their 31 events were in the table, and each copy said that all
/// of its own were.
#[test]
fn copies_of_a_process_lose_nothing() {
    copies(subject);
}

#[test]
fn copies_that_are_killed_store_each_event_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |n: u32| folder.path().join(format!("{n}.db"));
    let fresh = std::cell::Cell::new(0);
    let url = || {
        fresh.set(fresh.get() + 1);
        format!("sqlite:///{}", path(fresh.get()).display())
    };
    crate::copies::hold(url, |_| all(&path(fresh.get())));
}

#[test]
fn a_row_that_breaks_a_constraint_is_named_and_nothing_is_stored() {
    with_file(|path| {
        let journal = JournalId::generate();
        adapter(path).insert(&rows(journal, 1, 1).batch()).unwrap();
        let trigger = "CREATE TRIGGER no BEFORE INSERT ON safety_events WHEN new.seq IN (3, 5)
            BEGIN SELECT RAISE(ABORT, 'no'); END";
        Connection::open(path).unwrap().execute_batch(trigger).unwrap();
        let rows = rows(journal, 1, 6);
        let error = adapter(path).insert(&rows.batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Poison(vec![2, 4]));
        assert_eq!(seqs(path), [1]);
        adapter(path).insert(&rows.batch().slice(0..2)).unwrap();
        assert_eq!(seqs(path), [1, 2]);
    });
}

/// The rows were passed over as if they had been there already, and counted as flushed.
#[test]
fn a_row_that_a_trigger_ignores_is_refused_and_the_others_are_stored() {
    let ours = "journal_id TEXT, seq INTEGER, metadata TEXT";
    let tables = [
        // Made by the adapter.
        "",
        // Without a unique key, and without our columns.
        &format!("CREATE TABLE safety_events ({ours});"),
        "CREATE TABLE safety_events (event_id TEXT, metadata TEXT);",
    ];
    let ignore = "CREATE TRIGGER no BEFORE INSERT ON safety_events
        WHEN json_extract(new.metadata, '$.n') IN (3, 70, 130) BEGIN SELECT RAISE(IGNORE); END";
    for table in tables {
        with_file(|path| {
            let journal = JournalId::generate();
            let connection = Connection::open(path).unwrap();
            connection.execute_batch(table).unwrap();
            let adapter = adapter(path);
            adapter.insert(&rows(journal, 2, 1).batch()).unwrap();
            connection.execute_batch(ignore).unwrap();
            let many = rows(journal, 1, 140);
            let error = adapter.insert(&many.batch()).unwrap_err();
            assert_eq!(*error.failure(), Failure::Poison(vec![2, 69, 129]), "{table}: {error}");
            assert!(error.to_string().contains("ignored rows without an error"), "{error}");
            let count = "SELECT count(*) FROM safety_events";
            assert_eq!(connection.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
            for part in [0..2, 3..69, 70..129, 130..140] {
                adapter.insert(&many.batch().slice(part)).unwrap();
            }
            // A row may come twice where there is no key.
            let stored = if table.is_empty() { 137 } else { 138 };
            assert_eq!(
                connection.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(),
                stored
            );
        });
    }
}

/// SQLite counts no row of a view. One with our columns is looked into.
#[test]
fn rows_of_a_view_are_looked_for_where_it_shows_them() {
    let shown = "CREATE TABLE kept (journal_id TEXT, seq INTEGER, metadata TEXT);
        CREATE VIEW safety_events AS SELECT * FROM kept;
        CREATE TRIGGER t INSTEAD OF INSERT ON safety_events WHEN new.seq <> 2 BEGIN
            INSERT INTO kept VALUES (new.journal_id, new.seq, new.metadata); END;";
    let hidden = "CREATE TABLE kept (metadata TEXT);
        CREATE VIEW safety_events AS SELECT * FROM kept;
        CREATE TRIGGER t INSTEAD OF INSERT ON safety_events BEGIN
            INSERT INTO kept VALUES (new.metadata); END;";
    let poison = |schema: &str, expected: Option<Vec<usize>>| {
        with_file(|path| {
            Connection::open(path).unwrap().execute_batch(schema).unwrap();
            let stored = adapter(path).insert(&rows(JournalId::generate(), 1, 3).batch());
            let failure = stored.err().map(|error| error.failure().clone());
            assert_eq!(failure, expected.clone().map(Failure::Poison), "{schema}");
        });
    };
    poison(shown, Some(vec![1]));
    poison(hidden, None);
}

/// A database of the application's own was switched to WAL, and a backup of the one file lacked
/// what stood in the log.
#[test]
fn a_database_with_other_tables_keeps_its_journal_mode() {
    let mode = |path: &Path| -> String {
        let connection = Connection::open(path).unwrap();
        connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap()
    };
    with_file(|path| {
        Connection::open(path).unwrap().execute_batch("CREATE TABLE orders (id)").unwrap();
        let adapter = adapter(path);
        adapter.insert(&rows(JournalId::generate(), 1, 3).batch()).unwrap();
        assert_eq!(mode(path), "delete");
        Connection::open(path).unwrap().pragma_update(None, "journal_mode", "WAL").unwrap();
        adapter.insert(&rows(JournalId::generate(), 1, 3).batch()).unwrap();
        assert_eq!((mode(path).as_str(), all(path).len()), ("wal", 6));
    });
    with_file(|path| {
        adapter(path).insert(&rows(JournalId::generate(), 1, 3).batch()).unwrap();
        assert_eq!(mode(path), "wal");
        let page_size = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let connection = Connection::open(path).unwrap();
        assert_eq!(connection.pragma_query_value(None, "page_size", page_size).unwrap(), 16 << 10);
    });
}

/// `unable to open database file` was all that was said.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named_and_immutable_reads_from_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let path = home.join("a ?b.db");
    std::fs::create_dir(&home).unwrap();
    adapter(&path).insert(&rows(JournalId::generate(), 1, 3).batch()).unwrap();
    assert!(!home.join("a ?b.db-wal").exists(), "it was closed");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o755);
    mode(&home, 0o555);
    mode(&path, 0o644);
    start_as_another_user(&path);
    // Rows in a log would be missing.
    std::fs::write(home.join("a ?b.db-wal"), []).unwrap();
    let error = reader(&path, true).scan(Scan::default()).unwrap_err();
    assert!(error.to_string().contains("rows would be missing"), "{error}");
    mode(&home, 0o755);
}

/// The superuser may write everywhere.
#[cfg(unix)]
fn start_as_another_user(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let is_root = rustix::process::geteuid().is_root();
    // The helper may be where another user can't read it.
    let program = path.parent().unwrap().with_file_name("test");
    std::fs::copy(helper_path(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.arg("sqlite::reads_and_fails_to_write");
    command.env(JOB, path).current_dir("/").stdout(Stdio::null());
    if is_root {
        command.uid(65_534).gid(65_534);
    }
    assert!(command.status().unwrap().success());
}

#[cfg(unix)]
pub(crate) fn reads_and_fails_to_write() {
    let job = std::env::var(JOB).expect("a job");
    let path = Path::new(&job);
    let error = reader(path, false).scan(Scan::default()).unwrap_err().to_string();
    assert!(error.contains("may not write to the folder"), "{error}");
    assert!(error.contains("?immutable=1"), "{error}");
    let rows = rows(JournalId::generate(), 1, 1);
    let error = adapter(path).insert(&rows.batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Config);
    assert!(error.to_string().contains("may not write to the folder"), "{error}");
    let found = crate::scans::stored(&reader(path, true)).unwrap();
    assert_eq!(found.iter().map(|row| row.id.unwrap().1.0).collect::<Vec<_>>(), [1, 2, 3]);
}

/// Sixty-four rows go in with one statement, and a bad one among them must cost itself only.
#[test]
fn bad_rows_of_a_large_batch_are_named_wherever_they_stand() {
    with_file(|path| {
        let journal = JournalId::generate();
        // Made with SQLite's own page size, as databases were before, and with a row that is known.
        Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 1").unwrap();
        adapter(path).insert(&rows(journal, 40, 1).batch()).unwrap();
        let trigger =
            "CREATE TRIGGER no BEFORE INSERT ON safety_events WHEN new.seq IN (3, 70, 130)
            BEGIN SELECT RAISE(ABORT, 'no'); END";
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(trigger).unwrap();
        let many = rows(journal, 1, 130);
        let error = adapter(path).insert(&many.batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Poison(vec![2, 69, 129]));
        assert_eq!(seqs(path), [40]);
        connection.execute_batch("DROP TRIGGER no").unwrap();
        adapter(path).insert(&many.batch()).unwrap();
        adapter(path).insert(&many.batch()).unwrap();
        assert_eq!(seqs(path), (1..=130).collect::<Vec<_>>());
    });
}

#[test]
fn a_column_may_come_and_go_while_rows_are_stored() {
    with_file(|path| {
        let (journal, adapter) = (JournalId::generate(), adapter(path));
        let theirs = Connection::open(path).unwrap();
        let change = |sql: &str| theirs.execute_batch(sql).unwrap();
        adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
        // As a later version may leave it: columns that this one does not know.
        change("ALTER TABLE safety_events ADD COLUMN team TEXT");
        change("ALTER TABLE safety_events ADD COLUMN level INTEGER NOT NULL DEFAULT 3");
        adapter.insert(&rows(journal, 2, 100).batch()).unwrap();
        // As an earlier version may have left it: without one that this one knows.
        change("ALTER TABLE safety_events DROP COLUMN policy_name");
        adapter.insert(&rows(journal, 102, 100).batch()).unwrap();
        self::adapter(path).insert(&rows(journal, 150, 100).batch()).unwrap();
        assert_eq!(seqs(path), (1..=249).collect::<Vec<_>>());
        let found = all(path);
        assert!(found.iter().all(|row| row.event.app_name.as_deref() == Some("app")));
        assert!(
            found.iter().filter(|row| row.id.unwrap().1.0 > 101).all(|row| row
                .event
                .policy_name
                .as_deref()
                == Some("policy"))
        );
        change("ALTER TABLE safety_events ADD COLUMN policy_name TEXT");
        adapter.insert(&rows(journal, 250, 1).batch()).unwrap();
        let count = "SELECT count(policy_name) FROM safety_events WHERE level = 3";
        assert_eq!(theirs.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        change("DROP TABLE safety_events");
        adapter.insert(&rows(journal, 251, 1).batch()).unwrap();
        assert_eq!(seqs(path), [251]);
    });
}

#[test]
fn a_unique_index_of_theirs_is_as_good_as_our_key() {
    with_file(|path| {
        let sql = "CREATE TABLE safety_events (seq INTEGER, journal_id TEXT, metadata TEXT);
            CREATE UNIQUE INDEX u ON safety_events (seq, journal_id);";
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
        let adapter = adapter(path);
        let rows = rows(JournalId::generate(), 1, 3);
        (0..2).for_each(|_| adapter.insert(&rows.batch()).unwrap());
        assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));
        assert_eq!(seqs(path), [1, 2, 3]);
    });
}

#[test]
fn a_locked_database_may_be_free_next_time_and_rubbish_will_not_be() {
    with_file(|path| {
        let journal = JournalId::generate();
        let adapter = adapter(path);
        adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
        let other = Connection::open(path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = adapter.insert(&rows(journal, 2, 1).batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Transient);
        other.execute_batch("ROLLBACK").unwrap();
        adapter.insert(&rows(journal, 2, 1).batch()).unwrap();

        let rubbish = path.with_extension("sqlite");
        std::fs::write(&rubbish, "no database at all, and long enough to see that".repeat(50))
            .unwrap();
        let error = self::adapter(&rubbish).insert(&rows(journal, 2, 1).batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Config);
    });
}

#[test]
fn a_deleted_database_begins_anew() {
    with_file(|path| {
        let journal = JournalId::generate();
        let adapter = adapter(path);
        adapter.insert(&rows(journal, 1, 3).batch()).unwrap();
        std::fs::remove_file(path).unwrap();
        adapter.insert(&rows(journal, 4, 2).batch()).unwrap();
        assert_eq!(seqs(path), [4, 5]);
    });
}

#[test]
fn power_durability_stores_again_what_process_stored() {
    with_file(|path| {
        let journal = JournalId::generate();
        adapter(path).insert(&rows(journal, 1, 3).batch()).unwrap();
        let mut power = RowBuffer::new(journal);
        power.reset(journal, Durability::Power);
        (1..=4).for_each(|seq| power.push_event(Seq(seq), &plain_event(seq)));
        adapter(path).insert(&power.batch()).unwrap();
        assert_eq!(seqs(path), [1, 2, 3, 4]);
    });
}

#[cfg(unix)]
#[test]
fn links_are_refused_and_a_new_database_is_its_owners_alone() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    with_file(|path| {
        let rows = rows(JournalId::generate(), 1, 1);
        symlink(path.with_extension("target"), path).unwrap();
        let error = adapter(path).insert(&rows.batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Config);
        assert!(!path.with_extension("target").exists());
        std::fs::remove_file(path).unwrap();
        adapter(path).insert(&rows.batch()).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    });
}

fn start(path: &Path, journals: &[JournalId]) -> Child {
    let ids: Vec<String> = journals.iter().map(ToString::to_string).collect();
    helper("sqlite")
        .env(JOB, format!("{}\n{}", path.display(), ids.join(",")))
        .stdout(Stdio::null())
        .spawn()
        .expect("a child process starts")
}

pub(crate) fn child() {
    let job = std::env::var(JOB).expect("a job");
    let (path, ids) = job.split_once('\n').expect("two lines");
    let adapter = Arc::new(adapter(&PathBuf::from(path)));
    std::thread::scope(|scope| {
        for id in ids.split(',') {
            let adapter = &adapter;
            scope.spawn(move || {
                let journal = id.parse().expect("a journal id");
                for batch in 0..50 {
                    adapter.insert(&rows(journal, batch * 10 + 1, 10).batch()).expect("stored");
                }
            });
        }
    });
}

#[test]
fn two_processes_of_two_threads_store_every_event_once() {
    with_file(|path| {
        let journals: Vec<JournalId> = (0..3).map(|_| JournalId::generate()).collect();
        // The middle journal is sent by both.
        let children = [&journals[..2], &journals[1..]].map(|ids| start(path, ids));
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let mut found: Vec<(JournalId, u64)> =
            all(path).iter().filter_map(|row| row.id.map(|id| (id.0, id.1.0))).collect();
        found.sort_unstable();
        let mut expected: Vec<(JournalId, u64)> =
            journals.iter().flat_map(|id| (1..=500).map(|seq| (*id, seq))).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    });
}
