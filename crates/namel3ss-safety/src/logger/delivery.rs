//! From a journal to a sink, by the worker of each sink: it reads the next run of events ([`read`]),
//! freezes it as a batch ([`Delivery`]: freezing, acks and counts in one place), has the sink deliver it,
//! and moves the sink's cursor. What dead processes left is shared out to the workers here.
//!
//! A worker is a plain function that a thread drives, a step at a time; between two steps it can be
//! stopped, and whatever it was doing is in the journal.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::config::Config;
use super::journals::{Fate, Ground, Lane, Merged};
use super::recovery::{Share, Wanted, adopt, adopt_folder};
use super::state::{Branch, Flight, Shared, Worker};
use crate::adapter::Batching;
use crate::batch::{Batch, RowBuffer};
use crate::id::{JournalId, Seq};
use crate::journal::DropReason;
use crate::journal::account::Account;
use crate::journal::cursor::{Cursor, CursorState};
use crate::journal::store::{Damage, ReadPlace, ReadReport, Store};
use crate::locks::lock;
use crate::notice::{Level, NoticeKind};
use crate::process::descriptors;
use crate::seqs::SeqSet;
use crate::sink::{Progress, Settled, Step};

/// How often it looks for what other processes have left behind.
const SCAN_EVERY: Duration = Duration::from_secs(30);
/// How often it looks for a frame of an earlier journal that others are about to commit or to move.
const COMMIT_POLL: Duration = Duration::from_millis(1);
/// How long it leaves a journal alone that can't be read.
const READ_RETRY: Duration = Duration::from_secs(1);

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

    /// Between two steps: gives up a batch of a journal that is left to another user, and what it
    /// reads there. The next run sends the batch as it is, under the same id.
    pub(super) fn leave_flight(&mut self, shared: &Shared) {
        self.places.retain(|index, _| shared.is_open(*index));
        self.flight.take_if(|flight| flight.lane.is_some_and(|index| !shared.is_open(index)));
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
            let in_danger = flight.lane.is_some_and(|index| shared.hurries(index));
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
        branch.unreadable.set(next.is_err());
        match next {
            Ok(Some(wait)) => Some(wait),
            Ok(None) => self.nothing(branch, now),
            Err(error) if shared.leave_refused(&error) => Some(Duration::ZERO),
            Err(error) => {
                let text = format!("what is to be delivered is not to be had: {error}");
                let notices = &shared.config.notices;
                notices.say_rarely(Level::Error, NoticeKind::Journal, branch.sink.name(), text);
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
        let lane = flight.lane.and_then(|index| shared.journals.get(index));
        let source = match lane {
            Some(lane) => Some(Source::of_lane(shared, branch, lane)),
            None => self.orphans.front().map(|share| Source::of_share(shared, branch, share)),
        };
        let Some(mut source) = source else { return Duration::ZERO };
        let acked = source.cursor.state().acked;
        branch.attempts(now);
        let mut progress = Delivery { source: &mut source, batch };
        let step = branch.sink.step(&mut flight.state, &batch, &mut progress);
        flight.settled |= source.cursor.state().acked > acked;
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
                config.notices.say_rarely(
                    Level::Warning,
                    NoticeKind::Kept,
                    branch.sink.name(),
                    text,
                );
                flight.not_before = now + wait;
                let request = flight.request;
                self.flight = Some(flight);
                shared.note(branch, |progress| progress.kept = request);
                wait
            }
            Step::Done => {
                // Seqs behind the last row that hold no row any more are settled with it.
                source.settle_through(flight.last);
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
            Some(flight) if flight.lane.is_none() => self.rows.len() as u64,
            _ => 0,
        };
        let left = lock(&branch.left);
        let untaken: u64 = left.iter().map(Share::pending).sum();
        branch.recovering.store(pending + flying + untaken, Ordering::Release);
    }

    /// Freezes the next batch, or says how long to wait for one; `None` where there is none.
    fn next_batch(
        &mut self,
        shared: &Arc<Shared>,
        branch: &Branch,
        now: Duration,
        maintained: bool,
    ) -> io::Result<Option<Duration>> {
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
            let mut place = std::mem::take(&mut share.place);
            let mut source = Source::of_share(shared, branch, share);
            let (orphan, cursor) = (&share.orphan, &share.cursor);
            if cursor.front() > orphan.last {
                source.settle_through(orphan.last);
                if let Some(share) = self.orphans.pop_front() {
                    share_done(share, shared);
                }
                self.count_recovering(branch);
                continue;
            }
            let last = cursor.skip_dropped(orphan.last);
            if cursor.front() > orphan.last {
                continue;
            }
            let through = match read(&source, &mut place, &mut self.rows, last, &batching) {
                Ok(through) => through,
                Err(error) => {
                    // One journal that can't be read must not hold up the others. It is left as
                    // it is, and looked at again with the next scan.
                    let text = format!("{}: {error}", orphan.store.folder.describe());
                    shared.config.notices.say(Level::Error, NoticeKind::Recovery, text);
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
            share.place = place;
            if self.rows.is_empty() {
                continue;
            }
            self.orphan_at = Some(now);
            self.launch(branch, None, through);
            self.count_recovering(branch);
            return Ok(Some(Duration::ZERO));
        }
        for lane in shared.lanes() {
            let wait = self.next_of_lane(shared, branch, lane, &batching, (now, maintained))?;
            if wait.is_some() {
                return Ok(wait.into_iter().chain(held).min());
            }
        }
        Ok(held)
    }

    fn next_of_lane(
        &mut self,
        shared: &Arc<Shared>,
        branch: &Branch,
        lane: &Lane,
        batching: &Batching,
        (now, maintained): (Duration, bool),
    ) -> io::Result<Option<Duration>> {
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
                return Ok(Some(COMMIT_POLL));
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
            return Ok(Some(wait_max - waited));
        }
        let mut source = Source::of_lane(shared, branch, lane);
        let place = self.places.entry(lane.index).or_default();
        let through = read(&source, place, &mut self.rows, upto, batching)?;
        // Those who drop the oldest may have taken some of it meanwhile.
        let mut from = front;
        while !reader.cursor.take(from, through) {
            from = reader.cursor.front();
            if from > through {
                return Ok(Some(Duration::ZERO));
            }
            self.rows.drop_before(from);
        }
        if !closed {
            self.gathering_since = None;
        }
        if self.rows.is_empty() {
            source.settle_through(through);
        } else {
            self.launch(branch, Some(lane.index), through);
        }
        Ok(Some(Duration::ZERO))
    }

    fn launch(&mut self, branch: &Branch, lane: Option<usize>, last: Seq) {
        let state = branch.sink.begin();
        self.flight = Some(Flight {
            lane,
            last,
            state,
            not_before: Duration::ZERO,
            kept: false,
            request: self.request,
            settled: false,
            hurried: false,
        });
    }
}

