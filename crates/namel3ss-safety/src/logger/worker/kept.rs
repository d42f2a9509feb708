//! A batch that neither its dataset nor a fallback file takes, and what is dropped behind it.

use std::sync::atomic::Ordering;

use super::ledger::Ledger;
use super::{Origin, Worker};
use crate::clock::Timestamp;
use crate::id::Seq;
use crate::journal::{DropReason, Gap};
use crate::logger::branch::Branch;
use crate::logger::choices::OverflowStrategy;
use crate::logger::shared::Shared;

impl Worker {
    /// Gives up what is left of a batch that is kept, once `drop_oldest` has dropped as much behind
    /// it as the backlog may hold: segments go in the order of their seqs, and the disk would fill up
    /// for the sake of the few events in front. Whether it did.
    pub(super) fn give_up_kept(&mut self, shared: &Shared, branch: &Branch) -> bool {
        let config = &shared.config;
        let Some(flight) = self.flight.take_if(|flight| {
            let Origin::Lane(index) = flight.from else { return false };
            let Some(lane) = shared.lanes().nth(index) else { return false };
            let cursor = &branch.reader(lane).cursor;
            let (acked, front) = (cursor.state().acked, cursor.front());
            let held = || {
                let all = lane.journal.bytes_from(acked.next());
                all.saturating_sub(lane.journal.bytes_from(front))
            };
            flight.kept
                && config.overflow == OverflowStrategy::DropOldest
                && front > flight.last.next()
                && held() >= config.backlog_bytes_max
        }) else {
            return false;
        };
        let Origin::Lane(index) = flight.from else { return false };
        let Some(lane) = shared.lanes().nth(index) else { return false };
        let reader = branch.reader(lane);
        let (first, last) = (reader.cursor.state().acked.next(), flight.last);
        let left = flight.state.unsettled();
        // Some of it may have landed behind what did not.
        branch.counters.flushed.fetch_add(left.stored, Ordering::AcqRel);
        branch.counters.fallback.fetch_add(left.filed, Ordering::AcqRel);
        branch.counters.give_up(DropReason::DropOldest, left.nowhere);
        if let Some(merged) = &lane.merged {
            merged.give_up(first, last, Some(DropReason::DropOldest));
        }
        Ledger::of_lane(shared, branch, lane).settle_kept(last, &left);
        if left.nowhere > 0 {
            let (reason, at) = (DropReason::DropOldest, Timestamp::now());
            let seqs: (Seq, Seq) = (first, last);
            lane.journal.push_gap(Gap { reason, events: left.nowhere, seqs, at });
        }
        true
    }
}
