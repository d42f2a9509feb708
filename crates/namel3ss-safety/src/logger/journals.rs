//! The journals of one logger, in the order in which they were begun. The last one is active: events
//! go to it. Those before it take no more events, and are delivered in order.
//!
//! The list only grows, so that `log()` finds the active one without a lock and without counting who
//! uses it. A journal that is finished keeps its place and its counters, some 2 KiB, and lets go of
//! its folder, files and memory.
//!
//! Each has a cursor and a dispatch watermark for each sink, knows whether its buffer and its backlog
//! are full, and counts what is dropped of it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::config::Config;
use crate::clock::Timestamp;
use crate::id::Seq;
use crate::journal::cursor::Cursor;
use crate::journal::media::{MemoryFolder, MovableFolder};
use crate::journal::{AppendError, DropReason, Gap, Journal};
use crate::locks::{lock, wait_for};
use crate::overflow::OverflowStrategy;
use crate::process::effective_user;
use crate::seqs::SeqSet;
use crate::stats::{Counters, Sums};

/// Each chunk has twice as many places as the one before.
const CHUNKS: usize = 24;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Journals {
    begun: AtomicUsize,
    /// Those before this one are over.
    over: AtomicUsize,
    /// Most loggers have no other: found without a further load.
    first: OnceLock<Lane>,
    chunks: [OnceLock<Box<[OnceLock<Lane>]>>; CHUNKS],
}

impl Journals {
    /// The one that events go to now.
    #[inline]
    pub(super) fn active(&self) -> Option<&Lane> {
        let last = self.begun.load(Ordering::Acquire).checked_sub(1)?;
        if last == 0 { self.first.get() } else { self.get(last) }
    }

    /// The one that was begun as the `index`th, counted from 0.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Lane> {
        let Some(further) = index.checked_sub(1) else { return self.first.get() };
        let (chunk, at) = place(further);
        self.chunks.get(chunk)?.get()?.get(at)?.get()
    }

    /// How many were begun.
    pub(super) fn len(&self) -> usize {
        self.begun.load(Ordering::Acquire)
    }

    /// Makes `lane` the active one; for one caller at a time. False where the list is full, after 16
    /// million journals.
    pub(super) fn push(&self, lane: Lane) -> bool {
        let index = self.len();
        let place = match index.checked_sub(1).map(place) {
            None => Some(&self.first),
            Some((size, at)) => self.chunks.get(size).and_then(|chunk| {
                let places = || (0..1 << size).map(|_| OnceLock::new()).collect();
                chunk.get_or_init(places).get(at)
            }),
        };
        let pushed = place.is_some_and(|place| place.set(lane).is_ok());
        if pushed {
            self.begun.store(index + 1, Ordering::Release);
        }
        pushed
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Lane> {
        self.from(0)
    }

    /// Those that are written or delivered, oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = &Lane> {
        self.from(self.over.load(Ordering::Acquire)).filter(|lane| lane.is_open())
    }

    /// Those that are left to another user, and hold something still.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &Lane> {
        self.from(self.over.load(Ordering::Acquire)).filter(|lane| lane.is_leaving())
    }

    fn from(&self, first: usize) -> impl Iterator<Item = &Lane> {
        (first..self.len()).filter_map(|index| self.get(index))
    }

    /// Has [`open`](Self::open) begin behind those that are over.
    pub(super) fn pass_over(&self) {
        let first = self.over.load(Ordering::Acquire);
        let over = self.from(first).take_while(|lane| lane.is_over()).count();
        self.over.fetch_max(first + over, Ordering::AcqRel);
    }
}

