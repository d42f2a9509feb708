//! The journals of one logger, one after the other: what is in the earlier ones is delivered first,
//! nothing is appended behind their end, and they let go of what they hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use namel3ss_safety::{AdapterError, Logged, OverflowStrategy, SafetyEventLogger, after_restore};

use crate::support::{Dataset, Place, adds_up, builder, event, numbers, until};

/// `after_restore` is for every logger of the process, also those of tests that `cargo test` runs
/// beside this one: they would find journals that others have begun.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A file where the home should be: the journal is in memory until it is gone.
fn block(home: &Path) {
    fs::write(home, "in the way").unwrap();
}

/// A thread that had looked up the journal in memory, and was held up, appended to it after its last
/// event had been counted, so that who waited for everything did not wait for that event.
#[test]
fn threads_log_while_the_journal_returns_to_a_file() {
    for round in 0..2 {
        let place = Place::new();
        block(&place.home());
        let sinks = ["test:a", "test:b", "test:c"].map(|name| Dataset::named(name, |_| Ok(())));
        let logger = builder(sinks[0].clone())
            .also_to(sinks[1].clone())
            .also_to(sinks[2].clone())
            .home(place.home())
            .no_fallback()
            .build()
            .unwrap();
        logger.start();
        let (next, stop) = (AtomicU64::new(1), AtomicBool::new(false));
        let journaled = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let n = next.fetch_add(1, Ordering::SeqCst);
                        match logger.log(&event(n)) {
                            Logged::Journaled(_) => _ = journaled.fetch_add(1, Ordering::SeqCst),
                            Logged::Buffered(_) => {}
                            dropped => panic!("{n}: {dropped:?}"),
                        }
                        if n.is_multiple_of(64) {
                            std::thread::sleep(Duration::from_micros(500));
                        }
                    }
                });
            }
            until("events in memory", || next.load(Ordering::SeqCst) > 200 * round);
            fs::remove_file(place.home()).unwrap();
            until("events in a file", || journaled.load(Ordering::SeqCst) > 200);
            stop.store(true, Ordering::SeqCst);
        });
        let report = logger.flush(Some(Duration::from_secs(20)));
        assert!(report.complete, "{report:?}");
        let stats = logger.stats();
        adds_up(&stats);
        let logged = next.load(Ordering::SeqCst) - 1;
        assert_eq!((stats.total_flushed, stats.total_dropped), (logged, 0), "{stats:?}");
        assert!(stats.healthy && stats.journal.as_str() == "mmap", "{stats:?}");
        for sink in &sinks {
            sink.once();
            let ids: BTreeSet<u64> = sink.ids().iter().map(|id| id.parse().unwrap()).collect();
            assert_eq!((ids.len() as u64, sink.len() as u64), (logged, logged));
        }
        assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    }
}

/// `sync` said ok for events that the end of the process takes.
#[test]
fn sync_refuses_while_memory_holds_events() {
    let place = Place::new();
    block(&place.home());
    let killed = crate::life::fork(|| {
        let dead = Dataset::dead();
        let logger = builder(dead.clone()).home(place.home()).no_fallback().build().unwrap();
        logger.start();
        (1..=10).for_each(|n| _ = logger.log(&event(n)));
        assert!(logger.sync().is_err());
        fs::remove_file(place.home()).unwrap();
        until("the file", || logger.stats().journal.as_str() != "memory");
        assert!(matches!(logger.log(&event(11)), Logged::Journaled(_)));
        until("all of them in files", || logger.sync().is_ok());
        std::mem::forget(logger);
        true
    });
    assert!(killed());
    let dataset = Dataset::healthy();
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!(dataset.ids(), numbers(1..=11), "in order");
}

