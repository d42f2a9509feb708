//! A ring whose file somebody cuts or overwrites while a logger has it mapped.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use namel3ss_safety::{DropReason, Level, Logged, SafetyEventLogger};

use crate::adapters::{open, read};
use crate::bench::{Dataset, Place, adds_up, builder, event, until};

/// The ring's file.
fn ring_of(logger: &SafetyEventLogger) -> PathBuf {
    logger.journal_folder().unwrap().join("ring.n3j")
}

/// Something cut the ring's file (`truncate`, a restore in place, a bad sector): the application
/// got SIGBUS inside `log()`, or in the maintenance thread, and died.
#[test]
fn a_ring_that_is_cut_costs_what_was_only_in_it() {
    let place = Place::new();
    let path = place.folder.path().join("safety.jsonl");
    let logger = builder(open(&path)).home(place.home()).no_fallback().build().unwrap();
    logger.start();
    let _ = logger.log(&event(0));
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    for (round, length) in [0, 4096 + 100].into_iter().enumerate() {
        // The second time the ring is not in use any more.
        File::options().write(true).open(ring_of(&logger)).unwrap().set_len(length).unwrap();
        let first = 1 + round as u64 * 20_000;
        (first..first + 20_000).for_each(|n| {
            assert!(matches!(logger.log(&event(n)), Logged::Journaled(_)));
        });
    }
    assert!(logger.stop(Some(Duration::from_secs(30))).complete);
    let stats = logger.stats();
    adds_up(&stats);
    // Nothing waited in it, and the calls that met the cut have written their events again.
    let lost = stats.total_dropped;
    assert!(lost <= 100 && stats.total_logged - lost >= 40_001, "{stats:?}");
    let mut ids: Vec<u64> =
        read(&path).iter().map(|row| row.event.event_id.parse().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids, (0..=40_000).collect::<Vec<_>>());
    let notices = logger.notices();
    let told = notices.iter().filter(|notice| notice.kind == "ring").count();
    assert_eq!(told, 1, "{notices:?}");
}

/// What lay in the ring alone when it was cut can't be had back: it is counted, and said as
/// critical; the rest is delivered, and a logger goes on.
#[test]
fn what_was_only_in_a_cut_ring_is_counted_and_said() {
    let place = Place::new();
    let dataset = Dataset::healthy();
    // Without threads nobody moves anything out of the ring meanwhile.
    let logger = place.builder(&dataset).threads(false).buffer_size(1000).build().unwrap();
    (1..=100).for_each(|n| _ = logger.log(&event(n)));
    let file = File::options().write(true).open(ring_of(&logger)).unwrap();
    // Header and one page stay; the frame that straddles the cut is lost, and all behind it.
    file.set_len(8192).unwrap();
    (101..=200).for_each(|n| assert!(matches!(logger.log(&event(n)), Logged::Journaled(_))));
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    let stats = logger.stats();
    adds_up(&stats);
    let lost = stats.dropped.iter().find(|(reason, _)| *reason == DropReason::Damaged).unwrap().1;
    assert_eq!((stats.total_logged, stats.total_flushed), (200, 200 - lost));
    let ids: Vec<u64> = dataset.ids().iter().map(|id| id.parse().unwrap()).collect();
    let kept = 100 - lost;
    assert!(kept > 10 && lost > 10, "{stats:?}");
    assert_eq!(ids, (1..=kept).chain(101..=200).collect::<Vec<_>>());
    let critical: Vec<_> =
        logger.notices().into_iter().filter(|n| n.level == Level::Critical).collect();
    let number = format!("{lost} events");
    assert!(critical.iter().any(|notice| notice.text.contains(&number)), "{critical:?}");
}

/// Something wrote over the ring's file in place: nobody got a signal, and nothing that was logged
/// from then on was ever delivered.
#[test]
fn a_ring_that_is_overwritten_is_given_up() {
    let place = Place::new();
    let dataset = Dataset::healthy();
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    let _ = logger.log(&event(0));
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    let ring = ring_of(&logger);
    let bytes = fs::metadata(&ring).unwrap().len();
    let garbage: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8 | 1).collect();
    std::os::unix::fs::FileExt::write_all_at(
        &File::options().write(true).open(&ring).unwrap(),
        &garbage,
        0,
    )
    .unwrap();
    (1..=5000).for_each(|n| _ = logger.log(&event(n)));
    until("the rest", || {
        let _ = logger.flush(Some(Duration::from_millis(100)));
        logger.stats().pending == 0
    });
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    let stats = logger.stats();
    adds_up(&stats);
    dataset.once();
    assert!(stats.total_flushed + stats.total_dropped == stats.total_logged, "{stats:?}");
    assert!(dataset.ids().contains(&"5000".to_owned()), "{stats:?}");
}
