//! A logger starts itself at an event, also after `stop`: an application that never calls `start`, or
//! that stops its logger while events still come, loses none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use namel3ss_safety::{
    DropReason, Level, Logged, NoticeKind, OverflowStrategy, SafetyEvent, internal::notice::Notices,
};

use crate::support::{Dataset, Place, adds_up, builder, event, numbers, until};

/// Nobody called `start`, and with `drop_oldest` all but the last `buffer_size` events were dropped,
/// without a word.
#[test]
fn a_logger_starts_itself_at_its_first_event() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).buffer_size(3).build().unwrap();
    assert!(!logger.is_started());
    for n in 1..=300 {
        assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
    }
    assert!(logger.is_started());
    until("the buffers", || dataset.len() == 300);
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_dropped, stats.healthy), (0, true));
}

/// A notebook's cell that is run again: each stops its logger, and logs again.
#[test]
fn an_event_after_stop_starts_it_again() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).buffer_size(2).build().unwrap();
    for round in 0..3 {
        for n in 1..=10 {
            assert!(matches!(logger.log(&event(round * 10 + n)), Logged::Journaled(_)));
        }
        assert!(logger.is_started());
        let delivered = 10 * (round as usize + 1);
        until("the buffers", || dataset.len() == delivered);
        assert!(logger.stop(None).complete);
        assert!(!logger.is_started());
    }
    dataset.once();
    assert_eq!(logger.stats().total_dropped, 0);
}

/// `stop` with a time-out was answered, and went on in the background; when the dataset came back it
/// ended a logger that had been started again, which then dropped what was logged.
#[test]
fn a_stop_that_returns_late_does_not_end_a_later_start() {
    for autostart in [true, false] {
        let (place, go) = (Place::new(), Arc::new(AtomicBool::new(false)));
        let held = go.clone();
        let dataset = Dataset::new(move |_| {
            while !held.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let logger = place.builder(&dataset).buffer_size(10).autostart(autostart).build().unwrap();
        logger.start();
        let _ = logger.log(&event(1));
        std::thread::scope(|scope| {
            let late = scope.spawn(|| logger.stop(None));
            until("the delivery", || logger.stats().current_buffer_size == 0);
            if autostart {
                let _ = logger.log(&event(2));
            } else {
                logger.start();
                let _ = logger.log(&event(2));
            }
            go.store(true, Ordering::SeqCst);
            let _ = late.join().unwrap();
        });
        assert!(logger.is_started(), "autostart {autostart}");
        for n in 3..=1_000 {
            assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
        }
        until("all buffers", || dataset.len() == 1_000);
        assert_eq!((dataset.ids(), logger.stats().total_dropped), (numbers(1..=1_000), 0));
    }
}

/// A gateway stopped its logger while requests still came: of 20,000 that were answered, 13,383 were
/// in no dataset, and the report said `complete`.
#[test]
fn a_gateway_that_stops_its_logger_while_requests_come_loses_none() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5_000;
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).build().unwrap();
    let (number, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let n = number.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        until("half of them", || answered.load(Ordering::SeqCst) >= THREADS * EACH / 2);
        assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    });
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_logged, stats.total_dropped), (THREADS * EACH, 0));
    // The process ends: what was not delivered is in the journal, for the next run.
    drop(logger);
    let next = place.builder(&dataset).build().unwrap();
    assert!(next.flush(None).complete);
    assert_eq!(dataset.len() as u64, THREADS * EACH);
    dataset.once();
}

/// Without threads nobody hands buffers over between two turns, and a buffer of `buffer_size` events
/// was full though the journal had room.
#[test]
fn without_threads_only_the_backlogs_limit_drops() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).buffer_size(10).threads(false).build().unwrap();
    for n in 1..=10_000 {
        assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
    }
    adds_up(&logger.stats());
    assert!(logger.stop(None).complete);
    assert_eq!((dataset.ids(), logger.stats().total_dropped), (numbers(1..=10_000), 0));
    drop(logger);

    let (place, dead) = (Place::new(), Dataset::dead());
    let logger = builder(dead).home(place.home()).no_fallback().threads(false);
    let logger = logger.buffer_size(10).backlog_limit_bytes(256 << 10).build().unwrap();
    let big = |n| SafetyEvent { reason: Some("r".repeat(2_000)), ..event(n) };
    (1..=10_000).for_each(|n| _ = logger.log(&big(n)));
    let stats = logger.stats();
    adds_up(&stats);
    assert!((9_000..10_000).contains(&stats.total_dropped), "{stats:?}");
    assert!(stats.backlog_bytes < 2 << 20, "{stats:?}");
}

#[test]
fn the_first_drop_of_a_kind_is_said_at_once_and_is_never_healthy() {
    for (strategy, reason) in [
        (OverflowStrategy::DropOldest, DropReason::DropOldest),
        (OverflowStrategy::DropNewest, DropReason::DropNewest),
    ] {
        let (place, dataset) = (Place::new(), Dataset::healthy());
        let notices = Arc::new(Notices::default());
        let logger = place.builder(&dataset).buffer_size(3).autostart(false);
        let logger = logger.notices(notices.clone()).overflow_strategy(strategy).build().unwrap();
        (1..=3).for_each(|n| _ = logger.log(&event(n)));
        assert!(logger.stats().healthy);
        let _ = logger.log(&event(4));
        // By the call itself, and not because somebody asks.
        let notices = notices.take();
        let said =
            notices.iter().find(|notice| notice.kind == NoticeKind::Dropped).expect("at once");
        assert_eq!(said.level, Level::Critical);
        assert!(said.text.starts_with("1 event was dropped"), "{said}");
        (5..=104).for_each(|n| _ = logger.log(&event(n)));
        assert!(
            logger.notices().iter().all(|notice| notice.kind != NoticeKind::Dropped),
            "once a minute"
        );
        assert!(logger.stop(None).complete);
        let notices = logger.notices();
        let sum =
            notices.iter().find(|notice| notice.kind == NoticeKind::Dropped).expect("the sum");
        assert!(sum.text.starts_with("100 events were dropped"), "{sum}");
        let stats = logger.stats();
        adds_up(&stats);
        assert!(!stats.healthy, "what was lost stays lost");
        assert_eq!(stats.dropped.of(reason), 101);
    }
}

/// What was no event was counted, and nothing said so.
#[test]
fn an_event_that_is_none_is_said_and_is_never_healthy() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let logger = place.builder(&dataset).build().unwrap();
    logger.reject();
    let notices = logger.notices();
    let said = notices.iter().find(|notice| notice.kind == NoticeKind::Invalid).expect("at once");
    assert_eq!(said.level, Level::Critical);
    let stats = logger.stats();
    adds_up(&stats);
    assert!(!stats.healthy);
}
