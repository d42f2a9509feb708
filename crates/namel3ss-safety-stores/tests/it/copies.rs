//! Copies of one process, each killed between storing a batch and acknowledging it, again and again:
//! every event of each is stored once.
//!
//! A copy is what one leaves on disk: a home with a journal of the same id and seqs, and events of its
//! own in it. `N3_SAFETY_KILLS` sets how many kills there are at least, up to a hundred a dataset.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::jobs::helper;
use namel3ss_safety::conformance::plain_event;
use namel3ss_safety::internal::journal::media::DiskFolder;
use namel3ss_safety::internal::journal::{Journal, Options};
use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, Batching, DatasetAdapter, Delivery, Failure, JournalId,
    SafetyEvent, SafetyEventLogger, Seq, internal::codec,
};
use namel3ss_safety::{
    ReadRow,
    internal::adapter::{csv, json},
};
use namel3ss_safety_stores::open;

const JOB: &str = "N3_SAFETY_TEST_COPIES_JOB";
const KILLS: &str = "N3_SAFETY_KILLS";
const KILLS_DEFAULT: u64 = 12;
const KILLS_MAX: u64 = 100;
const COPIES: u64 = 3;
/// Events of each copy; the first is from before they were made.
const EVENTS: u64 = 11;

/// Kills copies that deliver to a fresh dataset of `url`, each at another moment; `read` gives what is
/// there in the end.
pub(crate) fn hold(mut url: impl FnMut() -> String, read: impl Fn(&str) -> Vec<ReadRow>) {
    let wanted = std::env::var(KILLS).ok().and_then(|kills| kills.parse().ok());
    let wanted = wanted.unwrap_or(KILLS_DEFAULT).min(KILLS_MAX);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills = 0;
    while kills < wanted {
        let url = url();
        let homes = tempfile::tempdir().expect("a folder");
        let journal = JournalId::generate();
        let home = |copy: u64| homes.path().join(copy.to_string());
        (0..COPIES).for_each(|copy| leave(&home(copy), &url, journal, copy));
        let mut alive: Vec<u64> = (0..COPIES).collect();
        while !alive.is_empty() {
            let at = random.usize(..alive.len());
            // It stores two or three batches, each in one call or in two.
            if deliver(&home(alive[at]), &url, random.u64(1..=7)) {
                alive.remove(at);
            } else {
                kills += 1;
            }
        }
        check(&read(&url), &format!("seed {seed}, after {kills} kills"));
    }
}

fn event(copy: u64, seq: u64) -> SafetyEvent {
    let mut event = plain_event(seq);
    if seq > 1 {
        event.event_id = format!("{seq} of {copy}");
    }
    event
}

/// Leaves the home of a copy that was killed before it delivered anything.
fn leave(home: &Path, url: &str, id: JournalId, copy: u64) {
    let identity = open(url).expect("a URL").identity();
    let folder = home.join("journal/safety_events").join(id.to_string());
    let folder = Arc::new(DiskFolder::create(&folder, true).expect("a folder"));
    let names = ("safety_events", &[identity][..]);
    let journal = Journal::create(folder, None, id, names, Options::default()).expect("a journal");
    for seq in 1..=EVENTS {
        let mut payload = Vec::new();
        codec::encode(&event(copy, seq), &mut payload);
        assert_eq!(journal.append(&payload).expect("room"), Seq(seq));
    }
}

