//! One logger and several sinks: each gets everything, none waits for another, and the counts say of
//! each where its events are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::conformance::plain_event;
use namel3ss_safety::{
    AdapterError, DropReason, Failure, JournalKind, Logged, LoggerBuilder, MemoryAdapter,
    NoticeKind, OverflowStrategy, SafetyEvent, SafetyEventLogger,
};
use namel3ss_safety::{SinkStats, Stats};

use crate::support::{Dataset, Place, adds_up, event, fallback_rows, numbers, until};

/// A dataset that is dead until it is told otherwise.
pub(crate) fn dead(identity: &str) -> Arc<Dataset> {
    Dataset::named(identity, |_| Err(AdapterError::transient("reach it")))
}

pub(crate) fn healthy(identity: &str) -> Arc<Dataset> {
    Dataset::named(identity, |_| Ok(()))
}

pub(crate) fn several(place: &Place, datasets: &[&Arc<Dataset>]) -> LoggerBuilder {
    let builder = place.builder(datasets[0]).max_retries(1);
    datasets[1..].iter().fold(builder, |builder, dataset| builder.also_to((*dataset).clone()))
}

fn sink(stats: &Stats, destination: &str) -> SinkStats {
    let found = stats.sinks.iter().find(|sink| sink.destination == destination);
    found.expect("one of its sinks").clone()
}

#[test]
fn each_gets_everything_once_and_in_order() {
    for threads in [true, false] {
        for memory in [true, false] {
            let place = Place::new();
            let datasets = ["a", "b", "c"].map(healthy);
            let mut builder = several(&place, &datasets.each_ref()).threads(threads).buffer_size(7);
            if memory {
                builder = builder.journal(JournalKind::Memory);
            }
            let logger = builder.build().unwrap();
            logger.start();
            for n in 1..=500 {
                let _ = logger.log(&event(n));
                if n % 50 == 0 {
                    logger.turn();
                    adds_up(&logger.stats());
                }
            }
            let report = logger.stop(None);
            assert!(report.complete && report.behind.is_empty(), "{report:?}");
            for dataset in &datasets {
                assert_eq!(dataset.ids(), numbers(1..=500));
                dataset.once();
            }
            let stats = logger.stats();
            adds_up(&stats);
            assert_eq!((stats.total_flushed, stats.pending), (500, 0));
            let names: Vec<_> = stats.sinks.iter().map(|sink| &*sink.destination).collect();
            assert_eq!(names, ["a", "b", "c"]);
            assert!(stats.sinks.iter().all(|sink| sink.flushed == 500 && sink.healthy));
            drop(logger);
            assert_eq!(place.journals(), 0, "nothing is left of a settled journal");
        }
    }
}

#[test]
fn a_dead_one_holds_up_nobody_and_catches_up() {
    let place = Place::new();
    // The dead one in each place, the first included.
    for at in 0..3 {
        let mut datasets = ["a", "b", "c"].map(healthy);
        datasets[at] = dead("dead");
        let logger = several(&place, &datasets.each_ref())
            .no_fallback()
            .retry_delay(Duration::from_millis(20))
            .buffer_size(10)
            .build()
            .unwrap();
        logger.start();
        (1..=300).for_each(|n| _ = logger.log(&event(n)));
        let report = logger.flush(Some(Duration::from_secs(20)));
        assert!(!report.complete && report.error.is_some(), "{report:?}");
        let stats = logger.stats();
        assert_eq!(report.behind, [stats.sinks[at].name.clone()]);
        adds_up(&stats);
        assert_eq!((stats.total_flushed, stats.pending, stats.healthy), (0, 300, false));
        for (i, (sink, dataset)) in stats.sinks.iter().zip(&datasets).enumerate() {
            if i == at {
                assert_eq!((sink.flushed, sink.pending, sink.healthy), (0, 300, false));
                assert!(sink.last_error.as_ref().is_some_and(|error| error.contains("reach it")));
            } else {
                assert_eq!(dataset.ids(), numbers(1..=300));
                assert_eq!((sink.flushed, sink.pending, sink.healthy), (300, 0, true));
            }
        }
        // While it is dead, and after: the others see each event as soon as ever.
        (301..=310).for_each(|n| _ = logger.log(&event(n)));
        until("the others go on", || (0..3).filter(|i| *i != at).all(|i| datasets[i].len() == 310));
        datasets[at].set(|_| Ok(()));
        assert!(logger.flush(Some(Duration::from_secs(20))).complete);
        for dataset in &datasets {
            assert_eq!(dataset.ids(), numbers(1..=310));
            dataset.once();
        }
        let stats = logger.stats();
        adds_up(&stats);
        assert_eq!((stats.total_flushed, stats.pending, stats.healthy), (310, 0, true));
        assert!(logger.stop(None).complete);
    }
}

