//! One journal of a logger, and who gets in: appending, the full buffer, and what is dropped.

mod drops;
mod end;
mod full;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Logged;
use super::choices::OverflowStrategy;
use super::config::Config;
use super::host::Host;
use super::life::Life;
use super::limits::WAIT_AT_LIMIT;
use super::merged::Merged;
use super::reader::Reader;
use crate::id::Seq;
use crate::journal::media::MovableFolder;
use crate::journal::{AppendError, DropReason, Journal};
use crate::locks::lock;
use crate::process::effective_user;
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
    /// Its place among the logger's journals.
    pub(super) index: usize,
    pub(super) journal: Journal,
    /// Where the journal lies.
    pub(super) folder: Arc<MovableFolder>,
    /// One for each branch of the logger; never empty.
    pub(super) readers: Box<[Reader]>,
    /// Where there are several: what became of the events as a whole.
    pub(super) merged: Option<Merged>,
    ground: Ground,
    /// It began in memory, and lies in a folder on disk by now.
    moved: AtomicBool,
    /// Of the logger, in all journals.
    counters: Arc<Counters>,
    /// Of this journal alone.
    own: Counters,
    /// The effective user that began it.
    user: AtomicU32,
    /// How far its end is.
    stage: AtomicU8,
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
    /// How long each event is held up, while a destination that delivers is far behind.
    wait_nanos: AtomicU64,
    /// When the journal last took nothing in spite of all that was tried, in nanoseconds of `born`.
    refused_at: AtomicU64,
    born: Instant,
    /// Held by callers at a full buffer, and by nobody else for long.
    admission: Mutex<()>,
    room: Condvar,
    buffer_size: u64,
    overflow: OverflowStrategy,
    voids: Mutex<Vec<Seq>>,
    /// Up to here what had not settled was lost with the memory that held it.
    lost: AtomicU64,
}

/// The journal takes no more events: another one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Why an event is not simply appended.
#[derive(Debug)]
pub(super) enum Refused {
    /// Something must be looked at first.
    Gated,
    /// The journal can't take it.
    Full(AppendError),
}

/// What became of an event; `None` where it would have to wait, and may not.
type Accepted = Result<Option<Logged>, Closed>;

/// What a look at the backlog came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    /// The overflow strategy applies.
    pub(super) full: bool,
    /// How long each call is held up.
    pub(super) wait: Duration,
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
/// From which wait on a caller that may not wait is refused.
const REFUSE_FROM: Duration = Duration::from_millis(1);
/// How often those who log look at the limit while the keeper is behind: every so many events, and
/// at each large one.
const LOOK_EVERY: u64 = 64;
const LARGE_BYTES: usize = 4096;
/// How a caller that is held up sleeps: ever longer, since the wait may become shorter meanwhile.
const SLEEP_FIRST: Duration = Duration::from_micros(100);
const SLEEP_MAX: Duration = Duration::from_millis(10);

impl Lane {
    pub(super) fn new(
        index: usize,
        (journal, folder): (Journal, Arc<MovableFolder>),
        readers: Box<[Reader]>,
        ground: Ground,
        counters: Arc<Counters>,
        config: &Config,
        life: Arc<Life>,
    ) -> Self {
        Self {
            index,
            journal,
            folder,
            merged: (readers.len() > 1).then(|| Merged::new(readers.len())),
            readers,
            ground,
            moved: AtomicBool::new(false),
            counters,
            own: Counters::default(),
            user: AtomicU32::new(effective_user()),
            stage: AtomicU8::default(),
            handed: AtomicU64::new(0),
            handed_ahead: AtomicU64::new(0),
            life,
            gated: AtomicBool::new(true),
            gating: Mutex::default(),
            backlog_full: AtomicBool::new(false),
            wait_nanos: AtomicU64::new(0),
            refused_at: AtomicU64::new(0),
            born: Instant::now(),
            admission: Mutex::default(),
            room: Condvar::new(),
            buffer_size: config.buffer_size,
            overflow: config.overflow,
            voids: Mutex::default(),
            lost: AtomicU64::new(0),
        }
    }

