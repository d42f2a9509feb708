//! One journal of a logger, and who gets in: appending, the full buffer, and what is dropped.

mod drops;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Logged;
use super::choices::OverflowStrategy;
use super::config::Config;
use super::host::Host;
use super::life::Life;
use super::merged::Merged;
use super::reader::Reader;
use super::waits::Waits;
use crate::id::Seq;
use crate::journal::{AppendError, DropReason, Journal};
use crate::locks::lock;
use crate::stats::Counters;

/// What the journal stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    Mapped,
    File,
    Memory,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) journal: Journal,
    /// One for each branch of the logger; never empty.
    pub(super) readers: Box<[Reader]>,
    /// Where there are several: what became of the events as a whole.
    pub(super) merged: Option<Merged>,
    pub(super) ground: Ground,
    pub(super) counters: Arc<Counters>,
    /// Everything up to here has been handed to the workers.
    handed: AtomicU64,
    /// And up to here to those whose own backlog is not at the limit.
    handed_ahead: AtomicU64,
    life: Arc<Life>,
    /// Set while every event must be looked at: not started, the backlog at its limit, or braked.
    /// It may be set for a moment too long, and is never unset too early.
    gated: AtomicBool,
    /// Held while `gated` is decided, so that the last decision stands.
    gating: Mutex<()>,
    backlog_full: AtomicBool,
    /// How long each event is held up, while a healthy dataset falls far behind.
    brake_nanos: AtomicU64,
    /// Held by callers at a full buffer, and by nobody else for long.
    admission: Mutex<()>,
    room: Condvar,
    buffer_size: u64,
    overflow: OverflowStrategy,
    voids: Mutex<Vec<Seq>>,
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

/// How often those who wait for room look for themselves.
const ROOM_POLL: Duration = Duration::from_millis(20);
/// How many old events one new one may push out where the disk is full.
const PUSH_OUT_MAX: u32 = 4096;

impl Lane {
    pub(super) fn new(
        journal: Journal,
        readers: Box<[Reader]>,
        ground: Ground,
        counters: Arc<Counters>,
        config: &Config,
        life: Arc<Life>,
    ) -> Self {
        Self {
            journal,
            merged: (readers.len() > 1).then(|| Merged::new(readers.len())),
            readers,
            ground,
            counters,
            handed: AtomicU64::new(0),
            handed_ahead: AtomicU64::new(0),
            life,
            gated: AtomicBool::new(true),
            gating: Mutex::default(),
            brake_nanos: AtomicU64::new(0),
            backlog_full: AtomicBool::new(false),
            admission: Mutex::default(),
            room: Condvar::new(),
            buffer_size: config.buffer_size,
            overflow: config.overflow,
            voids: Mutex::default(),
        }
    }

    /// Appends an event's payload, or does with it what the strategy says; `None` where it would
    /// have to wait, and may not.
    #[inline]
    pub(super) fn accept(
        &self,
        payload: &[u8],
        patience: Patience,
        host: &dyn Host,
    ) -> Option<Logged> {
        if self.gated.load(Ordering::Acquire) {
            return self.accept_gated(payload, patience, host);
        }
        match self.journal.append(payload) {
            Ok(seq) => {
                if seq.0.wrapping_sub(self.handed.load(Ordering::Relaxed)) >= self.buffer_size {
                    host.buffer_full();
                }
                Some(self.logged(seq))
            }
            Err(error) => self.accept_full(payload, error, patience, host),
        }
    }

    #[inline]
    fn logged(&self, seq: Seq) -> Logged {
        if self.ground == Ground::Memory { Logged::Buffered(seq) } else { Logged::Journaled(seq) }
    }

