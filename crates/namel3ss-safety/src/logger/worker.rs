//! The worker: the only place that knows both the journal and the sink. It takes runs of events,
//! freezes them as batches, has the sink deliver them, and moves the cursor.
//!
//! It is a plain function that a thread drives, a step at a time; between two steps it can be
//! stopped, and whatever it was doing is in the journal.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::adopt::{self, Orphan, Wanted};
use super::config::Config;
use super::keeper;
use super::lane::Lane;
use super::shared::Shared;
use crate::adapter::Batching;
use crate::batch::RowBuffer;
use crate::clock::Timestamp;
use crate::id::{JournalId, Seq};
use crate::journal::account::Account;
use crate::journal::cursor::{Cursor, CursorState};
use crate::journal::store::{Damage, ReadPlace, ReadReport, Store};
use crate::journal::{DropReason, Gap};
use crate::notice::{Level, Notices};
use crate::sink::{Delivering, Progress, Settled, Step};
use crate::stats::Counters;

/// How often it looks for what other processes have left behind.
const SCAN_EVERY: Duration = Duration::from_secs(30);
/// How long it leaves a journal alone that can't be read.
const READ_RETRY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    orphans: VecDeque<Orphan>,
    places: [ReadPlace; 2],
    rows: RowBuffer,
    flight: Option<Flight>,
    scan_due: Option<Duration>,
    /// Since when handed-over rows wait for more of them.
    gathering_since: Option<Duration>,
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
            places: Default::default(),
            rows: RowBuffer::new(JournalId([0; 16])),
            flight: None,
            scan_due: None,
            gathering_since: None,
            last_progress: config.clock.monotonic(),
            idle: false,
        }
    }

    /// Whether the last turn found nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Since when nothing has settled.
    pub(super) fn last_progress(&self) -> Duration {
        self.last_progress
    }

    /// Writes down what the overflow strategy took, unless a batch is on its way.
    pub(super) fn settle_dropped(&self, shared: &Shared) {
        if self.flight.is_none() {
            shared.lanes().for_each(|lane| settle_dropped(shared, lane));
        }
    }

    /// Does one thing; says how long to wait before the next, or nothing if there is none.
    pub(super) fn turn(&mut self, shared: &Arc<Shared>) -> Option<Duration> {
        let now = shared.config.clock.monotonic();
        self.idle = false;
        if let Some(flight) = self.flight.take() {
            if now < flight.not_before {
                let wait = flight.not_before - now;
                self.flight = Some(flight);
                return Some(wait);
            }
            return Some(self.fly(shared, flight, now));
        }
        self.scan(shared, now);
        match self.next_batch(shared, now) {
            Ok(Next::Batch(flight)) => {
                self.flight = Some(flight);
                Some(Duration::ZERO)
            }
            Ok(Next::Again) => Some(Duration::ZERO),
            Ok(Next::Gathering(wait)) => Some(wait),
            Ok(Next::Nothing) => self.nothing(shared, now),
            Err(error) => {
                let text = format!("the journal can't be read: {error}");
                shared.config.notices.say(Level::Error, "journal", text);
                shared.note(|progress| progress.kept += 1);
                Some(READ_RETRY)
            }
        }
    }

    fn nothing(&mut self, shared: &Arc<Shared>, now: Duration) -> Option<Duration> {
        if let Some(replayed) = shared.config.sink.replay_next()
            && replayed.result.is_ok()
        {
            return Some(Duration::ZERO);
        }
        self.idle = true;
        self.last_progress = now;
        shared.note(|progress| progress.idle += 1);
        self.scan_due.map(|due| due.saturating_sub(now).max(Duration::from_millis(1)))
    }

    /// One step of a batch on its way.
    fn fly(&mut self, shared: &Arc<Shared>, mut flight: Flight, now: Duration) -> Duration {
        let (cursor, store, own) = match flight.from {
            Origin::Orphan => {
                let Some(orphan) = self.orphans.front() else { return Duration::ZERO };
                (orphan.cursor.clone(), None, false)
            }
            Origin::Lane(index) => {
                let Some(lane) = shared.lanes().nth(index) else { return Duration::ZERO };
                (lane.cursor.clone(), Some(lane.journal.store().clone()), true)
            }
        };
        let config = &shared.config;
        let mut ledger =
            Ledger { cursor: &cursor, counters: &shared.counters, notices: &config.notices, own };
        let batch = self.rows.batch();
        match config.sink.step(&mut flight.state, &batch, &mut ledger) {
            Step::Again => {
                self.flight = Some(flight);
                Duration::ZERO
            }
            Step::Wait(wait) => {
                flight.not_before = now + wait;
                self.flight = Some(flight);
                wait
            }
            Step::Kept { wait, .. } => {
                flight.not_before = now + wait;
                self.flight = Some(flight);
                shared.note(|progress| progress.kept += 1);
                wait
            }
            Step::Done => {
                // Seqs behind the last row that hold no row any more are settled with it.
                ledger.settle_through(flight.last);
                self.last_progress = config.clock.monotonic();
                if let Some(store) = store {
                    trim(shared, &store, &cursor);
                } else if let Some(orphan) = self.orphans.front() {
                    trim(shared, &orphan.store, &cursor);
                }
                self.count_recovering(shared);
                shared.note(|progress| progress.settled += 1);
                Duration::ZERO
            }
        }
    }

    /// Adopts what dead processes left.
    fn scan(&mut self, shared: &Arc<Shared>, now: Duration) {
        let wanted = shared.scan_wanted.swap(false, Ordering::AcqRel);
        if !wanted && self.scan_due.is_none_or(|due| now < due) {
            return;
        }
        let config = &shared.config;
        if !config.adopt || config.medium.is_some() {
            self.scan_due = None;
            return;
        }
        self.scan_due = Some(now + SCAN_EVERY);
        let destination = shared.destination();
        let wanted = Wanted {
            dataset: &config.dataset,
            destination: &destination,
            sink: config.sink.dataset_name(),
            durability: config.options.durability,
        };
        let found = adopt::adopt(&shared.journals(), &wanted, &config.notices);
        let events: u64 = found.iter().map(Orphan::pending).sum();
        if events > 0 {
            let text = format!("{events} events of earlier runs are delivered now");
            config.notices.say(Level::Info, "recovering", text);
        }
        self.orphans.extend(found);
        self.count_recovering(shared);
    }

    fn count_recovering(&self, shared: &Shared) {
        let pending: u64 = self.orphans.iter().map(Orphan::pending).sum();
        let flying = match &self.flight {
            Some(flight) if flight.from == Origin::Orphan => self.rows.len() as u64,
            _ => 0,
        };
        shared.counters.recovering.store(pending + flying, Ordering::Release);
    }

    fn next_batch(&mut self, shared: &Arc<Shared>, now: Duration) -> io::Result<Next> {
        let batching = shared
            .config
            .sink
            .adapter()
            .map_or_else(Batching::default, |adapter| adapter.batching());
        // Earlier runs first: then a dataset is in the order in which things happened.
        while let Some(orphan) = self.orphans.front_mut() {
            let Orphan { store, cursor, place, last, .. } = orphan;
            if cursor.front() > *last {
                let (counters, notices) = (&shared.counters, &shared.config.notices);
                let mut ledger = Ledger { cursor, counters, notices, own: false };
                ledger.settle_through(*last);
                shared.keep_account(store.journal, &Account::of(&cursor.state()));
                if let Err(error) = store.folder.remove_all() {
                    let text = format!("{} can't be removed: {error}", store.folder.describe());
                    shared.config.notices.say(Level::Warning, "recovery", text);
                }
                self.orphans.pop_front();
                self.count_recovering(shared);
                continue;
            }
            let (store, cursor, upto) = (&*store, cursor.clone(), *last);
            let source = Source { store, cursor: &cursor, own: false };
            let through = read(shared, &source, place, &mut self.rows, upto, &batching)?;
            let taken = cursor.take(cursor.front(), through);
            debug_assert!(taken, "nobody else takes from an orphan");
            if self.rows.is_empty() {
                continue;
            }
            let flight = self.launch(shared, Origin::Orphan, through);
            self.flight = Some(flight);
            self.count_recovering(shared);
            return Ok(self.flight.take().map_or(Next::Again, Next::Batch));
        }
        for (index, lane) in shared.lanes().enumerate() {
            if let Some(next) = self.next_of_lane(shared, index, lane, &batching, now)? {
                return Ok(next);
            }
        }
        Ok(Next::Nothing)
    }

    fn next_of_lane(
        &mut self,
        shared: &Arc<Shared>,
        index: usize,
        lane: &Lane,
        batching: &Batching,
        now: Duration,
    ) -> io::Result<Option<Next>> {
        let flushing = shared.flushing.load(Ordering::SeqCst) > 0;
        if flushing || !shared.config.threads {
            // Nobody else may be there to do it.
            settle_dropped(shared, lane);
            if let Some(Err(error)) = lane.journal.try_drain(lane.cursor.state().acked.next())
                && lane.journal.drained() < lane.cursor.front()
            {
                return Err(error);
            }
            let buffered = lane.buffered();
            if flushing || buffered >= shared.config.buffer_size {
                keeper::hand(lane);
            }
        }
        settle_dropped(shared, lane);
        let (front, upto) = (lane.cursor.front(), lane.handed().min(lane.journal.drained()));
        if upto < front {
            self.gathering_since = None;
            return Ok(None);
        }
        let waiting = upto.0 + 1 - front.0;
        let since = *self.gathering_since.get_or_insert(now);
        let waited = now.saturating_sub(since);
        if !flushing && waiting < batching.rows_max as u64 && waited < batching.wait_max {
            return Ok(Some(Next::Gathering(batching.wait_max - waited)));
        }
        let source = Source { store: lane.journal.store(), cursor: &lane.cursor, own: true };
        let place = &mut self.places[index];
        let through = read(shared, &source, place, &mut self.rows, upto, batching)?;
        // Those who drop the oldest may have taken some of it meanwhile.
        let mut from = front;
        while !lane.cursor.take(from, through) {
            from = lane.cursor.front();
            if from > through {
                return Ok(Some(Next::Again));
            }
            self.rows.drop_before(from);
        }
        self.gathering_since = None;
        if self.rows.is_empty() {
            let (counters, notices) = (&shared.counters, &shared.config.notices);
            Ledger { cursor: &lane.cursor, counters, notices, own: true }.settle_through(through);
            return Ok(Some(Next::Again));
        }
        Ok(Some(Next::Batch(self.launch(shared, Origin::Lane(index), through))))
    }

    fn launch(&mut self, shared: &Shared, from: Origin, last: Seq) -> Flight {
        let state = shared.config.sink.begin();
        Flight { from, last, state, not_before: Duration::ZERO }
    }
}

