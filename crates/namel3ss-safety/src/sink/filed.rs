//! What is said of rows that went to fallback files: the first of an outage at once, then a sum a
//! minute, and the rest when it is over.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::SafetyEventSink;
use crate::locks::lock;
use crate::notice::Level;

/// How often at most it is said that rows were filed.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What was filed, and how much of it was said.
#[derive(Debug, Default)]
pub(super) struct Filed {
    outage: Mutex<Untold>,
    refused: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    /// When it was last said, by the monotonic clock; `None` before the first time of an outage.
    said_at: Option<Duration>,
    files: u64,
    rows: u64,
    /// Why the last of them were filed.
    why: String,
    /// The last file.
    path: String,
}

impl Untold {
    fn text(&mut self) -> Option<String> {
        let (files, rows) = (std::mem::take(&mut self.files), std::mem::take(&mut self.rows));
        let Self { why, path, .. } = self;
        match files {
            0 => None,
            1 => Some(format!(
                "failed to {why}; {rows} rows are in {path}, mend the cause and run n3-safety replay \
                 on it"
            )),
            _ => Some(format!(
                "failed to {why}; {rows} more rows are in {files} more files, the last of them {path}, \
                 mend the cause and run n3-safety replay"
            )),
        }
    }
}

impl SafetyEventSink {
    /// Counts rows that were filed, and says it if it is time.
    pub(super) fn say_filed(&self, outage: bool, rows: u64, path: &Path, why: &str) {
        let of = if outage { &self.filed.outage } else { &self.filed.refused };
        let now = self.clock.monotonic();
        let text = {
            let mut untold = lock(of);
            untold.files += 1;
            untold.rows += rows;
            why.clone_into(&mut untold.why);
            untold.path = path.display().to_string();
            if untold.said_at.is_some_and(|at| now.saturating_sub(at) < SAY_EVERY) {
                return;
            }
            untold.said_at = Some(now);
            untold.text()
        };
        if let Some(text) = text {
            self.say(Level::Error, "fallback", &text);
        }
    }

    /// Says what was filed and not yet said: at the end of an outage, and of a logger.
    pub(crate) fn say_rest(&self) {
        for of in [&self.filed.outage, &self.filed.refused] {
            let text = lock(of).text();
            if let Some(text) = text {
                self.say(Level::Error, "fallback", &text);
            }
        }
    }

    /// The outage is over: the next one is said at once.
    pub(super) fn outage_over(&self) {
        self.say_rest();
        lock(&self.filed.outage).said_at = None;
    }
}
