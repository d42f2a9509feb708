//! A logger that is forgotten: nobody stops it, its last reference goes, and the process goes on. What
//! a file has the next run delivers; what only memory has is delivered now, or said to be lost.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namel3ss_safety::{
    AdapterError, DropReason, JournalKind, Level, LoggerBuilder, NoticeKind, OverflowStrategy,
    internal::notice::Notices,
};

use crate::healthy::Gate;
use crate::jobs::helper;
use crate::support::{Dataset, Place, adds_up, builder, event, numbers};

const CHILD: &str = "N3_SAFETY_TEST_FORGOTTEN";
/// Dropping takes 100 ms at most; the rest is for a machine that is busy.
const BOUND: Duration = Duration::from_secs(2);

/// Logs ten events and forgets the logger; what it said.
fn forget(builder: LoggerBuilder) -> Vec<namel3ss_safety::Notice> {
    let notices = Arc::new(Notices::default());
    let logger = builder.notices(notices.clone()).build().unwrap();
    (1..=10).for_each(|n| _ = logger.log(&event(n)));
    let start = Instant::now();
    drop(logger);
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    notices.take()
}

fn lost(notices: &[namel3ss_safety::Notice]) -> Vec<String> {
    let lost = notices.iter().filter(|notice| notice.kind == NoticeKind::Lost);
    lost.inspect(|notice| assert_eq!(notice.level, Level::Critical))
        .map(|notice| notice.text.clone())
        .collect()
}

/// Ten events of a logger that a notebook cell had made, and the next run of the cell forgot, were gone,
/// though the dataset was well.
#[test]
fn a_journal_in_memory_is_delivered_while_its_logger_is_dropped() {
    let place = Place::new();
    let starts: [fn(LoggerBuilder) -> LoggerBuilder; 3] = [
        |builder| builder,
        // Never started: it has no worker yet.
        |builder| builder.autostart(false),
        |builder| builder.buffer_size(3).overflow_strategy(OverflowStrategy::Block),
    ];
    for start in starts {
        let dataset = Dataset::healthy();
        let builder = builder(dataset.clone()).home(place.home()).no_fallback();
        let said = forget(start(builder.journal(JournalKind::Memory)));
        assert_eq!((dataset.ids(), lost(&said)), (numbers(1..=10), Vec::new()), "{said:?}");
    }
    // No file was to be had.
    fs::write(place.home(), "in the way").unwrap();
    let dataset = Dataset::healthy();
    let said = forget(builder(dataset.clone()).home(place.home()).no_fallback());
    assert_eq!((dataset.ids(), lost(&said)), (numbers(1..=10), Vec::new()), "{said:?}");
}

/// An attempt that failed is followed by the next one in ten seconds, when the logger is gone.
#[test]
fn what_its_dataset_refuses_goes_to_a_fallback_file_at_once() {
    let place = Place::new();
    let builder = place.builder(&Dataset::dead()).retry_delay(Duration::from_secs(10));
    let said = forget(builder.journal(JournalKind::Memory));
    assert_eq!((place.fallback_rows().len(), lost(&said)), (10, Vec::new()), "{said:?}");

    // Also where it has been waiting for that already.
    let place = Place::new();
    let builder = place.builder(&Dataset::dead()).retry_delay(Duration::from_secs(10));
    let logger = builder.journal(JournalKind::Memory).build().unwrap();
    (1..=10).for_each(|n| _ = logger.log(&event(n)));
    let report = logger.flush(Some(Duration::from_millis(100)));
    assert!(!report.complete && logger.sink().attempts() > 0, "{report:?}");
    assert_eq!((logger.unkept(), logger.rescue(BOUND), logger.unkept()), (10, 0, 0));
    assert_eq!(place.fallback_rows().len(), 10);
    drop(logger);
}

#[test]
fn what_nobody_takes_is_counted_and_said_with_its_number() {
    let place = Place::new();
    let build = |dataset| builder(dataset).home(place.home()).no_fallback();
    let said = forget(build(Dataset::dead()).journal(JournalKind::Memory));
    let [text] = &lost(&said)[..] else { panic!("{said:?}") };
    assert!(text.starts_with("10 events were in memory only") && !text.contains("returned"));

    for also in [false, true] {
        let mut builder = build(Dataset::dead()).journal(JournalKind::Memory);
        if also {
            builder = builder.also_to(Dataset::named("test:other", |_| Ok(())));
        }
        let logger = builder.build().unwrap();
        (1..=10).for_each(|n| _ = logger.log(&event(n)));
        logger.quit();
        let stats = logger.stats();
        adds_up(&stats);
        let counted = stats.dropped.of(DropReason::NotPersisted);
        assert_eq!((counted, stats.total_dropped, stats.pending), (10, 10, 0));
        assert!(!stats.healthy);
    }

    // A journal in a file has them.
    let said = forget(build(Dataset::dead()));
    assert_eq!(lost(&said), Vec::<String>::new());
    let dataset = Dataset::healthy();
    let logger = build(dataset.clone()).build().unwrap();
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
    assert_eq!(dataset.len(), 10);
}

