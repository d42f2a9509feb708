//! Copies of one process: three that were started from one snapshot send under the same journal id and
//! the same seqs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::rows::{buffer, plain_event};
use super::subject::Subject;
use crate::adapter::{AdapterRegistry, DatasetAdapter};
use crate::batch::RowBuffer;
use crate::clock::Timestamp;
use crate::event::SafetyEvent;
use crate::id::JournalId;
use crate::notice::{Level, NoticeKind, Notices};
use crate::sink::SafetyEventSink;

/// How many events each copy logs by itself.
const OWN: u64 = 10;
/// Those of three copies, and the one from before.
const ALL: usize = 3 * OWN as usize + 1;

/// Runs the checks for adapters that answer [`Failure::IdsTaken`](crate::Failure::IdsTaken), each on a
/// dataset of its own: whatever the copies of one process send, each of their events is stored once,
/// also if it is sent again.
///
/// # Panics
/// On the first check that the adapter does not pass.
pub fn copies(make: impl Fn() -> Subject) {
    // As they come, and with each copy's batches cut differently.
    for cuts in [[&[0_usize, 11][..]; 3], [&[0, 11], &[0, 4, 11], &[0, 1, 2, 9, 11]]] {
        each_event_is_stored_once(&make(), cuts);
    }
    copies_of_copies_are_told_apart(&make());
}

/// An event of a copy: as ids and moments may come, each copy differs in one of them only.
fn own_event(copy: u64, seq: u64) -> SafetyEvent {
    let mut event = plain_event(seq);
    match copy {
        0 => {}
        1 => event.timestamp = Timestamp::from_micros(event.timestamp.micros() + 60_000_000),
        copy => event.event_id = format!("event-{seq}-of-{copy}"),
    }
    event.metadata.insert("copy".to_owned(), copy.into());
    event
}

fn rows(journal: JournalId, copy: u64) -> RowBuffer {
    let own = (2..=OWN + 1).map(|seq| own_event(copy, seq));
    let events: Vec<SafetyEvent> = std::iter::once(plain_event(1)).chain(own).collect();
    buffer(journal, 1, &events)
}

fn each_event_is_stored_once(subject: &Subject, cuts: [&[usize]; 3]) {
    let journal = JournalId::generate();
    // Each time, a copy sends what it was killed over before it could note that it is stored.
    for round in 0..3 {
        for (copy, cuts) in (0..).zip(cuts) {
            let notices = Arc::new(Notices::default());
            let rows = rows(journal, copy);
            for cut in cuts.windows(2) {
                let sent = send(subject, &notices, &rows, cut[0]..cut[1]);
                assert_eq!(sent, cut[1] - cut[0], "copy {copy}: each of its events is flushed");
            }
            let critical = critical(&notices);
            assert_eq!(critical, usize::from(copy > 0), "copy {copy}: one notice of what it is");
        }
        holds_each_once(subject, &format!("three copies, sent {} times", round + 1));
    }
}

fn copies_of_copies_are_told_apart(subject: &Subject) {
    let journal = JournalId::generate();
    let notices = Arc::new(Notices::default());
    // The third is a copy of the second, made when that had logged five of its events.
    let third = {
        let second = (2..=6).map(|seq| own_event(1, seq));
        let own = (7..=OWN + 1).map(|seq| own_event(2, seq));
        let events: Vec<_> = std::iter::once(plain_event(1)).chain(second).chain(own).collect();
        buffer(journal, 1, &events)
    };
    for _ in 0..2 {
        for rows in [&rows(journal, 0), &rows(journal, 1), &third] {
            assert_eq!(send(subject, &notices, rows, 0..rows.len()), rows.len());
        }
        let stored = (subject.read)();
        assert_eq!(stored.len(), 1 + 10 + 10 + 5, "a copy of a copy");
        has_unique_ids(subject);
    }
}

/// Delivers rows by a sink; how many of them the dataset has afterwards, as it says.
fn send(subject: &Subject, notices: &Arc<Notices>, rows: &RowBuffer, range: Range<usize>) -> usize {
    let adapter: Arc<dyn DatasetAdapter> =
        subject.reopen.as_ref().map_or_else(|| subject.adapter.clone(), |reopen| reopen());
    let registry = AdapterRegistry::default();
    registry.register("copies", adapter);
    let sink = SafetyEventSink::builder()
        .dataset_name("copies")
        .registry(Arc::new(registry))
        .fallback_path(None)
        .notices(notices.clone())
        .build();
    let outcome = sink.write(&rows.batch().slice(range));
    assert_eq!(outcome.error, None);
    usize::try_from(outcome.stored).unwrap_or(usize::MAX)
}

fn critical(notices: &Notices) -> usize {
    let taken = notices.take();
    taken
        .iter()
        .filter(|notice| (notice.level, notice.kind) == (Level::Critical, NoticeKind::Copied))
        .count()
}

fn has_unique_ids(subject: &Subject) {
    let mut ids = BTreeSet::new();
    for row in (subject.read)() {
        let id = row.id.expect("every row carries its journal and seq");
        assert!(ids.insert(id), "two rows have the id {id:?}");
    }
}

fn holds_each_once(subject: &Subject, what: &str) {
    let mut times: BTreeMap<(String, Timestamp), u32> = BTreeMap::new();
    for row in (subject.read)() {
        *times.entry((row.event.event_id, row.event.timestamp)).or_default() += 1;
    }
    let mut wanted = vec![plain_event(1)];
    wanted.extend((0..3).flat_map(|copy| (2..=OWN + 1).map(move |seq| own_event(copy, seq))));
    for event in &wanted {
        let stored = times.get(&(event.event_id.clone(), event.timestamp));
        assert_eq!(stored, Some(&1), "{what}: {} at {}", event.event_id, event.timestamp);
    }
    assert_eq!((times.len(), wanted.len()), (ALL, ALL), "{what}");
    has_unique_ids(subject);
}