/// The chunk that holds the `index`th place, and where in it: the first one holds one place, each
/// further one as many as all before it and one.
#[inline]
fn place(index: usize) -> (usize, usize) {
    let chunk = (index + 1).ilog2();
    (chunk as usize, index + 1 - (1 << chunk))
}

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
    /// What no sink had a say in.
    refused: Counters,
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
    /// How long each event is held up, while a destination that delivers is far behind.
    wait_nanos: AtomicU64,
    /// When the journal last took nothing in spite of all that was tried.
    refused_at: Mutex<Option<Instant>>,
    /// Held by callers at a full buffer, and by nobody else for long.
    admission: Mutex<()>,
    room: Condvar,
    pub(super) buffer_size: u64,
    pub(super) overflow: OverflowStrategy,
    /// Seqs whose event could not be written.
    voids: Mutex<SeqSet>,
    /// Why its frames could not be moved, when that was last tried.
    pub(super) failure: Mutex<Option<String>>,
    /// Up to here what had not settled was lost with the memory that held it.
    lost: AtomicU64,
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
            refused: Counters::default(),
            user: AtomicU32::new(effective_user()),
            stage: AtomicU8::default(),
            full_from: AtomicU64::new(config.buffer_size),
            life,
            gated: AtomicBool::new(true),
            gating: Mutex::default(),
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
        wait_for(&self.room, admission, Some(ROOM_POLL))
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

    /// Tells the lane, after its readers, what the look at its backlog came to: how long each call is
    /// held up.
    pub(super) fn set_gate(&self, gating: MutexGuard<'_, ()>, was_shut: bool, wait: Duration) {
        self.wait_nanos.store(wait.as_nanos() as u64, Ordering::Release);
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

    /// Whether nothing more is accepted for some destination: the overflow strategy applies.
    pub(super) fn is_backlog_full(&self) -> bool {
        self.readers.iter().any(Reader::is_full)
    }

    /// Wakes those who wait for room. Never waits for them.
    pub(super) fn wake_waiting(&self) {
        self.room.notify_all();
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) cursor: Arc<Cursor>,
    pub(super) counters: Counters,
    /// The dispatch watermark: its worker may take what is up to here.
    dispatched: AtomicU64,
    /// Nothing more is accepted for it unless something else goes.
    full: AtomicBool,
    /// What gathers for it goes out at once.
    pressed: AtomicBool,
}

impl Reader {
    pub(super) fn new(cursor: Cursor) -> Self {
        Self {
            cursor: Arc::new(cursor),
            counters: Counters::default(),
            dispatched: AtomicU64::new(0),
            full: AtomicBool::default(),
            pressed: AtomicBool::default(),
        }
    }

    /// The dispatch watermark: its worker may take what is up to here.
    pub(super) fn dispatched(&self) -> Seq {
        Seq(self.dispatched.load(Ordering::Acquire))
    }

    /// Moves the dispatch watermark up to `seq`; whether it was below.
    pub(super) fn dispatch(&self, seq: Seq) -> bool {
        self.dispatched.fetch_max(seq.0, Ordering::AcqRel) < seq.0
    }

    /// The last seq that is not in its buffer any more: it was dispatched, or dropped.
    pub(super) fn unbuffered(&self) -> u64 {
        self.dispatched().0.max(self.cursor.front().0 - 1)
    }

    /// Whether its buffer stays a buffer, because its backlog is at the limit. Where its worker has
    /// nothing left it is dispatched all the same: nothing else could make the backlog smaller.
    pub(super) fn keeps_buffer(&self) -> bool {
        self.is_full() && self.dispatched() >= self.cursor.front()
    }

    /// Whether nothing more is accepted for it unless something else goes.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Whether what gathers for it goes out at once.
    pub(super) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Acquire)
    }

    /// Sets both; whether it has become pressed.
    pub(super) fn set(&self, full: bool, pressed: bool) -> bool {
        self.full.store(full, Ordering::Release);
        !self.pressed.swap(pressed, Ordering::AcqRel) && pressed
    }
}