    #[cold]
    fn accept_gated(&self, payload: &[u8], patience: Patience, host: &dyn Host) -> Option<Logged> {
        // What an adapter logs while the logger stops must not keep it from stopping.
        if self.life.wants_start() && !host.is_delivering() {
            host.start();
        }
        if patience == Patience::Wait && !host.is_delivering() {
            self.brake();
        }
        let mut admission = lock(&self.admission);
        let mut waits = Waits::default();
        loop {
            // Started, with room: the worker will come for it.
            if !self.is_shut()
                || patience == Patience::Overfill
                || self.buffered() < self.buffer_size
            {
                break;
            }
            // A dataset that is only slower than the loop takes its next batch in a moment.
            let behind = self.is_backlog_full() && self.is_worth_waiting(host);
            if behind && !host.is_delivering() && waits.go_on() {
                if patience == Patience::Refuse {
                    return None;
                }
                host.buffer_full();
                admission = self.wait_for_room(admission);
                continue;
            }
            match self.overflow {
                OverflowStrategy::DropOldest => break,
                OverflowStrategy::DropNewest => {
                    self.drop_unsequenced(DropReason::DropNewest);
                    host.dropped(DropReason::DropNewest);
                    return Some(Logged::Dropped(DropReason::DropNewest));
                }
                // An adapter that logs: nobody else can make room while it waits.
                OverflowStrategy::Block if host.is_delivering() => break,
                OverflowStrategy::Block if patience == Patience::Refuse => return None,
                OverflowStrategy::Block if !host.has_worker() => {
                    drop(admission);
                    host.deliver_now();
                    admission = lock(&self.admission);
                    // Whether or not it could be delivered: the journal takes it.
                    break;
                }
                OverflowStrategy::Block => {
                    host.buffer_full();
                    admission = self.wait_for_room(admission);
                }
            }
        }
        let beyond = patience == Patience::Overfill && self.buffered() >= self.buffer_size;
        if beyond && self.overflow == OverflowStrategy::Block && !host.has_worker() {
            // Who waits for this delivers what was buffered before, and not this event.
            self.hand_over(self.journal.last());
        }
        match self.journal.append(payload) {
            Ok(seq) => {
                let over = self.buffered().saturating_sub(self.buffer_size);
                if self.is_shut() && over > 0 && self.overflow == OverflowStrategy::DropOldest {
                    // Whom it was worth waiting for is waited for first, whoever is behind by now.
                    let may_spare = self.readers.len() > 1 && !waits.is_over();
                    let dropped = self.drop_oldest(over, self.buffer_size, |i| {
                        may_spare && host.is_catching_up(i)
                    });
                    if dropped > 0 {
                        host.dropped(DropReason::DropOldest);
                    }
                }
                if self.life.is_started() && self.buffered() >= self.buffer_size {
                    host.buffer_full();
                }
                Some(self.logged(seq))
            }
            Err(error) => {
                drop(admission);
                self.accept_full(payload, error, patience, host)
            }
        }
    }

    /// Whether a dataset that is catching up would make room, or be spared a drop. One that is dead
    /// is not waited for, but neither does it cost a healthy one an event.
    fn is_worth_waiting(&self, host: &dyn Host) -> bool {
        if self.overflow == OverflowStrategy::DropOldest {
            let out = (self.buffered() + 1).saturating_sub(self.buffer_size).max(1);
            let fronts = self.dropping().map(|(_, reader)| reader.cursor.front());
            let next = Seq(fronts.min().unwrap_or_default().0 + out);
            let would_lose = |reader: &Reader| reader.cursor.front() < next;
            return self.dropping().any(|(i, r)| would_lose(r) && host.is_catching_up(i));
        }
        let mut full = self.readers.iter().enumerate().filter(|(_, reader)| reader.is_full());
        full.all(|(i, _)| host.is_catching_up(i))
    }

