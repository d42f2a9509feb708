//! Database servers for tests, started by `scripts/sql-servers`, and what the tests of both kinds
//! have in common.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use namel3ss_safety::adapter::{ReadError, ReadRow};
use namel3ss_safety::conformance::{buffer, hostile_events, plain_event, same_event};
use namel3ss_safety::{
    AdapterRegistry, DatasetAdapter, Delivery, JournalId, RowBuffer, SafetyEvent, SafetyEventLogger,
};
use namel3ss_safety_stores::server::Reader;
use namel3ss_safety_stores::url::{Target, parse};
use serde_json::Value;

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/sql-servers");
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

fn reader(url: &str) -> Reader {
    match parse(url).expect("a URL") {
        Target::Postgres(server) | Target::Mysql(server) => Reader::open(server).expect("a driver"),
        other => panic!("no server: {other:?}"),
    }
}

/// All rows; none where there is no table yet.
pub(crate) fn all(url: &str) -> Vec<ReadRow> {
    let mut rows = Vec::new();
    let read = reader(url).poll::<ReadError>(None, &mut |row| {
        rows.push(row?);
        Ok(())
    });
    match read {
        Err(error) if error.to_string().contains("no table") => Vec::new(),
        read => {
            read.expect("a table");
            rows
        }
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

/// The newest come first in a reader's life, and then what was stored since.
pub(crate) fn check_reader(url: &str) {
    let adapter = namel3ss_safety_stores::open(url).unwrap();
    let journals = [JournalId::generate(), JournalId::generate()];
    for journal in journals {
        adapter.insert(&rows(journal, 1, 1200).batch()).unwrap();
    }
    let mut following = reader(url);
    let mut look = |newest| {
        let mut found: Vec<u64> = Vec::new();
        let poll = following.poll::<ReadError>(newest, &mut |row| {
            found.push(row?.id.unwrap().1.0);
            Ok(())
        });
        poll.map(|()| found)
    };
    assert_eq!(look(Some(2)).unwrap(), [1199, 1200]);
    assert!(look(None).unwrap().is_empty());
    adapter.insert(&rows(journals[0], 1201, 600).batch()).unwrap();
    adapter.insert(&rows(journals[1], 1201, 1).batch()).unwrap();
    let later = JournalId::generate();
    adapter.insert(&rows(later, 1, 1).batch()).unwrap();
    let mut found = look(None).unwrap();
    found.sort_unstable();
    let mut expected: Vec<u64> = (1201..=1800).chain([1, 1201]).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    // In the order of their moments, whatever their journals.
    let moments: Vec<_> = all(url).iter().map(|row| row.event.timestamp).collect();
    assert_eq!(moments.len(), 3002);
    assert!(moments.is_sorted());
}

/// Hostile rows, which are sent several times and in parts, are there once and as they were.
pub(crate) fn check_once_as_sent(url: &str) {
    let events = hostile_events();
    let rows = buffer(JournalId::generate(), 1, &events);
    let middle = events.len() / 2;
    for range in [10..middle, 0..middle + 10, middle..events.len(), 0..events.len()] {
        let adapter = namel3ss_safety_stores::open(url).unwrap();
        adapter.insert(&rows.batch().slice(range)).unwrap();
        assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));
    }
    let mut found = all(url);
    found.sort_unstable_by_key(|row| row.id);
    assert_eq!(found.len(), events.len());
    for (sent, there) in rows.batch().rows().zip(&found) {
        let sent = sent.event.to_event();
        assert!(same_event(&sent, &there.event), "{sent:?}\n{:?}", there.event);
    }
}

/// Two processes of two threads each, all of which send one journal.
pub(crate) fn check_processes(url: &str) {
    let journals: Vec<JournalId> = (0..3).map(|_| JournalId::generate()).collect();
    let children = [&journals[..2], &journals[1..]].map(|ids| start(url, ids));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(places(url), expected(&journals, 500));
}

/// Two loggers write while `server` is killed and started again, several times.
pub(crate) fn check_killed_server(server: &TestServer, url: &str) {
    const EVENTS: u64 = 20_000;
    let home = tempfile::tempdir().unwrap();
    let logger = || {
        let registry = AdapterRegistry::default();
        registry.register("safety_events", namel3ss_safety_stores::open(url).unwrap());
        let builder = SafetyEventLogger::builder().adapter_registry(registry).home(home.path());
        let builder = builder.retry_delay(Duration::from_millis(20)).max_retries(1000);
        let logger = builder.no_fallback().build().unwrap();
        logger.start();
        logger
    };
    let loggers = [logger(), logger()];
    std::thread::scope(|scope| {
        for logger in &loggers {
            scope.spawn(move || {
                for n in 0..EVENTS {
                    let _ = logger.log(&plain_event(n));
                    if n % 100 == 0 {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            });
        }
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(300));
            server.restart();
        }
        server.kill();
        std::thread::sleep(Duration::from_millis(300));
        server.restart();
    });
    for logger in loggers {
        assert!(logger.stop(Some(Duration::from_secs(60))).complete, "{:?}", logger.notices());
        let stats = logger.stats();
        assert_eq!((stats.total_flushed, stats.total_dropped), (EVENTS, 0));
        assert!(stats.total_retries > 0, "no batch met a server that was gone");
    }
    let mut found = places(url);
    assert_eq!(found.len() as u64, 2 * EVENTS);
    found.dedup();
    assert_eq!(found.len() as u64, 2 * EVENTS);
}

fn start(url: &str, journals: &[JournalId]) -> Child {
    let ids: Vec<String> = journals.iter().map(ToString::to_string).collect();
    Command::new(std::env::current_exe().expect("this binary has a path"))
        .args(["--exact", "servers::child", "--nocapture"])
        .env(JOB, format!("{url}\n{}", ids.join(",")))
        .stdout(Stdio::null())
        .spawn()
        .expect("a child process starts")
}

#[test]
fn child() {
    let Ok(job) = std::env::var(JOB) else { return };
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
