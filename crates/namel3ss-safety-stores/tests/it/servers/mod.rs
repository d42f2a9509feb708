//! Database servers for tests, started by `scripts/sql-servers`, and what the tests of all kinds
//! have in common.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use namel3ss_safety::ReadRow;
use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{DatasetAdapter, JournalId, RowBuffer, SafetyEvent};
use namel3ss_safety_stores::server::ServerReader;
use namel3ss_safety_stores::url::{Target, parse};
use serde_json::Value;

mod database;
pub(crate) mod suite;

pub(crate) use self::database::{Database, EVERY, Theirs};
pub(crate) use self::suite::suite;

const JOB: &str = "N3_SAFETY_TEST_SQL_JOB";

/// A server that lives at least as long as this value.
pub(crate) struct TestServer {
    kind: &'static str,
    name: &'static str,
    pub(crate) port: u64,
    pub(crate) ca: PathBuf,
    _lock: File,
}

fn script(words: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../scripts/sql-servers");
    let ran = Command::new(path).args(words).output().expect("python3 is there");
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("UTF-8")
}

impl TestServer {
    /// Of `kind`, `postgres` or `mariadb`: the one that tests share, or one of its own `name`.
    pub(crate) fn up(kind: &'static str, name: &'static str) -> Self {
        let lock = File::create(script(&["lock", kind, name]).trim()).expect("a lock file");
        lock.lock_shared().expect("a lock");
        let facts: Value = serde_json::from_str(&script(&["up", kind, name])).expect("JSON");
        Self {
            kind,
            name,
            port: facts["port"].as_u64().expect("a port"),
            ca: facts["ca"].as_str().expect("a path").into(),
            _lock: lock,
        }
    }

    pub(crate) fn restart(&self) {
        script(&["restart", self.kind, self.name]);
    }

    pub(crate) fn kill(&self) {
        script(&["kill", self.kind, self.name]);
    }
}

/// A table name that no other test has.
pub(crate) fn fresh_table() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t_{}_{}", JournalId::generate(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn rows(journal: JournalId, first: u64, count: u64) -> RowBuffer {
    let events: Vec<SafetyEvent> = (first..first + count).map(plain_event).collect();
    buffer(journal, first, &events)
}

pub(crate) fn reader(url: &str) -> ServerReader {
    match parse(url).expect("a URL") {
        Target::Postgres(server) | Target::Mysql(server) => {
            ServerReader::new(server).expect("a driver")
        }
        other => panic!("no server: {other:?}"),
    }
}

/// All rows; none where there is no table yet.
pub(crate) fn all(url: &str) -> Vec<ReadRow> {
    match crate::scans::stored(&reader(url)) {
        Err(error) if error.to_string().contains("no table") => Vec::new(),
        rows => rows.expect("a table"),
    }
}

/// The rows' places, in order; a row that is there twice is there twice.
pub(crate) fn places(url: &str) -> Vec<(JournalId, u64)> {
    let mut places: Vec<(JournalId, u64)> =
        all(url).iter().map(|row| row.id.map(|id| (id.0, id.1.0)).expect("an id")).collect();
    places.sort_unstable();
    places
}

pub(crate) fn expected(journals: &[JournalId], count: u64) -> Vec<(JournalId, u64)> {
    let mut expected: Vec<(JournalId, u64)> =
        journals.iter().flat_map(|id| (1..=count).map(|seq| (*id, seq))).collect();
    expected.sort_unstable();
    expected
}

pub(crate) fn child() {
    let job = std::env::var(JOB).expect("a job");
    let (url, ids) = job.split_once('\n').expect("two lines");
    let adapter = namel3ss_safety_stores::open(url).expect("a URL");
    std::thread::scope(|scope| {
        for id in ids.split(',') {
            let adapter: &Arc<dyn DatasetAdapter> = &adapter;
            scope.spawn(move || {
                let journal = id.parse().expect("a journal id");
                for batch in 0..50 {
                    adapter.insert(&rows(journal, batch * 10 + 1, 10).batch()).expect("stored");
                }
            });
        }
    });
}
