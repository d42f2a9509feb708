//! When a logger is healthy: each row of the table in docs/operations.md, and that nothing else makes
//! it unhealthy meanwhile.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use namel3ss_safety::internal::journal::media::{Fault, MemoryFolder};
use namel3ss_safety::{
    AdapterError, Batch, DatasetAdapter, Delivery, Failure, Level, MemoryAdapter, Notice,
    NoticeKind, OverflowStrategy, SafetyEventLogger, internal::clock::ManualClock,
};

use crate::life::fork;
use crate::support::{Dataset, Place, adds_up, builder, event, until};

const SOON: Option<Duration> = Some(Duration::from_secs(20));

#[track_caller]
fn unhealthy(logger: &SafetyEventLogger, why: &[&str]) {
    let stats = logger.stats();
    let words: Vec<&str> = stats.unhealthy.iter().map(|reason| reason.as_str()).collect();
    assert_eq!((&words[..], stats.healthy), (why, why.is_empty()), "{stats:?}");
    adds_up(&stats);
}

/// A home of 1 MiB had lost 2,530 events, and the logger was healthy again once it had room.
#[test]
fn lost_an_event_for_good() {
    let place = Place::new();
    let builder = place.builder(&Dataset::healthy()).buffer_size(2).autostart(false);
    let logger = builder.overflow_strategy(OverflowStrategy::DropNewest).build().unwrap();
    (1..=2).for_each(|n| _ = logger.log(&event(n)));
    unhealthy(&logger, &[]);
    let _ = logger.log(&event(3));
    unhealthy(&logger, &["lost"]);
    assert!(logger.flush(SOON).complete);
    unhealthy(&logger, &["lost"]);
    assert!(logger.stop(SOON).complete);
    unhealthy(&logger, &["lost"]);
}

/// What a crash had destroyed of an earlier run was reported, and the logger that found it healthy.
#[test]
fn lost_an_event_of_an_earlier_run() {
    let place = Place::new();
    let dataset = Dataset::healthy();
    let killed = fork(|| {
        let logger = place.builder(&dataset).threads(false).buffer_size(1000).build().unwrap();
        (1..=200).for_each(|n| _ = logger.log(&event(n)));
        std::mem::forget(logger);
        true
    });
    assert!(killed());
    let journals = place.home().join("journal/safety_events");
    let ring = fs::read_dir(&journals).unwrap().next().unwrap().unwrap().path().join("ring.n3j");
    let mut bytes = fs::read(&ring).unwrap();
    bytes[4096 + 2000..4096 + 3000].fill(0xAA);
    fs::write(&ring, &bytes).unwrap();
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    assert!(logger.flush(SOON).complete);
    assert!((1..200).contains(&dataset.len()), "{}", dataset.len());
    unhealthy(&logger, &["lost"]);
    assert!(logger.stop(SOON).complete);
}

#[test]
fn no_event_was_logged() {
    let place = Place::new();
    let logger = place.builder(&Dataset::healthy()).build().unwrap();
    logger.start();
    unhealthy(&logger, &[]);
    logger.reject();
    unhealthy(&logger, &["no_event"]);
    let _ = logger.log(&event(1));
    assert!(logger.stop(SOON).complete);
    unhealthy(&logger, &["no_event"]);
}

#[test]
fn journal_that_can_not_be_written() {
    let folder = Arc::new(MemoryFolder::default());
    let logger = builder(Dataset::healthy()).medium(folder.clone()).no_fallback().build().unwrap();
    logger.start();
    let _ = logger.log(&event(1));
    assert!(logger.flush(SOON).complete);
    unhealthy(&logger, &[]);
    folder.set_fault(Some(Fault::WriteFails));
    let _ = logger.log(&event(2));
    until("the journal's failure", || !logger.stats().healthy);
    unhealthy(&logger, &["journal"]);
    folder.set_fault(None);
    assert!(logger.flush(SOON).complete);
    unhealthy(&logger, &[]);
    assert!(logger.stop(SOON).complete);
}

