//! The fallback files that this sink wrote itself, replayed when the dataset answers again.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::SafetyEventSink;
use super::replay::{ReplayOptions, ReplayReport, replay_file};
use super::replay_error::ReplayError;
use super::retry;
use crate::locks::lock;
use crate::notice::Level;

/// How many files are remembered; older ones are left for `n3-safety replay`.
const OWN_FILES_MAX: usize = 4096;
/// How often a file is tried before it is left for a person.
const TRIES_MAX: u32 = 5;

#[derive(Debug, Default)]
pub(super) struct OwnFiles {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    files: VecDeque<OwnFile>,
    /// After a failure, nothing is replayed before this moment of the monotonic clock.
    not_before: Duration,
    failures: u32,
}

#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    tries: u32,
}

impl OwnFiles {
    pub(super) fn add(&self, path: PathBuf) {
        let mut waiting = lock(&self.waiting);
        if waiting.files.len() >= OWN_FILES_MAX {
            waiting.files.pop_front();
        }
        waiting.files.push_back(OwnFile { path, tries: 0 });
    }
}

/// One file that was replayed, or was tried.
#[derive(Debug)]
pub struct Replayed {
    /// Where it was.
    pub path: PathBuf,
    /// What came of it. After an error the file is where it was.
    pub result: Result<ReplayReport, ReplayError>,
}

impl SafetyEventSink {
    /// Replays the oldest fallback file that this sink wrote in an outage. `None` when there is
    /// nothing to do now: no such file, the dataset is failing, or a replay has just failed and
    /// the next one must wait. A failure leaves the file, and says nothing about the dataset's
    /// health: batches do that.
    pub fn replay_next(&self) -> Option<Replayed> {
        if !self.healthy() {
            return None;
        }
        let mut file = {
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
        let result = replay_file(&file.path, &*adapter, ReplayOptions::default());
        let path = file.path.clone();
        match &result {
            Ok(report) => {
                self.counters.replayed.fetch_add(report.rows, Ordering::Relaxed);
                let text = format!("{} rows of {} have landed", report.rows, path.display());
                self.say(Level::Info, "replayed", &text);
                let mut waiting = lock(&self.own.waiting);
                waiting.failures = 0;
                waiting.not_before = Duration::ZERO;
            }
            // Somebody has replayed it by hand, or removed it.
            Err(ReplayError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                if let ReplayError::Move { .. } = error {
                    // The rows are in the dataset; storing them again would only repeat that.
                    file.tries = TRIES_MAX;
                }
                self.put_back(file, error);
            }
        }
        Some(Replayed { path, result })
    }

    /// Replays this sink's own fallback files until none is left or one fails; returns how many.
    pub fn replay_own(&self) -> usize {
        let mut files = 0;
        while let Some(Replayed { result: Ok(_), .. }) = self.replay_next() {
            files += 1;
        }
        files
    }

    fn put_back(&self, mut file: OwnFile, error: &ReplayError) {
        file.tries += 1;
        let path = file.path.display();
        if file.tries >= TRIES_MAX {
            let text = format!("failed to {error}; {path} stays there for n3-safety replay");
            self.say(Level::Warning, "replay", &text);
        }
        let mut waiting = lock(&self.own.waiting);
        waiting.failures = waiting.failures.saturating_add(1);
        waiting.not_before = self
            .clock
            .monotonic()
            .saturating_add(retry::kept_wait(self.retry_delay(), waiting.failures));
        if file.tries < TRIES_MAX {
            // At the back: one file that can't land must not hold up the others.
            waiting.files.push_back(file);
        }
    }
}
