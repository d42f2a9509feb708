//! One batch on its way, a step at a time: at most one attempt in each, and never a sleep, so that
//! a worker can stop between attempts and a test can hold the clock.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::attempt::{Failed, notices};
use super::bisect::{Blame, Fate, Plan};
use super::fallback::Filing;
use super::retry;
use super::safety_event_sink::SafetyEventSink;
use crate::adapter::Failure;
use crate::batch::Batch;
use crate::id::{BatchId, Seq};
use crate::notice::{Level, NoticeKind};

/// What is told about a batch while it is delivered.
pub trait Progress {
    /// The rows `first..=last` are about to be attempted as one batch. Called right before each
    /// attempt whose rows differ from those of the attempt before: whoever writes this down sends,
    /// after a crash, exactly these rows under the same batch id.
    fn freeze(&mut self, first: Seq, last: Seq);

    /// The `rows` rows `first..=last` are done: never before they are, in the order of their seqs,
    /// each row once.
    fn settled(&mut self, first: Seq, last: Seq, rows: u64, how: &Settled);
}

/// How rows ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The dataset has them.
    Stored,
    /// They are in a fallback file, synced.
    FellBack {
        /// Which file.
        path: PathBuf,
        /// Why, as a fragment that follows "failed to".
        error: String,
    },
}

/// What to do after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Call again; now, or later without harm.
    Again,
    /// Call again after this long.
    Wait(Duration),
    /// Every row of the batch has settled.
    Done,
    /// Neither the dataset nor a fallback file takes the rows that have not settled: keep them,
    /// and call again after `wait`.
    Kept {
        /// Why, and what to do.
        error: String,
        /// How long to wait.
        wait: Duration,
    },
}

/// Where the rows of a batch are that have not settled, because others before them have not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsettled {
    /// In the dataset.
    pub(crate) stored: u64,
    /// In a fallback file.
    pub(crate) filed: u64,
    /// Nowhere yet.
    pub(crate) nowhere: u64,
}

/// How far one batch has come; made by [`SafetyEventSink::begin`], for one batch each.
#[derive(Debug, Default)]
pub struct Delivering {
    batch: Option<BatchId>,
    plan: Option<Plan>,
    frozen: Option<BatchId>,
    /// The rows that come next have failed before, and were waited for.
    retrying: bool,
    /// One attempt, and then the fallback: the breaker was open, or the batch was kept.
    once: bool,
    /// How often in a row the batch was kept.
    kept: u32,
    /// The last step kept the batch.
    resume: bool,
    /// No adapter is registered: that is said elsewhere, and no error.
    missing: bool,
    /// Other events have the ids of some of its rows: this process is a copy of another one.
    copied: bool,
    /// The fallback failed in this pass; it is not tried again before the end of the batch.
    unfiled: Option<String>,
    /// There is no memory for the next row, as `unfiled` says: what is left is kept.
    starved: bool,
    /// No journal keeps the batch: what there is no memory for goes to the fallback.
    unkept: bool,
}

impl Delivering {
    /// Whether rows have been stored under another journal id since this was last asked, because other
    /// events have theirs.
    pub(crate) fn take_copied(&mut self) -> bool {
        std::mem::take(&mut self.copied)
    }

    /// Gives the rows that have not settled one more attempt, and then the fallback.
    pub(crate) fn try_once(&mut self) {
        self.once = true;
    }

    /// Of a batch that is in no journal.
    pub(super) fn without_journal(self) -> Self {
        Self { unkept: true, ..self }
    }

    /// Where the rows are that have not settled.
    pub(crate) fn unsettled(&self) -> Unsettled {
        let mut rows = Unsettled::default();
        for piece in self.plan.iter().flat_map(Plan::pieces) {
            let place = match piece.fate {
                Fate::Stored => &mut rows.stored,
                Fate::Filed { .. } => &mut rows.filed,
                Fate::Send { .. } | Fate::Condemned { .. } => &mut rows.nowhere,
            };
            *place += piece.rows.len() as u64;
        }
        rows
    }
}

impl SafetyEventSink {
    /// Starts a batch.
    #[must_use]
    pub fn begin(&self) -> Delivering {
        Delivering::default()
    }