/// Also while others hold handles of it: their shares are not its threads'.
#[test]
fn the_end_of_an_idle_logger_takes_no_time() {
    let took = |handles: usize| {
        let place = Place::new();
        let logger = place.builder(&Dataset::healthy()).build().unwrap();
        let _ = logger.log(&event(1));
        assert!(logger.flush(Some(BOUND)).complete);
        let others = vec![logger.clone(); handles];
        let began = Instant::now();
        logger.quit();
        let took = began.elapsed();
        drop(others);
        took
    };
    for handles in [0, 3] {
        let mut took: Vec<_> = (0..21).map(|_| took(handles)).collect();
        took.sort_unstable();
        assert!(took[10] < Duration::from_millis(60), "{handles}: {took:?}");
    }
}

/// No file was to be had when the logger was made, and there is one when it goes: what its dataset has
/// not taken by then is on disk, for the next one, and the batch that hangs comes once.
#[test]
fn what_was_meant_for_a_file_goes_there_at_the_end() {
    let place = Place::new();
    let (dataset, gate) = (Dataset::healthy(), Arc::new(Gate::default()));
    let theirs = gate.clone();
    dataset.set(move |_| {
        theirs.pass();
        Err(AdapterError::transient("reach it"))
    });
    fs::write(place.home(), "in the way").unwrap();
    let notices = Arc::new(Notices::default());
    let build = || builder(dataset.clone()).home(place.home()).no_fallback();
    let logger = build().buffer_size(4).notices(notices.clone()).build().unwrap();
    (1..=10).for_each(|n| _ = logger.log(&event(n)));
    crate::support::until("the adapter", || gate.is_reached());
    fs::remove_file(place.home()).unwrap();
    drop(logger);
    let said = notices.take();
    assert_eq!(lost(&said), Vec::<String>::new(), "{said:?}");
    gate.open();
    dataset.set(|_| Ok(()));
    let logger = build().build().unwrap();
    logger.start();
    // The worker of the one before holds the journal until its adapter has returned.
    crate::support::until("the events of the one before", || {
        assert!(logger.flush(Some(Duration::from_secs(20))).complete);
        logger.stats().total_recovered == 10
    });
    assert_eq!(dataset.ids(), numbers(1..=10), "{:?}", logger.stats());
    dataset.once();
    assert!(logger.stop(Some(Duration::from_secs(20))).complete);
}

/// An adapter that hangs holds up nobody who forgets its logger, and what it was given may still land.
#[test]
fn an_adapter_that_hangs_does_not_hold_up_who_forgets_it() {
    let place = Place::new();
    let gate = Arc::new(Gate::default());
    let theirs = gate.clone();
    let dataset = Dataset::new(move |_| {
        theirs.pass();
        Err(AdapterError::transient("reach it"))
    });
    let builder = builder(dataset).home(place.home()).no_fallback();
    let said = forget(builder.journal(JournalKind::Memory));
    assert!(gate.is_reached());
    let [text] = &lost(&said)[..] else { panic!("{said:?}") };
    assert!(text.starts_with("10 events were in memory only"), "{text}");
    assert!(text.ends_with("may still arrive"), "{text}");
    gate.open();
}

pub(crate) fn child() {
    let how = std::env::var(CHILD).expect("who pulls");
    let place = Place::new();
    if how == "kept" {
        namel3ss_safety::internal::notice::keep_left();
    }
    let mut builder = builder(Dataset::dead()).home(place.home()).no_fallback();
    if how != "nobody" {
        builder = builder.pulls_notices();
    }
    let logger = builder.journal(JournalKind::Memory).build().unwrap();
    (1..=10).for_each(|n| _ = logger.log(&event(n)));
    drop(logger);
    let left = lost(&namel3ss_safety::internal::notice::take_left());
    assert_eq!(left.len(), usize::from(how != "nobody"), "{left:?}");
    assert!(left.iter().all(|text| text.starts_with("10 events")), "{left:?}");
    assert!(namel3ss_safety::internal::notice::take_left().is_empty());
}

/// Who pulled the notices of a logger could not pull the last ones: it was gone.
#[test]
fn its_last_words_outlive_it() {
    for (how, heard) in [("nobody", true), ("pulled", true), ("kept", false)] {
        let child = helper("forgotten").env(CHILD, how).output().unwrap();
        assert!(child.status.success(), "{child:?}");
        let stderr = String::from_utf8_lossy(&child.stderr);
        let line = "namel3ss-safety: critical: 10 events were in memory only";
        assert_eq!(stderr.matches(line).count(), usize::from(heard), "{how}: {stderr}");
    }
}