/// Has a process deliver what is left in a home, and die when a batch has been stored for the
/// `kill_at`th time; whether it came to its end.
fn deliver(home: &Path, url: &str, kill_at: u64) -> bool {
    let status = helper("copies")
        .env(JOB, format!("{}\n{url}\n{kill_at}", home.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("a child");
    assert!(status.success() || status.code().is_none(), "the child's own checks: {status}");
    status.success()
}

pub(crate) fn life() {
    let job = std::env::var(JOB).expect("a job");
    let words: Vec<&str> = job.lines().collect();
    let registry = AdapterRegistry::default();
    let adapter = Killed {
        inner: open(words[1]).expect("a URL"),
        left: AtomicU64::new(words[2].parse().expect("a number")),
    };
    registry.register("safety_events", Arc::new(adapter));
    let logger = SafetyEventLogger::builder()
        .adapter_registry(registry)
        .home(words[0])
        .no_fallback()
        .build()
        .expect("a logger");
    logger.start();
    let report = logger.flush(Some(Duration::from_secs(60)));
    let stats = logger.stats();
    assert!(report.complete, "{stats:?} {:?}", logger.notices());
    assert_eq!((stats.total_dropped, stats.total_fallback), (0, 0));
    assert!(logger.stop(Some(Duration::from_secs(60))).complete);
}

/// Ends its process when it has stored a batch, before anybody hears of that.
#[derive(Debug)]
struct Killed {
    inner: Arc<dyn DatasetAdapter>,
    left: AtomicU64,
}

impl DatasetAdapter for Killed {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let done = self.inner.insert(batch);
        let stored = match &done {
            Ok(()) => true,
            Err(error) => matches!(error.failure(), Failure::IdsTaken(_)),
        };
        if stored && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::process::abort();
        }
        done
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn delivery(&self) -> Delivery {
        self.inner.delivery()
    }

    fn batching(&self) -> Batching {
        Batching { rows_max: 5, wait_max: Duration::ZERO, ..self.inner.batching() }
    }
}

fn check(rows: &[ReadRow], when: &str) {
    let mut ids = BTreeMap::new();
    let mut events: BTreeMap<&str, u32> = BTreeMap::new();
    for row in rows {
        *ids.entry(row.id.expect("its place")).or_insert(0) += 1;
        *events.entry(&row.event.event_id).or_default() += 1;
    }
    let twice: Vec<_> = events.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{when}: stored more than once: {twice:?}");
    assert_eq!(events.len() as u64, COPIES * (EVENTS - 1) + 1, "{when}");
    assert!(ids.values().all(|times| *times == 1), "{when}: two events have one id");
}

/// In plain files the rows themselves tell the copies' events apart.
#[test]
fn of_files_each_event_is_stored_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in ["jsonl", "json", "csv"] {
        let mut fresh = 0;
        let url = || {
            fresh += 1;
            format!("file://{}/{fresh}.{kind}", folder.path().display())
        };
        hold(url, |url| rows_of_file(Path::new(url.trim_start_matches("file://"))));
    }
}

fn rows_of_file(path: &Path) -> Vec<ReadRow> {
    let rows: Result<Vec<ReadRow>, _> = match path.extension() {
        Some(kind) if kind == "csv" => csv::read(path).expect("a header").collect(),
        _ => json::read(path).expect("a file").collect(),
    };
    rows.expect("whole rows")
}

#[cfg(feature = "parquet")]
#[test]
fn of_objects_each_event_is_stored_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let fresh = std::cell::Cell::new(0);
    let url = |scheme: &str| {
        fresh.set(fresh.get() + 1);
        format!("{scheme}://{}/{}/?format=parquet", folder.path().display(), fresh.get())
    };
    hold(|| url("file"), crate::objects::support::all);
    #[cfg(feature = "delta")]
    hold(|| url("delta+file").replace("?format=parquet", ""), crate::delta::support::all);
}

/// The same of database servers.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod servers {
    use namel3ss_safety::conformance::{Subject, buffer, copies, plain_event};
    use namel3ss_safety::{Failure, JournalId, SafetyEvent, Timestamp};
    use namel3ss_safety_stores::open;

    use crate::servers::{Database, all, fresh_table};

    pub(crate) fn copies_of_a_process_lose_nothing<D: Database>() {
        copies(|| {
            let url = D::url(&fresh_table());
            let (read, again) = (url.clone(), url.clone());
            Subject::new(open(&url).unwrap(), move || all(&read))
                .reopened_by(move || open(&again).unwrap())
        });
    }

    pub(crate) fn copies_that_are_killed_store_each_event_once<D: Database>() {
        super::hold(|| D::url(&fresh_table()), all);
    }

    pub(crate) fn ids_and_moments_are_compared_as_the_columns_have_them<D: Database>() {
        for (columns, compares) in D::IDENTITIES {
            let table = fresh_table();
            let types = match D::KIND {
                "postgres" => "seq bigint, journal_id uuid, metadata jsonb",
                _ => "seq BIGINT, journal_id CHAR(32), metadata JSON",
            };
            D::sql(&format!("CREATE TABLE {table} ({types}, {columns}, UNIQUE (journal_id, seq))"));
            let journal = JournalId::generate();
            // What is no JSON is no id for a column of it.
            let event = |n: i64| SafetyEvent {
                event_id: format!("\"{n}\""),
                timestamp: Timestamp::from_micros(86_400_000_000 * n + 999_999),
                ..plain_event(1)
            };
            let insert = |events: &[i64]| {
                let events: Vec<SafetyEvent> = events.iter().map(|n| event(*n)).collect();
                open(&D::url(&table)).unwrap().insert(&buffer(journal, 1, &events).batch())
            };
            (0..2).for_each(|_| insert(&[1, 2, 3]).unwrap());
            // The first is another event now, and the last is new.
            match (insert(&[8, 2, 3, 4]), compares) {
                (Ok(()), false) => {}
                (Err(error), true) if *error.failure() == Failure::IdsTaken(vec![0]) => {}
                (answer, _) => panic!("{columns}: {answer:?}"),
            }
            assert_eq!(D::sql(&format!("SELECT count(*) FROM {table}")), "4", "{columns}");
        }
    }
}
