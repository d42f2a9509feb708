//! A ring whose file somebody cuts or overwrites while a logger has it mapped.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use namel3ss_safety::{DropReason, Level, Logged, NoticeKind, SafetyEventLogger};

use crate::adapters::{open, read};
use crate::support::{Dataset, Place, adds_up, builder, event, until};

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
    let told = notices.iter().filter(|notice| notice.kind == NoticeKind::Ring).count();
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
    let lost = stats.dropped.of(DropReason::Damaged);
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

/// The ring's header was overwritten, too: what went on into the ring was lost with the process.
#[test]
fn what_comes_after_a_ring_was_overwritten_survives_the_process() {
    let place = Place::new();
    let killed = crate::life::fork(|| {
        let logger = place.builder(&Dataset::dead()).no_fallback().build().unwrap();
        let _ = logger.log(&event(1));
        let file = File::options().write(true).open(ring_of(&logger)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 4096], 0).unwrap();
        let mut said = false;
        until("the look at it", || {
            said |= logger.notices().iter().any(|notice| notice.kind == NoticeKind::Ring);
            said
        });
        (2..=100).for_each(|n| _ = logger.log(&event(n)));
        std::mem::forget(logger);
        true
    });
    assert!(killed());
    let dataset = Dataset::healthy();
    let logger = place.builder(&dataset).build().unwrap();
    logger.start();
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    let expected: Vec<String> = (2..=100).map(|n| n.to_string()).collect();
    let ids = dataset.ids();
    assert!(expected.iter().all(|id| ids.contains(id)), "{ids:?} {:?}", logger.notices());
}

/// A cleaner removed the state folder under a running logger: from then on nothing was delivered, and
/// the logger asked for room on the disk.
#[test]
fn a_journal_whose_folder_is_removed_is_made_anew_and_goes_on() {
    let place = Place::new();
    let path = place.folder.path().join("safety.jsonl");
    let logger =
        builder(open(&path)).home(place.home()).no_fallback().buffer_size(10).build().unwrap();
    logger.start();
    (1..=500).for_each(|n| _ = logger.log(&event(n)));
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    let folder = logger.journal_folder().unwrap();
    let mut quickest = Duration::MAX;
    for round in 1..=4 {
        fs::remove_dir_all(place.home()).unwrap();
        let removed = Instant::now();
        (1..=2000).for_each(|n| {
            assert!(matches!(logger.log(&event(10_000 * round + n)), Logged::Journaled(_)));
        });
        until("the folder", || folder.join("lock").exists());
        quickest = quickest.min(removed.elapsed());
        (2001..=4000).for_each(|n| _ = logger.log(&event(10_000 * round + n)));
        assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    }
    // The quickest: what else the machine does may hold up any one of them.
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_logged, stats.total_flushed), (16_500, 16_500), "{stats:?}");
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name.to_string_lossy().starts_with("cursor-")), "{names:?}");
    assert!(
        logger
            .notices()
            .iter()
            .any(|n| n.kind == NoticeKind::Ring && n.text.contains("was removed"))
    );
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    drop(logger);
    assert_eq!(read(&path).len(), 16_500);
}

/// What was not delivered when the folder went is in the segment of now, by its descriptor, and in
/// the ring: it is not lost, and the next run finds it in the new folder.
#[test]
fn undelivered_events_move_to_the_folder_that_is_made_anew() {
    let place = Place::new();
    let dead = Dataset::dead();
    let build = |dataset: &std::sync::Arc<Dataset>| {
        builder(dataset.clone()).home(place.home()).no_fallback().buffer_size(10)
    };
    let killed = crate::life::fork(|| {
        let logger = build(&dead).build().unwrap();
        logger.start();
        (1..=50).for_each(|n| _ = logger.log(&event(n)));
        let _ = logger.flush(Some(Duration::from_millis(300)));
        let folder = logger.journal_folder().unwrap();
        fs::remove_dir_all(place.home()).unwrap();
        (51..=60).for_each(|n| _ = logger.log(&event(n)));
        until("the folder", || folder.join("lock").exists());
        // The next look sees to it that all is moved.
        until("a segment", || {
            let names = fs::read_dir(&folder).unwrap().flatten().map(|e| e.file_name());
            names.into_iter().any(|name| name.to_string_lossy().starts_with("seg"))
        });
        logger.sync().unwrap();
        std::mem::forget(logger);
        true
    });
    assert!(killed());
    let healthy = Dataset::healthy();
    let logger = build(&healthy).build().unwrap();
    logger.start();
    assert!(logger.flush(Some(Duration::from_secs(20))).complete);
    assert_eq!(healthy.len(), 60, "{:?}", logger.notices());
}
