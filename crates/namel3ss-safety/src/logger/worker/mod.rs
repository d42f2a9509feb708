//! The worker of one sink: the only place that knows both the journal and the sink. It takes runs of
//! events, freezes them as batches, has the sink deliver them, and moves the sink's cursor.
//!
//! It is a plain function that a thread drives, a step at a time; between two steps it can be
//! stopped, and whatever it was doing is in the journal.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod ledger;
mod source;
mod orphans;

pub(super) use self::ledger::{save_all_dropped, save_dropped, settle_dropped, trim_lane};

use self::ledger::{Ledger, trim};
use self::source::{Source, read};
use super::adopt::Share;
use super::branch::Branch;
use super::config::Config;
use super::lane::{Ground, Lane};
use super::shared::{Shared, lock};
use crate::adapter::Batching;
use crate::batch::RowBuffer;
use crate::id::{JournalId, Seq};
use crate::journal::store::ReadPlace;
use crate::notice::Level;
use crate::sink::{Delivering, Step};

/// How often it looks for what other processes have left behind.
const SCAN_EVERY: Duration = Duration::from_secs(30);
/// How often it looks for a frame of an earlier journal that others are about to commit or to move.
const COMMIT_POLL: Duration = Duration::from_millis(1);
/// How long it leaves a journal alone that can't be read.
const READ_RETRY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    orphans: VecDeque<Share>,
    /// Where it reads, by the places of the journals.
    places: BTreeMap<usize, ReadPlace>,
    rows: RowBuffer,
    flight: Option<Flight>,
    scan_due: Option<Duration>,
    /// There was no room for all orphans at the last look.
    more_orphans: bool,
    /// The last request that was seen.
    request: u64,
    /// Since when handed-over rows wait for more of them.
    gathering_since: Option<Duration>,
    /// When the last batch of an orphan was begun.
    orphan_at: Option<Duration>,
    last_progress: Duration,
    idle: bool,
}

/// A batch on its way. Its rows are in the worker's buffer.
#[derive(Debug)]
struct Flight {
    from: Origin,
    last: Seq,
    state: Delivering,
    not_before: Duration,
    /// Neither the dataset nor a fallback file took it: it waits for better days.
    kept: bool,
    /// The last request that had been made when this pass over its rows began.
    request: u64,
    /// Rows have settled in this pass.
    settled: bool,
    /// It was tried at once, because it is about to be lost.
    hurried: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Orphan,
    Lane(usize),
}

