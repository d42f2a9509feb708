//! Whatever is killed in the middle, and whoever sends a batch again: every row is there once.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::{AdapterRegistry, JournalId, SafetyEvent, SafetyEventLogger};
use namel3ss_safety_stores::{ObjectStoreAdapter, open};

use super::server::Server;
use super::support::{all, rows, seqs};
use crate::jobs::helper;

const JOB: &str = "N3_SAFETY_OBJECTS_JOB";
const BATCHES: u64 = 40;

fn send(url: &str, journal: JournalId) {
    let adapter = open(url).expect("a URL");
    for batch in 0..BATCHES {
        adapter.insert(&rows(journal, batch * 10 + 1, 10).batch()).expect("stored");
    }
}

/// The process that is killed.
pub(crate) fn child() {
    let job = std::env::var(JOB).expect("a job");
    let (url, journal) = job.split_once('\n').expect("two lines");
    send(url, journal.parse().expect("a journal id"));
}

fn killed_again_and_again(url: &str) {
    let journal = JournalId::generate();
    for millis in [20_u64, 45, 80, 120, 30, 200] {
        let mut child = helper("objects::kills")
            .env(JOB, format!("{url}\n{journal}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child process starts");
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }
    send(url, journal);
    assert_eq!(seqs(url), (1..=BATCHES * 10).collect::<Vec<_>>());
}

#[test]
fn a_folder_whose_writers_are_killed_holds_every_row_once() {
    let folder = tempfile::tempdir().expect("a folder");
    killed_again_and_again(&format!("file://{}/", folder.path().display()));
}

#[test]
fn a_bucket_whose_writers_are_killed_holds_every_row_once() {
    let server = Server::start("s3");
    killed_again_and_again(&format!(
        "s3://safety/kills?endpoint=http://127.0.0.1:{}&access_key_id=test&secret_access_key=testtest",
        server.port
    ));
}

#[test]
fn a_logger_delivers_to_a_folder_and_asks_for_batches_of_a_useful_size() {
    let home = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}/data/?seconds=3600", home.path().display());
    let adapter = Arc::new(ObjectStoreAdapter::new(&url, "events", "parquet").expect("three"));
    let registry = AdapterRegistry::default();
    registry.register("safety_events", adapter.clone());
    let logger = SafetyEventLogger::builder()
        .adapter_registry(registry)
        .home(home.path())
        .buffer_size(10)
        .build()
        .expect("a logger");
    logger.start();
    for _ in 0..1_000 {
        let _ = logger.log(&SafetyEvent::default());
    }
    assert!(logger.stop(Some(Duration::from_secs(30))).complete);
    assert_eq!(logger.stats().total_flushed, 1_000);
    use namel3ss_safety::DatasetAdapter as _;
    let read = all(&adapter.identity());
    assert_eq!(read.len(), 1_000);
    let objects = walk(&home.path().join("data"));
    assert!(objects <= 2, "1,000 events in {objects} objects; two where midnight passes");
}

fn walk(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| if path.is_dir() { walk(&path) } else { 1 })
        .sum()
}
