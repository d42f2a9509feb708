//! How a run ended, as the shell sees it.

use std::process::ExitCode;

/// The exit codes; `--help` and the man page list them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    #[default]
    Ok,
    /// Something failed, and nothing useful was done.
    Failed,
    /// The command line makes no sense, or no line of an input had an action.
    Usage,
    /// The record needs care: damaged segments, orphaned journals, fallback files that wait.
    Integrity,
    /// Some of it was done: bad lines were skipped, or some rows did not land.
    Partial,
    /// Something is misconfigured: a URL, a folder's owner, a missing dataset.
    Config,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Integrity => 3,
            Self::Partial => 4,
            Self::Config => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
