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

mod ledger;
mod source;

pub(super) use self::ledger::settle_dropped;

use self::ledger::{Ledger, trim};
use self::source::{Source, read};
use super::adopt::{self, Orphan, Wanted};
use super::config::Config;
use super::keeper;
use super::lane::Lane;
use super::shared::{Shared, lock};
use crate::adapter::Batching;
use crate::batch::RowBuffer;
use crate::id::{JournalId, Seq};
use crate::journal::account::Account;
use crate::journal::store::ReadPlace;
use crate::notice::Level;
use crate::sink::{Delivering, Step};

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
    /// The last request that was seen.
    request: u64,
    resume_due: Duration,
    /// Where there is no keeper: since when each lane's buffer holds something.
    buffered_since: [Option<Duration>; 2],
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
    /// Neither the dataset nor a fallback file took it: it waits for better days.
    kept: bool,
    /// The last request that had been made when this pass over its rows began.
    request: u64,
    /// Rows have settled in this pass.
    settled: bool,
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
            scan_due: Some(Duration::ZERO),
            request: 0,
            resume_due: Duration::ZERO,
            buffered_since: [None; 2],
            gathering_since: None,
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
        let request = shared.requested();
        let asked = request > self.request;
        self.request = request;
        if asked {
            self.scan_due = Some(Duration::ZERO);
        }
        if !shared.has_keeper() {
            self.keep(shared, now);
        }
        if let Some(mut flight) = self.flight.take() {
            let at_once = flight.kept && flight.request < request;
            if now < flight.not_before && !at_once {
                let wait = flight.not_before - now;
                self.flight = Some(flight);
                return Some(wait);
            }
            if std::mem::take(&mut flight.kept) {
                flight.request = request;
                flight.settled = false;
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
                let text = format!("what is to be delivered is not to be had: {error}");
                shared.config.notices.say(Level::Error, "journal", text);
                shared.note(|progress| progress.kept = request);
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
        let scan = self.scan_due.map(|due| due.saturating_sub(now));
        let interval = shared.config.flush_interval;
        let hand_over = self.buffered_since.iter().flatten().map(|since| *since + interval);
        let hand_over = hand_over.min().map(|due| due.saturating_sub(now));
        let soonest = scan.into_iter().chain(hand_over).min();
        soonest.map(|wait| wait.max(Duration::from_millis(1)))
    }

    /// What the keeper does, where there is none.
    fn keep(&mut self, shared: &Arc<Shared>, now: Duration) {
        if now >= self.resume_due {
            self.resume_due = now + keeper::RESUME_EVERY;
            shared.try_resume();
            shared.say_dropped();
        }
        self.settle_dropped(shared);
        let config = &shared.config;
        for (lane, since) in shared.lanes().zip(&mut self.buffered_since) {
            // An error is met again, and said, by whoever needs the frames.
            let _ = lane.journal.try_drain(lane.cursor.state().acked.next());
            let full = keeper::gate(shared, lane);
            let buffered = lane.buffered();
            if buffered == 0 {
                *since = None;
                continue;
            }
            let waited = now.saturating_sub(*since.get_or_insert(now));
            let due = buffered >= config.buffer_size || waited >= config.flush_interval;
            if due && !full && shared.started.load(Ordering::Acquire) {
                keeper::hand(lane);
                *since = None;
            }
        }
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
        let acked = cursor.state().acked;
        let step = config.sink.step(&mut flight.state, &batch, &mut ledger);
        flight.settled |= cursor.state().acked > acked;
        match step {
            Step::Again => {
                self.flight = Some(flight);
                Duration::ZERO
            }
            Step::Wait(wait) => {
                flight.not_before = now + wait;
                self.flight = Some(flight);
                wait
            }
            Step::Kept { wait, error } => {
                flight.kept = true;
                if flight.settled {
                    // The dataset is there again: what else it refused is tried at once.
                    flight.not_before = now;
                    self.flight = Some(flight);
                    return Duration::ZERO;
                }
                let text = format!("undelivered events stay in the journal: {error}");
                config.notices.say(Level::Warning, "kept", text);
                flight.not_before = now + wait;
                let request = flight.request;
                self.flight = Some(flight);
                shared.note(|progress| progress.kept = request);
                wait
            }
            Step::Done => {
                // Seqs behind the last row that hold no row any more are settled with it.
                ledger.settle_through(flight.last);
                self.last_progress = config.clock.monotonic();
                shared.settled_at.store(self.last_progress.as_nanos() as u64, Ordering::Release);
                if let Some(store) = store {
                    trim(shared, &store, &cursor);
                } else if let Some(orphan) = self.orphans.front() {
                    trim(shared, &orphan.store, &cursor);
                }
                self.count_recovering(shared);
                shared.note(|_| {});
                Duration::ZERO
            }
        }
    }

    /// Adopts what dead processes left.
    fn scan(&mut self, shared: &Arc<Shared>, now: Duration) {
        if self.scan_due.is_none_or(|due| now < due) {
            return;
        }
        let config = &shared.config;
        self.scan_due = None;
        if config.adopt {
            self.adopt(shared);
            self.scan_due = config.medium.is_none().then_some(now + SCAN_EVERY);
        }
        let request = self.request;
        shared.note(|progress| progress.scanned = request);
    }

    fn adopt(&mut self, shared: &Arc<Shared>) {
        let config = &shared.config;
        let destination = shared.destination();
        let wanted = Wanted {
            dataset: &config.dataset,
            destination: &destination,
            sink: config.sink.dataset_name(),
            durability: config.options.durability,
        };
        let found = match config.medium {
            None => adopt::adopt(&config.root, &shared.journals(), &wanted, &config.notices),
            Some(_) => {
                let left = std::mem::take(&mut *lock(&config.left_behind));
                left.into_iter()
                    .filter_map(|folder| {
                        adopt::adopt_folder(folder, None, &wanted, &config.notices)
                    })
                    .collect()
            }
        };
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
        let batching = shared.config.sink.batching();
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
            let read = read(shared, &source, place, &mut self.rows, upto, &batching);
            let through = match read {
                Ok(through) => through,
                Err(error) => {
                    // One journal that can't be read must not hold up the others. It is left as
                    // it is, and looked at again with the next scan.
                    let text = format!("{}: {error}", store.folder.describe());
                    shared.config.notices.say(Level::Error, "recovery", text);
                    if shared.config.medium.is_some() {
                        lock(&shared.config.left_behind).push(store.folder.clone());
                    }
                    self.orphans.pop_front();
                    self.count_recovering(shared);
                    continue;
                }
            };
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
        let urged = flushing || shared.urging.load(Ordering::SeqCst) > 0;
        if urged || !shared.has_keeper() {
            // Nobody else may be there to do it.
            settle_dropped(shared, lane);
            if let Some(Err(error)) = lane.journal.try_drain(lane.cursor.state().acked.next())
                && lane.journal.drained() < lane.cursor.front()
            {
                return Err(error);
            }
            if flushing {
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
        if !urged && waiting < batching.rows_max as u64 && waited < batching.wait_max {
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
        Flight {
            from,
            last,
            state,
            not_before: Duration::ZERO,
            kept: false,
            request: self.request,
            settled: false,
        }
    }
}

enum Next {
    Batch(Flight),
    Gathering(Duration),
    Again,
    Nothing,
}