/// At `ulimit -n 8` 2,000 events were pending, none was delivered, and the logger was healthy.
#[test]
fn journal_that_can_not_be_read() {
    let place = Place::new();
    let dataset = Dataset::healthy();
    let child = fork(|| {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = |current| {
            let maximum = getrlimit(Resource::Nofile).maximum;
            setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        };
        let logger = place.builder(&dataset).adopt(false).build().unwrap();
        (1..=10).for_each(|n| _ = logger.log(&event(n)));
        // One more: the drainer's. Whoever delivers needs another.
        let next = fs::File::open("/dev/null").unwrap();
        limit(Some(std::os::fd::AsRawFd::as_raw_fd(&next) as u64 + 1));
        drop(next);
        assert!(!logger.flush(Some(Duration::from_millis(100))).complete);
        until("what can't be read", || {
            let stats = logger.stats();
            stats.last_error.is_some_and(|error| error.contains("is not to be had"))
        });
        unhealthy(&logger, &["journal"]);
        let stats = logger.stats();
        assert_eq!((stats.pending, stats.total_dropped), (10, 0));
        limit(Some(1024));
        until("the rest", || logger.flush(SOON).complete);
        unhealthy(&logger, &[]);
        logger.stop(SOON).complete && dataset.len() == 10
    });
    assert!(child());
}

/// A dataset that failed each attempt of ten was healthy until the last one, minutes later.
#[test]
fn destination_that_fails_beyond_its_first_retry() {
    let place = Place::new();
    let (dataset, clock) = (Dataset::dead(), Arc::new(ManualClock::default()));
    let builder = place.builder(&dataset).threads(false).clock(clock.clone());
    let logger = builder.max_retries(10).retry_delay(Duration::from_secs(1)).build().unwrap();
    logger.start();
    let _ = logger.log(&event(1));
    // Takes the batch; then an attempt each.
    let attempt = |of: u64| {
        while logger.sink().attempts() < of {
            clock.advance(logger.turn().unwrap());
        }
    };
    clock.advance(Duration::from_secs(60));
    attempt(1);
    unhealthy(&logger, &[]);
    attempt(2);
    unhealthy(&logger, &["destination"]);
    assert!(!logger.stats().sinks[0].healthy);
    dataset.set(|_| Ok(()));
    attempt(3);
    unhealthy(&logger, &[]);
    // One without an adapter is none that delivers.
    assert_eq!(dataset.len(), 1);
}

/// Opens when a test says so.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicU64,
}

impl Gate {
    pub(crate) fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

fn said(notices: &[Notice], kind: NoticeKind) -> Vec<(Level, u64)> {
    let of_kind = notices.iter().filter(|notice| notice.kind == kind);
    of_kind.map(|notice| (notice.level, notice.times)).collect()
}

/// Waits at the gate in each call, and counts those that run beside another.
#[derive(Debug, Default)]
struct Hanging {
    gate: Gate,
    running: AtomicU64,
    calls: AtomicU64,
    beside: AtomicBool,
    rows: MemoryAdapter,
}

impl DatasetAdapter for Hanging {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.running.fetch_add(1, Ordering::SeqCst) > 0 {
            self.beside.store(true, Ordering::SeqCst);
        }
        self.gate.pass();
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.rows.insert(batch)
    }