enum Next {
    Batch(Flight),
    Gathering(Duration),
    Again,
    Nothing,
}

struct Source<'a> {
    store: &'a Store,
    cursor: &'a Cursor,
    own: bool,
}

/// Fills `rows` with the next batch and says up to where it reaches. A batch that was frozen and
/// not settled comes first, exactly as it was.
fn read(
    shared: &Shared,
    source: &Source<'_>,
    place: &mut ReadPlace,
    rows: &mut RowBuffer,
    upto: Seq,
    batching: &Batching,
) -> io::Result<Seq> {
    let front = source.cursor.front();
    let (frozen_first, frozen_last) = source.cursor.state().frozen;
    let frozen = frozen_first == front && frozen_last >= front && frozen_last <= upto;
    let upto = if frozen { frozen_last } else { upto };
    rows.reset(source.store.journal, shared.config.options.durability);
    let mut invalid = 0;
    let report = source.store.read(place, front, upto, &mut |seq, payload| {
        let full = rows.len() >= batching.rows_max
            || (!rows.is_empty() && rows.bytes() + payload.len() > batching.bytes_max);
        if full && !frozen {
            return false;
        }
        // A frame whose check holds and whose payload makes no sense: another version wrote it.
        invalid += u64::from(rows.push(seq, payload).is_err());
        true
    })?;
    let through = report.through;
    account(shared, source, report, invalid);
    if through < front {
        // Everything up to here is in a segment, and the segments don't have it.
        return Err(io::Error::other(format!("seq {front} is not where it should be")));
    }
    Ok(through)
}