    /// Appends an event's payload where nothing need be looked at. The usual way in, which gives a
    /// seq alone: a larger result would be written and read again, for 5 ns.
    ///
    /// # Errors
    /// What [`accept_refused`](Self::accept_refused) needs to go on.
    #[inline]
    pub(super) fn append(&self, payload: &[u8], host: &dyn Host) -> Result<Seq, Refused> {
        if self.gated.load(Ordering::Acquire) {
            return Err(Refused::Gated);
        }
        let seq = self.journal.append(payload).map_err(Refused::Full)?;
        if seq.0.wrapping_sub(self.handed.load(Ordering::Relaxed)) >= self.buffer_size {
            host.buffer_full();
            self.look_now_and_then(seq, payload, host);
        }
        Ok(seq)
    }

    /// Appends a payload that [`append`](Self::append) has refused, or does with it what the strategy
    /// says; `None` where it would have to wait, and may not.
    ///
    /// # Errors
    /// If the journal was closed before it had the event.
    #[cold]
    pub(super) fn accept_refused(
        &self,
        payload: &[u8],
        refused: Refused,
        patience: Patience,
        host: &dyn Host,
    ) -> Accepted {
        match refused {
            Refused::Gated => self.accept_gated(payload, patience, host),
            Refused::Full(error) => self.accept_full(payload, error, patience, host),
        }
    }

    /// The keeper may not come to it for long on a busy machine, while those who log fill the disk:
    /// then they look at the limit themselves.
    #[inline]
    fn look_now_and_then(&self, seq: Seq, payload: &[u8], host: &dyn Host) {
        if seq.0.is_multiple_of(LOOK_EVERY) || payload.len() >= LARGE_BYTES {
            host.look();
        }
    }

    /// What is answered for a seq.
    #[inline]
    pub(super) fn logged(&self, seq: Seq) -> Logged {
        if self.ground == Ground::Memory { Logged::Buffered(seq) } else { Logged::Journaled(seq) }
    }

    #[cold]
    fn accept_gated(&self, payload: &[u8], patience: Patience, host: &dyn Host) -> Accepted {
        // What an adapter logs while the logger stops must not keep it from stopping.
        if self.life.wants_start() && !host.is_delivering() {
            host.start();
        }
        let may_wait = !host.is_delivering();
        match patience {
            Patience::Wait if may_wait => self.hold_up(),
            Patience::Refuse if may_wait && !self.is_shut() && self.wait() >= REFUSE_FROM => {
                return Ok(None);
            }
            _ => {}
        }
        let mut admission = lock(&self.admission);
        loop {
            if self.journal.is_closed() {
                return Err(Closed);
            }
            // Started, with room: the worker will come for it.
            if !self.is_shut() || self.buffered() < self.buffer_size {
                break;
            }
            match self.overflow {
                OverflowStrategy::Block if patience == Patience::Overfill => break,
                OverflowStrategy::DropOldest => break,
                OverflowStrategy::DropNewest => {
                    self.drop_unsequenced(DropReason::DropNewest);
                    host.dropped(DropReason::DropNewest);
                    return Ok(Some(Logged::Dropped(DropReason::DropNewest)));
                }
                // An adapter that logs: nobody else can make room while it waits.
                OverflowStrategy::Block if host.is_delivering() => break,
                OverflowStrategy::Block if patience == Patience::Refuse => return Ok(None),
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
                let over = self.buffered() > self.buffer_size;
                if self.is_shut() && over && self.overflow == OverflowStrategy::DropOldest {
                    // One new event costs one old one, however many were accepted beyond the limit.
                    if self.drop_oldest(1, self.buffer_size) > 0 {
                        host.dropped(DropReason::DropOldest);
                    }
                }
                if self.life.is_started() && self.buffered() >= self.buffer_size {
                    host.buffer_full();
                }
                self.look_now_and_then(seq, payload, host);
                Ok(Some(self.logged(seq)))
            }
            Err(error) => {
                drop(admission);
                self.accept_full(payload, error, patience, host)
            }
        }
    }