/// A kill took what was in memory, also long after storage was there again. Of two destinations one
/// has it by then.
#[test]
fn what_was_in_memory_survives_a_kill_once_storage_is_back() {
    use crate::adapters::{open, read};
    let place = Place::new();
    block(&place.home());
    let path = |name: &str| place.folder.path().join(name).join("safety.jsonl");
    // There is no folder where this file is.
    fs::write(place.folder.path().join("later"), "in the way").unwrap();
    fs::create_dir(place.folder.path().join("now")).unwrap();
    let make = || {
        let logger = builder(open(&path("now"))).also_to(open(&path("later")));
        logger.home(place.home()).no_fallback().buffer_size(10).build().unwrap()
    };
    let killed = crate::life::fork(|| {
        let logger = make();
        logger.start();
        for n in 1..=2000 {
            assert!(matches!(logger.log(&event(n)), Logged::Buffered(_)));
        }
        until("some of it delivered", || logger.stats().sinks[0].flushed > 100);
        fs::remove_file(place.home()).unwrap();
        until("two journals in files", || place.journals() == 2);
        for n in 2001..=2500 {
            assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
        }
        until("no event in memory", || {
            !logger.stats().unhealthy.contains(&namel3ss_safety::Unhealthy::Memory)
        });
        std::mem::forget(logger);
        true
    });
    assert!(killed());
    assert_eq!(place.journals(), 2);
    fs::remove_file(place.folder.path().join("later")).unwrap();
    fs::create_dir(place.folder.path().join("later")).unwrap();
    let logger = make();
    logger.start();
    let report = logger.flush(Some(Duration::from_secs(20)));
    assert!(report.complete, "{report:?} {:?}", logger.notices());
    for name in ["now", "later"] {
        let ids: Vec<String> =
            read(&path(name)).into_iter().map(|row| row.event.event_id).collect();
        assert_eq!(ids, numbers(1..=2500), "{name}");
    }
    let notices = logger.notices();
    assert!(!notices.iter().any(|one| one.kind.as_str().starts_with("damage")), "{notices:?}");
}

#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How many ring files this process has mapped, of journals under `home`.
#[cfg(target_os = "linux")]
fn mapped_rings(home: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let of_home = |line: &&str| line.contains(home.to_str().unwrap()) && line.contains("ring");
    maps.lines().filter(of_home).count()
}

#[test]
#[cfg(target_os = "linux")]
fn a_finished_journal_lets_go_of_its_folder_descriptors_and_memory() {
    let _alone = alone();
    let place = Place::new();
    let dataset = Dataset::healthy();
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    let _ = logger.log(&event(1));
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    let mut before = usize::MAX;
    for n in 2..=60 {
        after_restore();
        let _ = logger.log(&event(n));
        assert!(logger.flush(Some(Duration::from_secs(20))).complete);
        until("the former journal's end", || place.journals() == 1);
        if n == 10 {
            before = descriptors();
        }
    }
    until("its descriptors", || descriptors() <= before + 2);
    assert_eq!((mapped_rings(&place.home()), place.journals()), (1, 1));
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_flushed, dataset.ids()), (60, numbers(1..=60)));
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    drop(logger);
    // Each journal's account tells of its own events only.
    let accounts = place.home().join("journal/safety_events/accounts.jsonl");
    let accounts = fs::read_to_string(accounts).unwrap();
    let logged = accounts.lines().map(|line| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["logged"].as_u64().unwrap()
    });
    assert_eq!(logged.collect::<Vec<_>>(), [1; 60]);
}