    /// Does the next thing for `batch`, which is the same for every step of `state`: at most one
    /// attempt, at most one fallback file.
    pub fn step(
        &self,
        state: &mut Delivering,
        batch: &Batch<'_>,
        progress: &mut dyn Progress,
    ) -> Step {
        if batch.is_empty() {
            return Step::Done;
        }
        if state.batch != Some(batch.id()) {
            // The state of another batch says nothing about this one.
            let once = (state.batch.is_none() && state.once) || self.breaker.is_open();
            let unkept = state.unkept;
            *state = Delivering { batch: Some(batch.id()), once, unkept, ..Delivering::default() };
        }
        let mut plan = state.plan.take().unwrap_or_else(|| Plan::new(batch.len()));
        if std::mem::take(&mut state.resume) {
            plan.revive();
            state.once = true;
            state.unfiled = None;
        }
        let wait = self.try_next(state, &mut plan, batch, progress);
        let step = match wait {
            Some(wait) => Step::Wait(wait),
            None => self.settle(state, &mut plan, batch, progress),
        };
        state.plan = Some(plan);
        step
    }

    /// One attempt, if rows are left to send. Returns how long to wait before the next one.
    fn try_next(
        &self,
        state: &mut Delivering,
        plan: &mut Plan,
        batch: &Batch<'_>,
        progress: &mut dyn Progress,
    ) -> Option<Duration> {
        let rows = plan.next()?;
        let Some(adapter) = self.adapter() else {
            state.missing = true;
            plan.outage(&self.no_adapter());
            return None;
        };
        state.missing = false;
        self.missing.store(false, Ordering::Relaxed);
        let part = batch.slice(rows);
        let id = part.id();
        if state.frozen != Some(id) {
            state.frozen = Some(id);
            progress.freeze(id.first, id.last);
        }
        self.counters.attempts.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut state.retrying) {
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
        }
        let tried = self.call(&*adapter, &part);
        for notice in notices(&*adapter) {
            self.say(notice.level, notice.kind, &notice.text);
        }
        match tried {
            Ok(copied) => {
                if let Some(copied) = copied {
                    state.copied = true;
                    self.say_copied(&copied);
                }
                plan.stored();
                state.once = false;
                state.kept = 0;
                self.set_failing(false);
                if self.breaker.close() {
                    self.outage_over();
                    self.say(Level::Info, NoticeKind::Recovered, "it takes rows again");
                }
                None
            }
            Err(failed) => self.failed(state, plan, &part, failed),
        }
    }

    fn failed(
        &self,
        state: &mut Delivering,
        plan: &mut Plan,
        part: &Batch<'_>,
        failed: Failed,
    ) -> Option<Duration> {
        let Failed { failure, message, panicked } = failed;
        self.counters.panics.fetch_add(u64::from(panicked), Ordering::Relaxed);
        let asked = match failure {
            Failure::Poison(indices) => {
                plan.poisoned(&indices, &message);
                // It answers.
                self.set_failing(false);
                return None;
            }
            Failure::Config => {
                self.outage(plan, &message);
                return None;
            }
            Failure::NoMemory => {
                if !plan.halve() {
                    match state.unkept {
                        true => plan.outage(&message),
                        // Nothing is wrong with the dataset: the rows stay where they are.
                        false => {
                            state.unfiled = Some(format!("failed to {message}"));
                            state.starved = true;
                        }
                    }
                }
                return None;
            }
            Failure::Unknown if plan.is_cutting() => {
                self.unknown(plan, true, &message);
                return None;
            }
            Failure::Throttled(after) => after,
            _ => None,
        };
        let failures = plan.failed();
        if failures > 1 {
            self.set_failing(true);
        }
        let most = if state.once { 1 } else { self.max_retries() };
        if failures < most {
            state.retrying = true;
            let text = format!("failed to {message}; trying again ({failures} of {most} attempts)");
            self.say(Level::Warning, NoticeKind::Retrying, &text);
            let wait = asked.unwrap_or_else(|| retry::wait(self.retry_delay(), failures));
            return Some(wait.min(retry::WAIT_MAX));
        }
        if failure == Failure::Unknown {
            // While the breaker is open one failure is answer enough, unless the batch was kept:
            // with nowhere to go for all of it, at least its good rows should land.
            let may_cut = part.len() > 1 && (!state.once || state.kept > 0);
            self.unknown(plan, may_cut, &message);
        } else {
            self.outage(plan, &message);
        }
        None
    }

    fn set_failing(&self, failing: bool) {
        // Read first: the usual case must not take the cache line from other threads.
        if self.failing.load(Ordering::Relaxed) != failing {
            self.failing.store(failing, Ordering::Relaxed);
        }
    }

    fn unknown(&self, plan: &mut Plan, may_cut: bool, message: &str) {
        if plan.unknown(may_cut, message) {
            self.outage(plan, message);
        }
    }

    fn outage(&self, plan: &mut Plan, message: &str) {
        plan.outage(message);
        self.breaker.open();
    }

    /// What to read where no adapter is registered; said once, until there is one.
    fn no_adapter(&self) -> String {
        if !self.missing.swap(true, Ordering::Relaxed) {
            let text = "no adapter is registered for it: register one; until then its rows go to \
                        fallback files, or wait where none are configured";
            self.say(Level::Warning, NoticeKind::NoAdapter, text);
        }
        format!("find an adapter for dataset {}: register one", self.shown_name)
    }

    /// Files what must be filed, reports what is done, and says what comes next.
    fn settle(
        &self,
        state: &mut Delivering,
        plan: &mut Plan,
        batch: &Batch<'_>,
        progress: &mut dyn Progress,
    ) -> Step {
        let last_chance = plan.next().is_none();
        let due = last_chance || (plan.is_blocked() && state.unfiled.is_none());
        if plan.has_condemned() && due {
            match self.file(state, plan, batch) {
                Ok(path) => plan.filed(&path),
                Err(error) => state.unfiled = Some(error),
            }
        }
        while let Some(piece) = plan.pop_settled() {
            let rows = piece.rows.len() as u64;
            let id = batch.slice(piece.rows).id();
            let (counter, how) = match piece.fate {
                Fate::Filed { path, error } => {
                    (&self.counters.fell_back, Settled::FellBack { path, error })
                }
                _ => (&self.counters.stored, Settled::Stored),
            };
            counter.fetch_add(rows, Ordering::Relaxed);
            progress.settled(id.first, id.last, rows, &how);
        }
        if plan.is_done() {
            return Step::Done;
        }
        if std::mem::take(&mut state.starved) {
            let error = state.unfiled.take().unwrap_or_default();
            state.kept = state.kept.saturating_add(1);
            return Step::Kept { error, wait: retry::kept_wait(self.retry_delay(), state.kept) };
        }
        if !last_chance {
            return Step::Again;
        }
        let error = state.unfiled.take().unwrap_or_default();
        state.resume = true;
        state.kept = state.kept.saturating_add(1);
        Step::Kept { error, wait: retry::kept_wait(self.retry_delay(), state.kept) }
    }

    /// Writes the condemned rows to one file.
    fn file(&self, state: &Delivering, plan: &Plan, batch: &Batch<'_>) -> Result<PathBuf, String> {
        let mut rows = 0_usize;
        let mut why = "";
        let mut outage = false;
        let mut doomed = Vec::new();
        for piece in plan.pieces() {
            if let Fate::Condemned { blame, error } = &piece.fate {
                let poison = *blame == Blame::Proven;
                rows += piece.rows.len();
                why = error;
                outage |= !poison;
                doomed.push((piece.rows.clone(), poison.then_some(error.as_str())));
            }
        }
        let Some(fallback) = &self.fallback else {
            return Err(format!("failed to {why}, and no fallback_path is set: set one"));
        };
        let filings = doomed.into_iter().flat_map(|(rows, error)| {
            let rows = batch.slice(rows);
            rows.rows().zip(rows.row_bytes()).map(move |(row, bytes)| Filing { row, bytes, error })
        });
        let destination = self.identity();
        match fallback.write(filings, &destination, self.clock.wall(), &self.notices) {
            Ok(path) => {
                if outage {
                    self.breaker.filed();
                    self.own.add(path.clone());
                } else {
                    self.own.leave(&path);
                }
                if !state.missing {
                    self.say_filed(outage, rows as u64, &path, why);
                }
                Ok(path)
            }
            Err(error) => {
                let folder = fallback.path().display();
                Err(format!("failed to {why}, and to write a fallback file in {folder}: {error}"))
            }
        }
    }
}
