//! An event that the journal can't take, because its disk is full or failing.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Accepted, Closed, Lane, Patience, ROOM_POLL};
use crate::journal::{AppendError, DropReason};
use crate::logger::Logged;
use crate::logger::choices::OverflowStrategy;
use crate::logger::host::Host;

/// How many old events one new one may push out where the disk is full, and for how long it tries.
const PUSH_OUT_MAX: u32 = 4096;
const PUSH_OUT_TIME: Duration = Duration::from_millis(250);
/// For how long after such a try has failed others are shorter.
const REFUSED_NANOS: u64 = 100_000_000;

impl Lane {
    /// Neither the ring nor a spill file took it: the disk is full or failing.
    #[cold]
    pub(super) fn accept_full(
        &self,
        payload: &[u8],
        error: AppendError,
        patience: Patience,
        host: &dyn Host,
    ) -> Accepted {
        let is_closed = |error: &AppendError| error.void.is_none() && self.journal.is_closed();
        if is_closed(&error) {
            return Err(Closed);
        }
        host.journal_full(&error.error);
        if is_closed(&error) {
            return Err(Closed);
        }
        self.void(&error);
        if error.error.kind() == io::ErrorKind::OutOfMemory && error.void.is_none() {
            // What waits in the journal takes none of it, and need not make room.
            self.drop_unsequenced(DropReason::JournalFull);
            host.dropped(DropReason::JournalFull);
            return Ok(Some(Logged::Dropped(DropReason::JournalFull)));
        }
        if error.void.is_some() {
            // Its seq is used up: it counts as logged, and as dropped.
            self.give_up(DropReason::JournalFull);
            host.dropped(DropReason::JournalFull);
            return Ok(Some(Logged::Dropped(DropReason::JournalFull)));
        }
        let mut waited = 0_u32;
        let began = Instant::now();
        // Where all that could be tried has just failed, the next call need not try it again.
        let since = self.refused_at.load(Ordering::Relaxed);
        let since =
            since > 0 && began.duration_since(self.born).as_nanos() as u64 <= since + REFUSED_NANOS;
        loop {
            match self.overflow {
                OverflowStrategy::DropNewest => break,
                OverflowStrategy::DropOldest => {
                    waited += 1;
                    let late = waited > PUSH_OUT_MAX || began.elapsed() >= PUSH_OUT_TIME;
                    if late || (since && waited > 1) || self.drop_oldest(1, 0) == 0 {
                        break;
                    }
                    host.dropped(DropReason::DropOldest);
                    // Dropped frames leave the ring without being written.
                    let _ = self.journal.try_drain(self.front());
                }
                OverflowStrategy::Block => {
                    let alone = host.is_delivering() || (waited > 0 && !host.has_worker());
                    if host.is_closing() || alone {
                        break;
                    }
                    if patience != Patience::Wait {
                        return Ok(None);
                    }
                    waited = 1;
                    if host.has_worker() {
                        std::thread::sleep(ROOM_POLL);
                        let _ = self.journal.try_drain(self.front());
                    } else {
                        host.deliver_now();
                    }
                }
            }
            match self.journal.append(payload) {
                Ok(seq) => return Ok(Some(self.logged(seq))),
                Err(error) if error.void.is_some() => {
                    self.void(&error);
                    self.give_up(DropReason::JournalFull);
                    host.dropped(DropReason::JournalFull);
                    return Ok(Some(Logged::Dropped(DropReason::JournalFull)));
                }
                Err(error) if is_closed(&error) => return Err(Closed),
                Err(_) => {}
            }
        }
        let now = self.born.elapsed().as_nanos() as u64;
        self.refused_at.store(now.max(1), Ordering::Relaxed);
        self.drop_unsequenced(DropReason::JournalFull);
        host.dropped(DropReason::JournalFull);
        Ok(Some(Logged::Dropped(DropReason::JournalFull)))
    }
}
