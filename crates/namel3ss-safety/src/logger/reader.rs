//! One sink's reading of a lane: how far it is, and what is counted of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::id::Seq;
use crate::journal::DropReason;
use crate::journal::cursor::Cursor;
use crate::stats::SinkCounters;

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) cursor: Arc<Cursor>,
    /// Of the sink, in all journals.
    counters: Arc<SinkCounters>,
    /// Of this journal alone.
    own: SinkCounters,
    /// The dispatch watermark: its worker may take what is up to here.
    dispatched: AtomicU64,
    /// Nothing more is accepted for it unless something else goes.
    full: AtomicBool,
    /// What gathers for it goes out at once.
    pressed: AtomicBool,
}

impl Reader {
    pub(super) fn new(cursor: Cursor, counters: Arc<SinkCounters>) -> Self {
        Self {
            cursor: Arc::new(cursor),
            counters,
            own: SinkCounters::default(),
            dispatched: AtomicU64::new(0),
            full: AtomicBool::default(),
            pressed: AtomicBool::default(),
        }
    }

    /// Counts events that this sink will not have.
    pub(super) fn give_up(&self, reason: DropReason, events: u64) {
        self.own.give_up(reason, events);
        self.counters.give_up(reason, events);
    }

    /// Events of this journal that the sink will not have, by reason.
    pub(super) fn dropped(&self) -> [u64; DropReason::ALL.len()] {
        self.own.dropped()
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