impl Lane {
    pub(super) fn void(&self, error: &AppendError) {
        if let Some(seq) = error.void {
            lock(&self.voids).insert(seq.0, seq.0);
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
    pub(super) fn drop_unsequenced(&self, reason: DropReason) {
        // The order matters to whoever adds up: dropped never exceeds logged.
        self.refused.unsequenced.fetch_add(1, Ordering::AcqRel);
        self.give_up(reason);
        let seqs = (Seq(0), Seq(0));
        self.journal.push_gap(Gap { reason, events: 1, seqs, at: Timestamp::now() });
    }

    /// Counts an event that no sink will have.
    pub(super) fn give_up(&self, reason: DropReason) {
        self.refused.give_up(reason, 1);
    }

    /// Events that never got a seq.
    pub(super) fn unsequenced(&self) -> u64 {
        self.refused.unsequenced.load(Ordering::Acquire)
    }

    /// What no sink had a say in.
    pub(super) fn refused(&self) -> Sums {
        self.refused.sums()
    }

    /// What became of the events that sinks had a say in, each counted once.
    pub(super) fn fates(&self) -> Sums {
        match &self.merged {
            Some(merged) => merged.sums(),
            None => self.readers[0].counters.sums(),
        }
    }

    /// Gives up the `events` oldest, but never the `keep` newest, each for every sink whose worker has
    /// not taken it; how many there were.
    pub(super) fn drop_oldest(&self, events: u64, keep: u64) -> u64 {
        let last = self.journal.last();
        let Some(front) = self.dropping().map(|reader| reader.cursor.front()).min() else {
            return 0;
        };
        let next = Seq((front.0 + events).min((last.0 + 1).saturating_sub(keep)).max(front.0));
        let mut from = next;
        for reader in self.dropping() {
            let first = Seq(next.0 - reader.cursor.take_before(next));
            reader.counters.give_up(DropReason::DropOldest, self.events_in(first, next));
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
    pub(super) fn lose(&self) -> u64 {
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
                reader.counters.give_up(reason, self.events_in(first, last.next()));
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
        let voids = lock(&self.voids).count_within(from.0, next.0.saturating_sub(1));
        (next.0 - from.0).saturating_sub(voids)
    }

    /// Those for whom the oldest events are dropped: of several, where it is for the sake of the
    /// backlog, those whose own is at the limit.
    fn dropping(&self) -> impl Iterator<Item = &Reader> {
        let some_full = self.readers.iter().any(Reader::is_full);
        self.readers.iter().filter(move |reader| !some_full || reader.is_full())
    }

    /// Forgets the voids before `front`: nobody will ask for them any more.
    pub(super) fn forget_voids(&self, front: Seq) {
        lock(&self.voids).forget_through(front.0.saturating_sub(1));
    }
}

/// The stages of a lane.
const OPEN: u8 = 0;
/// What is undelivered is left to the user who began it.
const LEAVING: u8 = 1;
const LEFT: u8 = 2;
/// Everything has settled, and the folder is gone.
const FINISHED: u8 = 3;

impl Lane {
    /// Takes no more events, and has everything that it has delivered at once: another journal takes
    /// the events from here on, and must be there already.
    pub(super) fn close(&self) {
        self.journal.close();
        // Those who wait for room find it closed.
        self.wake_waiting();
    }

    /// Says that it lies in a folder on disk by now, which the present user has made.
    pub(super) fn is_in_file(&self) {
        self.user.store(effective_user(), Ordering::Release);
        self.moved.store(true, Ordering::Release);
    }

    /// The effective user that made its folder.
    pub(super) fn user(&self) -> u32 {
        self.user.load(Ordering::Acquire)
    }

    /// Whether it is written or delivered.
    pub(super) fn is_open(&self) -> bool {
        self.stage.load(Ordering::Acquire) == OPEN
    }

    /// Whether it holds nothing any more: no file, no memory, no lock.
    pub(super) fn is_over(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= LEFT
    }

    /// Whether nothing more of it is delivered here, while it holds its lock still.
    pub(super) fn is_leaving(&self) -> bool {
        self.stage.load(Ordering::Acquire) == LEAVING
    }

    /// Whether what is undelivered in it is somebody else's to deliver.
    pub(super) fn is_left(&self) -> bool {
        matches!(self.stage.load(Ordering::Acquire), LEAVING | LEFT)
    }

    /// Says that everything in it has settled; false where somebody has ended it before.
    pub(super) fn finish(&self) -> bool {
        self.go_on(OPEN, FINISHED)
    }

    /// Says that nothing more of it is delivered here; false where somebody has ended it before.
    pub(super) fn leave(&self) -> bool {
        self.go_on(OPEN, LEAVING)
    }

    /// Says that it has let go of all that it held.
    pub(super) fn left(&self) {
        self.go_on(LEAVING, LEFT);
    }

    fn go_on(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether it is closed and everything in it has settled.
    pub(super) fn is_done(&self) -> bool {
        self.journal.is_closed() && self.acked() >= self.journal.last()
    }

    /// Lets go of its files, its memory and its lock.
    pub(super) fn let_go(&self) {
        self.journal.let_go();
        self.readers.iter().for_each(|reader| reader.cursor.let_go());
        self.folder.move_to(Arc::new(MemoryFolder::default()));
    }
}

/// The wait of a call where the backlog reaches its limit.
pub(super) const WAIT_AT_LIMIT: Duration = Duration::from_micros(50);
/// The wait of a call where it reaches twice its limit; the longest there is.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// How much waits for one destination, and how that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Bytes on the disk that the destination has not confirmed, those on their way included.
    pub(super) bytes: u64,
    /// Those of them that nobody has taken: neither on their way nor dropped.
    pub(super) untaken: u64,
    /// The limit that the user set.
    pub(super) limit: u64,
    /// Its last batch was confirmed, and the present one is within its deadline.
    pub(super) delivering: bool,
}

impl Backlog {
    /// Whether what gathers is handed over and sent at once.
    pub(super) fn is_pressed(self) -> bool {
        self.bytes >= self.limit / 2
    }

    /// Whether nothing more is accepted unless something else goes.
    pub(super) fn is_full(self) -> bool {
        match self.delivering {
            true => self.bytes >= self.limit.saturating_mul(2),
            false => self.untaken >= self.limit,
        }
    }

    /// How long a call is held up, so that a destination that is only slower than its callers loses
    /// nothing: a little from half of the limit on, and between the limit and twice it ever more.
    pub(super) fn wait(self) -> Duration {
        let half = self.limit / 2;
        if !self.delivering || self.bytes <= half {
            return Duration::ZERO;
        }
        if self.bytes < self.limit {
            return WAIT_AT_LIMIT.mul_f64((self.bytes - half) as f64 / half.max(1) as f64);
        }
        let share = (self.bytes - self.limit) as f64 / self.limit as f64;
        let growth = WAIT_MAX.as_secs_f64() / WAIT_AT_LIMIT.as_secs_f64();
        WAIT_AT_LIMIT.mul_f64(growth.powf(share.min(1.0)))
    }
}

/// The most runs of filed events that one sink is ahead by. Beyond that what lies between two of them
/// counts as filed too: what is counted as flushed is in each dataset all the same.
const RUNS_MAX: usize = 1 << 16;

/// What a sink has made of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Flushed,
    Filed,
    /// Given up by somebody, who says so at about the same time, before or after: it counts then.
    Gone,
}

/// What became of the events of several sinks, each counted once: as the sink has it that did worst by
/// it. The one definition of that, for the stats and for the account of a journal.
#[derive(Debug)]
pub(super) struct Merged(Mutex<State>);

#[derive(Debug)]
struct State {
    sums: Sums,
    /// Up to here every sink has settled, and all is counted.
    through: u64,
    /// By sink: up to here it has settled.
    settled: Vec<u64>,
    /// What some sink has filed, behind `through`.
    filed: SeqSet,
    /// What some sink will not have, behind `through`.
    gone: SeqSet,
    /// Of what is gone, that of which nobody has said why yet: it is not counted.
    unsaid: SeqSet,
}

impl Merged {
    pub(super) fn new(sinks: usize) -> Self {
        Self(Mutex::new(State {
            sums: Sums::default(),
            through: 0,
            settled: vec![0; sinks],
            filed: SeqSet::default(),
            gone: SeqSet::default(),
            unsaid: SeqSet::default(),
        }))
    }

    pub(super) fn sums(&self) -> Sums {
        lock(&self.0).sums
    }

    /// Says that somebody gives up `first..=last`: counted under `reason` as far as nobody has
    /// given it up before. `None` where it is counted elsewhere.
    pub(super) fn give_up(&self, first: Seq, last: Seq, reason: Option<DropReason>) {
        let mut state = lock(&self.0);
        let first_open = first.0.max(state.through + 1);
        let added = state.unsaid.remove(first.0, last.0) + state.gone.insert(first_open, last.0);
        if let Some(reason) = reason {
            state.sums.dropped[reason.index()] += added;
        }
    }

    /// Says that a sink has settled everything up to `last`, from where it was, in this way.
    pub(super) fn settle(&self, sink: usize, last: Seq, fate: Fate) {
        let mut state = lock(&self.0);
        let (first, last) = (state.settled[sink] + 1, last.0);
        if last < first {
            return;
        }
        match fate {
            Fate::Flushed => {}
            Fate::Filed => state.file(first, last),
            Fate::Gone => state.lose(first, last),
        }
        state.settled[sink] = last;
        state.advance();
    }
}

impl State {
    fn file(&mut self, first: u64, last: u64) {
        let newest = self.filed.runs().next_back().map(|(_, end)| end + 1);
        let full = self.filed.runs_len() >= RUNS_MAX;
        self.filed.insert(newest.filter(|next| full && *next < first).unwrap_or(first), last);
    }

    fn lose(&mut self, mut first: u64, last: u64) {
        while first <= last {
            let ((_, end), known) = self.gone.alike_from(first);
            let end = end.min(last);
            if !known {
                self.gone.insert(first, end);
                self.unsaid.insert(first, end);
            }
            first = end + 1;
        }
    }

    /// Counts what every sink has settled.
    fn advance(&mut self) {
        let Some(upto) = self.settled.iter().copied().min() else { return };
        let (first, last) = (self.through + 1, upto);
        let kept = |first: u64, last: u64| last + 1 - first - self.gone.count_within(first, last);
        let filed = self.filed.within(first, last).map(|(first, last)| kept(first, last));
        let filed: u64 = filed.sum();
        self.sums.flushed += kept(first, last) - filed;
        self.sums.fallback += filed;
        self.through = upto;
        self.filed.forget_through(upto);
        self.gone.forget_through(upto);
    }
}

/// What a logger is doing; the number of its starts is stored above these two bits.
const STOPPED: u64 = 0;
const STARTED: u64 = 1;
/// A `stop` is delivering what was logged before it.
const STOPPING: u64 = 2;
const STATE_BITS: u32 = 2;
const STATE: u64 = (1 << STATE_BITS) - 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Life {
    word: AtomicU64,
    autostart: bool,
}

impl Life {
    pub(super) fn new(autostart: bool) -> Self {
        Self { word: AtomicU64::new(STOPPED), autostart }
    }

    fn state(&self) -> u64 {
        self.word.load(Ordering::SeqCst) & STATE
    }

    /// Whether buffers are handed over.
    pub(super) fn is_started(&self) -> bool {
        self.state() != STOPPED
    }

    /// Whether an event must start the logger before it is accepted.
    pub(super) fn wants_start(&self) -> bool {
        self.autostart && self.state() != STARTED
    }

    /// Whether buffers will be handed over: a logger that starts itself always has a worker soon.
    pub(super) fn may_hand_over(&self) -> bool {
        self.autostart || self.is_started()
    }

    /// A start also counts where the logger is started already: a `stop` may be on its way.
    pub(super) fn start(&self) {
        let next = |word: u64| Some(((word >> STATE_BITS) + 1) << STATE_BITS | STARTED);
        let _ = self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    }

    /// Begins a stop; returns the number of starts so far.
    pub(super) fn begin_stop(&self) -> u64 {
        let stopping = |word: u64| (word & STATE == STARTED).then_some(word & !STATE | STOPPING);
        let updated = self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, stopping);
        let (Ok(word) | Err(word)) = updated;
        word >> STATE_BITS
    }

    /// Ends the stop that began after so many starts; false if there was a start since then.
    pub(super) fn end_stop(&self, starts: u64) -> bool {
        let stopped = |word: u64| (word >> STATE_BITS == starts).then_some(word & !STATE);
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, stopped).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_one_of_its_own() {
        let places: Vec<_> = (0..8).map(place).collect();
        let expected = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3), (3, 0)];
        assert_eq!(places, expected);
        for index in 0..10_000 {
            let (chunk, at) = place(index);
            assert!(chunk < CHUNKS && at < 1 << chunk);
        }
    }
}

