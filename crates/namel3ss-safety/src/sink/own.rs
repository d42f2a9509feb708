//! This sink's fallback files, replayed when the dataset takes rows: those that it wrote itself in an
//! outage, and those that earlier runs have left for the same destination.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::copied::replayed_text;
use super::own_files::OwnFile;
use super::replay::{ReplayReport, replay_own_file};
use super::replay_error::ReplayError;
use super::retry;
use super::safety_event_sink::SafetyEventSink;
use super::watched::Watched;
use crate::locks::lock;
use crate::notice::{Level, NoticeKind};

/// How often a file is tried, while the dataset takes other rows, before it is left for a person.
const TRIES_MAX: u32 = 5;

/// One file that was replayed, or was tried.
#[derive(Debug)]
pub struct Replayed {
    /// Where it was.
    pub path: PathBuf,
    /// What came of it. After an error the file is where it was.
    pub result: Result<ReplayReport, ReplayError>,
}

impl SafetyEventSink {
    /// Looks for fallback files that earlier runs have left for this sink's destination, and replays
    /// them as its own from then on.
    #[doc(hidden)]
    pub fn find_own_files(&self) {
        let destination = self.identity();
        if let Some(fallback) = self.fallback.as_ref().filter(|_| !destination.is_empty()) {
            self.own.find(fallback.waiting_for(&destination));
        }
    }

    /// Replays the oldest fallback file that this sink wrote in an outage, or found. `None` when there
    /// is nothing to do now: no such file, the dataset is failing, or a replay has just failed and
    /// the next one must wait. A failure leaves the file, and says nothing about the dataset's
    /// health: batches do that.
    #[doc(hidden)]
    pub fn replay_next(&self) -> Option<Replayed> {
        if !self.healthy() {
            return None;
        }
        let file = {
            let mut waiting = lock(&self.own.waiting);
            if waiting.files.is_empty() || self.clock.monotonic() < waiting.not_before {
                return None;
            }
            waiting.files.pop_front()?
        };
        let Some(adapter) = self.adapter() else {
            let mut waiting = lock(&self.own.waiting);
            waiting.files.push_front(file);
            return None;
        };
        let watched = Watched { sink: self, adapter: &*adapter };
        let result = replay_own_file(&file.path, &watched, self.clock.wall());
        let path = file.path.clone();
        match &result {
            Ok(report) => {
                self.counters.replayed.fetch_add(report.rows, Ordering::Relaxed);
                let text = format!("{} rows of {} have landed", report.rows, path.display());
                self.say(Level::Info, NoticeKind::Replayed, &text);
                if report.copied > 0 {
                    let text = replayed_text(report.copied);
                    self.say(Level::Critical, NoticeKind::Copied, &text);
                }
                self.say_refused(report);
                let mut waiting = lock(&self.own.waiting);
                waiting.failures = 0;
                waiting.not_before = Duration::ZERO;
            }
            // Somebody has replayed it by hand, or removed it.
            Err(ReplayError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.put_back(file, error),
        }
        Some(Replayed { path, result })
    }

    /// Replays this sink's own fallback files until none is left or one fails; returns how many.
    #[doc(hidden)]
    pub fn replay_own(&self) -> usize {
        let mut files = 0;
        while let Some(Replayed { result: Ok(_), .. }) = self.replay_next() {
            files += 1;
        }
        files
    }

    fn say_refused(&self, report: &ReplayReport) {
        let Some(why) = &report.refused_because else { return };
        let place = report.left_in.as_deref().unwrap_or(Path::new("(nowhere)"));
        self.own.leave(place);
        let text = format!(
            "{} rows of a fallback file were refused: {why}; they are in {}, mend the cause and run \
             n3-safety replay on it",
            report.refused,
            place.display()
        );
        self.say(Level::Warning, NoticeKind::Replay, &text);
    }

    fn put_back(&self, mut file: OwnFile, error: &ReplayError) {
        let wait = |failures| retry::kept_wait(self.retry_delay(), failures);
        match error {
            // The same would be said of it each time; or, at a move, its rows are in the dataset, and
            // storing them again would only repeat that.
            ReplayError::Refused { .. }
            | ReplayError::Damaged { .. }
            | ReplayError::TooLarge { .. }
            | ReplayError::Move { .. } => file.tries = TRIES_MAX,
            // Another process has it, and will soon be done.
            ReplayError::Read { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {}
            // Until the dataset has taken something it is not known to be there at all.
            ReplayError::Insert { .. } if self.stored() == 0 => {}
            _ => file.tries += 1,
        }
        if file.tries >= TRIES_MAX {
            let path = file.path.display();
            let text = format!("failed to {error}; {path} stays there for n3-safety replay");
            self.say(Level::Warning, NoticeKind::Replay, &text);
            self.own.leave(&file.path);
        }
        let mut waiting = lock(&self.own.waiting);
        waiting.failures = waiting.failures.saturating_add(1);
        waiting.not_before = self.clock.monotonic().saturating_add(wait(waiting.failures));
        if file.tries < TRIES_MAX {
            // At the back: one file that can't land must not hold up the others.
            waiting.files.push_back(file);
        }
    }
}