/// While threads log, and with each strategy: nothing is lost, nothing comes twice, and what is
/// dropped is counted once.
#[test]
fn journals_are_begun_while_threads_log() {
    let _alone = alone();
    for strategy in
        [OverflowStrategy::DropOldest, OverflowStrategy::DropNewest, OverflowStrategy::Block]
    {
        let place = Place::new();
        let (dataset, other) = (Dataset::healthy(), Dataset::named("test:b", |_| Ok(())));
        let logger = place
            .builder(&dataset)
            .also_to(other.clone())
            .overflow_strategy(strategy)
            .buffer_size(50)
            .build()
            .unwrap();
        logger.start();
        let logged = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (logger, logged) = (&logger, &logged);
                scope.spawn(move || {
                    for n in 1..=3000 {
                        let was = logger.log(&event(1_000_000 * thread + n));
                        assert!(matches!(was, Logged::Journaled(_)), "{was:?}");
                        logged.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for round in 1..=8 {
                until("some events", || logged.load(Ordering::SeqCst) >= round * 900);
                after_restore();
            }
        });
        let report = logger.flush(Some(Duration::from_secs(20)));
        assert!(report.complete, "{report:?}");
        let stats = logger.stats();
        adds_up(&stats);
        assert_eq!((stats.total_flushed, stats.total_dropped), (9000, 0), "{stats:?}");
        for dataset in [&dataset, &other] {
            dataset.once();
            let ids: BTreeSet<String> = dataset.ids().into_iter().collect();
            assert_eq!((ids.len(), dataset.len()), (9000, 9000));
            // Of each thread, in the order in which it logged.
            let ids = dataset.ids().into_iter().map(|id| id.parse::<u64>().unwrap());
            let mut last = [0; 3];
            for id in ids {
                let of = &mut last[(id / 1_000_000) as usize];
                assert!(id % 1_000_000 > *of, "{id} behind {of}");
                *of = id % 1_000_000;
            }
        }
        until("the last journal", || place.journals() == 1);
        assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    }
}

/// A caller of `block` that waits at a full buffer goes on in the next journal.
#[test]
fn a_caller_that_waits_for_room_goes_on_in_the_next_journal() {
    let _alone = alone();
    let place = Place::new();
    let gate = Arc::new(AtomicBool::new(false));
    let open = gate.clone();
    let dataset = Dataset::new(move |_| match open.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(AdapterError::transient("reach it")),
    });
    let logger = builder(dataset.clone())
        .home(place.home())
        .no_fallback()
        .overflow_strategy(OverflowStrategy::Block)
        .buffer_size(20)
        .backlog_limit_bytes(4096)
        .build()
        .unwrap();
    logger.start();
    let logged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=300 {
                assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
                logged.store(n, Ordering::SeqCst);
            }
        });
        let stuck = || {
            let before = logged.load(Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(200));
            logger.is_full() && before > 0 && before == logged.load(Ordering::SeqCst)
        };
        until("a full buffer", stuck);
        let before = logged.load(Ordering::SeqCst);
        after_restore();
        until("it goes on", || logged.load(Ordering::SeqCst) > before);
        gate.store(true, Ordering::SeqCst);
        until("the end", || {
            let _ = logger.flush(Some(Duration::from_millis(50)));
            logged.load(Ordering::SeqCst) == 300
        });
    });
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    adds_up(&logger.stats());
    assert_eq!(dataset.ids(), numbers(1..=300));
}

/// With no thread of the logger's, turns and flushes do the same.
#[test]
fn without_threads_earlier_journals_are_delivered_first_too() {
    let _alone = alone();
    let place = Place::new();
    let dataset = Dataset::healthy();
    let logger = place.builder(&dataset).threads(false).build().unwrap();
    for n in 1..=30 {
        let _ = logger.log(&event(n));
        if n % 10 == 0 {
            after_restore();
        }
    }
    assert_eq!(place.journals(), 4);
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!(dataset.ids(), numbers(1..=30));
    let _ = logger.turn();
    assert_eq!(place.journals(), 1);
    drop(logger);
    assert_eq!(place.journals(), 0);
}

/// What a killed process left in several journals is delivered, each event once.
#[test]
fn all_journals_of_a_killed_process_are_adopted() {
    let place = Place::new();
    let dead = Dataset::dead();
    let killed = crate::life::fork(|| {
        let logger: SafetyEventLogger =
            builder(dead.clone()).home(place.home()).no_fallback().build().unwrap();
        logger.start();
        for n in 1..=40 {
            let _ = logger.log(&event(n));
            if n % 10 == 0 {
                after_restore();
            }
        }
        std::mem::forget(logger);
        true
    });
    assert!(killed());
    assert_eq!(place.journals(), 5);
    let dataset = Dataset::healthy();
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    dataset.once();
    assert_eq!((dataset.ids(), logger.stats().total_recovered), (numbers(1..=40), 40));
    until("their end", || place.journals() == 1);
}

/// Copies of one process went on with the same random numbers, and gave two events the same id. A fork
/// stands for the copy: it copies the generator's state as a snapshot does.
#[test]
fn copies_make_different_event_ids() {
    let place = Place::new();
    let copy = |name: &str, told: bool| {
        let path = place.folder.path().join(name);
        let child = crate::life::fork(|| {
            if told {
                after_restore();
            }
            let now = namel3ss_safety::Timestamp::from_micros(1);
            let mut text = [0; 36];
            fs::write(&path, namel3ss_safety::EventId::new(now, 42).write(&mut text)).is_ok()
        });
        assert!(child());
        fs::read_to_string(path).unwrap()
    };
    assert_eq!(copy("a", false), copy("b", false), "as they were");
    assert_ne!(copy("c", true), copy("d", true));
}
