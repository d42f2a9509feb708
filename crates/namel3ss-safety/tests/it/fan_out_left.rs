//! What a logger of several sinks leaves behind, and who delivers which part of it.

use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::internal::journal::inspect;

use crate::adapters::open;
use crate::fan_out::{dead, healthy, several};
use crate::support::{Dataset, Place, adds_up, event, numbers};

/// Logs 1 to 20, as far as the datasets take it, and goes away as a killed process does.
fn leave(place: &Place, datasets: &[&Arc<Dataset>]) {
    let logger = several(place, datasets).no_fallback().threads(false).build().unwrap();
    (1..=20).for_each(|n| _ = logger.log(&event(n)));
    let _ = logger.flush(Some(Duration::from_secs(20)));
    drop(logger);
    assert_eq!(place.journals(), 1);
}

/// By destination, how many events of the only journal wait.
fn waiting(place: &Place) -> Vec<(String, u64)> {
    let found = inspect::list(&place.home()).unwrap();
    let [journal] = &found[..] else { panic!("{found:?}") };
    let info = journal.journal.as_ref().unwrap();
    info.sinks().into_iter().map(|sink| (sink.destination, sink.pending)).collect()
}

fn pairs(waiting: &[(&str, u64)]) -> Vec<(String, u64)> {
    waiting.iter().map(|(name, events)| ((*name).to_owned(), *events)).collect()
}

#[test]
fn what_is_left_is_delivered_to_each_that_has_yet_to_get_it() {
    // In any order, also where the first one of the killed process is not the first one now.
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let place = Place::new();
        let all = [healthy("a"), dead("b"), dead("c")];
        leave(&place, &all.each_ref());
        assert_eq!(waiting(&place), pairs(&[("a", 0), ("b", 20), ("c", 20)]));
        all[1].set(|_| Ok(()));
        all[2].set(|_| Ok(()));
        let logger = several(&place, &order.map(|at| &all[at])).build().unwrap();
        logger.start();
        let _ = logger.log(&event(21));
        let report = logger.stop(None);
        assert!(report.complete, "{report:?}");
        let stats = logger.stats();
        adds_up(&stats);
        assert_eq!((stats.total_logged, stats.total_recovered, stats.recovering), (1, 20, 0));
        let recovered =
            |at: usize| stats.sinks.iter().find(|s| s.destination == ["a", "b", "c"][at]);
        assert_eq!([0, 1, 2].map(|at| recovered(at).unwrap().recovered), [0, 20, 20]);
        for dataset in &all {
            assert_eq!(dataset.ids(), numbers(1..=21));
            dataset.once();
        }
        drop(logger);
        assert_eq!(place.journals(), 0);
    }
}

#[test]
fn a_logger_without_one_of_the_sinks_leaves_its_part() {
    let place = Place::new();
    let (a, b) = (dead("a"), dead("b"));
    leave(&place, &[&a, &b]);
    a.set(|_| Ok(()));
    b.set(|_| Ok(()));
    for _ in 0..2 {
        // The second time there is nothing for it any more.
        let logger = several(&place, &[&a]).build().unwrap();
        assert!(logger.flush(None).complete);
        assert_eq!(a.ids(), numbers(1..=20));
    }
    assert_eq!(waiting(&place), pairs(&[("a", 0), ("b", 20)]));
    // A stranger's is left alone.
    let stranger = healthy("stranger");
    let logger = several(&place, &[&stranger]).build().unwrap();
    assert!(logger.flush(None).complete);
    assert_eq!((stranger.len(), place.journals()), (0, 1));
    let logger = several(&place, &[&b]).build().unwrap();
    assert!(logger.flush(None).complete);
    assert_eq!((a.ids(), b.ids()), (numbers(1..=20), numbers(1..=20)));
    a.once();
    b.once();
    assert_eq!(place.journals(), 0);
}

