//! What tests have done by processes of their own: the program `namel3ss-safety-stores-helper` does the
//! job that its argument names. Each stands beside the tests that start it.

use std::path::PathBuf;
use std::process::Command;

use crate::{copies, sqlite};

/// All jobs, which learn what to do from variables of the environment.
pub(crate) const JOBS: &[(&str, fn())] = &[
    ("copies", copies::life),
    #[cfg(feature = "delta")]
    ("delta::kills", crate::delta::kills::child),
    #[cfg(all(feature = "delta", feature = "postgres", feature = "mysql"))]
    ("faults", crate::faults::life),
    #[cfg(all(target_os = "linux", feature = "sqlite", feature = "parquet"))]
    ("memory::app", crate::memory::app),
    #[cfg(all(target_os = "linux", feature = "sqlite", feature = "parquet"))]
    ("memory::late", crate::memory::late),
    #[cfg(all(unix, feature = "object", feature = "parquet"))]
    ("objects::compact::crashes", crate::objects::compact::crashes::child),
    #[cfg(all(feature = "object", feature = "parquet"))]
    ("objects::kills", crate::objects::kills::child),
    #[cfg(all(feature = "object", feature = "parquet"))]
    ("objects::stores", crate::objects::stores::child),
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    ("servers", crate::servers::child),
    ("sqlite", sqlite::child),
    #[cfg(unix)]
    ("sqlite::reads_and_fails_to_write", sqlite::reads_and_fails_to_write),
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    ("sqlite_locks::locks_all", crate::sqlite_locks::locks_all),
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    ("sqlite_locks::writes_orders", crate::sqlite_locks::writes_orders),
    #[cfg(all(unix, feature = "postgres", feature = "sqlite"))]
    ("users", crate::users::child),
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
    let built = option_env!("CARGO_BIN_EXE_namel3ss-safety-stores-helper").map(PathBuf::from);
    built.unwrap_or_else(|| std::env::current_exe().expect("this binary has a path"))
}