#[cfg(test)]
mod limits_tests {
    use super::*;

    #[test]
    fn a_destination_that_delivers_has_twice_the_limit() {
        let at = |bytes, delivering| Backlog { bytes, untaken: bytes, limit: 1000, delivering };
        assert!(!at(499, true).is_pressed() && at(500, true).is_pressed());
        assert!(!at(999, false).is_full() && at(1000, false).is_full());
        assert!(!at(1999, true).is_full() && at(2000, true).is_full());
    }

    #[test]
    fn the_wait_of_a_call_grows_from_50_microseconds_to_half_a_second() {
        let at = |bytes, delivering| Backlog { bytes, untaken: 0, limit: 1 << 20, delivering };
        let wait = |bytes| at(bytes, true).wait();
        assert_eq!(wait(1 << 19), Duration::ZERO);
        assert!(wait(900 << 10) < WAIT_AT_LIMIT);
        assert_eq!(wait(1 << 20), WAIT_AT_LIMIT);
        let waits: Vec<Duration> = (8..=24).map(|eighth| wait(eighth << 17)).collect();
        assert!(waits.is_sorted(), "{waits:?}");
        let most = waits.last().unwrap().as_millis();
        assert!((499..=500).contains(&most), "{most}");
        assert_eq!(at(1 << 22, false).wait(), Duration::ZERO);
    }
}

