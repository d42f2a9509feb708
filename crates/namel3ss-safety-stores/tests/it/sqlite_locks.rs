//! The application's own use of its database, in the process that logs there: by another copy of
//! SQLite, whose locks are POSIX locks, and by the copy that it shares with us.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::jobs::helper;
use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{DatasetAdapter, JournalId, RowBuffer, SafetyEvent};
use namel3ss_safety_stores::{SqliteAdapter, Table};
use rusqlite::Connection;
use rustix::fs::{FlockOperation, fcntl_lock};

const JOB: &str = "N3_SAFETY_TEST_LOCKS_JOB";
/// How many orders the other process stores.
const OTHERS: u64 = 20;

fn adapter(path: &Path) -> SqliteAdapter {
    SqliteAdapter::open(path, Table::default()).expect("a file name")
}

fn rows(journal: JournalId, first: u64, count: u64) -> RowBuffer {
    let events: Vec<SafetyEvent> = (first..first + count).map(plain_event).collect();
    buffer(journal, first, &events)
}

/// As another copy of SQLite opens a database.
fn opened(path: &Path) -> File {
    File::options().read(true).write(true).open(path).expect("a file")
}

/// Whether a POSIX lock of this process on all of the file would conflict with another's.
fn is_locked(file: &File) -> bool {
    let locked = fcntl_lock(file, FlockOperation::NonBlockingLockExclusive).is_err();
    if !locked {
        fcntl_lock(file, FlockOperation::Unlock).expect("it was locked");
    }
    locked
}

fn descriptors(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter(|link| link.starts_with(path)).collect()
}

fn run_child(name: &str, job: &str) -> std::process::Child {
    helper(name).env(JOB, job).stdout(Stdio::null()).spawn().expect("a child process starts")
}

/// Another copy that opened and closed the database took our locks away, removed the log, and rows
/// that were counted as flushed went with it.
#[test]
fn our_locks_hold_whatever_the_app_closes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.db");
    let adapter = adapter(&path);
    adapter.insert(&rows(JournalId::generate(), 1, 3).batch()).unwrap();
    let app = opened(&path);
    assert!(is_locked(&app), "a connection in WAL mode holds a lock all the time");
    drop(opened(&path));
    assert!(is_locked(&app));
    drop(adapter);
    assert!(!is_locked(&app));
}

/// Ours dropped the application's, so that another process wrote into what it was reading.
#[test]
fn the_app_s_locks_hold_whatever_we_close() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.db");
    let journal = JournalId::generate();
    let adapter = adapter(&path);
    adapter.insert(&rows(journal, 1, 3).batch()).unwrap();
    let app = opened(&path);
    fcntl_lock(&app, FlockOperation::NonBlockingLockShared).expect("nobody writes");
    for round in 0..3 {
        adapter.insert(&rows(journal, 4 + round, 1).batch()).unwrap();
        adapter.release();
        let job = path.display().to_string();
        assert!(run_child("sqlite_locks::locks_all", &job).wait().unwrap().success());
    }
    // The file was open here once, and the application has it.
    assert_eq!(descriptors(&path).len(), 2);
    fcntl_lock(&app, FlockOperation::Unlock).expect("it was locked");
    adapter.insert(&rows(journal, 7, 1).batch()).unwrap();
    drop(adapter);
    assert_eq!(descriptors(&path).len(), 1);
    assert_eq!(descriptors(folder.path()).len(), 1);
    assert_eq!(super::sqlite::all(&path).len(), 7);
}

/// In another process: fails where it could lock the whole file.
pub(crate) fn locks_all() {
    let job = std::env::var(JOB).expect("a job");
    assert!(is_locked(&opened(Path::new(&job))));
}

#[test]
fn a_file_that_replaces_another_is_locked_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, moved) = (folder.path().join("events.db"), folder.path().join("moved.db"));
    let journal = JournalId::generate();
    let adapter = adapter(&path);
    adapter.insert(&rows(journal, 1, 3).batch()).unwrap();
    let app = opened(&path);
    // Ours of the former file are kept meanwhile.
    fcntl_lock(&app, FlockOperation::NonBlockingLockShared).expect("nobody writes");
    std::fs::rename(&path, &moved).unwrap();
    for name in ["events.db-wal", "events.db-shm"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    adapter.insert(&rows(journal, 4, 3).batch()).unwrap();
    assert!(!is_locked(&app), "the former file is nobody's any more");
    assert!(is_locked(&opened(&path)));
    assert_eq!(super::sqlite::all(&path).len(), 3);
}

