//! What the contract promises about overflow, hand-over, flush, stop and misbehaving datasets, to
//! the letter.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use namel3ss_safety::conformance::{buffer, hostile_events, same_event};
use namel3ss_safety::internal::journal::recovery::RecoverError;
use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, Batching, DatasetAdapter, Delivery, DropReason,
    Durability, Failure, JournalKind, Level, Logged, MemoryAdapter, NoticeKind, OverflowStrategy,
    SafetyAction, SafetyEvent, SafetyEventLogger, SafetyEventSink, Seq,
    internal::{clock::ManualClock, register},
};

use crate::jobs::helper;
use crate::support::{Dataset, Place, adds_up, builder, event, numbers, until};

const STRATEGIES: [OverflowStrategy; 3] =
    [OverflowStrategy::DropOldest, OverflowStrategy::DropNewest, OverflowStrategy::Block];

/// A big event: few of them fill a small backlog.
fn big(n: u64) -> SafetyEvent {
    SafetyEvent { reason: Some("r".repeat(2000)), ..event(n) }
}

#[test]
fn not_started_and_full_each_strategy_keeps_what_it_says() {
    let check = |strategy, dropped, delivered: &[String], then: &[String], threads| {
        let (place, dataset) = (Place::new(), Dataset::healthy());
        let logger = place
            .builder(&dataset)
            .buffer_size(3)
            .overflow_strategy(strategy)
            .threads(threads)
            .autostart(false)
            .build()
            .unwrap();
        for n in 1..=4 {
            let logged = logger.log(&event(n));
            match (strategy, n) {
                (OverflowStrategy::DropNewest, 4) => {
                    assert_eq!(logged, Logged::Dropped(DropReason::DropNewest));
                }
                _ => assert_eq!(logged, Logged::Journaled(Seq(n))),
            }
            adds_up(&logger.stats());
        }
        let stats = logger.stats();
        assert_eq!((stats.total_logged, stats.total_dropped), (4, dropped), "{strategy:?}");
        assert_eq!(dataset.ids(), delivered, "{strategy:?}");
        let buffered = 4 - dropped - delivered.len() as u64;
        assert_eq!(stats.current_buffer_size, buffered, "{strategy:?}");
        assert!(logger.flush(None).complete);
        assert_eq!(dataset.ids(), then, "{strategy:?}");
        logger.start();
        assert!(logger.stop(None).complete);
        assert_eq!(dataset.ids(), then, "{strategy:?}");
        let stats = logger.stats();
        assert_eq!((stats.total_flushed, stats.pending), (4 - dropped, 0));
        adds_up(&stats);
        drop(logger);
        assert_eq!(place.journals(), 0, "nothing is left of a settled journal");
    };
    for threads in [true, false] {
        check(OverflowStrategy::DropOldest, 1, &[], &numbers(2..=4), threads);
        check(OverflowStrategy::DropNewest, 1, &[], &numbers(1..=3), threads);
        check(OverflowStrategy::Block, 0, &numbers(1..=3), &numbers(1..=4), threads);
    }
}

#[test]
fn what_was_dropped_stays_dropped_in_the_next_run() {
    // The strategy's word was in memory only: the next logger adopted the journal and delivered
    // what had been counted as dropped.
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).buffer_size(3).autostart(false).build().unwrap();
    (1..=7).for_each(|n| _ = logger.log(&event(n)));
    assert_eq!(logger.stats().total_dropped, 4);
    drop(logger);
    let logger = place.builder(&dataset).build().unwrap();
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.ids(), numbers(5..=7));
    assert!(logger.notices().iter().all(|notice| notice.kind != NoticeKind::Damaged));
    assert_eq!(logger.stats().total_recovered, 3);
}

#[test]
fn many_dropped_events_leave_the_last_ones_and_no_damage() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).buffer_size(10).autostart(false).build().unwrap();
    (1..=20_000).for_each(|n| _ = logger.log(&event(n)));
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_logged, stats.total_dropped), (20_000, 19_990));
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.ids(), numbers(19_991..=20_000));
    assert!(logger.notices().len() < 30);
}