#[test]
fn what_was_logged_before_a_sink_was_added_is_not_its() {
    let place = Place::new();
    let (a, b) = (dead("a"), healthy("b"));
    leave(&place, &[&a]);
    a.set(|_| Ok(()));
    let logger = several(&place, &[&b, &a]).build().unwrap();
    let _ = logger.log(&event(21));
    assert!(logger.flush(None).complete);
    assert_eq!((a.ids(), b.ids()), (numbers(1..=21), numbers(21..=21)));
    drop(logger);
    assert_eq!(place.journals(), 0);
}

#[test]
fn the_accounts_of_each_sink_add_up_across_lives() {
    let place = Place::new();
    // One takes half of the batches, the other files what it can't have; both over several lives.
    let (a, b) = (Dataset::named("a", |_| Ok(())), dead("b"));
    let mut calls = 0;
    a.set(move |_| {
        calls += 1;
        if calls % 2 == 0 {
            Err(namel3ss_safety::AdapterError::transient("reach it"))
        } else {
            Ok(())
        }
    });
    for life in 0..6 {
        let builder = several(&place, &[&a, &b]).threads(life % 2 == 0).buffer_size(4);
        let builder = if life % 3 == 0 { builder.no_fallback() } else { builder };
        let logger = builder.build().unwrap();
        logger.start();
        for n in 1..=10 {
            let _ = logger.log(&event(life * 10 + n));
            if n % 3 == 0 {
                logger.turn();
            }
            adds_up(&logger.stats());
        }
        let _ = logger.stop(Some(Duration::from_secs(5)));
        adds_up(&logger.stats());
        drop(logger);
        for found in inspect::list(&place.home()).unwrap() {
            let info = found.journal.unwrap();
            for sink in info.sinks() {
                let state = sink.state;
                let dropped: u64 = state.dropped.iter().sum();
                let done = state.flushed + state.fallback + dropped + sink.pending;
                assert_eq!(info.last.max(state.acked).0 + state.unsequenced, done, "{sink:?}");
            }
        }
    }
    a.set(|_| Ok(()));
    b.set(|_| Ok(()));
    let logger = several(&place, &[&a, &b]).build().unwrap();
    assert!(logger.flush(None).complete);
    drop(logger);
    assert_eq!(place.journals(), 0);
    a.once();
    b.once();
}

#[cfg(unix)]
#[test]
fn a_forked_child_delivers_to_each_and_files_for_each() {
    let place = Place::new();
    let at = |name: &str| place.folder.path().join(name);
    let (one, two) = (open(&at("one.jsonl")), open(&at("gone/two.jsonl")));
    // What stands there is no file.
    std::fs::create_dir_all(at("gone/two.jsonl")).unwrap();
    let logger = crate::support::builder(one)
        .also_to(two)
        .home(place.home())
        .fallback_path(place.fallback())
        .max_retries(1)
        .build()
        .unwrap();
    logger.start();
    (1..=5).for_each(|n| _ = logger.log(&event(n)));
    let mut logger = Some(logger);
    let child = crate::life::fork(|| {
        let logger = logger.take().unwrap();
        (101..=105).for_each(|n| _ = logger.log(&event(n)));
        let complete = logger.flush(Some(Duration::from_secs(10))).complete;
        let stats = logger.stats();
        adds_up(&stats);
        drop(logger);
        // The second one can't be written to: its rows are in its own files.
        complete && stats.sinks[0].flushed == 5 && stats.sinks[1].fallback == 5
    });
    assert!(child(), "the child's own checks");
    let logger = logger.unwrap();
    assert!(logger.stop(Some(Duration::from_secs(10))).complete);
    let stats = logger.stats();
    assert_eq!((stats.sinks[0].flushed, stats.sinks[1].fallback), (5, 5));
    assert_eq!(crate::adapters::read(&at("one.jsonl")).len(), 10);
    let folder = place.fallback().join(&stats.sinks[1].name);
    std::fs::remove_file(folder.join("destination")).unwrap();
    assert_eq!(crate::support::fallback_rows(&folder).len(), 10);
    drop(logger);
    assert_eq!(place.journals(), 0);
}