/// An event counts once, as the destination has it that did worst by it: the account said what only one
/// of them had.
#[test]
fn the_account_of_a_journal_says_what_the_stats_said() {
    let (place, datasets) = (Place::new(), ["a", "b"].map(healthy));
    let logger = several(&place, &datasets.each_ref()).build().unwrap();
    logger.reject();
    for round in 0..3 {
        // Each files ten events that the other has.
        for (at, dataset) in datasets.iter().enumerate() {
            let fails = at == round;
            dataset.set(move |_| match fails {
                true => Err(AdapterError::transient("reach it")),
                false => Ok(()),
            });
        }
        (1..=10).for_each(|n| _ = logger.log(&event(n)));
        assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    }
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_flushed, stats.total_fallback, stats.total_dropped), (10, 20, 1));
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    drop(logger);
    let accounts = place.home().join("journal/safety_events/accounts.jsonl");
    let line = std::fs::read_to_string(accounts).unwrap();
    let account: serde_json::Value = serde_json::from_str(&line).unwrap();
    let sums = ["logged", "flushed", "fallback"].map(|name| account[name].as_u64());
    assert_eq!(sums, [31, 10, 20].map(Some), "{line}");
    assert_eq!(account["dropped"], serde_json::json!({"invalid": 1}));
    for (destination, sink) in account["sinks"].as_object().unwrap() {
        assert_eq!(sink["flushed"], 20, "{destination}: {line}");
    }
}

#[test]
fn one_that_sleeps_between_its_tries_holds_up_nobody() {
    let (place, other) = (Place::new(), healthy("other"));
    let retrying = dead("retrying");
    let logger = several(&place, &[&retrying, &other])
        .max_retries(3)
        .retry_delay(Duration::from_secs(600))
        .buffer_size(1)
        .build()
        .unwrap();
    logger.start();
    let _ = logger.log(&event(1));
    until("it has met the failure", || !logger.notices().is_empty());
    (2..=50).for_each(|n| _ = logger.log(&event(n)));
    until("the other has all", || other.len() == 50);
    let started = Instant::now();
    let report = logger.stop(Some(Duration::from_millis(200)));
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!((report.complete, report.pending), (false, 50));
}