#[cfg(test)]
mod merged_tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_is_as_well_settled_as_the_sink_that_did_worst_by_it() {
        let merged = Merged::new(2);
        merged.settle(0, Seq(10), Fate::Flushed);
        assert_eq!(merged.sums(), Sums::default(), "the other one has nothing yet");
        merged.settle(1, Seq(4), Fate::Flushed);
        merged.settle(1, Seq(6), Fate::Filed);
        assert_eq!((merged.sums().flushed, merged.sums().fallback), (4, 2));
        merged.give_up(Seq(7), Seq(8), Some(DropReason::DropOldest));
        merged.settle(1, Seq(8), Fate::Gone);
        merged.settle(1, Seq(20), Fate::Flushed);
        let sums = merged.sums();
        assert_eq!((sums.flushed, sums.fallback, sums.dropped[0]), (6, 2, 2));
        // What one has settled well, and the other gives up later, is gone.
        merged.give_up(Seq(15), Seq(16), Some(DropReason::Damaged));
        merged.give_up(Seq(11), Seq(17), Some(DropReason::DropOldest));
        merged.settle(0, Seq(17), Fate::Gone);
        merged.settle(0, Seq(20), Fate::Flushed);
        let sums = merged.sums();
        assert_eq!((sums.flushed, sums.fallback), (9, 2));
        assert_eq!(sums.dropped.iter().sum::<u64>(), 9);
    }

    proptest! {
        /// Against the plain way of counting: a fate for each event and sink.
        #[test]
        fn it_counts_what_a_table_of_all_events_counts(
            steps in prop::collection::vec((0..3_usize, 1..9_u64, 0..3_u8, any::<bool>()), 0..60),
        ) {
            let merged = Merged::new(3);
            let mut table = [(); 3].map(|()| Vec::new());
            for (sink, events, fate, said_first) in steps {
                let fate = [Fate::Flushed, Fate::Filed, Fate::Gone][usize::from(fate)];
                let first = table[sink].len() as u64 + 1;
                let last = first + events - 1;
                let give_up = || {
                    if fate == Fate::Gone {
                        merged.give_up(Seq(first), Seq(last), Some(DropReason::DropOldest));
                    }
                };
                // Another thread may say it before, or after.
                if said_first {
                    give_up();
                }
                merged.settle(sink, Seq(last), fate);
                if !said_first {
                    give_up();
                }
                table[sink].resize(last as usize, fate);
            }
            let mut sums = Sums::default();
            for at in 0..table.iter().map(Vec::len).max().unwrap_or(0) {
                let fates: Vec<_> = table.iter().filter_map(|fates| fates.get(at)).collect();
                match fates.iter().max() {
                    Some(Fate::Gone) => sums.dropped[0] += 1,
                    Some(Fate::Flushed) if fates.len() == 3 => sums.flushed += 1,
                    Some(Fate::Filed) if fates.len() == 3 => sums.fallback += 1,
                    _ => {}
                }
            }
            prop_assert_eq!(merged.sums(), sums);
        }
    }
}

#[cfg(test)]
mod life_tests {
    use super::*;

    #[test]
    fn a_late_stop_does_not_end_a_later_start() {
        let life = Life::new(true);
        assert!(life.wants_start() && !life.is_started());
        life.start();
        let first = life.begin_stop();
        assert!(life.wants_start() && life.is_started());
        let second = life.begin_stop();
        life.start();
        assert!(!life.end_stop(first) && !life.end_stop(second));
        assert!(life.is_started() && !life.wants_start());
        let third = life.begin_stop();
        assert!(life.end_stop(third) && life.end_stop(third));
        assert!(!life.is_started());
    }
}