    fn wait_for_room<'a>(&'a self, admission: MutexGuard<'a, ()>) -> MutexGuard<'a, ()> {
        let waited = self.room.wait_timeout(admission, ROOM_POLL);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Neither the ring nor a spill file took it: the disk is full or failing.
    #[cold]
    fn accept_full(
        &self,
        payload: &[u8],
        error: AppendError,
        patience: Patience,
        host: &dyn Host,
    ) -> Option<Logged> {
        host.journal_full(&error.error);
        self.void(&error);
        if error.void.is_some() {
            // Its seq is used up: it counts as logged, and as dropped.
            self.counters.give_up(DropReason::JournalFull, 1);
            host.dropped(DropReason::JournalFull);
            return Some(Logged::Dropped(DropReason::JournalFull));
        }
        let mut waited = 0_u32;
        loop {
            match self.overflow {
                OverflowStrategy::DropNewest => break,
                OverflowStrategy::DropOldest => {
                    waited += 1;
                    if waited > PUSH_OUT_MAX || self.drop_oldest(1, 0, |_| false) == 0 {
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
                        return None;
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
                Ok(seq) => return Some(self.logged(seq)),
                Err(error) if error.void.is_some() => {
                    self.void(&error);
                    self.counters.give_up(DropReason::JournalFull, 1);
                    host.dropped(DropReason::JournalFull);
                    return Some(Logged::Dropped(DropReason::JournalFull));
                }
                Err(_) => {}
            }
        }
        self.drop_unsequenced(DropReason::JournalFull);
        host.dropped(DropReason::JournalFull);
        Some(Logged::Dropped(DropReason::JournalFull))
    }

    /// Whether an event would have to wait now.
    pub(super) fn is_full(&self) -> bool {
        self.is_shut()
            && self.overflow == OverflowStrategy::Block
            && self.buffered() >= self.buffer_size
    }

    /// The next seq that some worker has yet to take.
    pub(super) fn front(&self) -> Seq {
        self.readers.iter().map(|reader| reader.cursor.front()).min().unwrap_or_default()
    }

    /// Every sink has settled everything up to here.
    pub(super) fn acked(&self) -> Seq {
        self.readers.iter().map(|reader| reader.cursor.state().acked).min().unwrap_or_default()
    }

    /// Accepted events that were not handed over yet.
    pub(super) fn buffered(&self) -> u64 {
        let done = self.handed.load(Ordering::Acquire).max(self.front().0 - 1);
        self.journal.last().0.saturating_sub(done)
    }

    /// As users see it: a full buffer counts as handed over when there is a worker to take it.
    pub(super) fn shown_buffered(&self) -> u64 {
        let buffered = self.buffered();
        if self.is_shut() { buffered.min(self.buffer_size) } else { buffered % self.buffer_size }
    }

    /// Everything up to here has been handed to the worker.
    pub(super) fn handed(&self) -> Seq {
        Seq(self.handed.load(Ordering::Acquire))
    }

    /// Everything up to here has been handed to this reader's worker.
    pub(super) fn handed_to(&self, reader: &Reader) -> Seq {
        let ahead = Seq(self.handed_ahead.load(Ordering::Acquire));
        if reader.is_full() { self.handed() } else { self.handed().max(ahead) }
    }

    /// While the backlog of one sink is at the limit: hands everything up to `seq` to the others.
    pub(super) fn hand_ahead(&self, seq: Seq) {
        self.handed_ahead.fetch_max(seq.0, Ordering::AcqRel);
    }

    /// Whether a sink's backlog is at the limit while another's is not.
    pub(super) fn is_apart(&self) -> bool {
        self.is_backlog_full() && !self.readers.iter().all(Reader::is_full)
    }

    /// Hands everything up to `seq` to the workers.
    pub(super) fn hand_over(&self, seq: Seq) {
        self.handed.fetch_max(seq.0, Ordering::AcqRel);
        self.wake_waiting();
    }

    /// Whether the buffer can't be handed over: the logger may not start, or the backlog is at its
    /// limit.
    fn is_shut(&self) -> bool {
        !self.life.may_hand_over() || self.is_backlog_full()
    }

    /// Tells the lane whether its backlog is at its limit, and that the logger's life has changed.
    pub(super) fn set_gate(&self, backlog_full: bool) {
        let _gating = lock(&self.gating);
        let was_shut = self.is_shut();
        self.backlog_full.store(backlog_full, Ordering::Release);
        let shut = self.is_shut();
        let braked = self.brake_nanos.load(Ordering::Acquire) > 0;
        let quiet = !self.life.is_started() || self.life.wants_start();
        self.gated.store(shut || braked || quiet, Ordering::Release);
        if was_shut && !shut {
            self.wake_waiting();
        }
    }

    /// Holds each event up for `wait` from the next [`set_gate`](Self::set_gate) on.
    pub(super) fn set_brake(&self, wait: Duration) {
        self.brake_nanos.store(wait.as_nanos() as u64, Ordering::Release);
    }

    /// Holds the caller up: too briefly for a sleep, long enough for the dataset to catch up.
    fn brake(&self) {
        let nanos = self.brake_nanos.load(Ordering::Acquire);
        if nanos > 0 {
            let until = Instant::now() + Duration::from_nanos(nanos);
            while Instant::now() < until {
                std::thread::yield_now();
            }
        }
    }

    pub(super) fn is_backlog_full(&self) -> bool {
        self.backlog_full.load(Ordering::Acquire)
    }

    /// Wakes those who wait for room. Never waits for them.
    pub(super) fn wake_waiting(&self) {
        self.room.notify_all();
    }
}
