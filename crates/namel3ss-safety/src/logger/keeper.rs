//! The keeper: moves frames from the ring into segments, syncs them where a power cut must be
//! survived, and hands buffers over. It never delivers, so that no dataset, however slow, can make
//! the journal wait.
//!
//! It polls, because waking a sleeping thread costs the caller of `log()` 12 to 20 µs: every
//! millisecond while there is work, ever more seldom without. Only a full buffer that finds it in
//! its deepest sleep wakes it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::branch::Branch;
use super::lane::{Gate, Lane};
use super::limits::Backlog;
use super::reader::Reader;
use super::report::Saying;
use super::shared::Shared;
use super::worker::save_dropped;
use crate::batch::Durability;
use crate::notice::Level;

const BUSY: Duration = Duration::from_millis(1);
/// With fewer events than this in a turn it comes more seldom: each turn takes cache lines away from
/// those who log, which at 1,000 events a second doubled what a call costs.
const MOVED_BUSY: u64 = 64;
/// Below 20 wake-ups a second.
const IDLE: Duration = Duration::from_millis(60);
/// How often storage is synced where power cuts count.
const SYNC_EVERY: Duration = Duration::from_millis(50);
/// How often the journals' files are looked at.
pub(super) const CHECK_EVERY: Duration = Duration::from_millis(200);
/// How often storage that failed is tried again.
pub(super) const RESUME_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Watch {
    /// Since when the buffer holds something.
    buffered_since: Option<Instant>,
    synced_at: Option<Instant>,
    failing: bool,
}

/// The keeper's loop, until the logger closes.
pub(super) fn run(shared: &Arc<Shared>) {
    // By the places of the journals.
    let mut watches: BTreeMap<usize, Watch> = BTreeMap::new();
    let (mut wait, mut resume_at, mut check_at) = (BUSY, None, None);
    loop {
        let now = Instant::now();
        if resume_at.is_none_or(|at| now >= at) {
            resume_at = Some(now + RESUME_EVERY);
            shared.start_missing();
            shared.try_resume();
            shared.keep_memory();
            shared.say_dropped(Saying::Due);
            shared.config.notices.forward();
        }
        if check_at.is_none_or(|at| now >= at) {
            check_at = Some(now + CHECK_EVERY);
            shared.check_journals();
            shared.report_late_calls();
        }
        let mut turns = || {
            let moved = shared
                .lanes()
                .map(|lane| turn(shared, lane, watches.entry(lane.index).or_default()))
                .sum();
            shared.let_go_of_left(None);
            if shared.finish_journals() {
                watches.retain(|index, _| shared.is_open(*index));
            }
            moved
        };
        let moved: u64 = catch_unwind(AssertUnwindSafe(&mut turns)).unwrap_or_else(|_| {
            shared.config.notices.say(Level::Critical, "panic", "the keeper panicked, and goes on");
            0
        });
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        wait = if moved >= MOVED_BUSY { BUSY } else { (wait * 2).min(IDLE) };
        let interval = shared.config.flush_interval / 4;
        let unsynced = shared.lanes().any(|lane| is_unsynced(shared, lane));
        let wait = wait.min(interval.max(BUSY)).min(if unsynced { SYNC_EVERY } else { IDLE });
        let deep = wait > 4 * BUSY;
        shared.keeper_sleep(wait, deep, || shared.lanes().any(|lane| has_work(shared, lane)));
    }
}

fn turn(shared: &Arc<Shared>, lane: &Lane, watch: &mut Watch) -> u64 {
    let config = &shared.config;
    lane.journal.tend();
    let moved = drain(shared, lane, watch);
    let now = Instant::now();
    let synced = watch.synced_at.is_some_and(|at| now < at + SYNC_EVERY);
    if !synced && is_unsynced(shared, lane) {
        if let Err(error) = lane.journal.sync() {
            let text = format!("{error}; unconfirmed events are written anew");
            config.notices.say(Level::Error, "sync", text);
        }
        watch.synced_at = Some(Instant::now());
    }
    gate(shared, lane);
    if hand_over(shared, lane, watch, now) {
        shared.call_workers();
    }
    moved
}

fn is_unsynced(shared: &Shared, lane: &Lane) -> bool {
    shared.config.options.durability == Durability::Power
        && lane.journal.synced() < lane.journal.last()
}