    fn wait_for_room<'a>(&'a self, admission: MutexGuard<'a, ()>) -> MutexGuard<'a, ()> {
        let waited = self.room.wait_timeout(admission, ROOM_POLL);
        waited.unwrap_or_else(PoisonError::into_inner).0
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

    /// What it stands on now.
    pub(super) fn ground(&self) -> Ground {
        if self.moved.load(Ordering::Acquire) { Ground::File } else { self.ground }
    }

    /// Whether it holds events that have not settled and that nothing but memory has.
    pub(super) fn holds_unkept(&self) -> bool {
        self.unkept() > 0
    }

    /// How many seqs have not settled, of a journal in memory.
    pub(super) fn unkept(&self) -> u64 {
        match self.ground() {
            Ground::Memory => self.unsettled(),
            Ground::Mapped | Ground::File => 0,
        }
    }

    /// Seqs up to the last one that some sink has not settled.
    pub(super) fn unsettled(&self) -> u64 {
        self.journal.last().0.saturating_sub(self.acked().0)
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

    /// Held by whoever looks whether the backlog is at its limit; `None` where somebody else does.
    pub(super) fn gating(&self) -> Option<MutexGuard<'_, ()>> {
        self.gating.try_lock().ok()
    }

    /// Tells the lane what the look at its backlog came to.
    pub(super) fn set_gate(&self, gating: MutexGuard<'_, ()>, gate: Gate) {
        let was_shut = self.is_shut();
        self.backlog_full.store(gate.full, Ordering::Release);
        self.wait_nanos.store(gate.wait.as_nanos() as u64, Ordering::Release);
        self.decide();
        drop(gating);
        if was_shut && !self.is_shut() {
            self.wake_waiting();
        }
    }

    /// Tells the lane that the logger was started or stopped.
    pub(super) fn life_changed(&self) {
        let gating = lock(&self.gating);
        self.decide();
        drop(gating);
        if !self.is_shut() {
            self.wake_waiting();
        }
    }

    fn decide(&self) {
        let held_up = self.wait_nanos.load(Ordering::Acquire) > 0;
        let quiet = !self.life.is_started() || self.life.wants_start();
        self.gated.store(self.is_shut() || held_up || quiet, Ordering::Release);
    }

    /// For how long a call is held up now. `block` waits for room instead, and is woken then.
    pub(super) fn wait(&self) -> Duration {
        let wait = Duration::from_nanos(self.wait_nanos.load(Ordering::Acquire));
        if self.overflow == OverflowStrategy::Block { wait.min(WAIT_AT_LIMIT) } else { wait }
    }

    /// Holds the caller up, so that a destination that is only slower than its callers catches up.
    fn hold_up(&self) {
        if self.wait().is_zero() {
            return;
        }
        let began = Instant::now();
        let mut sleep = SLEEP_FIRST;
        loop {
            let left = self.wait().saturating_sub(began.elapsed());
            if left.is_zero() {
                return;
            }
            // A short wait is too short for a sleep.
            if left < SLEEP_FIRST {
                std::thread::yield_now();
            } else {
                std::thread::sleep(left.min(sleep));
                sleep = (sleep * 2).min(SLEEP_MAX);
            }
        }
    }

    /// Whether what gathers goes out at once.
    pub(super) fn is_pressed(&self) -> bool {
        self.readers.iter().any(Reader::is_pressed)
    }

    /// Whether the buffer stays a buffer, because the backlog is at its limit. Where the workers have
    /// nothing left it is handed over all the same: nothing else could make the backlog smaller.
    pub(super) fn keeps_buffer(&self) -> bool {
        self.is_backlog_full() && self.handed() >= self.front()
    }

    pub(super) fn is_backlog_full(&self) -> bool {
        self.backlog_full.load(Ordering::Acquire)
    }

    /// Wakes those who wait for room. Never waits for them.
    pub(super) fn wake_waiting(&self) {
        self.room.notify_all();
    }
}