/// In a program that links the same SQLite, its own connections get the same locks: those that it
/// opened before, which have POSIX locks, and those after. Another process writes as well.
#[test]
fn the_app_s_own_connections_of_the_same_sqlite_go_on() {
    for mode in ["WAL", "DELETE"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let open = || {
            let connection = Connection::open(&path).expect("a database");
            connection.busy_timeout(Duration::from_secs(30)).expect("a limit");
            connection
        };
        let before = open();
        before.pragma_update(None, "journal_mode", mode).unwrap();
        before.execute_batch("CREATE TABLE orders (id TEXT PRIMARY KEY)").unwrap();
        let journal = JournalId::generate();
        let adapter = adapter(&path);
        let stopping = AtomicBool::new(false);
        let (orders, batches) = (AtomicU64::new(0), AtomicU64::new(0));
        let order = |connection: &Connection| {
            let id = format!("app-{}", orders.fetch_add(1, Ordering::SeqCst));
            connection.execute("INSERT INTO orders VALUES (?1)", [id]).expect("stored");
        };
        let job = path.display().to_string();
        let mut other = run_child("sqlite_locks::writes_orders", &job);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stopping.load(Ordering::SeqCst) {
                    order(&open());
                }
            });
            scope.spawn(|| {
                while !stopping.load(Ordering::SeqCst) {
                    let first = batches.load(Ordering::SeqCst) * 10 + 1;
                    // Busy, at the worst.
                    if adapter.insert(&rows(journal, first, 10).batch()).is_ok() {
                        batches.fetch_add(1, Ordering::SeqCst);
                    }
                    if first % 70 == 1 {
                        adapter.release();
                    }
                }
            });
            while other.try_wait().expect("a child").is_none() {
                order(&before);
            }
            stopping.store(true, Ordering::SeqCst);
        });
        assert!(other.wait().unwrap().success());
        let count = |sql: &str| {
            open().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
        };
        assert_eq!(count("SELECT count(*) FROM orders"), orders.load(Ordering::SeqCst) + OTHERS);
        let flushed = batches.load(Ordering::SeqCst) * 10;
        assert!(flushed > 0);
        assert_eq!(count("SELECT count(*) FROM safety_events"), flushed);
        let check = "PRAGMA integrity_check";
        assert_eq!(open().query_row(check, [], |row| row.get::<_, String>(0)).unwrap(), "ok");
        let found: String = open().pragma_query_value(None, "journal_mode", |r| r.get(0)).unwrap();
        assert_eq!(found, mode.to_lowercase());
        // The application's own are closed as ever.
        drop((before, adapter));
        assert_eq!(descriptors(folder.path()), [] as [PathBuf; 0]);
    }
}

/// In another process, with a SQLite that locks as it always does.
pub(crate) fn writes_orders() {
    let job = std::env::var(JOB).expect("a job");
    for n in 0..OTHERS {
        let connection = Connection::open(&job).expect("a database");
        connection.busy_timeout(Duration::from_secs(30)).expect("a limit");
        let id = format!("other-{n}");
        connection.execute("INSERT INTO orders VALUES (?1)", [id]).expect("stored");
    }
}

/// Each descriptor that is kept is one that the application lacks.
#[test]
fn closed_databases_leave_no_descriptor() {
    let folder = tempfile::tempdir().expect("a folder");
    for n in 0..50 {
        let adapter = adapter(&folder.path().join(format!("{n}.db")));
        adapter.insert(&rows(JournalId::generate(), 1, 1).batch()).unwrap();
    }
    assert_eq!(descriptors(folder.path()), [] as [PathBuf; 0]);
    let deleted = folder.path().join("0.db");
    let app = opened(&deleted);
    fcntl_lock(&app, FlockOperation::NonBlockingLockShared).expect("nobody writes");
    assert_eq!(super::sqlite::all(&deleted).len(), 1);
    std::fs::remove_file(&deleted).unwrap();
    // What is kept of a deleted file would keep its room on the disk.
    assert_eq!(super::sqlite::all(&folder.path().join("1.db")).len(), 1);
    assert_eq!(descriptors(folder.path()).len(), 1);
    drop(app);
}