/// A journal from which a branch delivers, and where it writes down how that fares.
pub(super) struct Source<'a> {
    shared: &'a Shared,
    branch: &'a Branch,
    store: &'a Store,
    cursor: &'a Cursor,
    /// This logger's own journal; `None` for an orphan's.
    lane: Option<&'a Lane>,
}

/// Fills `rows` with the next batch and says up to where it reaches. A batch that was frozen and
/// not settled comes first, exactly as it was.
fn read(
    source: &Source<'_>,
    place: &mut ReadPlace,
    rows: &mut RowBuffer,
    upto: Seq,
    batching: &Batching,
) -> io::Result<Seq> {
    let front = source.cursor.front();
    let (frozen_first, frozen_last) = source.cursor.state().frozen;
    // It may begin behind the front: seqs that hold no event, or an earlier part of a cut batch,
    // stand before it.
    let frozen = frozen_last >= front && frozen_last <= upto;
    let mut before = false;
    let mut starved = None;
    let upto = if frozen { frozen_last } else { upto };
    rows.reset(source.store.journal, source.shared.config.options.durability);
    let mut invalid = Vec::new();
    let report = source.store.read(place, front, upto, &mut |seq, payload| {
        let full = rows.len() >= batching.rows_max
            || (!rows.is_empty() && rows.bytes() + payload.len() > batching.bytes_max);
        let of_frozen = frozen && seq >= frozen_first;
        if (full && !of_frozen) || (of_frozen && before) {
            return false;
        }
        if let Err(error) = rows.reserve(payload.len()) {
            // A smaller batch, then; where not even one row fits, a later one.
            starved = Some(error);
            return false;
        }
        before |= frozen && !of_frozen;
        // A frame whose check holds and whose payload makes no sense: another version wrote it.
        if rows.push(seq, payload).is_err() {
            invalid.push((seq, seq));
        }
        true
    })?;
    let through = report.through;
    account(source, report, &invalid);
    if through < front
        && let Some(error) = starved
    {
        return Err(error);
    }
    if through < front {
        // Everything up to here is in a segment, and the segments don't have it.
        return Err(io::Error::other(format!("seq {front} is not where it should be")));
    }
    Ok(through)
}