#[test]
fn a_full_buffer_a_due_interval_flush_and_stop_hand_over() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let clock = Arc::new(ManualClock::default());
    let build = |buffer| place.builder(&dataset).buffer_size(buffer).flush_interval_seconds(10.0);
    // Without threads, by the clock.
    let logger = build(3).threads(false).clock(clock.clone()).build().unwrap();
    logger.start();
    let turns = || (0..20).for_each(|_| _ = logger.turn());
    let _ = logger.log(&event(1));
    turns();
    clock.advance(Duration::from_millis(9_900));
    let _ = logger.log(&event(2));
    turns();
    assert_eq!((dataset.len(), logger.stats().current_buffer_size), (0, 2));
    clock.advance(Duration::from_millis(101));
    turns();
    assert_eq!(dataset.ids(), numbers(1..=2), "ten seconds since the oldest");
    clock.jump_wall(-86_400_000_000);
    (3..=5).for_each(|n| _ = logger.log(&event(n)));
    turns();
    assert_eq!(dataset.ids(), numbers(1..=5), "three are a buffer");
    let _ = logger.log(&event(6));
    assert!(logger.stop(None).complete);
    assert_eq!(dataset.ids(), numbers(1..=6), "stop");
    drop(logger);

    // With threads.
    let logger = build(3).build().unwrap();
    logger.start();
    (7..=9).for_each(|n| _ = logger.log(&event(n)));
    until("a full buffer", || dataset.len() == 9);
    let _ = logger.log(&event(10));
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.len(), 10);
    drop(logger);
    let logger = build(100).flush_interval_seconds(0.05).build().unwrap();
    logger.start();
    let _ = logger.log(&event(11));
    until("a due interval", || dataset.len() == 11);
    assert!(logger.stop(Some(Duration::from_secs(5))).complete);
    dataset.once();
}

/// Counts rows, and checks that each thread's come in order.
#[derive(Debug, Default)]
struct Counting {
    rows: AtomicU64,
    last: Mutex<u64>,
}

impl DatasetAdapter for Counting {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let mut last = self.last.lock().unwrap();
        for row in batch.rows() {
            assert_eq!(row.seq.0, *last + 1);
            *last = row.seq.0;
        }
        self.rows.fetch_add(batch.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    fn identity(&self) -> String {
        "test:counting".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

#[test]
fn a_healthy_dataset_loses_nothing_however_tight_the_loop() {
    const EVENTS: u64 = 1_000_000;
    for threads in [1, 4] {
        let place = Place::new();
        let dataset = Arc::new(Counting::default());
        let logger = builder(dataset.clone())
            .home(place.home())
            .fallback_path(place.fallback())
            .buffer_size(100)
            .flush_interval_seconds(10.0)
            .build()
            .unwrap();
        logger.start();
        let event = event(7);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..EVENTS / threads {
                        let logged = logger.log(&event);
                        assert!(matches!(logged, Logged::Journaled(_)), "{logged:?}");
                    }
                });
            }
        });
        assert!(logger.stop(None).complete);
        let stats = logger.stats();
        adds_up(&stats);
        assert_eq!((stats.total_dropped, stats.total_flushed), (0, EVENTS), "{threads} threads");
        assert_eq!(dataset.rows.load(Ordering::SeqCst), EVENTS);
    }
}

/// A logger without fallback whose dataset is dead, and whose backlog is at its limit.
fn full_backlog(
    place: &Place,
    dataset: &Arc<Dataset>,
    strategy: OverflowStrategy,
) -> SafetyEventLogger {
    let logger = builder(dataset.clone())
        .home(place.home())
        .no_fallback()
        .buffer_size(10)
        .backlog_limit_bytes(64 << 10)
        .overflow_strategy(strategy)
        .threads(false)
        .clock(Arc::new(ManualClock::default()))
        .build()
        .unwrap();
    // One batch in flight, so that the rest stays behind it.
    dataset.set_batching(Batching { rows_max: 10, ..Batching::default() });
    logger.start();
    let mut n = 0;
    loop {
        for _ in 0..10 {
            n += 1;
            let _ = logger.log(&big(n));
        }
        for _ in 0..5 {
            let _ = logger.turn();
        }
        if logger.stats().backlog_bytes >= 64 << 10 {
            break;
        }
        assert!(n < 1000, "{:?}", logger.stats());
    }
    assert_eq!(logger.stats().total_dropped, 0);
    logger
}

/// Fills the buffer before a full backlog; says how many events were logged.
fn fill_buffer(logger: &SafetyEventLogger) -> u64 {
    let stats = logger.stats();
    let room = stats.max_buffer_size - stats.current_buffer_size;
    (1..=room).for_each(|n| _ = logger.log(&event(stats.total_logged + n)));
    assert_eq!(logger.stats().total_dropped, 0, "the buffer takes buffer_size events first");
    stats.total_logged + room
}

