//! One journal of a logger: whether its buffer and its backlog are full, and what is dropped of it.

mod drops;
mod end;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::Config;
use super::life::Life;
use super::limits::WAIT_AT_LIMIT;
use super::merged::Merged;
use super::reader::Reader;
use crate::id::Seq;
use crate::journal::Journal;
use crate::journal::media::MovableFolder;
use crate::locks::lock;
use crate::overflow::OverflowStrategy;
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
    /// From this seq on the buffer of some destination is full: all that `log()` looks at, however many
    /// destinations there are.
    full_from: AtomicU64,
    life: Arc<Life>,
    /// Set while every event must be looked at: not started, the backlog at its limit, or braked.
    /// It may be set for a moment too long, and is never unset too early.
    gated: AtomicBool,
    /// Held while `gated` is decided, so that the last decision stands.
    gating: Mutex<()>,
    backlog_full: AtomicBool,
    /// How long each event is held up, while a destination that delivers is far behind.
    wait_nanos: AtomicU64,
    /// When the journal last took nothing in spite of all that was tried.
    refused_at: Mutex<Option<Instant>>,
    /// Held by callers at a full buffer, and by nobody else for long.
    admission: Mutex<()>,
    room: Condvar,
    pub(super) buffer_size: u64,
    pub(super) overflow: OverflowStrategy,
    voids: Mutex<Vec<Seq>>,
    /// Why its frames could not be moved, when that was last tried.
    pub(super) failure: Mutex<Option<String>>,
    /// Up to here what had not settled was lost with the memory that held it.
    lost: AtomicU64,
}

/// What a look at the backlog came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    /// The overflow strategy applies.
    pub(super) full: bool,
    /// How long each call is held up.
    pub(super) wait: Duration,
}

/// How often those who wait for room look for themselves.
pub(super) const ROOM_POLL: Duration = Duration::from_millis(20);
/// For how long after an event was refused others are tried for a shorter time.
const REFUSED_FOR: Duration = Duration::from_millis(100);
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
            full_from: AtomicU64::new(config.buffer_size),
            life,
            gated: AtomicBool::new(true),
            gating: Mutex::default(),
            backlog_full: AtomicBool::new(false),
            wait_nanos: AtomicU64::new(0),
            refused_at: Mutex::default(),
            admission: Mutex::default(),
            room: Condvar::new(),
            buffer_size: config.buffer_size,
            overflow: config.overflow,
            voids: Mutex::default(),
            failure: Mutex::default(),
            lost: AtomicU64::new(0),
        }
    }

    /// Whether an event must be looked at before it is appended.
    #[inline]
    pub(super) fn is_gated(&self) -> bool {
        self.gated.load(Ordering::Acquire)
    }

    /// Whether the buffer is full with this event.
    #[inline]
    pub(super) fn fills(&self, seq: Seq) -> bool {
        seq.0 >= self.full_from.load(Ordering::Relaxed)
    }

    /// Held by callers at a full buffer, one at a time.
    pub(super) fn admission(&self) -> MutexGuard<'_, ()> {
        lock(&self.admission)
    }

    /// Waits until there may be room.
    pub(super) fn wait_for_room<'a>(&'a self, admission: MutexGuard<'a, ()>) -> MutexGuard<'a, ()> {
        let waited = self.room.wait_timeout(admission, ROOM_POLL);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether all that could be tried for an event has failed a moment ago.
    pub(super) fn has_just_refused(&self) -> bool {
        lock(&self.refused_at).is_some_and(|at| at.elapsed() <= REFUSED_FOR)
    }

    /// Says that all that could be tried for an event has failed.
    pub(super) fn refuses(&self) {
        *lock(&self.refused_at) = Some(Instant::now());
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

    /// Whether it began in memory: what is answered to callers goes by that.
    #[inline]
    pub(super) fn began_in_memory(&self) -> bool {
        self.ground == Ground::Memory
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

    /// Accepted events that are not dispatched to every destination yet.
    pub(super) fn buffered(&self) -> u64 {
        let unbuffered = self.readers.iter().map(Reader::unbuffered).min().unwrap_or(0);
        self.journal.last().0.saturating_sub(unbuffered)
    }

    /// As users see it: a full buffer counts as handed over when there is a worker to take it.
    pub(super) fn shown_buffered(&self) -> u64 {
        let buffered = self.buffered();
        if self.is_shut() { buffered.min(self.buffer_size) } else { buffered % self.buffer_size }
    }

    /// Everything up to here is dispatched to every destination.
    pub(super) fn dispatched(&self) -> Seq {
        self.readers.iter().map(Reader::dispatched).min().unwrap_or_default()
    }

    /// Dispatches everything up to `seq` to one destination; whether some of it is new to it.
    pub(super) fn dispatch_to(&self, reader: &Reader, seq: Seq) -> bool {
        let is_new = reader.dispatch(seq);
        if is_new {
            self.full_from.fetch_max(self.dispatched().0 + self.buffer_size, Ordering::AcqRel);
            self.wake_waiting();
        }
        is_new
    }

    /// Dispatches everything up to `seq` to every destination; whether some of it is new to one.
    pub(super) fn dispatch(&self, seq: Seq) -> bool {
        self.readers.iter().fold(false, |new, reader| self.dispatch_to(reader, seq) | new)
    }

    /// Dispatches what segments hold: to all where the buffer is due, and at once to those who are not
    /// behind where others are at the limit of their backlog. Whether the workers have something to do.
    pub(super) fn dispatch_due(&self, due: bool) -> bool {
        let drained = self.journal.drained();
        let dispatch = |called: bool, reader: &Reader| {
            // A full backlog still shrinks by what its worker has.
            let calls = reader.keeps_buffer()
                || ((due || self.is_backlog_full()) && self.dispatch_to(reader, drained));
            called | calls
        };
        self.readers.iter().fold(false, dispatch)
    }

    /// Whether the buffer can't be handed over: the logger may not start, or the backlog is at its
    /// limit.
    pub(super) fn is_shut(&self) -> bool {
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
    pub(super) fn hold_up(&self) {
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

    pub(super) fn is_backlog_full(&self) -> bool {
        self.backlog_full.load(Ordering::Acquire)
    }

    /// Wakes those who wait for room. Never waits for them.
    pub(super) fn wake_waiting(&self) {
        self.room.notify_all();
    }
}
