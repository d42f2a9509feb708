//! Writing down, in a journal's cursor and in the counters, how its events fare with one sink.

use std::sync::atomic::Ordering;

use super::super::branch::Branch;
use super::super::lane::Lane;
use super::super::merged::{Fate, Merged};
use super::super::shared::Shared;
use crate::batch::Batch;
use crate::id::Seq;
use crate::journal::cursor::{Cursor, CursorState};
use crate::journal::store::Store;
use crate::notice::Level;
use crate::sink::{Progress, Settled};

/// Writes down how a batch fares.
pub(super) struct Ledger<'a> {
    shared: &'a Shared,
    branch: &'a Branch,
    cursor: &'a Cursor,
    /// This logger's own journal; `None` for an orphan.
    lane: Option<&'a Lane>,
    batch: Option<Batch<'a>>,
}

impl<'a> Ledger<'a> {
    pub(super) fn of_orphan(shared: &'a Shared, branch: &'a Branch, cursor: &'a Cursor) -> Self {
        Self { shared, branch, cursor, lane: None, batch: None }
    }

    pub(super) fn of_lane(shared: &'a Shared, branch: &'a Branch, lane: &'a Lane) -> Self {
        let cursor = &branch.reader(lane).cursor;
        Self { shared, branch, cursor, lane: Some(lane), batch: None }
    }

    /// The batch that is on its way.
    pub(super) fn with(self, batch: Batch<'a>) -> Self {
        Self { batch: Some(batch), ..self }
    }

    fn save(&self, change: impl FnOnce(&mut CursorState)) {
        let saved = self.cursor.save(|state| {
            change(state);
            if let Some(lane) = self.lane {
                let (unsequenced, refused) = lane.refused();
                let given_up = self.branch.reader(lane).dropped();
                state.dropped = std::array::from_fn(|reason| refused[reason] + given_up[reason]);
                state.unsequenced = unsequenced;
            }
        });
        self.branch.set_saved(saved.is_ok());
        if let Err(error) = saved {
            // It holds in memory. A crash now resends a batch, which adapters know how to take.
            let text = format!("the cursor can't be written: {error}");
            self.shared.config.notices.say(Level::Warning, "journal", text);
        }
    }

    /// Everything up to `last` has settled, whatever has become of it.
    pub(super) fn settle_through(&mut self, last: Seq) {
        if self.cursor.state().acked < last {
            self.save(|state| {
                state.acked = last;
                state.frozen = (Seq(0), Seq(0));
            });
            self.merge(last, Fate::Gone);
        }
    }

    fn merge(&self, last: Seq, fate: Fate) {
        if let Some(merged) = self.lane.and_then(|lane| lane.merged.as_ref()) {
            merged.settle(self.branch.index, last, fate);
        }
    }

    /// What has no row between the rows `first..=last`, and before them, is gone.
    fn merge_rows(&self, merged: &Merged, acked: Seq, (first, last): (Seq, Seq), fate: Fate) {
        let Some(batch) = self.batch else { return };
        let sink = self.branch.index;
        if first.0 > acked.0 + 1 {
            merged.settle(sink, Seq(first.0 - 1), Fate::Gone);
        }
        let mut expected = first;
        for seq in batch.seqs().filter(|seq| (first..=last).contains(seq)) {
            if seq > expected {
                // Up to the hole, and then the hole.
                merged.settle(sink, Seq(expected.0 - 1), fate);
                merged.settle(sink, Seq(seq.0 - 1), Fate::Gone);
            }
            expected = seq.next();
        }
        merged.settle(sink, last, fate);
    }
}

impl Progress for Ledger<'_> {
    fn freeze(&mut self, first: Seq, last: Seq) {
        self.save(|state| state.frozen = (first, last));
    }

    fn settled(&mut self, first: Seq, last: Seq, rows: u64, how: &Settled) {
        let stored = matches!(how, Settled::Stored);
        let acked = self.cursor.state().acked;
        self.save(|state| {
            state.acked = state.acked.max(last);
            if stored {
                state.flushed += rows;
            } else {
                state.fallback += rows;
            }
        });
        let counters = &self.branch.counters;
        let count = match (self.lane, stored) {
            (Some(_), true) => &counters.flushed,
            (Some(_), false) => &counters.fallback,
            (None, _) => &counters.recovered,
        };
        count.fetch_add(rows, Ordering::AcqRel);
        if let Some(merged) = self.lane.and_then(|lane| lane.merged.as_ref()) {
            let fate = if stored { Fate::Flushed } else { Fate::Filed };
            self.merge_rows(merged, acked, (first, last), fate);
        }
    }
}

/// Writes down what the overflow strategy took from a sink since the last look; called with none of
/// its batches on the way, so that whatever lies between is dropped.
pub(in crate::logger) fn settle_dropped(shared: &Shared, branch: &Branch, lane: &Lane) {
    let cursor = &branch.reader(lane).cursor;
    let acked = cursor.state().acked;
    let front = cursor.front();
    lane.forget_voids(lane.front());
    if acked.next() >= front {
        return;
    }
    Ledger::of_lane(shared, branch, lane).settle_through(Seq(front.0 - 1));
}

/// Writes down what the overflow strategy took while a batch is on its way, once that lets a segment
/// go: the next run then resends the batch, and goes on behind what was dropped.
pub(in crate::logger) fn save_dropped(shared: &Shared, branch: &Branch, lane: &Lane) {
    let cursor = &branch.reader(lane).cursor;
    let behind = |cursor: &Cursor| (cursor.on_its_way().next(), cursor.front());
    let (first, next) = behind(cursor);
    let known = cursor.state().skip.1;
    if next <= first.max(known) {
        return;
    }
    let store = lane.journal.store();
    // Other sinks may need them; that is looked at when they are removed.
    if store.can_trim(|from, last| first <= from && last < next && last >= known) {
        Ledger::of_lane(shared, branch, lane).save(|_| {});
    }
}

/// Removes the segments of a journal of this logger that no sink needs any more. Where power cuts count
/// it waits for storage.
pub(in crate::logger) fn trim_lane(shared: &Shared, lane: &Lane) {
    trim(shared, lane.journal.store(), || lane.readers.iter().map(|reader| &*reader.cursor));
}

/// As [`save_dropped`], also of what lets no segment go: the process ends.
pub(in crate::logger) fn save_all_dropped(shared: &Shared, branch: &Branch, lane: &Lane) {
    let cursor = &branch.reader(lane).cursor;
    if cursor.front() > cursor.on_its_way().next() {
        Ledger::of_lane(shared, branch, lane).save(|_| {});
    }
}

/// Removes the segments that no cursor needs any more, once their files say so too.
pub(super) fn trim<'a, C>(shared: &Shared, store: &Store, cursors: impl Fn() -> C)
where
    C: Iterator<Item = &'a Cursor>,
{
    let is_done = |states: &[CursorState], first: Seq, last: Seq| {
        states.iter().all(|state| state.are_settled(first, last))
    };
    let states: Vec<CursorState> = cursors().map(Cursor::state).collect();
    if !store.can_trim(|first, last| is_done(&states, first, last)) {
        return;
    }
    let durability = shared.config.options.durability;
    let written: std::io::Result<Vec<CursorState>> =
        cursors().map(|cursor| cursor.written(durability)).collect();
    if let Ok(written) = written {
        store.trim(|first, last| is_done(&written, first, last));
    }
}
