//! Looking for what dead processes left, and taking this worker's share of it.

use std::sync::Arc;
use std::time::Duration;

use super::super::adopt;
use super::super::branch::Branch;
use super::super::shared::{Shared, lock};
use super::{SCAN_EVERY, Worker};

/// How often it looks whether the journals of others have left room for those that it left out.
const ROOM_EVERY: Duration = Duration::from_millis(200);

impl Worker {
    /// Adopts what dead processes left.
    pub(super) fn scan(&mut self, shared: &Arc<Shared>, branch: &Branch, now: Duration) {
        self.take_shares(branch);
        let due = self.scan_due.is_some_and(|due| now >= due);
        let idle = self.orphans.is_empty();
        let goes_on = self.more_orphans && adopt::has_room(shared, idle);
        if !(due || goes_on) {
            return;
        }
        let config = &shared.config;
        if config.adopt {
            self.more_orphans = adopt::share_out(shared, due, idle);
            self.take_shares(branch);
        }
        if due {
            if config.adopt && config.medium.is_none() {
                branch.sink.find_own_files();
            }
            self.scan_due = (config.adopt && config.medium.is_none()).then_some(now + SCAN_EVERY);
        }
        // Where the journals of other loggers leave no room, nobody who flushes this one waits for it.
        let crowded = self.orphans.is_empty() && !adopt::has_room(shared, true);
        if !self.more_orphans || crowded {
            let request = self.request;
            shared.note(branch, |progress| progress.scanned = request);
        }
    }

    /// How long to wait before the next look, where there is nothing else to do.
    pub(super) fn next_scan(&self, now: Duration) -> Option<Duration> {
        let due = self.scan_due.map(|due| due.saturating_sub(now));
        if self.more_orphans { due.map(|due| due.min(ROOM_EVERY)) } else { due }
    }

    /// Takes what was adopted for it, by itself or by another branch's worker.
    pub(super) fn take_shares(&mut self, branch: &Branch) {
        let mut left = lock(&branch.left);
        if !left.is_empty() {
            self.orphans.extend(left.drain(..));
            drop(left);
            self.count_recovering(branch);
        }
    }
}