/// Tells the lane whether its backlog is at its limit, unless somebody else does at this moment.
pub(super) fn gate(shared: &Shared, lane: &Lane) {
    let Some(gating) = lane.gating() else { return };
    let config = &shared.config;
    let has_workers = config.threads && shared.life.is_started();
    let now = config.clock.monotonic();
    let mut gate = Gate::default();
    for branch in &shared.branches {
        let reader = branch.reader(lane);
        let acked = reader.cursor.state().acked;
        let backlog = Backlog {
            bytes: lane.journal.bytes_from(acked.next()),
            untaken: lane.journal.bytes_from(reader.cursor.front()),
            limit: config.backlog_bytes_max,
            delivering: has_workers && branch.is_delivering(now, config.adapter_timeout),
        };
        // The buffer is no backlog, however large: while nothing is handed over, it can be. What is
        // behind a full buffer is one, though: on a busy machine nobody may come to hand it over.
        let is_backlog =
            reader.dispatched() >= reader.cursor.front() || lane.buffered() > config.buffer_size;
        let at_limit = is_backlog && backlog.is_full();
        gate.full |= at_limit;
        gate.wait = gate.wait.max(backlog.wait());
        if reader.set(at_limit, backlog.is_pressed()) && has_workers {
            branch.call();
        }
    }
    if gate.full && !lane.is_backlog_full() {
        let behind = shared.branches.iter().filter(|branch| branch.reader(lane).is_full());
        let behind: Vec<&str> = behind.map(|branch| branch.sink.shown_name()).collect();
        let text = format!(
            "the backlog is at its limit of {} bytes: {} applies until the dataset has caught up: {}",
            config.backlog_bytes_max,
            config.overflow.as_str(),
            behind.join(", ")
        );
        config.notices.say_rarely(Level::Warning, "backlog", "", text);
    }
    lane.set_gate(gating, gate);
}

/// Moves what is committed; says once that it can't, and once that it can again.
fn drain(shared: &Arc<Shared>, lane: &Lane, watch: &mut Watch) -> u64 {
    // What was dropped need not be written, but only once that is written down: after a crash
    // recovery would miss it in the segments, and call it damaged.
    for branch in &shared.branches {
        match branch.worker.try_lock() {
            Ok(worker) => worker.settle_dropped(shared, branch),
            // It is at a batch.
            Err(_) => save_dropped(shared, branch, lane),
        }
    }
    let result = lane.journal.drain(lane.acked().next());
    let notices = &shared.config.notices;
    match result {
        Ok(moved) => {
            if std::mem::take(&mut watch.failing) {
                notices.say(Level::Info, "resumed", "the journal can be written again");
            }
            moved
        }
        Err(error) if shared.leave_refused(&error) => 0,
        Err(error) => {
            // What is delivered makes room.
            let acked = lane.acked();
            lane.journal.store().trim(|_, last| last <= acked);
            if !std::mem::replace(&mut watch.failing, true) {
                let text = format!("the journal can't be written: {error}; make room on its disk");
                notices.say(Level::Warning, "journal", text);
            }
            0
        }
    }
}

/// Whether the next turn would hand something over. What can't be, because nobody has started the
/// logger, or the backlog or the disk is full, is no reason to stay awake.
fn has_work(shared: &Shared, lane: &Lane) -> bool {
    if lane.journal.is_failing() {
        return false;
    }
    let flushing = shared.flushing.load(Ordering::SeqCst) > 0;
    let (last, closed) = (lane.journal.last().0, lane.journal.is_closed());
    let least = if flushing || closed { 1 } else { shared.config.buffer_size };
    let is_due = |reader: &Reader| {
        (flushing || !reader.keeps_buffer()) && last >= reader.unbuffered() + least
    };
    (flushing || shared.life.is_started()) && lane.readers.iter().any(is_due)
}

/// Whether there is something new for the workers.
fn hand_over(shared: &Shared, lane: &Lane, watch: &mut Watch, now: Instant) -> bool {
    let buffered = lane.buffered();
    if buffered == 0 {
        watch.buffered_since = None;
        return false;
    }
    let since = *watch.buffered_since.get_or_insert(now);
    let flushing = shared.flushing.load(Ordering::SeqCst) > 0;
    let started = shared.life.is_started();
    if !flushing && !started {
        return false;
    }
    let due = flushing
        || now.saturating_duration_since(since) >= shared.config.flush_interval
        || lane.journal.is_closed()
        || lane.is_pressed()
        || buffered >= shared.config.buffer_size;
    if due && !lane.readers.iter().any(Reader::keeps_buffer) {
        watch.buffered_since = None;
    }
    if flushing { lane.dispatch(lane.journal.drained()) } else { lane.dispatch_due(due) }
}

/// Dispatches everything; the others are called too, who may have looked before.
pub(super) fn hand_by_worker(shared: &Shared, branch: &Branch, lane: &Lane) {
    if lane.dispatch(lane.journal.drained()) {
        shared.call_others(branch);
    }
}

/// For how long something has been pending in a branch without progress; zero while its worker is at
/// it.
pub(super) fn oldest_pending(shared: &Shared, branch: &Branch) -> Duration {
    match branch.worker.try_lock() {
        Ok(worker) => shared.config.clock.monotonic().saturating_sub(worker.last_progress()),
        Err(_) => Duration::ZERO,
    }
}
