//! What is said of rows that went to fallback files: the first of an outage at once, then a sum a
//! minute, and the rest when it is over.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use crate::locks::lock;

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

impl Filed {
    /// Counts rows that were filed, at this moment of the monotonic clock; what is to be said of them,
    /// if it is time.
    pub(super) fn add(
        &self,
        now: Duration,
        outage: bool,
        rows: u64,
        path: &Path,
        why: &str,
    ) -> Option<String> {
        let mut untold = lock(if outage { &self.outage } else { &self.refused });
        untold.files += 1;
        untold.rows += rows;
        why.clone_into(&mut untold.why);
        untold.path = path.display().to_string();
        if untold.said_at.is_some_and(|at| now.saturating_sub(at) < SAY_EVERY) {
            return None;
        }
        untold.said_at = Some(now);
        untold.text()
    }

    /// What was filed and not yet said.
    pub(super) fn rest(&self) -> impl Iterator<Item = String> {
        [&self.outage, &self.refused].into_iter().filter_map(|of| lock(of).text())
    }

    /// The outage is over: the next one is said at once.
    pub(super) fn outage_over(&self) {
        lock(&self.outage).said_at = None;
    }
}