/// Counts and says what was met on the way and could not be delivered.
fn account(shared: &Shared, source: &Source<'_>, report: ReadReport, invalid: u64) {
    let notices = &shared.config.notices;
    for Damage { file, what } in report.damage {
        let text = format!("{}/{file}: {what}", source.store.folder.describe());
        notices.say(Level::Error, "damage", text);
    }
    for (first, last) in &report.missing {
        let events = last.0 - first.0 + 1;
        let text = format!(
            "{events} events of journal {} are damaged: seqs {first} to {last}",
            source.store.journal
        );
        notices.say(Level::Critical, "damaged", text);
        source.give_up(shared, DropReason::Damaged, events);
    }
    if invalid > 0 {
        let text = format!("{invalid} events can't be decoded, and are given up");
        notices.say(Level::Critical, "invalid", text);
        source.give_up(shared, DropReason::Invalid, invalid);
    }
}

impl Source<'_> {
    fn give_up(&self, shared: &Shared, reason: DropReason, events: u64) {
        if self.own {
            shared.counters.give_up(reason, events);
        } else {
            // Written down with the next batch that settles.
            let _ = self.cursor.save(|state| state.dropped[reason.index()] += events);
        }
    }
}

/// Writes down what the overflow strategy took since the last look, with a gap record.
fn settle_dropped(shared: &Shared, lane: &Lane) {
    let acked = lane.cursor.state().acked;
    let front = lane.cursor.front();
    if acked.next() >= front {
        return;
    }
    let last = Seq(front.0 - 1);
    let gap = Gap {
        reason: DropReason::DropOldest,
        events: last.0 - acked.0,
        seqs: (acked.next(), last),
        at: Timestamp::now(),
    };
    lane.journal.push_gap(gap);
    let (counters, notices) = (&shared.counters, &shared.config.notices);
    // No number in it: it is said again and again while the buffer is full, and counted as one.
    let text = "the oldest events are dropped, because the buffer is full; stats say how many";
    notices.say(Level::Critical, "dropped", text);
    Ledger { cursor: &lane.cursor, counters, notices, own: true }.settle_through(last);
    trim(shared, lane.journal.store(), &lane.cursor);
}

