//! How an event gets into the active journal: the usual way, and what is done where the buffer, the
//! backlog or the disk is full.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::flush;
use super::journals::{Lane, ROOM_POLL};
use super::state::Shared;
use crate::id::Seq;
use crate::journal::{AppendError, DropReason};
use crate::notice::{Level, NoticeKind};
use crate::overflow::OverflowStrategy;

/// What became of an event; there is no error, by design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// It is in a file: it survives the process.
    Journaled(Seq),
    /// It is in memory: it survives as long as the process.
    Buffered(Seq),
    /// It is not kept, and counted.
    Dropped(DropReason),
}

/// Whether the caller can wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as the strategy says.
    Wait,
    /// Not at all: it does something else then.
    Refuse,
    /// Not at all: the journal takes the event beyond its limit.
    Overfill,
}

/// Why an event is not simply appended.
#[derive(Debug)]
enum Refused {
    /// Something must be looked at first.
    Gated,
    /// The journal can't take it.
    Full(AppendError),
}

/// The journal takes no more events: another one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Closed;

/// What became of an event; `None` where it would have to wait, and may not.
type Accepted = Result<Option<Logged>, Closed>;

/// From which wait on a caller that may not wait is refused.
const REFUSE_FROM: Duration = Duration::from_millis(1);
/// How often those who log look at the limit while nobody else comes to it: every so many events, and
/// at each large one.
const LOOK_EVERY: u64 = 64;
const LARGE_BYTES: usize = 4096;
/// How many old events one new one may push out where the disk is full, and for how long it tries.
const PUSH_OUT_MAX: u32 = 4096;
const PUSH_OUT_TIME: Duration = Duration::from_millis(250);

impl Shared {
    /// Puts one payload into the journal.
    #[inline]
    pub(super) fn accept(self: &Arc<Self>, payload: &[u8], patience: Patience) -> Option<Logged> {
        let lane = match self.lane() {
            Some(lane) => lane,
            None => self.open_lane(),
        };
        match self.append(lane, payload) {
            Ok(seq) => Some(logged(lane, seq)),
            Err(refused) => self.accept_refused(lane, refused, payload, patience),
        }
    }

    /// Appends where nothing need be looked at. The usual way in, which gives a seq alone: a larger
    /// result would be written and read again, for 5 ns.
    #[inline]
    fn append(self: &Arc<Self>, lane: &Lane, payload: &[u8]) -> Result<Seq, Refused> {
        if lane.is_gated() {
            return Err(Refused::Gated);
        }
        let seq = lane.journal.append(payload).map_err(Refused::Full)?;
        if lane.fills(seq) {
            self.buffer_full();
            self.look_now_and_then(seq, payload);
        }
        Ok(seq)
    }

