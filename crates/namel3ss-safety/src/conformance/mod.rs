//! The suite that every dataset adapter passes: ours, a user's, a Python one; and the adapters that
//! misbehave on purpose, for tests of whatever stands above an adapter.
//!
//! ```
//! use namel3ss_safety::MemoryAdapter;
//! use namel3ss_safety::ReadRow;
//! use namel3ss_safety::conformance::{Subject, run};
//! use std::sync::Arc;
//! run(|| {
//!     let memory = Arc::new(MemoryAdapter::default());
//!     let rows = memory.clone();
//!     Subject::new(memory, move || {
//!         rows.rows().into_iter().map(|r| ReadRow { id: Some((r.journal, r.seq)), event: r.event }).collect()
//!     })
//! });
//! ```

mod subject;
mod misbehaving;
mod rows;
mod copies;

pub use self::copies::copies;
pub use self::misbehaving::{FailAlways, FailOnRow, FailTimes, Slow, StoresButReportsFailure};
pub use self::rows::{buffer, hostile_events, plain_event, same_event};
pub use self::subject::Subject;

use crate::adapter::{DatasetAdapter as _, Failure};
use crate::batch::{Durability, RowBuffer};
use crate::id::{JournalId, Seq};

/// Runs every check, each on a dataset of its own.
///
/// # Panics
/// On the first check that the adapter does not pass, saying which.
pub fn run(make: impl Fn() -> Subject) {
    every_text_and_number_reads_back(&make());
    a_batch_sent_again_is_stored_once(&make());
    batches_may_overlap_and_come_out_of_order(&make());
    journals_may_interleave(&make());
    empty_and_large_batches_are_stored(&make());
    two_adapters_share_a_dataset(&make());
    identity_is_stable(&make());
    threads_may_insert_at_once(&make());
    power_is_as_good_as_process(&make());
    failures_lose_and_repeat_nothing(&make);
}

fn every_text_and_number_reads_back(subject: &Subject) {
    let journal = JournalId::generate();
    let events = hostile_events();
    let rows = buffer(journal, 1, &events);
    subject.insert(&rows);
    let mut read = (subject.read)();
    read.sort_by_key(|row| row.id);
    assert_eq!(read.len(), events.len(), "each hostile row is there once");
    for (sent, read) in rows.batch().rows().zip(read) {
        assert_eq!(read.id, Some((sent.journal, sent.seq)));
        let sent = sent.event.to_event();
        assert!(same_event(&sent, &read.event), "sent {sent:?}\nread {:?}", read.event);
    }
}

fn a_batch_sent_again_is_stored_once(subject: &Subject) {
    let journal = JournalId::generate();
    let rows = rows::plain(journal, 1..=50);
    (0..3).for_each(|_| subject.insert(&rows));
    subject.holds("the same batch three times", &[(journal, &[1..=50])]);
}

fn batches_may_overlap_and_come_out_of_order(subject: &Subject) {
    let journal = JournalId::generate();
    subject.insert(&rows::plain(journal, 101..=200));
    subject.insert(&rows::plain(journal, 1..=100));
    let rows = rows::plain(journal, 190..=260);
    for range in [0..30, 20..70, 69..71, 0..71] {
        subject.adapter.insert(&rows.batch().slice(range)).expect("a part of a batch is a batch");
    }
    subject.insert(&rows::plain(journal, 300..=310));
    subject.insert(&rows::plain(journal, 250..=320));
    subject.holds("overlapping batches out of order", &[(journal, &[1..=320])]);
}

fn journals_may_interleave(subject: &Subject) {
    let journals: Vec<JournalId> = (0..5).map(|_| JournalId::generate()).collect();
    for first in [1_u64, 11, 21] {
        for journal in &journals {
            subject.insert(&rows::plain(*journal, first..=first + 9));
        }
    }
    for journal in &journals {
        subject.insert(&rows::plain(*journal, 1..=30));
    }
    let runs = [1..=30];
    let expected: Vec<_> = journals.iter().map(|id| (*id, &runs[..])).collect();
    subject.holds("interleaved journals", &expected);
}

fn empty_and_large_batches_are_stored(subject: &Subject) {
    let journal = JournalId::generate();
    subject.insert(&RowBuffer::new(journal));
    subject.holds("an empty batch", &[]);
    subject.insert(&rows::plain(journal, 1..=10_000));
    subject.insert(&RowBuffer::new(journal));
    subject.holds("a large batch", &[(journal, &[1..=10_000])]);
}