#[test]
fn one_that_hangs_for_ever_holds_up_neither_the_others_nor_stop() {
    let (place, other) = (Place::new(), healthy("other"));
    let let_go = Arc::new(AtomicBool::new(false));
    let held = let_go.clone();
    let hanging = Dataset::named("hanging", move |_| {
        while !held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let logger = several(&place, &[&hanging, &other]).buffer_size(5).build().unwrap();
    logger.start();
    (1..=200).for_each(|n| _ = logger.log(&event(n)));
    until("the other has all", || sink(&logger.stats(), "other").flushed == 200);
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((sink(&stats, "other").pending, sink(&stats, "hanging").pending), (0, 200));
    assert_eq!((stats.total_flushed, stats.pending), (0, 200));
    let report = logger.stop(Some(Duration::from_millis(100)));
    assert_eq!((report.complete, report.pending), (false, 200));
    assert_eq!(report.behind, [sink(&logger.stats(), "hanging").name]);
    let_go.store(true, Ordering::SeqCst);
    until("it ends what it was at", || hanging.len() > 0);
    let report = logger.stop(Some(Duration::from_secs(20)));
    assert!(report.complete, "{report:?}");
    assert_eq!((hanging.ids(), other.ids()), (numbers(1..=200), numbers(1..=200)));
}

/// A big event: few of them fill a small backlog.
fn big(n: u64) -> SafetyEvent {
    SafetyEvent { reason: Some("r".repeat(2000)), ..event(n) }
}

fn small(place: &Place, datasets: &[&Arc<Dataset>]) -> LoggerBuilder {
    several(place, datasets)
        .no_fallback()
        .buffer_size(4)
        .flush_interval_seconds(0.05)
        .backlog_limit_bytes(64 << 10)
}

/// Logs until the backlog is at its limit, and the dropping has begun; how many. The other one keeps
/// up with it, however busy the machine is.
fn log_until_dropped(logger: &SafetyEventLogger, other: &Dataset) -> u64 {
    for n in 1..2_000 {
        let _ = logger.log(&big(n));
        let dropped = logger.stats().total_dropped;
        if dropped >= 50 {
            return n;
        }
        if n % 4 == 0 {
            until("the other keeps up", || {
                let refused = logger.stats().sinks[0].dropped;
                other.len() as u64 + refused + 4 >= n
            });
        }
    }
    panic!("nothing was dropped: {:?}", logger.stats());
}

#[test]
fn at_the_limit_drop_oldest_costs_only_the_one_that_is_behind() {
    let (place, other, dead) = (Place::new(), healthy("other"), dead("dead"));
    let logger = small(&place, &[&other, &dead]).build().unwrap();
    logger.start();
    let n = log_until_dropped(&logger, &other);
    // Not even the interval makes the other wait for the one that holds the backlog at its limit.
    until("the other has all", || sink(&logger.stats(), "other").flushed == n);
    let stats = logger.stats();
    adds_up(&stats);
    let (behind, ahead) = (sink(&stats, "dead"), sink(&stats, "other"));
    assert_eq!((ahead.flushed, ahead.dropped, ahead.pending), (n, 0, 0));
    assert_eq!(behind.dropped + behind.pending, n);
    assert_eq!(stats.total_dropped, behind.dropped, "dropped for one sink is dropped");
    assert_eq!(stats.dropped.of(DropReason::DropOldest), behind.dropped);
    dead.set(|_| Ok(()));
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_flushed, stats.pending), (n - stats.total_dropped, 0));
    assert_eq!(other.ids(), numbers(1..=n));
    let ids = dead.ids();
    assert_eq!(ids.len() as u64, sink(&stats, "dead").flushed);
    assert_eq!(ids.last(), Some(&n.to_string()), "the newest are kept");
    dead.once();
    drop(logger);
    assert_eq!(place.journals(), 0);
}

#[test]
fn at_the_limit_drop_newest_refuses_for_all() {
    let (place, other, dead) = (Place::new(), healthy("other"), dead("dead"));
    let logger = small(&place, &[&other, &dead])
        .overflow_strategy(OverflowStrategy::DropNewest)
        .build()
        .unwrap();
    logger.start();
    let n = log_until_dropped(&logger, &other);
    let kept = n - logger.stats().total_dropped;
    until("the other has what was kept", || sink(&logger.stats(), "other").flushed == kept);
    let stats = logger.stats();
    adds_up(&stats);
    assert!(stats.sinks.iter().all(|sink| sink.dropped == stats.total_dropped), "{stats:?}");
    assert_eq!((sink(&stats, "other").pending, sink(&stats, "dead").pending), (0, kept));
    dead.set(|_| Ok(()));
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    assert_eq!((other.ids(), dead.len() as u64), (dead.ids(), kept));
}

