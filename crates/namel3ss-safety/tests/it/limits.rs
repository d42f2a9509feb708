//! The limit of the backlog: a destination that is only slow loses nothing, one that is dead costs one
//! old event for each new one, and the disk is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::{AdapterError, Batching, Logged, NoticeKind, SafetyEvent};

use crate::support::{Dataset, Place, adds_up, builder, event, until};

fn big(n: u64) -> SafetyEvent {
    SafetyEvent { reason: Some("r".repeat(300)), ..event(n) }
}

/// A dataset that had confirmed nothing for 500 ms counted as dead: at 2 s a batch 10,132 of 100,000
/// events were dropped, though none of the calls had waited longer than 21 ms.
#[test]
fn a_destination_that_is_only_slow_loses_nothing() {
    slow_loses_nothing(Duration::from_secs(1), 2 << 20, 12_000, Duration::from_secs(60));
}

/// Logs `events` from 1, 8 and 100 threads, at a limit of so many bytes, to a dataset that takes so long
/// for each batch; a stop ends within `stop_max`.
pub(crate) fn slow_loses_nothing(batch: Duration, limit: u64, events: u64, stop_max: Duration) {
    for threads in [1, 8, 100] {
        let place = Place::new();
        let dataset = Dataset::new(move |_| {
            std::thread::sleep(batch);
            Ok(())
        });
        // A batch that gathers for a minute goes out at once from half of the limit on.
        let wait_max = Duration::from_secs(60);
        dataset.set_batching(Batching { rows_max: 50_000, wait_max, ..Batching::default() });
        let logger = place.builder(&dataset).backlog_limit_bytes(limit).build().unwrap();
        // Whom a busy machine keeps from running also keeps those who wait for its lock, each in turn.
        let (longest, delays) = (AtomicU64::new(0), AtomicU64::new(0));
        let by_the_clock = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for n in 0..events / threads {
                        let event = big(n);
                        let (own, all) = (run_delay(), delays.load(Ordering::SeqCst));
                        let call = Instant::now();
                        let logged = logger.log(&event);
                        let took = call.elapsed();
                        by_the_clock.fetch_max(took.as_millis() as u64, Ordering::SeqCst);
                        let own = (run_delay() - own).as_nanos() as u64;
                        let all = delays.fetch_add(own, Ordering::SeqCst) + own - all;
                        let took = took.saturating_sub(Duration::from_nanos(all));
                        longest.fetch_max(took.as_millis() as u64, Ordering::SeqCst);
                        assert!(matches!(logged, Logged::Journaled(_)), "{logged:?}");
                    }
                });
            }
        });
        assert!(logger.stop(Some(stop_max)).complete);
        let stats = logger.stats();
        adds_up(&stats);
        assert_eq!((stats.total_dropped, stats.total_flushed), (0, events), "{threads} threads");
        // 500 ms is documented.
        let said = format!("{longest:?} ms, {by_the_clock:?} by the clock");
        assert!(longest.load(Ordering::SeqCst) < 600, "{said}, {threads} threads");
    }
}