#[test]
fn a_full_backlog_drops_one_event_for_each_that_comes() {
    // What drop_oldest took from the backlog made no room in the buffer, so that the second event
    // over the limit pushed out two, the third three.
    let (place, dataset) = (Place::new(), Dataset::dead());
    let logger = full_backlog(&place, &dataset, OverflowStrategy::DropOldest);
    let logged = fill_buffer(&logger);
    for n in 1..=20 {
        assert!(matches!(logger.log(&big(logged + n)), Logged::Journaled(_)));
        assert_eq!(logger.stats().total_dropped, n, "one for one");
        adds_up(&logger.stats());
    }
    dataset.set(|_| Ok(()));
    assert!(logger.flush(None).complete);
    // The batch in flight was not dropped, the oldest behind it were, all others came, in order.
    let mut expected = numbers(1..=10);
    expected.extend(numbers(31..=logged + 20));
    assert_eq!(dataset.ids(), expected);
    adds_up(&logger.stats());
    assert_eq!(logger.stats().pending, 0);
}

#[test]
fn a_full_backlog_turns_the_newest_away() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    let logger = full_backlog(&place, &dataset, OverflowStrategy::DropNewest);
    let logged = fill_buffer(&logger);
    for n in 1..=20 {
        let dropped = Logged::Dropped(DropReason::DropNewest);
        assert_eq!(logger.log(&event(logged + n)), dropped);
    }
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_logged, stats.total_dropped), (logged + 20, 20));
    dataset.set(|_| Ok(()));
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.ids(), numbers(1..=logged));
    assert!(matches!(logger.log(&event(0)), Logged::Journaled(_)), "there is room again");
}

#[test]
fn block_waits_at_a_full_backlog_until_the_dataset_answers() {
    // The limit is looked at every few milliseconds.
    const EVENTS: u64 = 20_000;
    let (place, dataset) = (Place::new(), Dataset::dead());
    let logger = builder(dataset.clone())
        .home(place.home())
        .no_fallback()
        .buffer_size(10)
        .backlog_limit_bytes(64 << 10)
        .overflow_strategy(OverflowStrategy::Block)
        .build()
        .unwrap();
    dataset.set_batching(Batching { rows_max: 1000, ..Batching::default() });
    logger.start();
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=EVENTS {
                assert!(matches!(logger.log(&big(n)), Logged::Journaled(_)));
                count.store(n, Ordering::SeqCst);
            }
        });
        until("the limit", || {
            let before = count.load(Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(200));
            before > 0 && before == count.load(Ordering::SeqCst)
        });
        assert!(count.load(Ordering::SeqCst) < EVENTS, "it waits");
        adds_up(&logger.stats());
        dataset.set(|_| Ok(()));
        let _ = logger.flush(None);
        until("room", || count.load(Ordering::SeqCst) == EVENTS);
    });
    assert!(logger.stop(None).complete);
    assert_eq!(dataset.ids(), numbers(1..=EVENTS));
    assert_eq!(logger.stats().total_dropped, 0);
}

#[test]
fn a_buffer_larger_than_the_backlog_limit_is_still_handed_over() {
    // The buffer alone counted as backlog, so that nothing was ever handed over, and a healthy
    // dataset got nothing but what flush gave it.
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place
        .builder(&dataset)
        .buffer_size(100)
        .flush_interval_seconds(0.05)
        .backlog_limit_bytes(4096)
        .build()
        .unwrap();
    logger.start();
    (1..=99).for_each(|n| _ = logger.log(&big(n)));
    until("the interval", || dataset.len() == 99);
    assert_eq!(logger.stats().total_dropped, 0);
}

#[test]
fn flush_needs_no_start_and_stop_can_be_repeated() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).autostart(false).build().unwrap();
    assert!(logger.flush(None).complete, "nothing is soon done");
    assert!(logger.stop(None).complete);
    let _ = logger.log(&event(1));
    assert!(!logger.is_started());
    assert!(logger.flush(Some(Duration::from_secs(5))).complete);
    assert_eq!(dataset.len(), 1);
    logger.start();
    logger.start();
    let _ = logger.log(&event(2));
    assert!(logger.stop(None).complete);
    assert!(logger.stop(None).complete);
    let _ = logger.log(&event(3));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(dataset.len(), 2, "stopped, it delivers nothing of its own");
    logger.start();
    let _ = logger.log(&event(4));
    assert!(logger.stop(None).complete);
    assert_eq!(dataset.ids(), numbers(1..=4));
    adds_up(&logger.stats());
}

#[test]
fn what_a_timeout_leaves_is_the_next_loggers() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    let build = || builder(dataset.clone()).home(place.home()).no_fallback().build().unwrap();
    let logger = build();
    logger.start();
    (1..=250).for_each(|n| _ = logger.log(&event(n)));
    let report = logger.stop(Some(Duration::from_millis(50)));
    assert_eq!((report.complete, report.pending), (false, 250));
    assert!(report.error.is_some());
    adds_up(&logger.stats());
    drop(logger);
    assert_eq!(place.journals(), 1);

    dataset.set(|_| Ok(()));
    let logger = build();
    logger.start();
    // Nothing of its own to do: what earlier runs left is waited for all the same.
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.ids(), numbers(1..=250));
    let _ = logger.log(&event(251));
    assert!(logger.stop(None).complete);
    let stats = logger.stats();
    assert_eq!((stats.total_recovered, stats.recovering, stats.total_flushed), (250, 0, 1));
    dataset.once();
    drop(logger);
    assert_eq!(place.journals(), 0);
}

