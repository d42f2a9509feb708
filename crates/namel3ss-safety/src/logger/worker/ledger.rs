//! Writing down, in a journal's cursor and in the counters, how its events fare.

use std::sync::atomic::Ordering;

use super::super::lane::Lane;
use super::super::shared::Shared;
use crate::id::Seq;
use crate::journal::cursor::{Cursor, CursorState};
use crate::journal::store::Store;
use crate::notice::{Level, Notices};
use crate::sink::{Progress, Settled};
use crate::stats::Counters;

/// Writes down how a batch fares.
pub(super) struct Ledger<'a> {
    pub(super) cursor: &'a Cursor,
    pub(super) counters: &'a Counters,
    pub(super) notices: &'a Notices,
    /// Of this logger's own journal, not an orphan's.
    pub(super) own: bool,
}

impl Ledger<'_> {
    fn save(&mut self, change: impl FnOnce(&mut CursorState)) {
        let dropped = self.own.then(|| self.counters.dropped());
        let unsequenced = self.counters.unsequenced.load(Ordering::Acquire);
        let saved = self.cursor.save(|state| {
            change(state);
            if let Some(dropped) = dropped {
                state.dropped = dropped;
                state.unsequenced = unsequenced;
            }
        });
        if let Err(error) = saved {
            // It holds in memory. A crash now resends a batch, which adapters know how to take.
            let text = format!("the cursor can't be written: {error}");
            self.notices.say(Level::Warning, "journal", text);
        }
    }

    /// Everything up to `last` has settled, whatever has become of it.
    pub(super) fn settle_through(&mut self, last: Seq) {
        if self.cursor.state().acked < last {
            self.save(|state| {
                state.acked = last;
                state.frozen = (Seq(0), Seq(0));
            });
        }
    }
}

impl Progress for Ledger<'_> {
    fn freeze(&mut self, first: Seq, last: Seq) {
        self.save(|state| state.frozen = (first, last));
    }

    fn settled(&mut self, _first: Seq, last: Seq, rows: u64, how: &Settled) {
        let stored = matches!(how, Settled::Stored);
        self.save(|state| {
            state.acked = state.acked.max(last);
            if stored {
                state.flushed += rows;
            } else {
                state.fallback += rows;
            }
        });
        let count = match (self.own, stored) {
            (true, true) => &self.counters.flushed,
            (true, false) => &self.counters.fallback,
            (false, _) => &self.counters.recovered,
        };
        count.fetch_add(rows, Ordering::AcqRel);
    }
}

/// Writes down what the overflow strategy took since the last look; called with no batch on its
/// way, so that whatever lies between is dropped.
pub(in crate::logger) fn settle_dropped(shared: &Shared, lane: &Lane) {
    let acked = lane.cursor.state().acked;
    let front = lane.cursor.front();
    lane.forget_voids(front);
    if acked.next() >= front {
        return;
    }
    let last = Seq(front.0 - 1);
    let (counters, notices) = (&shared.counters, &shared.config.notices);
    Ledger { cursor: &lane.cursor, counters, notices, own: true }.settle_through(last);
    trim(shared, lane.journal.store(), &lane.cursor);
}

/// Removes the segments that the cursor has passed, once its file says so too.
pub(super) fn trim(shared: &Shared, store: &Store, cursor: &Cursor) {
    if store.can_trim(cursor.state().acked.next())
        && let Ok(acked) = cursor.written(shared.config.options.durability)
    {
        store.trim(acked.next());
    }
}