impl Worker {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            orphans: VecDeque::new(),
            places: BTreeMap::new(),
            rows: RowBuffer::new(JournalId([0; 16])),
            flight: None,
            scan_due: Some(Duration::ZERO),
            more_orphans: false,
            request: 0,
            gathering_since: None,
            orphan_at: None,
            last_progress: config.clock.monotonic(),
            idle: false,
        }
    }

    /// Whether a batch is on its way.
    pub(super) fn is_flying(&self) -> bool {
        self.flight.is_some()
    }

    /// Whether the last turn found nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Since when nothing has settled.
    pub(super) fn last_progress(&self) -> Duration {
        self.last_progress
    }

    /// Between two steps: gives up a batch of a journal that is left to another user, and what it
    /// reads there. The next run sends the batch as it is, under the same id.
    pub(super) fn leave_flight(&mut self, shared: &Shared) {
        self.places.retain(|index, _| shared.is_open(*index));
        let is_left = |flight: &mut Flight| match flight.from {
            Origin::Lane(index) => !shared.is_open(index),
            Origin::Orphan => false,
        };
        self.flight.take_if(is_left);
    }

    /// Does one thing; says how long to wait before the next, or nothing if there is none.
    /// `maintained` says that the journals were looked after just before.
    pub(super) fn turn(
        &mut self,
        shared: &Arc<Shared>,
        branch: &Branch,
        maintained: bool,
    ) -> Option<Duration> {
        let now = shared.config.clock.monotonic();
        self.idle = false;
        let request = shared.requested();
        let asked = request > self.request;
        self.request = request;
        if asked {
            self.scan_due = Some(Duration::ZERO);
        }
        self.leave_flight(shared);
        if let Some(mut flight) = self.flight.take() {
            let in_danger = matches!(flight.from, Origin::Lane(at) if shared.hurries(at));
            let hurries = in_danger && !flight.hurried;
            if hurries {
                flight.hurried = true;
                flight.state.try_once();
            }
            let at_once = hurries || (flight.kept && flight.request < request);
            if now < flight.not_before && !at_once {
                let wait = flight.not_before - now;
                self.flight = Some(flight);
                return Some(wait);
            }
            if std::mem::take(&mut flight.kept) {
                flight.request = request;
                flight.settled = false;
            }
            return Some(self.fly(shared, branch, flight, now));
        }
        if !shared.hurrying.load(Ordering::SeqCst) {
            self.scan(shared, branch, now);
        }
        let next = self.next_batch(shared, branch, now, maintained);
        branch.set_readable(next.is_ok());
        match next {
            Ok(Next::Batch(flight)) => {
                self.flight = Some(flight);
                Some(Duration::ZERO)
            }
            Ok(Next::Again) => Some(Duration::ZERO),
            Ok(Next::Gathering(wait)) => Some(wait),
            Ok(Next::Nothing) => self.nothing(branch, now),
            Err(error) if shared.leave_refused(&error) => Some(Duration::ZERO),
            Err(error) => {
                let text = format!("what is to be delivered is not to be had: {error}");
                let notices = &shared.config.notices;
                notices.say_rarely(Level::Error, "journal", branch.sink.name(), text);
                shared.note(branch, |progress| progress.kept = request);
                Some(READ_RETRY)
            }
        }
    }

    fn nothing(&mut self, branch: &Branch, now: Duration) -> Option<Duration> {
        if let Some(replayed) = branch.sink.replay_next()
            && replayed.result.is_ok()
        {
            return Some(Duration::ZERO);
        }
        self.idle = true;
        self.last_progress = now;
        self.next_scan(now).map(|wait| wait.max(Duration::from_millis(1)))
    }

    /// One step of a batch on its way.
    fn fly(
        &mut self,
        shared: &Arc<Shared>,
        branch: &Branch,
        mut flight: Flight,
        now: Duration,
    ) -> Duration {
        let config = &shared.config;
        let batch = self.rows.batch();
        let orphan = self.orphans.front().filter(|_| flight.from == Origin::Orphan);
        let (cursor, lane) = match (orphan, flight.from) {
            (Some(share), _) => (share.cursor.clone(), None),
            (None, Origin::Lane(index)) => {
                let Some(lane) = shared.journals.get(index) else { return Duration::ZERO };
                (branch.reader(lane).cursor.clone(), Some(lane))
            }
            (None, Origin::Orphan) => return Duration::ZERO,
        };
        let ledger = match lane {
            Some(lane) => Ledger::of_lane(shared, branch, lane),
            None => Ledger::of_orphan(shared, branch, &cursor),
        };
        let mut ledger = ledger.with(batch);
        let acked = cursor.state().acked;
        branch.attempts(now);
        let step = branch.sink.step(&mut flight.state, &batch, &mut ledger);
        flight.settled |= cursor.state().acked > acked;
        if flight.state.take_copied() {
            shared.part_from_copy(batch.id().journal);
        }
        match step {
            Step::Again => {
                self.flight = Some(flight);
                Duration::ZERO
            }
            Step::Wait(wait) => {
                branch.failed();
                flight.not_before = now + wait;
                self.flight = Some(flight);
                wait
            }
            Step::Kept { wait, error } => {
                branch.failed();
                flight.kept = true;
                if flight.settled {
                    // The dataset is there again: what else it refused is tried at once.
                    flight.not_before = now;
                    self.flight = Some(flight);
                    return Duration::ZERO;
                }
                let in_memory = lane.is_some_and(|lane| lane.ground() == Ground::Memory);
                let place = if in_memory { "memory only" } else { "the journal" };
                let text = format!("undelivered events stay in {place}: {error}");
                let text = branch.sink.wrong(&text);
                config.notices.say_rarely(Level::Warning, "kept", branch.sink.name(), text);
                flight.not_before = now + wait;
                let request = flight.request;
                self.flight = Some(flight);
                shared.note(branch, |progress| progress.kept = request);
                wait
            }
            Step::Done => {
                // Seqs behind the last row that hold no row any more are settled with it.
                ledger.settle_through(flight.last);
                self.last_progress = config.clock.monotonic();
                branch.batch_settled();
                if let Some(lane) = lane {
                    trim_lane(shared, lane);
                    // Those who are held up go on as soon as they may.
                    shared.gate(lane);
                } else if let Some(Share { orphan, .. }) = self.orphans.front() {
                    trim(shared, &orphan.store, || orphan.cursors());
                }
                self.count_recovering(branch);
                shared.note(branch, |_| {});
                Duration::ZERO
            }
        }
    }

    fn count_recovering(&self, branch: &Branch) {
        let pending: u64 = self.orphans.iter().map(Share::pending).sum();
        let flying = match &self.flight {
            Some(flight) if flight.from == Origin::Orphan => self.rows.len() as u64,
            _ => 0,
        };
        let left = lock(&branch.left);
        let untaken: u64 = left.iter().map(Share::pending).sum();
        branch.counters.recovering.store(pending + flying + untaken, Ordering::Release);
    }

    fn next_batch(
        &mut self,
        shared: &Arc<Shared>,
        branch: &Branch,
        now: Duration,
        maintained: bool,
    ) -> io::Result<Next> {
        let batching = branch.sink.batching();
        let flushing = shared.flushing.load(Ordering::SeqCst) > 0;
        let join_for = if flushing { Duration::ZERO } else { branch.sink.join_for() };
        // In an outage each journal is worth a fallback file now and then, and no more: it keeps its
        // events as well as a file would.
        let begun = self.orphan_at.filter(|_| !self.orphans.is_empty());
        let held =
            begun.map(|at| (at + join_for).saturating_sub(now)).filter(|wait| !wait.is_zero());
        // Earlier runs first: then a dataset is in the order in which things happened.
        let hurrying = shared.hurrying.load(Ordering::SeqCst);
        let passes = held.is_some() || hurrying;
        while let Some(share) = self.orphans.front_mut().filter(|_| !passes) {
            let Share { orphan, cursor, place, .. } = share;
            if cursor.front() > orphan.last {
                Ledger::of_orphan(shared, branch, cursor).settle_through(orphan.last);
                if let Some(share) = self.orphans.pop_front() {
                    share.done(shared);
                }
                self.count_recovering(branch);
                continue;
            }
            let cursor = cursor.clone();
            let last = cursor.skip_dropped(orphan.last);
            if cursor.front() > orphan.last {
                continue;
            }
            let source = Source { store: &orphan.store, cursor: &cursor, branch, lane: None };
            let read = read(shared, &source, place, &mut self.rows, last, &batching);
            let through = match read {
                Ok(through) => through,
                Err(error) => {
                    // One journal that can't be read must not hold up the others. It is left as
                    // it is, and looked at again with the next scan.
                    let text = format!("{}: {error}", orphan.store.folder.describe());
                    shared.config.notices.say(Level::Error, "recovery", text);
                    let folder = self.orphans.pop_front().and_then(Share::leave);
                    if shared.config.medium.is_some() {
                        lock(&shared.config.left_behind).extend(folder);
                    }
                    self.count_recovering(branch);
                    continue;
                }
            };
            let taken = cursor.take(cursor.front(), through);
            debug_assert!(taken, "nobody else takes from an orphan");
            if self.rows.is_empty() {
                continue;
            }
            self.orphan_at = Some(now);
            let flight = self.launch(branch, Origin::Orphan, through);
            self.flight = Some(flight);
            self.count_recovering(branch);
            return Ok(self.flight.take().map_or(Next::Again, Next::Batch));
        }
        for lane in shared.lanes() {
            match self.next_of_lane(shared, branch, lane, &batching, (now, maintained))? {
                Some(Next::Gathering(wait)) => {
                    return Ok(Next::Gathering(held.map_or(wait, |held| held.min(wait))));
                }
                Some(next) => return Ok(next),
                None => {}
            }
        }
        Ok(held.map_or(Next::Nothing, Next::Gathering))
    }

    fn next_of_lane(
        &mut self,
        shared: &Arc<Shared>,
        branch: &Branch,
        lane: &Lane,
        batching: &Batching,
        (now, maintained): (Duration, bool),
    ) -> io::Result<Option<Next>> {
        let reader = branch.reader(lane);
        let flushing = shared.flushing.load(Ordering::SeqCst) > 0;
        let urged = flushing || shared.urging.load(Ordering::SeqCst) > 0;
        settle_dropped(shared, branch, lane);
        // Nothing more comes to it.
        let closed = lane.journal.is_closed();
        let drained = lane.journal.drained();
        let upto = reader.dispatched().min(drained);
        let front = reader.cursor.front();
        if upto < front {
            if maintained && drained < front && front <= lane.journal.last() {
                // Whoever waits for it hears why.
                if let Some(failure) = &*lock(&lane.failure) {
                    return Err(io::Error::other(failure.clone()));
                }
            }
            if !closed {
                self.gathering_since = None;
            } else if upto < lane.journal.last() && !lane.journal.is_failing() {
                // Somebody is about to commit, or moves the frames: later journals come later.
                return Ok(Some(Next::Gathering(COMMIT_POLL)));
            }
            return Ok(None);
        }
        let waiting = upto.0 + 1 - front.0;
        let since = if closed { now } else { *self.gathering_since.get_or_insert(now) };
        let waited = now.saturating_sub(since);
        let is_full = waiting >= batching.rows_max as u64 || reader.is_pressed();
        // Before it is frozen a batch may still grow; one that only memory has is better off in a file.
        let joins = lane.ground() != Ground::Memory
            && lane.journal.bytes_from(front) < batching.bytes_max as u64;
        let join_for = if joins { branch.sink.join_for() } else { Duration::ZERO };
        let wait_max = batching.wait_max.max(join_for);
        if !urged && !closed && !is_full && waited < wait_max {
            return Ok(Some(Next::Gathering(wait_max - waited)));
        }
        let (store, cursor) = (lane.journal.store(), &reader.cursor);
        let source = Source { store, cursor, branch, lane: Some(lane) };
        let place = self.places.entry(lane.index).or_default();
        let through = read(shared, &source, place, &mut self.rows, upto, batching)?;
        // Those who drop the oldest may have taken some of it meanwhile.
        let mut from = front;
        while !reader.cursor.take(from, through) {
            from = reader.cursor.front();
            if from > through {
                return Ok(Some(Next::Again));
            }
            self.rows.drop_before(from);
        }
        if !closed {
            self.gathering_since = None;
        }
        if self.rows.is_empty() {
            Ledger::of_lane(shared, branch, lane).settle_through(through);
            return Ok(Some(Next::Again));
        }
        Ok(Some(Next::Batch(self.launch(branch, Origin::Lane(lane.index), through))))
    }

    fn launch(&mut self, branch: &Branch, from: Origin, last: Seq) -> Flight {
        let state = branch.sink.begin();
        Flight {
            from,
            last,
            state,
            not_before: Duration::ZERO,
            kept: false,
            request: self.request,
            settled: false,
            hurried: false,
        }
    }
}

enum Next {
    Batch(Flight),
    Gathering(Duration),
    Again,
    Nothing,
}