#[test]
fn another_destinations_journal_is_left_alone() {
    let (place, dead) = (Place::new(), Dataset::dead());
    let logger = builder(dead).home(place.home()).no_fallback().build().unwrap();
    let _ = logger.log(&event(1));
    drop(logger);
    let other = Arc::new(MemoryAdapter::default());
    let logger = builder(other.clone()).home(place.home()).no_fallback().build().unwrap();
    assert!(logger.flush(None).complete);
    assert!(other.is_empty());
    assert_eq!(place.journals(), 1);
}

/// Holds whoever inserts, until it is let go.
#[derive(Clone, Default)]
struct Hang(Arc<AtomicBool>);

impl Hang {
    fn dataset(&self) -> Arc<Dataset> {
        let go = self.0.clone();
        Dataset::new(move |_| {
            while !go.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
    }

    fn let_go(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn timeouts_hold_while_the_dataset_hangs() {
    // flush took the worker's lock, which the thread that hung in the adapter held.
    let (place, hang) = (Place::new(), Hang::default());
    let dataset = hang.dataset();
    let logger = place.builder(&dataset).buffer_size(10).build().unwrap();
    logger.start();
    (1..=10).for_each(|n| _ = logger.log(&event(n)));
    std::thread::sleep(Duration::from_millis(50));
    let quick = |what: &str, call: &dyn Fn() -> bool| {
        let start = Instant::now();
        assert!(!call(), "{what} is incomplete");
        assert!(start.elapsed() < Duration::from_millis(500), "{what}: {:?}", start.elapsed());
    };
    let short = Some(Duration::from_millis(100));
    quick("flush", &|| logger.flush(short).complete);
    for n in 11..=5_000 {
        assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
    }
    let _ = logger.stats();
    quick("stop", &|| logger.stop(short).complete);
    quick("stop again", &|| logger.stop(short).complete);
    // Not started any more, on the caller's thread.
    quick("flush", &|| logger.flush(short).complete);
    adds_up(&logger.stats());
    logger.start();
    hang.let_go();
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.ids(), numbers(1..=5_000));
}

#[test]
fn a_dropped_logger_waits_a_tenth_of_a_second_at_the_most() {
    for hang in [true, false] {
        let (place, hanging) = (Place::new(), Hang::default());
        let dataset = if hang { hanging.dataset() } else { Dataset::dead() };
        let logger = place.builder(&dataset).buffer_size(10).retry_delay(Duration::from_secs(50));
        let logger = logger.build().unwrap();
        logger.start();
        (1..=1000).for_each(|n| _ = logger.log(&event(n)));
        std::thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        drop(logger);
        assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
        hanging.let_go();
        dataset.set(|_| Ok(()));
        // The thread that hung lets go of the journal when it comes back.
        until("all of it, by the next logger", || {
            let logger = place.builder(&dataset).build().unwrap();
            let _ = logger.flush(None);
            dataset.len() >= 1000
        });
    }
}

#[test]
fn a_dataset_that_panics_in_every_method_costs_nothing_but_files() {
    #[derive(Debug)]
    struct Panics;
    impl DatasetAdapter for Panics {
        fn insert(&self, _: &Batch<'_>) -> Result<(), AdapterError> {
            std::panic::resume_unwind(Box::new("insert"))
        }
        fn identity(&self) -> String {
            std::panic::resume_unwind(Box::new("identity"))
        }
        fn delivery(&self) -> Delivery {
            std::panic::resume_unwind(Box::new("delivery"))
        }
        fn batching(&self) -> Batching {
            std::panic::resume_unwind(Box::new("batching"))
        }
    }
    let place = Place::new();
    let logger = builder(Arc::new(Panics)).home(place.home()).fallback_path(place.fallback());
    let logger = logger.buffer_size(10).build().unwrap();
    logger.start();
    (1..=20).for_each(|n| _ = logger.log(&event(n)));
    assert!(logger.stop(None).complete);
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_fallback, stats.pending), (20, 0));
    assert_eq!(place.fallback_rows().len(), 20);
}

#[test]
fn a_dataset_that_wants_no_rows_at_once_gets_one() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    dataset.set_batching(Batching { rows_max: 0, bytes_max: 0, wait_max: Duration::ZERO });
    let logger = place.builder(&dataset).build().unwrap();
    (1..=20).for_each(|n| _ = logger.log(&event(n)));
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!(dataset.ids(), numbers(1..=20));
}