/// Counts and says what was met on the way and could not be delivered.
fn account(source: &Source<'_>, report: ReadReport, invalid: &[(Seq, Seq)]) {
    let notices = &source.shared.config.notices;
    for Damage { file, what } in report.damage {
        let text = format!("{}/{file}: {what}", source.store.folder.describe());
        notices.say(Level::Error, NoticeKind::Damage, text);
    }
    for (first, last) in &report.missing {
        let events = last.0 - first.0 + 1;
        let text = format!(
            "{events} events of journal {} are damaged: seqs {first} to {last}",
            source.store.journal
        );
        notices.say(Level::Critical, NoticeKind::Damaged, text);
    }
    source.give_up(DropReason::Damaged, &report.missing);
    if !invalid.is_empty() {
        let text = format!("{} events can't be decoded, and are given up", invalid.len());
        notices.say(Level::Critical, NoticeKind::Invalid, text);
        source.give_up(DropReason::Invalid, invalid);
    }
}

impl<'a> Source<'a> {
    /// Of a journal of this logger's own.
    fn of_lane(shared: &'a Shared, branch: &'a Branch, lane: &'a Lane) -> Self {
        let (store, cursor) = (lane.journal.store(), &*branch.reader(lane).cursor);
        Self { shared, branch, store, cursor, lane: Some(lane) }
    }

    /// Of what a dead process left.
    fn of_share(shared: &'a Shared, branch: &'a Branch, share: &'a Share) -> Self {
        Self { shared, branch, store: &share.orphan.store, cursor: &share.cursor, lane: None }
    }

    fn give_up(&self, reason: DropReason, runs: &[(Seq, Seq)]) {
        let events = runs.iter().map(|(first, last)| last.0 - first.0 + 1).sum();
        if events == 0 {
            return;
        }
        let Some(lane) = self.lane else {
            self.shared.lost_of_others.store(true, Ordering::Relaxed);
            // Written down with the next batch that settles.
            let _ = self.cursor.save(|state| state.dropped[reason.index()] += events);
            return;
        };
        self.branch.reader(lane).counters.give_up(reason, events);
        if let Some(merged) = &lane.merged {
            // Each sink meets it; as an event of the lane it is given up once.
            runs.iter().for_each(|(first, last)| merged.give_up(*first, *last, Some(reason)));
        }
    }

    fn save(&self, change: impl FnOnce(&mut CursorState)) {
        let saved = self.cursor.save(|state| {
            change(state);
            if let Some(lane) = self.lane {
                state.unsequenced = lane.unsequenced();
                state.dropped = (self.branch.reader(lane).counters.sums() + lane.refused()).dropped;
            }
        });
        self.branch.unsaved.set(saved.is_err());
        if let Err(error) = saved {
            // It holds in memory. A crash now resends a batch, which adapters know how to take.
            let text = format!("the cursor can't be written: {error}");
            self.shared.config.notices.say(Level::Warning, NoticeKind::Journal, text);
        }
    }

    /// Everything up to `last` has settled, whatever has become of it.
    fn settle_through(&mut self, last: Seq) {
        if self.cursor.state().acked < last {
            self.save(|state| {
                state.acked = last;
                state.frozen = (Seq(0), Seq(0));
            });
            if let Some(merged) = self.merged() {
                merged.settle(self.branch.index, last, Fate::Gone);
            }
        }
    }

    fn merged(&self) -> Option<&'a Merged> {
        self.lane?.merged.as_ref()
    }
}

/// A batch on its way to a sink: freezing, acks and counts.
struct Delivery<'a, 's> {
    source: &'s mut Source<'a>,
    batch: Batch<'s>,
}

impl Progress for Delivery<'_, '_> {
    fn freeze(&mut self, first: Seq, last: Seq) {
        self.source.save(|state| state.frozen = (first, last));
    }

