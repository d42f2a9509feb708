//! What tests have done by processes of their own: the program `namel3ss-safety-helper` does the job that
//! its argument names. Each stands beside the tests that start it.

use std::path::PathBuf;
use std::process::Command;

use crate::{backlog, children, contract, disk, kills};
#[cfg(target_os = "linux")]
use crate::{copied, descriptors, long_faults};
#[cfg(unix)]
use crate::{forgotten, life, users};

/// All jobs, which learn what to do from variables of the environment.
pub(crate) const JOBS: &[(&str, fn())] = &[
    ("backlog", backlog::child),
    ("children", children::child),
    ("contract", contract::child),
    #[cfg(target_os = "linux")]
    ("copied", copied::child),
    #[cfg(target_os = "linux")]
    ("descriptors", descriptors::child),
    ("disk", disk::child),
    #[cfg(unix)]
    ("forgotten", forgotten::child),
    ("kills", kills::child),
    #[cfg(unix)]
    ("life", life::child),
    #[cfg(target_os = "linux")]
    ("long_faults", long_faults::child),
    #[cfg(feature = "tracing-notices")]
    ("notices", crate::notices::child),
    #[cfg(unix)]
    ("users", users::child),
];

/// A process that does a job.
pub(crate) fn helper(job: &str) -> Command {
    assert!(JOBS.iter().any(|(name, _)| *name == job), "no job {job:?}");
    let mut command = Command::new(helper_path());
    command.arg(job);
    command
}

/// Where the program is, which may also start itself.
pub(crate) fn helper_path() -> PathBuf {
    let built = option_env!("CARGO_BIN_EXE_namel3ss-safety-helper").map(PathBuf::from);
    built.unwrap_or_else(|| std::env::current_exe().expect("this binary has a path"))
}