fn two_adapters_share_a_dataset(subject: &Subject) {
    let Some(reopen) = &subject.reopen else { return };
    let journal = JournalId::generate();
    let other = reopen();
    assert_eq!(other.identity(), subject.adapter.identity(), "one dataset has one identity");
    for first in [1_u64, 21, 41] {
        subject.insert(&rows::plain(journal, first..=first + 9));
        let rows = rows::plain(journal, first..=first + 19);
        other.insert(&rows.batch()).expect("a second adapter may insert");
    }
    let third = reopen();
    third.insert(&rows::plain(journal, 1..=60).batch()).expect("a third adapter may insert");
    subject.holds("three adapters of one dataset", &[(journal, &[1..=60])]);
}

fn identity_is_stable(subject: &Subject) {
    let before = subject.adapter.identity();
    assert!(!before.is_empty());
    subject.insert(&rows::plain(JournalId::generate(), 1..=1));
    assert_eq!(subject.adapter.identity(), before, "the identity must not change");
}

fn threads_may_insert_at_once(subject: &Subject) {
    let journals: Vec<JournalId> = (0..4).map(|_| JournalId::generate()).collect();
    std::thread::scope(|scope| {
        for at in 0..journals.len() {
            let (journals, adapter) = (&journals, &subject.adapter);
            scope.spawn(move || {
                for first in (1_u64..=91).step_by(10) {
                    // Its own journal, and its neighbour's, who sends the same.
                    for journal in [journals[at], journals[(at + 1) % journals.len()]] {
                        let rows = rows::plain(journal, first..=first + 9);
                        adapter.insert(&rows.batch()).expect("threads may insert at once");
                    }
                }
            });
        }
    });
    let runs = [1..=100];
    let expected: Vec<_> = journals.iter().map(|id| (*id, &runs[..])).collect();
    subject.holds("four threads", &expected);
}

fn power_is_as_good_as_process(subject: &Subject) {
    let journal = JournalId::generate();
    let mut rows = RowBuffer::new(journal);
    rows.reset(journal, Durability::Power);
    (1..=20).for_each(|seq| rows.push_event(Seq(seq), &plain_event(seq)));
    (0..2).for_each(|_| subject.insert(&rows));
    subject.insert(&rows::plain(journal, 10..=30));
    subject.holds("power, then process", &[(journal, &[1..=30])]);
}

fn failures_lose_and_repeat_nothing(make: &impl Fn() -> Subject) {
    let journal = JournalId::generate();
    let rows = rows::plain(journal, 1..=20);

    let subject = make();
    let failing = FailTimes::new(subject.adapter.clone(), 2);
    let results = [(); 4].map(|()| failing.insert(&rows.batch()).is_ok());
    assert_eq!(results, [false, false, true, true]);
    subject.holds("two failures, then a success", &[(journal, &[1..=20])]);

    let subject = make();
    assert!(FailAlways::new(subject.adapter.clone()).insert(&rows.batch()).is_err());
    subject.holds("nothing but failure", &[]);

    let subject = make();
    let lying = StoresButReportsFailure::new(subject.adapter.clone(), 1);
    assert!(lying.insert(&rows.batch()).is_err());
    lying.insert(&rows.batch()).expect("the second time it says the truth");
    subject.holds("stored, reported as failed, sent again", &[(journal, &[1..=20])]);

    let subject = make();
    let picky = FailOnRow::new(subject.adapter.clone(), |row| row.seq.0 == 7);
    let error = picky.insert(&rows.batch()).expect_err("a poison row fails its batch");
    assert_eq!(*error.failure(), Failure::Poison(vec![6]));
    for part in [rows.batch().slice(0..6), rows.batch().slice(7..20)] {
        picky.insert(&part).expect("the other rows are stored");
    }
    subject.holds("a poison row, left out", &[(journal, &[1..=6, 8..=20])]);

    let subject = make();
    let slow = Slow::new(subject.adapter.clone(), std::time::Duration::from_millis(1));
    assert_eq!(slow.identity(), subject.adapter.identity());
    slow.insert(&rows.batch()).expect("slow is not broken");
    subject.holds("a slow dataset", &[(journal, &[1..=20])]);
}