    fn settled(&mut self, first: Seq, last: Seq, rows: u64, how: &Settled) {
        let stored = matches!(how, Settled::Stored);
        let source = &*self.source;
        source.save(|state| {
            state.acked = state.acked.max(last);
            if stored {
                state.flushed += rows;
            } else {
                state.fallback += rows;
            }
        });
        let counters = source.lane.map(|lane| &source.branch.reader(lane).counters);
        let count = match counters {
            Some(counters) if stored => &counters.flushed,
            Some(counters) => &counters.fallback,
            None => &source.branch.recovered,
        };
        count.fetch_add(rows, Ordering::AcqRel);
        let Some(merged) = source.merged() else { return };
        let (sink, fate) = (source.branch.index, if stored { Fate::Flushed } else { Fate::Filed });
        let rows = self.batch.seqs().filter(|seq| (first..=last).contains(seq));
        for (start, end) in rows.map(|seq| (seq.0, seq.0)).collect::<SeqSet>().runs() {
            // What has no row between the rows, and before them, is gone.
            merged.settle(sink, Seq(start - 1), Fate::Gone);
            merged.settle(sink, Seq(end), fate);
        }
    }
}

/// Writes down what the overflow strategy took from a sink since the last look; called with none of
/// its batches on the way, so that whatever lies between is dropped.
pub(super) fn settle_dropped(shared: &Shared, branch: &Branch, lane: &Lane) {
    let cursor = &branch.reader(lane).cursor;
    let acked = cursor.state().acked;
    let front = cursor.front();
    lane.forget_voids(lane.front());
    if acked.next() >= front {
        return;
    }
    Source::of_lane(shared, branch, lane).settle_through(Seq(front.0 - 1));
}

/// Writes down what the overflow strategy took while a batch is on its way: the next run then resends the
/// batch, and goes on behind what was dropped. Unless the process `ends`, once that lets a segment go.
pub(super) fn save_dropped(shared: &Shared, branch: &Branch, lane: &Lane, ends: bool) {
    let source = Source::of_lane(shared, branch, lane);
    let (first, next) = (source.cursor.on_its_way().next(), source.cursor.front());
    let known = if ends { Seq(0) } else { source.cursor.state().skip.1 };
    if next <= first.max(known) {
        return;
    }
    // Other sinks may need them; that is looked at when they are removed.
    let lets_go = |from, last| first <= from && last < next && last >= known;
    if ends || source.store.can_trim(lets_go) {
        source.save(|_| {});
    }
}

/// Removes the segments of a journal of this logger that no sink needs any more. Where power cuts count
/// it waits for storage.
pub(super) fn trim_lane(shared: &Shared, lane: &Lane) {
    trim(shared, lane.journal.store(), || lane.readers.iter().map(|reader| &*reader.cursor));
}

/// Removes the segments that no cursor needs any more, once their files say so too.
pub(super) fn trim<'a, C>(shared: &Shared, store: &Store, cursors: impl Fn() -> C)
where
    C: Iterator<Item = &'a Cursor>,
{
    let is_done = |states: &[CursorState], first: Seq, last: Seq| {
        states.iter().all(|state| state.are_settled(first, last))
    };
    let states: Vec<CursorState> = cursors().map(Cursor::state).collect();
    if !store.can_trim(|first, last| is_done(&states, first, last)) {
        return;
    }
    let durability = shared.config.options.durability;
    let written: std::io::Result<Vec<CursorState>> =
        cursors().map(|cursor| cursor.written(durability)).collect();
    if let Ok(written) = written {
        store.trim(|first, last| is_done(&written, first, last));
    }
}

/// How often it looks whether the journals of others have left room for those that it left out.
const ROOM_EVERY: Duration = Duration::from_millis(200);

impl Worker {
    /// Adopts what dead processes left.
    pub(super) fn scan(&mut self, shared: &Arc<Shared>, branch: &Branch, now: Duration) {
        self.take_shares(branch);
        let due = self.scan_due.is_some_and(|due| now >= due);
        let idle = self.orphans.is_empty();
        let goes_on = self.more_orphans && has_room(shared, idle);
        if !(due || goes_on) {
            return;
        }
        let config = &shared.config;
        if config.adopt {
            self.more_orphans = share_out(shared, due, idle);
            self.take_shares(branch);
        }
        if due {
            if config.adopt && config.medium.is_none() {
                branch.sink.find_own_files();
            }
            self.scan_due = (config.adopt && config.medium.is_none()).then_some(now + SCAN_EVERY);
        }
        // Where the journals of other loggers leave no room, nobody who flushes this one waits for it.
        let crowded = self.orphans.is_empty() && !has_room(shared, true);
        if !self.more_orphans || crowded {
            let request = self.request;
            shared.note(branch, |progress| progress.scanned = request);
        }
    }