/// Removes the segments that the cursor has passed, once its file says so too.
fn trim(shared: &Shared, store: &Store, cursor: &Cursor) {
    if store.can_trim(cursor.state().acked.next())
        && let Ok(acked) = cursor.written(shared.config.options.durability)
    {
        store.trim(acked.next());
    }
}

/// Writes down how a batch fares.
struct Ledger<'a> {
    cursor: &'a Cursor,
    counters: &'a Counters,
    notices: &'a Notices,
    own: bool,
}

impl Ledger<'_> {
    fn save(&mut self, change: impl FnOnce(&mut CursorState)) {
        let dropped = self.own.then(|| self.counters.dropped());
        let unsequenced = self.counters.unsequenced.load(Ordering::Acquire);
        let saved = self.cursor.save(|state| {
            change(state);
            if let Some(dropped) = dropped {
                state.dropped = dropped;
                state.unsequenced = unsequenced;
            }
        });
        if let Err(error) = saved {
            // It holds in memory. A crash now resends a batch, which adapters know how to take.
            let text = format!("the cursor can't be written: {error}");
            self.notices.say(Level::Warning, "journal", text);
        }
    }

    fn settle_through(&mut self, last: Seq) {
        if self.cursor.state().acked < last {
            self.save(|state| {
                state.acked = last;
                state.frozen = (Seq(0), Seq(0));
            });
        }
    }
}

impl Progress for Ledger<'_> {
    fn freeze(&mut self, first: Seq, last: Seq) {
        self.save(|state| state.frozen = (first, last));
    }

    fn settled(&mut self, _first: Seq, last: Seq, rows: u64, how: &Settled) {
        let stored = matches!(how, Settled::Stored);
        self.save(|state| {
            state.acked = state.acked.max(last);
            if stored {
                state.flushed += rows;
            } else {
                state.fallback += rows;
            }
        });
        let count = match (self.own, stored) {
            (true, true) => &self.counters.flushed,
            (true, false) => &self.counters.fallback,
            (false, _) => &self.counters.recovered,
        };
        count.fetch_add(rows, Ordering::AcqRel);
    }
}