#[test]
fn fallback_files_are_each_sinks_own_and_replayed_to_it() {
    let place = Place::new();
    let (one, two) = (dead("one"), dead("two"));
    let poison = Dataset::named("three", |batch| {
        let bad = batch.rows().position(|row| row.event.event_id == "7");
        bad.map_or(Ok(()), |at| Err(AdapterError::new(Failure::Poison(vec![at]), "store it")))
    });
    let logger = several(&place, &[&one, &two, &poison]).buffer_size(10).build().unwrap();
    logger.start();
    (1..=20).for_each(|n| _ = logger.log(&event(n)));
    let report = logger.flush(Some(Duration::from_secs(20)));
    assert!(report.complete, "{report:?} {:?} {:?}", logger.stats(), logger.notices());
    let stats = logger.stats();
    adds_up(&stats);
    let fallback: Vec<_> = stats.sinks.iter().map(|sink| sink.fallback).collect();
    assert_eq!(fallback, [20, 20, 1]);
    // An event of which one sink has a file is in a file, as far as the logger goes.
    assert_eq!((stats.total_fallback, stats.total_flushed, stats.pending), (20, 0, 0));
    let ids = |folder: &std::path::Path| {
        let rows = fallback_rows(folder);
        rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let folder = |at: usize| place.fallback().join(&stats.sinks[at].name);
    assert_eq!(ids(&place.fallback()).len(), 20);
    let said = |at: usize| std::fs::read_to_string(folder(at).join("destination")).unwrap();
    assert_eq!((said(1), said(2)), ("two".to_owned(), "three".to_owned()));
    for at in [1, 2] {
        std::fs::remove_file(folder(at).join("destination")).unwrap();
    }
    assert_eq!((ids(&folder(1)).len(), ids(&folder(2))), (20, numbers(7..=7)));
    // Each is replayed to its own dataset, when that one is back.
    two.set(|_| Ok(()));
    let _ = logger.log(&event(21));
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    until("the second one's files have landed", || logger.stats().total_replayed == 20);
    assert_eq!(two.len(), 21);
    two.once();
    assert_eq!(one.len(), 0);
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!(stats.total_fallback, 21);
    assert!(logger.stop(None).complete);
}

#[test]
fn the_same_destination_twice_is_said_at_once() {
    let (place, one) = (Place::new(), healthy("one"));
    let wrong = |builder: LoggerBuilder| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.parameter(), "also_to");
        error.to_string()
    };
    let text = wrong(several(&place, &[&one, &healthy("two"), &healthy("one")]));
    assert!(text.contains("one, which this logger delivers to already"), "{text}");
    assert!(wrong(several(&place, &[&one, &healthy("")])).contains("identity"));
    let many: Vec<_> = (0..20).map(|n| healthy(&n.to_string())).collect();
    assert!(wrong(several(&place, &many.iter().collect::<Vec<_>>())).contains("up to 15"));
}

#[test]
fn logged_from_many_threads_each_gets_each_journals_order() {
    let place = Place::new();
    let datasets: Vec<_> = (0..3).map(|_| Arc::new(MemoryAdapter::default())).collect();
    let registry = namel3ss_safety::AdapterRegistry::default();
    registry.register("safety_events", datasets[0].clone());
    let logger = SafetyEventLogger::builder()
        .adapter_registry(registry)
        .also_to(datasets[1].clone())
        .also_to(datasets[2].clone())
        .home(place.home())
        .buffer_size(50)
        .build()
        .unwrap();
    logger.start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..2_000 {
                    assert!(matches!(logger.log(&plain_event(n)), Logged::Journaled(_)));
                    if n % 100 == 0 {
                        adds_up(&logger.stats());
                    }
                }
            });
        }
    });
    assert!(logger.stop(None).complete);
    for dataset in &datasets {
        assert_eq!(dataset.len(), 8_000);
    }
    assert_eq!(logger.stats().total_flushed, 8_000);
}

/// What `drop_oldest` dropped stayed on the disk as long as a batch before it was kept: with a dead
/// dataset and no fallback files the journal grew far beyond the limit of its backlog.
#[test]
fn a_dead_one_without_fallback_files_fills_no_disk() {
    for single in [true, false] {
        let (place, other, dead) = (Place::new(), healthy("other"), dead("dead"));
        let builder = match single {
            true => small(&place, &[&dead]),
            false => small(&place, &[&other, &dead]),
        };
        let logger = builder.build().unwrap();
        logger.start();
        let folder = || logger.journal_folder().unwrap();
        // What has never taken anything is not waited for.
        let _ = logger.log(&big(0));
        until("the other is there", || single || other.len() == 1);
        let bytes = || {
            let files = std::fs::read_dir(folder()).unwrap().flatten();
            files.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>()
        };
        for n in 1..=20_000 {
            let _ = logger.log(&big(n));
            if n % 50 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // 40 MB were logged; the ring and a few segments are allocated ahead.
        until("what was dropped has left the disk", || bytes() < 24 << 20);
        adds_up(&logger.stats());
        dead.set(|_| Ok(()));
        assert!(logger.stop(Some(Duration::from_secs(20))).complete);
        let stats = logger.stats();
        adds_up(&stats);
        assert!(stats.total_dropped > 10_000, "{stats:?}");
        assert_eq!(dead.len() as u64, sink(&stats, "dead").flushed);
        assert_eq!(dead.ids().last().map(String::as_str), Some("20000"));
        // It is spared as long as it is seen to catch up, which takes a machine that lets it.
        assert!(single || other.len() > dead.len(), "{stats:?}");
        assert!(logger.notices().iter().all(|notice| notice.kind != NoticeKind::Damaged));
    }
}