    fn identity(&self) -> String {
        "test:hanging".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

/// An adapter that never returned held up everything for good, with a healthy logger and not a word.
#[test]
fn adapter_timeout_while_a_call_is_past_it_and_no_other_is_made_beside_it() {
    let place = Place::new();
    let dataset = Arc::new(Hanging::default());
    let builder = builder(dataset.clone()).home(place.home()).no_fallback();
    let logger = builder.adapter_timeout(Duration::from_millis(50)).build().unwrap();
    logger.start();
    let _ = logger.log(&event(1));
    unhealthy(&logger, &[]);
    let report = logger.flush(Some(Duration::from_millis(200)));
    assert!(dataset.gate.is_reached() && !report.complete);
    let error = report.error.unwrap();
    let named = "; a call of the adapter of safety_events has not returned for 0.";
    assert!(error.contains(named), "{error}");
    unhealthy(&logger, &["adapter_timeout"]);
    assert!(!logger.stats().sinks[0].healthy);
    // Nobody else calls it, whatever is asked for.
    let report = logger.stop(Some(Duration::from_millis(100)));
    assert!(!report.complete && report.error.unwrap().contains(named));
    logger.start();
    (2..=300).for_each(|n| _ = logger.log(&event(n)));
    assert!(!logger.flush(Some(Duration::from_millis(100))).complete);
    assert_eq!(dataset.calls.load(Ordering::SeqCst), 1);
    let mut notices = logger.notices();
    assert_eq!(said(&notices, NoticeKind::AdapterTimeout), [(Level::Warning, 1)], "{notices:?}");
    dataset.gate.open();
    assert!(logger.flush(SOON).complete);
    unhealthy(&logger, &[]);
    notices = logger.notices();
    assert_eq!(said(&notices, NoticeKind::AdapterTimeout), [(Level::Info, 1)], "{notices:?}");
    assert!(!dataset.beside.load(Ordering::SeqCst));
    assert!(logger.stop(SOON).complete);
    assert_eq!(dataset.rows.len(), 300);
}

/// A call that replays a fallback file hangs as well as any other.
#[test]
fn adapter_timeout_also_in_a_replay() {
    let place = Place::new();
    let dataset = Dataset::dead();
    let builder = place.builder(&dataset).adapter_timeout(Duration::from_millis(50));
    let logger = builder.max_retries(1).build().unwrap();
    logger.start();
    let _ = logger.log(&event(1));
    assert!(logger.flush(SOON).complete);
    unhealthy(&logger, &["destination"]);
    let gate = Arc::new(Gate::default());
    let (theirs, mut calls) = (gate.clone(), 0);
    dataset.set(move |_| {
        calls += 1;
        if calls > 1 {
            theirs.pass();
        }
        Ok(())
    });
    let _ = logger.log(&event(2));
    let start = Instant::now();
    until("the replay", || {
        let _ = logger.flush(Some(Duration::from_millis(20)));
        gate.is_reached()
    });
    until("its time", || logger.stats().unhealthy == [namel3ss_safety::Unhealthy::AdapterTimeout]);
    assert!(start.elapsed() >= Duration::from_millis(50));
    gate.open();
    until("its end", || logger.stats().total_replayed == 1);
    until("health", || logger.stats().healthy);
    assert!(logger.stop(SOON).complete);
}

/// The journal went back to a file, and its first events, which were in memory only, went there too.
#[test]
fn memory_while_events_are_there_that_were_meant_for_a_file() {
    let place = Place::new();
    let (dataset, gate) = (Dataset::healthy(), Arc::new(Gate::default()));
    let theirs = gate.clone();
    dataset.set(move |_| {
        theirs.pass();
        Ok(())
    });
    fs::write(place.home(), "in the way").unwrap();
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    (1..=100).for_each(|n| _ = logger.log(&event(n)));
    unhealthy(&logger, &["memory"]);
    until("the adapter", || gate.is_reached());
    fs::remove_file(place.home()).unwrap();
    // Those in memory are written to a file too.
    until("the file", || logger.stats().unhealthy.is_empty());
    gate.open();
    assert!(logger.flush(SOON).complete);
    unhealthy(&logger, &[]);
    assert!(logger.stop(SOON).complete);

    // Where memory was asked for it is as it should be.
    let builder = place.builder(&Dataset::healthy());
    let logger = builder.journal(namel3ss_safety::JournalKind::Memory).build().unwrap();
    let _ = logger.log(&event(1));
    unhealthy(&logger, &[]);
    assert!(logger.stop(SOON).complete);
}

/// Without a thread nobody delivers but who flushes.
#[test]
#[cfg(target_os = "linux")]
fn threads_that_were_not_to_be_had() {
    let place = Place::new();
    let child = fork(|| {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = |current| {
            let maximum = getrlimit(Resource::As).maximum;
            setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
        };
        let builder = place.builder(&Dataset::healthy()).worker_stack_bytes(1 << 30);
        let logger = builder.build().unwrap();
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
        limit(Some(pages * 4096 + (256 << 20)));
        logger.start();
        let _ = logger.log(&event(1));
        unhealthy(&logger, &["threads"]);
        limit(None);
        assert!(logger.stop(SOON).complete);
        logger.start();
        unhealthy(&logger, &[]);
        logger.stop(SOON).complete
    });
    assert!(child());
}

/// What passes by itself, or is nobody's loss, is not unhealthy.
#[test]
fn healthy_though_one_row_is_refused_or_one_attempt_fails() {
    let place = Place::new();
    let mut calls = 0;
    let dataset = Dataset::new(move |batch| {
        calls += 1;
        match calls {
            1 => Err(AdapterError::transient("reach it")),
            2 => Err(AdapterError::new(Failure::Poison(vec![0]), "take a row")),
            _ => Ok(()).map(|()| assert!(batch.len() < 100)),
        }
    });
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    (1..=50).for_each(|n| _ = logger.log(&event(n)));
    assert!(logger.flush(SOON).complete);
    assert_eq!((dataset.len(), place.fallback_rows().len()), (49, 1));
    unhealthy(&logger, &[]);
    assert!(logger.stop(SOON).complete);
}