    /// How long to wait before the next look, where there is nothing else to do.
    pub(super) fn next_scan(&self, now: Duration) -> Option<Duration> {
        let due = self.scan_due.map(|due| due.saturating_sub(now));
        if self.more_orphans { due.map(|due| due.min(ROOM_EVERY)) } else { due }
    }

    /// Takes what was adopted for it, by itself or by another branch's worker.
    pub(super) fn take_shares(&mut self, branch: &Branch) {
        let mut left = lock(&branch.left);
        if !left.is_empty() {
            self.orphans.extend(left.drain(..));
            drop(left);
            self.count_recovering(branch);
        }
    }
}

/// Whether another orphan may be adopted; `idle` where the worker that asks has none.
fn has_room(shared: &Shared, idle: bool) -> bool {
    let adopting = lock(&shared.adopting);
    adopting.held() < adopting.held_max(idle) && descriptors::has_room(descriptors::OF_ORPHAN)
}

/// Adopts what dead processes left, for every branch, and shares it out, as far as there is room;
/// whether there may be more. `anew` begins with the oldest journal; otherwise it goes on where the
/// last call stopped.
fn share_out(shared: &Shared, anew: bool, idle: bool) -> bool {
    let config = &shared.config;
    let mut adopting = lock(&shared.adopting);
    if anew {
        adopting.after = None;
    }
    let destinations = shared.destinations();
    let wanted = Wanted {
        dataset: &config.dataset,
        destinations: &destinations,
        sink: config.sink().dataset_name(),
        durability: config.options.durability,
    };
    let shares: Vec<Share> = match config.medium {
        None => {
            shared.take_over_files();
            let held_max = adopting.held_max(idle);
            let from = adopting.after.take();
            let mut shares = Vec::new();
            for (at, root) in shared.roots().iter().enumerate() {
                let behind = match &from {
                    Some((of, _)) if at < *of => continue,
                    Some((of, name)) if at == *of => name.as_os_str(),
                    _ => OsStr::new(""),
                };
                let held = (&*adopting, held_max);
                let (found, stopped) = adopt(root, behind, &wanted, held, &config.notices);
                shares.extend(found);
                if let Some(name) = stopped {
                    adopting.after = Some((at, name));
                    break;
                }
            }
            shares
        }
        Some(_) => {
            let left = std::mem::take(&mut *lock(&config.left_behind));
            left.into_iter()
                .flat_map(|folder| adopt_folder(folder, None, &wanted, &adopting, &config.notices))
                .collect()
        }
    };
    let mut events = vec![0; shared.branches.len()];
    shares.iter().for_each(|share| events[share.branch] += share.pending());
    // An event is one, however many sinks deliver it.
    if let Some(events) = events.into_iter().max().filter(|events| *events > 0) {
        let text = format!("{events} events of earlier runs are delivered now");
        config.notices.say(Level::Info, NoticeKind::Recovering, text);
    }
    for share in shares {
        let branch = &shared.branches[share.branch];
        let mut left = lock(&branch.left);
        branch.recovering.fetch_add(share.pending(), Ordering::AcqRel);
        left.push(share);
        drop(left);
        branch.call();
    }
    adopting.after.is_some()
}

/// Says that this share is settled. With the last one of ours the journal goes, unless it has
/// other destinations, which have yet to get it.
fn share_done(share: Share, shared: &Shared) {
    let orphan = &share.orphan;
    let mut undone = lock(&orphan.undone);
    *undone -= 1;
    if *undone > 0 {
        return;
    }
    let notices = &shared.config.notices;
    let place = orphan.store.folder.describe();
    let behind: Vec<&str> = orphan.behind().collect();
    if !behind.is_empty() {
        let text = format!(
            "{place} waits for what this logger does not deliver to: {}; run n3-safety recover",
            behind.join(", ")
        );
        notices.say(Level::Warning, NoticeKind::Recovery, text);
        return;
    }
    let cursors = orphan.cursors().map(Cursor::state);
    let states = orphan.header.destinations().zip(cursors);
    shared.keep_account(orphan.store.journal, &Account::of_cursors(states));
    orphan.store.set_unreadable_aside();
    if let Err(error) = orphan.store.folder.remove_all() {
        let text = format!("{place} can't be removed: {error}");
        notices.say(Level::Warning, NoticeKind::Recovery, text);
    }
}