#[test]
fn a_slow_dataset_makes_nobody_wait() {
    let (place, dataset) = (
        Place::new(),
        Dataset::new(|_| {
            std::thread::sleep(Duration::from_millis(100));
            Ok(())
        }),
    );
    let logger = place.builder(&dataset).buffer_size(10).build().unwrap();
    logger.start();
    let start = Instant::now();
    (1..=2_000).for_each(|n| _ = logger.log(&event(n)));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert!(logger.stop(None).complete);
    assert_eq!(dataset.ids(), numbers(1..=2_000));
    assert_eq!(logger.stats().total_dropped, 0);
}

#[test]
fn a_dataset_that_logs_and_flushes_and_stops_its_own_logger_does_not_wait_for_itself() {
    // With `block` and not started, log() delivers the buffer; the adapter's own log() found it
    // full as well, and waited for the delivery that it was part of.
    for strategy in STRATEGIES {
        for started in [false, true] {
            let place = Place::new();
            let cell: Arc<OnceLock<Weak<SafetyEventLogger>>> = Arc::default();
            let logger = cell.clone();
            let mut left = 10;
            let dataset = Dataset::new(move |_| {
                if let Some(logger) = logger.get().and_then(Weak::upgrade)
                    && left > 0
                {
                    left -= 1;
                    (1..=4).for_each(|n| _ = logger.log(&event(1000 + n)));
                    assert!(!logger.flush(None).complete);
                    assert!(logger.turn().is_none());
                    assert!(!logger.stop(None).complete || started);
                    if started {
                        logger.start();
                    }
                }
                Ok(())
            });
            let logger = place.builder(&dataset).buffer_size(3).overflow_strategy(strategy);
            let logger = Arc::new(logger.autostart(false).build().unwrap());
            cell.set(Arc::downgrade(&logger)).unwrap();
            if started {
                logger.start();
            }
            for n in 1..=9 {
                let _ = logger.log(&event(n));
            }
            let report = logger.stop(Some(Duration::from_secs(10)));
            // Each delivery may have logged more.
            for _ in 0..12 {
                let _ = logger.flush(Some(Duration::from_secs(10)));
            }
            let stats = logger.stats();
            adds_up(&stats);
            assert_eq!(stats.pending, 0, "{strategy:?} {started} {report:?}");
            dataset.once();
        }
    }
}

#[test]
fn without_an_adapter_rows_go_to_files_with_one_warning() {
    let place = Place::new();
    // A registry that may be filled later, as Python's are.
    let sink = SafetyEventSink::builder()
        .registry(Arc::new(AdapterRegistry::default()))
        .fallback_path(Some(place.fallback()));
    let logger = SafetyEventLogger::builder()
        .event_sink(Arc::new(sink.build()))
        .home(place.home())
        .buffer_size(10)
        .build()
        .unwrap();
    logger.start();
    for round in 0..5 {
        (1..=10).for_each(|n| _ = logger.log(&event(round * 10 + n)));
        assert!(logger.flush(None).complete);
    }
    assert_eq!(place.fallback_rows().len(), 50);
    let notices = logger.notices();
    let warnings = notices.iter().filter(|n| n.level >= Level::Warning).map(|n| n.times);
    assert_eq!(warnings.sum::<u64>(), 1, "{notices:?}");
    assert_eq!(logger.stats().total_fallback, 50);
}

#[test]
fn with_no_place_for_files_rows_are_kept_and_delivered_later() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    std::fs::write(place.fallback(), "a file, no folder").unwrap();
    let logger = place.builder(&dataset).buffer_size(10).build().unwrap();
    logger.start();
    (1..=35).for_each(|n| _ = logger.log(&event(n)));
    let start = Instant::now();
    let report = logger.flush(None);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(!report.complete && report.error.is_some(), "{report:?}");
    assert_eq!((logger.stats().pending, logger.stats().healthy), (35, false));
    adds_up(&logger.stats());
    dataset.set(|_| Ok(()));
    // At once, not when the wait of the kept batch has passed.
    let start = Instant::now();
    assert!(logger.flush(None).complete);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(dataset.ids(), numbers(1..=35));
    assert!(logger.stats().healthy);
}

