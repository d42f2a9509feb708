//! Writing a batch that is in no journal.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::deliver::{Progress, Settled, Step, Unsettled};
use super::safety_event_sink::SafetyEventSink;
use crate::batch::Batch;
use crate::id::Seq;
use crate::notice::{Level, NoticeKind};
use crate::process;

/// What became of a batch that was written without a journal. The three counts add up to its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Rows that the dataset has.
    pub stored: u64,
    /// Rows that are in fallback files.
    pub fell_back: u64,
    /// Rows that are nowhere: neither the dataset nor a fallback file took them.
    pub lost: u64,
    /// The fallback files, in the order of their first rows.
    pub files: Vec<PathBuf>,
    /// Why not every row was stored.
    pub error: Option<String>,
}

impl Outcome {
    /// Whether the dataset has every row.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.fell_back == 0 && self.lost == 0
    }
}

/// Without a journal, progress is only counted.
impl Progress for Outcome {
    fn freeze(&mut self, _first: Seq, _last: Seq) {}

    fn settled(&mut self, _first: Seq, _last: Seq, rows: u64, how: &Settled) {
        match how {
            Settled::Stored => self.stored += rows,
            Settled::FellBack { path, error } => {
                self.fell_back += rows;
                if !self.files.contains(path) {
                    self.files.push(path.clone());
                }
                self.error = Some(error.clone());
            }
        }
    }
}

impl SafetyEventSink {
    /// Delivers a batch that is in no journal, waiting between attempts; never raises. What
    /// neither the dataset nor a fallback file took is lost: counted, and said in one critical
    /// notice. This thread waits; the adapter is called on another, as by a logger.
    pub fn write(&self, batch: &Batch<'_>) -> Outcome {
        process::on_own_thread("n3-safety-write", || self.write_here(batch))
    }

    fn write_here(&self, batch: &Batch<'_>) -> Outcome {
        let mut state = self.begin().without_journal();
        let mut outcome = Outcome::default();
        loop {
            match self.step(&mut state, batch, &mut outcome) {
                Step::Again => {}
                Step::Wait(wait) => self.clock.sleep(wait),
                Step::Done => {
                    self.register(&outcome);
                    return outcome;
                }
                Step::Kept { error, .. } => {
                    let Unsettled { stored, filed, nowhere: lost } = state.unsettled();
                    outcome.stored += stored;
                    outcome.fell_back += filed;
                    outcome.lost += lost;
                    self.counters.stored.fetch_add(stored, Ordering::Relaxed);
                    self.counters.fell_back.fetch_add(filed, Ordering::Relaxed);
                    self.counters.lost.fetch_add(lost, Ordering::Relaxed);
                    let text = format!("lost {lost} of {} events: {error}", batch.len());
                    self.say(Level::Critical, NoticeKind::Lost, &text);
                    self.register(&outcome);
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
    }

    /// Enters the fallback folder in the home's register, with the first file in it.
    fn register(&self, outcome: &Outcome) {
        let Some(fallback) = self.fallback.as_ref().filter(|_| !outcome.files.is_empty()) else {
            return;
        };
        if self.registered.swap(true, Ordering::Relaxed) {
            return;
        }
        let home = self.home.clone().unwrap_or_else(crate::home::home);
        self.enter_register(&home, fallback.path());
    }
}
