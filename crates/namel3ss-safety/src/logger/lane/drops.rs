//! What a lane gives up, and how it is counted: each event once, with a gap record.

use std::sync::atomic::Ordering;

use super::{Ground, Lane};
use crate::clock::Timestamp;
use crate::id::Seq;
use crate::journal::{AppendError, DropReason, Gap};
use crate::locks::lock;
use crate::logger::reader::Reader;

impl Lane {
    pub(in crate::logger) fn void(&self, error: &AppendError) {
        if let Some(seq) = error.void {
            lock(&self.voids).push(seq);
            if let Some(merged) = &self.merged {
                // Counted among what was dropped before any sink had a say.
                merged.give_up(seq, seq, None);
            }
            let at = Timestamp::now();
            let reason = DropReason::JournalFull;
            self.journal.push_gap(Gap { reason, events: 1, seqs: (seq, seq), at });
        }
    }

    /// Counts an event that never got a seq.
    pub(in crate::logger) fn drop_unsequenced(&self, reason: DropReason) {
        // The order matters to whoever adds up: dropped never exceeds logged.
        self.counters.unsequenced.fetch_add(1, Ordering::AcqRel);
        self.own.unsequenced.fetch_add(1, Ordering::AcqRel);
        self.give_up(reason);
        let seqs = (Seq(0), Seq(0));
        self.journal.push_gap(Gap { reason, events: 1, seqs, at: Timestamp::now() });
    }

    /// Counts an event that no sink will have.
    pub(in crate::logger) fn give_up(&self, reason: DropReason) {
        self.own.give_up(reason, 1);
        self.counters.give_up(reason, 1);
    }

    /// Events of this journal that no sink had a say in: those that never got a seq, and what was
    /// dropped, by reason.
    pub(in crate::logger) fn refused(&self) -> (u64, [u64; DropReason::ALL.len()]) {
        (self.own.unsequenced.load(Ordering::Acquire), self.own.dropped())
    }

    /// Gives up the `events` oldest, but never the `keep` newest, each for every sink whose worker has
    /// not taken it; how many there were.
    pub(in crate::logger) fn drop_oldest(&self, events: u64, keep: u64) -> u64 {
        let last = self.journal.last();
        let Some(front) = self.dropping().map(|reader| reader.cursor.front()).min() else {
            return 0;
        };
        let next = Seq((front.0 + events).min((last.0 + 1).saturating_sub(keep)).max(front.0));
        let mut from = next;
        for reader in self.dropping() {
            let first = Seq(next.0 - reader.cursor.take_before(next));
            reader.give_up(DropReason::DropOldest, self.events_in(first, next));
            self.make_up(reader, first, next);
            from = from.min(first);
        }
        if from == next {
            return 0;
        }
        let (reason, seqs) = (DropReason::DropOldest, (from, Seq(next.0 - 1)));
        if let Some(merged) = &self.merged {
            merged.give_up(seqs.0, seqs.1, Some(reason));
        }
        let events = self.events_in(from, next);
        if events > 0 {
            self.journal.push_gap(Gap { reason, events, seqs, at: Timestamp::now() });
        }
        events
    }

    /// Dispatches as many of the buffer as were dropped of the backlog: else the buffer would stay over
    /// its size, and every further event would push out one more than the one before.
    fn make_up(&self, reader: &Reader, first: Seq, next: Seq) {
        let dispatched = reader.dispatched();
        if first < next && dispatched >= first {
            let of_backlog = dispatched.0.min(next.0 - 1) + 1 - first.0;
            // Never beyond the last event: on a full disk one event pushes out many, and a mark
            // ahead of what was logged once hid the events that came after from the worker.
            let upto = (dispatched.0 + of_backlog).min(self.journal.last().0);
            self.dispatch_to(reader, Seq(upto));
        }
    }

    /// Gives up for good what only memory has, because the logger goes; how many events that were.
    pub(in crate::logger) fn lose(&self) -> u64 {
        if self.ground() != Ground::Memory {
            return 0;
        }
        let last = self.journal.last();
        // What comes later is counted later.
        let known = Seq(self.lost.fetch_max(last.0, Ordering::AcqRel));
        let (reason, mut from) = (DropReason::NotPersisted, last.next());
        for reader in &self.readers {
            let first = reader.cursor.state().acked.max(known).next();
            if first <= last {
                reader.give_up(reason, self.events_in(first, last.next()));
                from = from.min(first);
            }
        }
        if from > last {
            return 0;
        }
        if let Some(merged) = &self.merged {
            merged.give_up(from, last, Some(reason));
        }
        self.events_in(from, last.next())
    }

    /// How many events there are from `from` up to, not including, `next`: a seq whose event could
    /// not be written was counted when that happened.
    fn events_in(&self, from: Seq, next: Seq) -> u64 {
        let voids = lock(&self.voids);
        let voids = voids.iter().filter(|void| (from..next).contains(*void)).count();
        (next.0 - from.0).saturating_sub(voids as u64)
    }

    /// Those for whom the oldest events are dropped: of several, where it is for the sake of the
    /// backlog, those whose own is at the limit.
    fn dropping(&self) -> impl Iterator<Item = &Reader> {
        let some_full = self.readers.iter().any(Reader::is_full);
        self.readers.iter().filter(move |reader| !some_full || reader.is_full())
    }

    /// Forgets the voids before `front`: nobody will ask for them any more.
    pub(in crate::logger) fn forget_voids(&self, front: Seq) {
        lock(&self.voids).retain(|void| *void >= front);
    }
}