#[test]
fn one_poison_row_costs_one_row() {
    for named in [true, false] {
        let place = Place::new();
        let dataset = Dataset::new(move |batch| {
            let bad: Vec<usize> = batch
                .rows()
                .enumerate()
                .filter(|(_, row)| row.event.event_id == "57")
                .map(|(at, _)| at)
                .collect();
            match (bad.is_empty(), named) {
                (true, _) => Ok(()),
                (_, true) => Err(AdapterError::new(Failure::Poison(bad), "store it")),
                (_, false) => Err(AdapterError::new(Failure::Unknown, "store it")),
            }
        });
        let logger = place.builder(&dataset).build().unwrap();
        logger.start();
        (1..=100).for_each(|n| _ = logger.log(&event(n)));
        assert!(logger.stop(None).complete);
        let stats = logger.stats();
        adds_up(&stats);
        assert_eq!((stats.total_flushed, stats.total_fallback), (99, 1), "{named}");
        let rows = place.fallback_rows();
        assert_eq!((rows.len(), &rows[0]["event_id"]), (1, &"57".into()));
        assert!(rows[0]["_error"].is_string());
        dataset.once();
    }
}

#[test]
fn fallback_files_are_replayed_when_the_dataset_answers() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    let logger = place.builder(&dataset).buffer_size(10).build().unwrap();
    logger.start();
    (1..=10).for_each(|n| _ = logger.log(&event(n)));
    assert!(logger.flush(None).complete);
    assert_eq!(place.fallback_rows().len(), 10);
    dataset.set(|_| Ok(()));
    (11..=20).for_each(|n| _ = logger.log(&event(n)));
    until("the replay", || logger.stats().total_replayed == 10);
    assert_eq!(dataset.len(), 20);
    dataset.once();
    adds_up(&logger.stats());
    assert_eq!(place.fallback_rows().len(), 0);
}

#[test]
fn a_sink_of_ones_own_is_used_as_it_is() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    let registry = AdapterRegistry::default();
    registry.register("other", dataset.clone());
    let sink = SafetyEventSink::builder()
        .dataset_name("other")
        .registry(Arc::new(registry))
        .fallback_path(Some(place.fallback()))
        .max_retries(2)
        .retry_delay(Duration::from_millis(1));
    let sink = Arc::new(sink.build());
    let logger =
        SafetyEventLogger::builder().event_sink(sink.clone()).home(place.home()).build().unwrap();
    assert_eq!(logger.stats().target_dataset, "other");
    let _ = logger.log(&event(1));
    assert!(logger.flush(None).complete);
    assert_eq!((sink.attempts(), logger.stats().total_retries), (2, 1));
    assert_eq!(place.fallback_rows().len(), 1);
    sink.set_max_retries(5);
    dataset.set(|_| Ok(()));
    let _ = logger.log(&event(2));
    assert!(logger.flush(None).complete);
    assert_eq!(logger.notices().iter().filter(|n| n.kind == NoticeKind::Fallback).count(), 1);
}

#[test]
fn wrong_arguments_say_what_is_wrong_and_what_would_be_right() {
    let check = |builder: namel3ss_safety::LoggerBuilder, parameter: &str, parts: &[&str]| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.parameter(), parameter);
        let text = error.to_string();
        for part in parts.iter().chain([&parameter]) {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
    };
    let new = SafetyEventLogger::builder;
    check(new().buffer_size(0), "buffer_size", &["0", "1 to 10000000"]);
    check(new().buffer_size(usize::MAX), "buffer_size", &["18446744073709551615"]);
    check(new().flush_interval_seconds(0.0), "flush_interval_seconds", &["0", "0.001"]);
    check(new().flush_interval_seconds(-1.5), "flush_interval_seconds", &["-1.5"]);
    check(new().flush_interval_seconds(f64::NAN), "flush_interval_seconds", &["NaN"]);
    check(new().flush_interval_seconds(f64::INFINITY), "flush_interval_seconds", &["inf"]);
    check(new().backlog_limit_bytes(0), "backlog_limit_bytes", &["0", "4096"]);
    check(new().max_retries(0), "max_retries", &["0", "1 to 1000"]);
    check(new().target_dataset(""), "target_dataset", &["\"\"", "1 to 255 bytes"]);
    check(new().target_dataset("a\0\u{1b}[31m"), "target_dataset", &["\\0", "\\u{1b}"]);
    check(new().target_dataset("x".repeat(256)), "target_dataset", &["xxx"]);
    let error = "drop_oldset".parse::<OverflowStrategy>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "overflow_strategy is \"drop_oldset\": did you mean \"drop_oldest\"?"
    );
    assert_eq!(error.parameter(), "overflow_strategy");
    let error = "?".parse::<OverflowStrategy>().unwrap_err().to_string();
    assert!(error.contains("drop_oldest, drop_newest, block"), "{error}");
    let error = "powr".parse::<Durability>().unwrap_err();
    assert_eq!(error.to_string(), "durability is \"powr\": did you mean \"power\"?");
    for strategy in STRATEGIES {
        assert_eq!(strategy.as_str().parse(), Ok(strategy));
    }
}

