//! What a long outage costs: few files, few lines in the log, and nothing when even the files can't be
//! written, but for a word of how much is lost.

use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::{
    AdapterError, Level, Logged, NoticeKind, SafetyEventLogger, internal::clock::ManualClock,
};

use crate::support::{Dataset, Place, adds_up, builder, event, until};

/// Does whatever can be done within a moment.
pub(crate) fn settle(logger: &SafetyEventLogger, clock: &ManualClock) {
    for _ in 0..100 {
        match logger.turn() {
            Some(wait) if wait < Duration::from_millis(5) => clock.advance(wait),
            _ => return,
        }
    }
    panic!("it never comes to rest");
}

/// With the default interval of 10 s, a day of outage made 8,640 fallback files of a few events each,
/// and as many critical lines in the log.
#[test]
fn a_day_of_outage_makes_fewer_files_than_it_has_minutes() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    let clock = Arc::new(ManualClock::default());
    let builder = place.builder(&dataset).threads(false).clock(clock.clone());
    let logger = builder.flush_interval_seconds(10.0).build().unwrap();
    logger.start();
    let (mut seconds, mut events, mut lines, mut said) = (0, 0, 0, 0);
    while seconds < 6 * 3600 {
        events += 1;
        assert!(matches!(logger.log(&event(events)), Logged::Journaled(_)));
        settle(&logger, &clock);
        clock.advance(Duration::from_secs(10));
        seconds += 10;
        let filed = |kind: &&namel3ss_safety::Notice| kind.kind == NoticeKind::Fallback;
        for notice in logger.notices().iter().filter(filed) {
            lines += notice.times;
            said += 1;
        }
    }
    let files = std::fs::read_dir(place.fallback()).unwrap().count() - 1;
    assert!((200..=360).contains(&files), "{files} files in six hours");
    assert!(lines <= 361 && said == lines, "{lines}");
    // A flush writes at once what was being joined.
    let stats = logger.stats();
    assert!(stats.pending > 0, "{stats:?}");
    assert!(logger.flush(None).complete);
    let stats = logger.stats();
    assert_eq!((stats.total_fallback, stats.pending), (events, 0));
    adds_up(&stats);
    assert_eq!(place.fallback_rows().len() as u64, events);
    // The dataset is back: everything comes, once.
    dataset.set(|_| Ok(()));
    let _ = logger.log(&event(events + 1));
    clock.advance(Duration::from_secs(61));
    for _ in 0..1000 {
        logger.turn();
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(dataset.len() as u64, events + 1);
    dataset.once();
}

#[test]
fn a_full_batch_is_not_held_back_in_an_outage() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    dataset.set_batching(namel3ss_safety::Batching { rows_max: 50, ..Default::default() });
    let clock = Arc::new(ManualClock::default());
    let builder = place.builder(&dataset).threads(false).clock(clock.clone()).buffer_size(10);
    let logger = builder.build().unwrap();
    logger.start();
    (1..=1000).for_each(|n| {
        let _ = logger.log(&event(n));
        settle(&logger, &clock);
    });
    let rows = place.fallback_rows().len();
    assert!(rows >= 950, "{rows}");
    let files = std::fs::read_dir(place.fallback()).unwrap().count() - 1;
    assert!(files <= 22, "{files}");
    adds_up(&logger.stats());
}

/// Files of an earlier run waited for `n3-safety replay`, which nobody ran.
#[test]
fn the_next_run_replays_the_files_of_its_own_destination() {
    let place = Place::new();
    let dead = || AdapterError::transient("reach it");
    let [one, two] =
        ["test:one", "test:two"].map(|name| Dataset::named(name, move |_| Err(dead())));
    for dataset in [&one, &two] {
        let logger = place.builder(dataset).build().unwrap();
        (1..=5).for_each(|n| _ = logger.log(&event(n)));
        assert!(logger.stop(None).complete);
        assert_eq!(logger.stats().total_fallback, 5);
    }
    // The files of the first are in the folder itself, those of the second in one within it.
    two.set(|_| Ok(()));
    let logger = place.builder(&two).build().unwrap();
    logger.start();
    until("the replay", || logger.stats().total_replayed == 5);
    let stats = logger.stats();
    adds_up(&stats);
    assert_eq!((stats.total_logged, stats.total_fallback), (0, 0), "it is no event of this run");
    two.once();
    // Those of the other destination stay.
    assert!(logger.flush(None).complete);
    assert_eq!((one.len(), two.len()), (0, 5));
    one.set(|_| Ok(()));
    let other = place.builder(&one).build().unwrap();
    assert!(other.flush(None).complete);
    assert_eq!((one.len(), two.len()), (5, 5));
}

/// The events were in memory, and gone with the process: nobody was told how many, and a notice said
/// that they stay in the journal.
#[test]
fn where_no_place_can_be_written_the_loss_is_said_with_its_number() {
    let (place, dataset) = (Place::new(), Dataset::dead());
    // A file where each of the folders should be.
    std::fs::write(place.home(), "").unwrap();
    std::fs::write(place.fallback(), "").unwrap();
    let notices = Arc::new(namel3ss_safety::internal::notice::Notices::default());
    let builder = builder(dataset.clone()).home(place.home()).fallback_path(place.fallback());
    let logger = builder.notices(notices.clone()).build().unwrap();
    for n in 1..=7 {
        assert!(matches!(logger.log(&event(n)), Logged::Buffered(_)));
    }
    let report = logger.stop(None);
    assert_eq!((report.complete, report.pending), (false, 7));
    let said = notices.take();
    assert!(!said.iter().any(|notice| notice.text.contains("in the journal")), "{said:#?}");
    let critical: Vec<_> = said.iter().filter(|notice| notice.kind == NoticeKind::Lost).collect();
    assert_eq!(critical.len(), 1, "{said:#?}");
    assert_eq!(critical[0].level, Level::Critical);
    assert!(critical[0].text.starts_with("7 events are in memory only"), "{}", critical[0].text);
    adds_up(&logger.stats());
    drop(logger);
    let said = notices.take();
    assert!(said.iter().any(|notice| notice.text.starts_with("7 events were in memory only")));
}
