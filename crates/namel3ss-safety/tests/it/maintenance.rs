//! What keeps the journals in order goes on while an adapter hangs, and while storage hangs in a sync.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use namel3ss_safety::internal::journal::media::MemoryFolder;
use namel3ss_safety::internal::journal::{Options, SEGMENT_PREFIX, spill::SPILL_PREFIX};
use namel3ss_safety::{Durability, SafetyEvent, SafetyEventLogger};

use crate::healthy::Gate;
use crate::scripted_folder::{Decide, Decided};
use crate::support::{Dataset, Place, event, until};

const SOON: Option<Duration> = Some(Duration::from_secs(30));

fn of_bytes(n: u64, bytes: usize) -> SafetyEvent {
    SafetyEvent { reason: Some("r".repeat(bytes)), ..event(n) }
}

/// Were the journal not drained while its dataset hangs, the ring would be full at 16 MiB, and those who
/// log would write to spill files.
#[test]
fn a_hanging_adapter_does_not_stop_the_draining() {
    const EVENT_BYTES: usize = 64 << 10;
    const RING_BYTES: u64 = 16 << 20;
    let place = Place::new();
    let gate = Arc::new(Gate::default());
    let theirs = gate.clone();
    let dataset = Dataset::new(move |_| {
        theirs.pass();
        Ok(())
    });
    let options = Options {
        ring_bytes: RING_BYTES,
        ring_bytes_max: RING_BYTES,
        segment_bytes_max: 1 << 20,
        ..Options::default()
    };
    let builder = place.builder(&dataset).buffer_size(1).journal_options(options);
    let logger = builder.build().unwrap();
    logger.start();
    let _ = logger.log(&of_bytes(1, EVENT_BYTES));
    until("the adapter", || gate.is_reached());
    let folder = logger.journal_folder().unwrap();
    let files = |prefix: &str| {
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with(prefix)).count()
    };
    // 64 MiB, a quarter of the ring at a time.
    for mib in (4..=64).step_by(4) {
        for n in 0..(4 << 20) / EVENT_BYTES {
            let _ = logger.log(&of_bytes(n as u64, EVENT_BYTES));
        }
        until("the segments", || files(SEGMENT_PREFIX) + 1 >= mib);
        assert_eq!(files(SPILL_PREFIX), 0, "after {mib} MiB");
    }
    assert_eq!((gate.is_reached(), dataset.len()), (true, 0));
    gate.open();
    assert!(logger.stop(SOON).complete);
    assert_eq!(dataset.len(), 64 * (1 << 20) / EVENT_BYTES + 1);
}

/// Storage whose syncs hang from some moment on.
#[derive(Debug, Default)]
struct HangingSyncs {
    hang: AtomicBool,
    gate: Gate,
}

impl Decide for HangingSyncs {
    fn synced(&self) {
        if self.hang.load(Ordering::SeqCst) {
            self.gate.pass();
        }
    }
}

fn on_hanging_syncs(
    dataset: &Arc<Dataset>,
    place: &Place,
) -> (SafetyEventLogger, Arc<HangingSyncs>) {
    let storage = Arc::new(HangingSyncs::default());
    let options = Options { segment_bytes_max: 64 << 10, ..Options::default() };
    let logger = place
        .builder(dataset)
        .medium(Decided::folder(&MemoryFolder::default(), &storage))
        .journal_options(options)
        .durability(Durability::Power)
        .buffer_size(10)
        .build()
        .unwrap();
    logger.start();
    let _ = logger.log(&event(1));
    assert!(logger.flush(SOON).complete);
    storage.hang.store(true, Ordering::SeqCst);
    (logger, storage)
}

/// The thread that moves frames and dispatches them waited for the sync as well.
#[test]
fn a_hanging_sync_does_not_stop_the_dispatch() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let (logger, storage) = on_hanging_syncs(&dataset, &place);
    let _ = logger.log(&event(2));
    until("a sync", || storage.gate.is_reached());
    (3..=22).for_each(|n| _ = logger.log(&event(n)));
    until("the dataset", || dataset.len() >= 21);
    assert!(storage.gate.is_reached());
    storage.gate.open();
    assert!(logger.stop(SOON).complete);
}

/// Before a segment is removed the cursor's file is synced. A flush that asked the cursor meanwhile how
/// far it was waited for that beyond its timeout.
#[test]
fn flush_keeps_its_timeout_while_a_sync_hangs() {
    let (place, dataset) = (Place::new(), Dataset::healthy());
    let (logger, storage) = on_hanging_syncs(&dataset, &place);
    (2..=200).for_each(|n| _ = logger.log(&of_bytes(n, 4096)));
    std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let logger = &logger;
        scope.spawn(move || {
            for _ in 0..3 {
                let _ = logger.flush(Some(Duration::from_millis(300)));
            }
            done.send(()).unwrap();
        });
        let returned = is_done.recv_timeout(Duration::from_secs(30));
        let reached = storage.gate.is_reached();
        storage.gate.open();
        assert!(returned.is_ok() && reached, "{returned:?}, {reached}");
    });
    assert!(logger.stop(SOON).complete);
    assert_eq!(dataset.len(), 200);
}