/// No registry, a misspelt name, a second dataset alone: everything went to the default fallback folder,
/// and a flush said `complete`.
#[test]
fn a_set_up_without_a_dataset_is_refused() {
    let refused =
        |builder: namel3ss_safety::LoggerBuilder| builder.build().unwrap_err().to_string();
    let new = SafetyEventLogger::builder;
    assert_eq!(
        refused(new()),
        "adapter_registry is missing: register an adapter for dataset \"safety_events\" and give \
         it, or give an event_sink"
    );
    let registry = || {
        let registry = AdapterRegistry::default();
        registry.register("safety_event", Arc::new(MemoryAdapter::default()));
        registry
    };
    assert_eq!(
        refused(new().adapter_registry(registry())),
        "target_dataset is \"safety_events\", for which the registry has no adapter: did you mean \
         \"safety_event\"?"
    );
    let other = refused(new().adapter_registry(registry()).target_dataset("metrics"));
    assert!(other.ends_with("registered are safety_event"), "{other}");
    let none = refused(new().adapter_registry(AdapterRegistry::default()));
    assert!(none.ends_with("register one under that name"), "{none}");
    let alone = refused(new().also_to(Arc::new(MemoryAdapter::default())));
    assert!(alone.starts_with("also_to is a second dataset without a first"), "{alone}");
}

#[test]
fn hostile_and_huge_events_arrive_as_they_were() {
    let (place, dataset) = (Place::new(), Arc::new(MemoryAdapter::default()));
    for journal in [JournalKind::File, JournalKind::Unmapped, JournalKind::Memory] {
        let logger = builder(dataset.clone()).home(place.home()).journal(journal);
        let logger = logger.fallback_path(place.fallback()).build().unwrap();
        let before = dataset.len();
        let mut sent = hostile_events();
        sent.retain(|event| event.reason.as_ref().is_none_or(|reason| reason.len() < 10_000));
        for n in 0..10 {
            sent.push(SafetyEvent { reason: Some("é".repeat(100 << 10)), ..event(n) });
        }
        for event in &sent {
            assert!(!matches!(logger.log(event), Logged::Dropped(_)));
        }
        assert!(logger.flush(None).complete);
        let stored = dataset.rows().split_off(before);
        assert_eq!(stored.len(), sent.len());
        for (sent, stored) in sent.iter().zip(stored) {
            let rows = buffer(stored.journal, 1, std::slice::from_ref(sent));
            let sent = rows.batch().rows().next().unwrap().event.to_event();
            assert!(same_event(&sent, &stored.event), "sent {sent:?}\nread {:?}", stored.event);
        }
        // 300 KiB are cut at 256, and marked.
        let huge = SafetyEvent { reason: Some("x".repeat(300 << 10)), ..event(1) };
        (0..40).for_each(|_| _ = logger.log(&huge));
        assert!(logger.flush(None).complete);
        for stored in dataset.rows().split_off(before + sent.len()) {
            let reason = stored.event.reason.unwrap_or_default();
            assert!((16 << 10..=256 << 10).contains(&reason.len()), "{}", reason.len());
            assert_eq!(stored.event.metadata["truncated"], true);
        }
        adds_up(&logger.stats());
    }
}

#[test]
fn log_says_what_became_of_an_event() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let build = |journal| place.builder(&dataset).journal(journal).buffer_size(1).build().unwrap();
    let logger = build(JournalKind::Memory);
    assert_eq!(logger.log(&event(1)), Logged::Buffered(Seq(1)));
    assert_eq!((logger.stats().journal.as_str(), logger.journal_folder()), ("memory", None));
    assert!(logger.stats().healthy, "as it was asked for");
    assert!(logger.sync().is_err());
    assert!(logger.flush(None).complete);
    let logger = build(JournalKind::Unmapped);
    assert_eq!(logger.log(&event(2)), Logged::Journaled(Seq(1)));
    assert_eq!(logger.stats().journal.as_str(), "file");
    assert_eq!(logger.sync().unwrap(), Seq(1));
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.ids(), numbers(1..=2));
}

const ELSEWHERE: &str = "N3_SAFETY_TEST_JOURNALS_ELSEWHERE";

pub(crate) fn child() {
    let elsewhere = std::env::var_os(ELSEWHERE).expect("a folder");
    let dataset = Dataset::healthy();
    let builder = builder(dataset.clone()).no_fallback();
    let logger = builder.journal(JournalKind::Folder((&elsewhere).into())).build().unwrap();
    assert_eq!(logger.log(&event(3)), Logged::Journaled(Seq(1)));
    assert_eq!(logger.stats().journal.as_str(), "mmap");
    assert!(logger.journal_folder().unwrap().starts_with(&elsewhere));
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    assert_eq!(dataset.ids(), ["3"]);
}