/// How long this thread was ready to run while others had the processors, of its whole life.
fn run_delay() -> Duration {
    let nanos = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = nanos.and_then(|text| text.split(' ').nth(1)?.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// What had been accepted beyond the limit must not go at once when its destination dies.
#[test]
fn one_that_dies_beyond_the_limit_costs_one_old_event_for_each_new_one() {
    let (place, dead) = (Place::new(), Arc::new(AtomicBool::new(false)));
    let dies = dead.clone();
    let dataset = Dataset::new(move |_| {
        while !dies.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(AdapterError::transient("reach it"))
    });
    // What is on its way counts for the limit, and not as backlog in the statistics: little is.
    dataset.set_batching(Batching { rows_max: 10, ..Batching::default() });
    let logger = builder(dataset).home(place.home()).no_fallback().buffer_size(10);
    let limit = 256 << 10;
    let logger = logger.backlog_limit_bytes(limit).build().unwrap();
    let mut accepted = 0;
    while logger.stats().backlog_bytes < limit * 3 / 2 {
        accepted += 1;
        assert!(matches!(logger.log(&big(accepted)), Logged::Journaled(_)));
        assert!(accepted < 10_000, "{:?}", logger.stats());
    }
    assert_eq!(logger.stats().total_dropped, 0, "it delivers");
    dead.store(true, Ordering::SeqCst);
    until("the limit applies", || logger.notices().iter().any(|n| n.kind == NoticeKind::Backlog));
    for new in 1..=1_000 {
        let _ = logger.log(&big(accepted + new));
        let dropped = logger.stats().total_dropped;
        assert!(dropped <= new, "{dropped} for {new}");
    }
    let stats = logger.stats();
    adds_up(&stats);
    assert!(stats.total_dropped >= 900, "{stats:?}");
    assert!(stats.backlog_bytes >= limit, "what was accepted stays: {stats:?}");
}

/// While the batch in front was being retried, all that came behind it stayed on the disk, dropped
/// or not: 5.6 GB at a limit of 20 MB.
#[test]
fn the_disk_is_bounded_while_a_batch_is_being_retried() {
    for hangs in [false, true] {
        let (place, go) = (Place::new(), Arc::new(AtomicBool::new(!hangs)));
        let held = go.clone();
        let dataset = Dataset::new(move |_| {
            while !held.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(AdapterError::transient("reach it"))
        });
        let limit = 8 << 20;
        let logger = builder(dataset)
            .home(place.home())
            .no_fallback()
            .buffer_size(10)
            .max_retries(1000)
            .retry_delay(Duration::from_secs(3600))
            .adapter_timeout(Duration::from_millis(100))
            .backlog_limit_bytes(limit)
            .build()
            .unwrap();
        let folder = || logger.journal_folder().unwrap();
        let bytes = || {
            let files = std::fs::read_dir(folder()).unwrap().flatten();
            files.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>()
        };
        let mut most = 0;
        for n in 1..=60_000 {
            let _ = logger.log(&SafetyEvent { reason: Some("r".repeat(1_000)), ..event(n) });
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_millis(2));
                most = most.max(bytes());
            }
        }
        let stats = logger.stats();
        adds_up(&stats);
        assert!(stats.total_dropped > 10_000 && !stats.healthy, "{stats:?}");
        // The ring, and where the keeper comes late a spill file.
        let bound = 3 * limit + (16 << 20) + (8 << 20);
        assert!(most <= bound, "{most} of {bound}, hangs: {hangs}");
        go.store(true, Ordering::SeqCst);
    }
}

/// What was dropped while a batch was on its way was not written down: of 268,113 events that were
/// counted as dropped the next run delivered 17,416.
#[test]
fn what_is_dropped_behind_a_batch_on_its_way_stays_dropped() {
    let place = Place::new();
    let dataset = Dataset::dead();
    let build = || {
        let builder = builder(dataset.clone()).home(place.home()).no_fallback().buffer_size(10);
        builder.backlog_limit_bytes(64 << 10).build().unwrap()
    };
    let logger = build();
    let mut logged = 0;
    while logger.stats().total_dropped < 2_000 {
        logged += 1;
        let _ = logger.log(&big(logged));
        if logged % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(logged < 50_000, "{:?}", logger.stats());
    }
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!(stats.total_logged, logged);
    drop(logger);
    dataset.set(|_| Ok(()));
    let next = build();
    assert!(next.flush(None).complete, "{:?}", next.notices());
    assert_eq!(dataset.len() as u64, logged - stats.total_dropped);
    assert_eq!(next.stats().total_recovered, logged - stats.total_dropped);
    assert!(next.notices().iter().all(|notice| notice.kind != NoticeKind::Damage));
    dataset.once();
}

/// Where the ring wraps early it skips to its end, and the 15 MiB that are skipped counted as backlog:
/// at a small limit that looked as if it were full.
#[test]
fn what_the_ring_skips_is_no_backlog() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).threads(false).buffer_size(1_000_000).build().unwrap();
    let mut most = 0;
    for n in 1..=20_000 {
        let _ = logger.log(&big(n));
        if n % 100 == 0 {
            most = most.max(logger.stats().backlog_bytes);
            assert!(logger.flush(None).complete);
        }
    }
    assert!(most < 256 << 10, "{most}");
}