    /// Where a journal was closed meanwhile, the next one was there before, and has room.
    #[cold]
    fn accept_refused<'a>(
        self: &'a Arc<Self>,
        mut lane: &'a Lane,
        mut refused: Refused,
        payload: &[u8],
        patience: Patience,
    ) -> Option<Logged> {
        loop {
            let accepted = match refused {
                Refused::Gated => self.accept_gated(lane, payload, patience),
                Refused::Full(error) => self.accept_full(lane, payload, error, patience),
            };
            if let Ok(logged) = accepted {
                return logged;
            }
            lane = self.open_lane();
            refused = match self.append(lane, payload) {
                Ok(seq) => return Some(logged(lane, seq)),
                Err(again) => again,
            };
        }
    }

    #[cold]
    fn accept_gated(self: &Arc<Self>, lane: &Lane, payload: &[u8], patience: Patience) -> Accepted {
        // An adapter that logs in the midst of a delivery must neither wait for the worker, which
        // waits for it, nor keep the logger from stopping.
        let within_delivery = self.is_delivering_here();
        if self.life.wants_start() && !within_delivery {
            self.start();
        }
        match patience {
            Patience::Wait if !within_delivery => lane.hold_up(),
            Patience::Refuse
                if !within_delivery && !lane.is_shut() && lane.wait() >= REFUSE_FROM =>
            {
                return Ok(None);
            }
            _ => {}
        }
        let mut admission = lane.admission();
        loop {
            if lane.journal.is_closed() {
                return Err(Closed);
            }
            // Started, with room: the worker will come for it.
            if !lane.is_shut() || lane.buffered() < lane.buffer_size {
                break;
            }
            match lane.overflow {
                OverflowStrategy::DropNewest => {
                    return Ok(Some(self.refuse(lane, DropReason::DropNewest)));
                }
                OverflowStrategy::DropOldest => break,
                OverflowStrategy::Block if patience == Patience::Overfill => break,
                // An adapter that logs: nobody else can make room while it waits.
                OverflowStrategy::Block if within_delivery => break,
                OverflowStrategy::Block if patience == Patience::Refuse => return Ok(None),
                OverflowStrategy::Block if !self.has_worker() => {
                    drop(admission);
                    let _ = flush::flush(self, None);
                    admission = lane.admission();
                    // What could not be delivered stays where it was: the journal takes this one too.
                    break;
                }
                OverflowStrategy::Block => {
                    self.buffer_full();
                    admission = lane.wait_for_room(admission);
                }
            }
        }
        let beyond = patience == Patience::Overfill && lane.buffered() >= lane.buffer_size;
        if beyond && lane.overflow == OverflowStrategy::Block && !self.has_worker() {
            // Who waits for this delivers what was buffered before, and not this event.
            lane.dispatch(lane.journal.last());
        }
        match lane.journal.append(payload) {
            Ok(seq) => {
                let over = lane.buffered() > lane.buffer_size;
                if lane.is_shut() && over && lane.overflow == OverflowStrategy::DropOldest {
                    // One new event costs one old one, however many were accepted beyond the limit.
                    if lane.drop_oldest(1, lane.buffer_size) > 0 {
                        self.say_first_drop(DropReason::DropOldest);
                    }
                }
                if self.life.is_started() && lane.buffered() >= lane.buffer_size {
                    self.buffer_full();
                }
                self.look_now_and_then(seq, payload);
                Ok(Some(logged(lane, seq)))
            }
            Err(error) => {
                drop(admission);
                self.accept_full(lane, payload, error, patience)
            }
        }
    }

    /// Neither the ring nor a spill file took it: the disk is full or failing.
    #[cold]
    fn accept_full(
        self: &Arc<Self>,
        lane: &Lane,
        payload: &[u8],
        error: AppendError,
        patience: Patience,
    ) -> Accepted {
        let is_closed = |error: &AppendError| error.void.is_none() && lane.journal.is_closed();
        if is_closed(&error) {
            return Err(Closed);
        }
        self.journal_full(&error.error);
        if is_closed(&error) {
            return Err(Closed);
        }
        if error.void.is_some() {
            return Ok(Some(self.lose_seq(lane, &error)));
        }
        if error.error.kind() == io::ErrorKind::OutOfMemory {
            // What waits in the journal takes none of it, and need not make room.
            return Ok(Some(self.refuse(lane, DropReason::JournalFull)));
        }
        let began = Instant::now();
        // Where all that could be tried has just failed, the next call need not try it again.
        let tries_max = if lane.has_just_refused() { 1 } else { PUSH_OUT_MAX };
        let mut tries = 0;
        loop {
            match lane.overflow {
                OverflowStrategy::DropNewest => break,
                OverflowStrategy::DropOldest => {
                    let late = tries >= tries_max || began.elapsed() >= PUSH_OUT_TIME;
                    if late || lane.drop_oldest(1, 0) == 0 {
                        break;
                    }
                    self.say_first_drop(DropReason::DropOldest);
                    // Dropped frames leave the ring without being written.
                    let _ = lane.journal.try_drain(lane.front());
                }
                OverflowStrategy::Block => {
                    let alone = self.is_delivering_here() || (tries > 0 && !self.has_worker());
                    if self.closing.load(Ordering::Acquire) || alone {
                        break;
                    }
                    if patience != Patience::Wait {
                        return Ok(None);
                    }
                    if self.has_worker() {
                        std::thread::sleep(ROOM_POLL);
                        let _ = lane.journal.try_drain(lane.front());
                    } else {
                        let _ = flush::flush(self, None);
                    }
                }
            }
            tries += 1;
            match lane.journal.append(payload) {
                Ok(seq) => return Ok(Some(logged(lane, seq))),
                Err(error) if error.void.is_some() => return Ok(Some(self.lose_seq(lane, &error))),
                Err(error) if is_closed(&error) => return Err(Closed),
                Err(_) => {}
            }
        }
        lane.refuses();
        Ok(Some(self.refuse(lane, DropReason::JournalFull)))
    }

    /// Drops an event that has no seq.
    fn refuse(&self, lane: &Lane, reason: DropReason) -> Logged {
        lane.drop_unsequenced(reason);
        self.say_first_drop(reason);
        Logged::Dropped(reason)
    }

    /// Drops an event whose seq is used up: it counts as logged, and as dropped.
    fn lose_seq(&self, lane: &Lane, error: &AppendError) -> Logged {
        lane.void(error);
        lane.give_up(DropReason::JournalFull);
        self.say_first_drop(DropReason::JournalFull);
        Logged::Dropped(DropReason::JournalFull)
    }

    /// An event for which there was no memory: counted as dropped because the journal could not take
    /// it.
    #[cold]
    pub(super) fn starve(self: &Arc<Self>) -> Logged {
        let lane = self.open_lane();
        self.journal_full(&io::ErrorKind::OutOfMemory.into());
        self.refuse(lane, DropReason::JournalFull)
    }

    /// Counts an event that its host could not even read.
    pub(super) fn reject(self: &Arc<Self>) {
        let _ = self.refuse(self.open_lane(), DropReason::Invalid);
    }

    /// The buffer has reached its size: somebody should hand it over soon.
    #[inline]
    fn buffer_full(self: &Arc<Self>) {
        if !self.keeper_is_awake() {
            self.tell_of_full_buffer();
        }
    }

    #[cold]
    fn tell_of_full_buffer(self: &Arc<Self>) {
        self.wake_keeper();
        if !self.has_keeper() {
            self.start_missing();
            self.maintain_by_caller();
        }
    }

    /// The keeper may not come to it for long on a busy machine, while those who log fill the disk:
    /// then they look at the limit themselves.
    #[inline]
    fn look_now_and_then(&self, seq: Seq, payload: &[u8]) {
        let due = seq.0.is_multiple_of(LOOK_EVERY) || payload.len() >= LARGE_BYTES;
        if due && self.life.is_started() {
            self.lanes().for_each(|lane| self.gate(lane));
        }
    }

    /// Whether somebody else than the caller delivers. Without threads nobody does: whoever waits for
    /// room has to do it.
    fn has_worker(&self) -> bool {
        self.life.is_started() && self.config.threads
    }

    /// Says that the journal could not take an event.
    fn journal_full(self: &Arc<Self>, error: &io::Error) {
        if self.leave_refused(error) {
            return;
        }
        let what = match error.kind() {
            io::ErrorKind::OutOfMemory => "give the process more memory",
            _ => "make room on its disk",
        };
        let text = format!("the journal can't take more: {error}; {what}");
        self.config.notices.say_rarely(Level::Error, NoticeKind::JournalFull, "", text);
    }
}

/// What is answered for a seq.
#[inline]
fn logged(lane: &Lane, seq: Seq) -> Logged {
    if lane.began_in_memory() { Logged::Buffered(seq) } else { Logged::Journaled(seq) }
}