/// A logger was given a home and a folder for its journal, and one of them was ignored without a word.
/// A home of the environment is another matter: it is everybody's.
#[test]
fn a_folder_for_journals_beside_a_home_is_a_mistake() {
    let place = Place::new();
    let elsewhere = place.folder.path().join("elsewhere");
    let builder = place.builder(&Dataset::healthy());
    let error = builder.journal(JournalKind::Folder(elsewhere.clone())).build().unwrap_err();
    assert_eq!(error.parameter(), "journal");
    assert!(error.to_string().contains("beside a home"), "{error}");
    assert!(!elsewhere.exists() && !place.home().exists());
    let child = helper("contract")
        .env(ELSEWHERE, &elsewhere)
        .env("NAMEL3SS_SAFETY_HOME", place.home())
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    assert_eq!(register::folders(&place.home()).unwrap(), [elsewhere]);
}

#[test]
fn a_lost_memory_journal_is_said() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    let notices = Arc::new(namel3ss_safety::internal::notice::Notices::default());
    let logger = builder(dataset).home(place.home()).no_fallback().notices(notices.clone());
    let logger = logger.journal(JournalKind::Memory).build().unwrap();
    (1..=3).for_each(|n| _ = logger.log(&event(n)));
    drop(logger);
    let notices = notices.take();
    let lost = notices.iter().find(|notice| notice.kind == NoticeKind::Lost).unwrap();
    assert_eq!(lost.level, Level::Critical);
    assert!(lost.text.starts_with("3 events"), "{lost}");
}

#[test]
fn power_syncs_behind_the_caller() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).durability(Durability::Power).build().unwrap();
    let action = SafetyAction::Block;
    for n in 1..=100 {
        let _ = logger.log(&SafetyEvent { action, ..event(n) });
    }
    assert_eq!(logger.sync().unwrap(), Seq(100));
    assert_eq!(logger.stats().durability, Durability::Power);
    assert!(logger.flush(None).complete);
    assert_eq!(dataset.len(), 100);
}

#[test]
fn flush_ends_though_others_keep_logging() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    for started in [false, true] {
        let logger = place.builder(&dataset).buffer_size(1_000_000).build().unwrap();
        if started {
            logger.start();
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let _ = logger.log(&event(1));
                }
            });
            let start = Instant::now();
            for _ in 0..3 {
                assert!(logger.flush(Some(Duration::from_secs(10))).complete, "{started}");
            }
            assert!(start.elapsed() < Duration::from_secs(10));
            done.store(true, Ordering::SeqCst);
        });
        adds_up(&logger.stats());
    }
}

#[test]
fn notices_of_a_long_outage_are_few() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    let logger = builder(dataset).home(place.home()).no_fallback().buffer_size(2);
    let clock = Arc::new(ManualClock::default());
    let logger = logger.threads(false).autostart(false).clock(clock.clone()).build().unwrap();
    for n in 1..=2_000 {
        let _ = logger.log(&event(n));
        let _ = logger.turn();
        clock.advance(Duration::from_millis(100));
    }
    let notices = logger.notices();
    assert!(notices.len() <= 64, "{}", notices.len());
    // The first at once, then a sum a minute: 200 s have passed.
    let dropped: Vec<_> =
        notices.iter().filter(|notice| notice.kind == NoticeKind::Dropped).collect();
    assert!((3..=5).contains(&dropped.len()), "{dropped:?}");
    assert!(dropped[0].text.starts_with("1 event was dropped"), "{dropped:?}");
    adds_up(&logger.stats());
}

/// A report that prints an error and its causes said "no such file" twice.
#[test]
fn no_error_says_in_its_own_words_what_its_cause_says() {
    let place = Place::new();
    let missing = place.folder.path().join("missing.jsonl");
    let not_found = || std::fs::read(&missing).unwrap_err();
    let replay = || {
        let options = namel3ss_safety::ReplayOptions::default();
        namel3ss_safety::replay_file(&missing, &*Dataset::healthy(), options).unwrap_err()
    };
    let errors: [Box<dyn std::error::Error>; 4] = [
        Box::new(AdapterError::io("open the dataset", not_found())),
        Box::new(AdapterError::transient("reach the server").with_source(not_found())),
        Box::new(replay()),
        Box::new(RecoverError::Io(std::io::Error::other(AdapterError::transient("read it")))),
    ];
    for error in errors {
        let (mut above, mut next) = (error.to_string(), error.source());
        assert!(!above.is_empty());
        while let Some(cause) = next {
            assert!(!above.contains(&cause.to_string()), "{above}: {cause}");
            (above, next) = (cause.to_string(), cause.source());
        }
    }
}
