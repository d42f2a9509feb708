//! This binary again, as another process: a test that is named in the child's arguments, and that
//! does nothing unless the environment says what.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use namel3ss_safety::JournalId;

use crate::adapters::{open, rows};
use crate::jobs::helper;

const JOB: &str = "N3_SAFETY_TEST_JOB";

/// Rows in each batch of a child: enough that a kill may come in the middle of an append.
pub(crate) const ROWS: u64 = 100;

/// Starts a child that inserts `batches` batches from each of `threads` threads.
pub(crate) fn start(path: &Path, journals: &[JournalId], batches: u64) -> Child {
    let ids: Vec<String> = journals.iter().map(ToString::to_string).collect();
    helper("children")
        .env(JOB, format!("{}\n{}\n{batches}", path.display(), ids.join(",")))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a child process starts")
}

pub(crate) fn child() {
    let job = std::env::var(JOB).expect("a job");
    let mut lines = job.lines();
    let mut line = || lines.next().expect("three lines");
    let path = PathBuf::from(line());
    let journals: Vec<JournalId> =
        line().split(',').map(|id| id.parse().expect("a journal id")).collect();
    let batches: u64 = line().parse().expect("a count");
    let adapter = open(&path);
    std::thread::scope(|scope| {
        for journal in journals {
            let adapter = &adapter;
            scope.spawn(move || {
                for batch in 0..batches {
                    let rows = rows(journal, batch * ROWS + 1, ROWS);
                    adapter.insert(&rows.batch()).expect("a healthy dataset takes a batch");
                }
            });
        }
    });
}
