//! Why a verb stopped.

use std::fmt;
use std::io;

use crate::exit::Exit;

/// Why a verb stopped before its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Whoever read standard output has gone, as `head` does: no failure of ours.
    BrokenPipe,
    /// It failed; the message is a lowercase fragment that follows "failed to".
    Failed {
        /// What the shell is told.
        exit: Exit,
        /// What failed, and what to do.
        message: String,
    },
    /// A dataset is not there, or not yet; the message is a lowercase fragment that follows "failed
    /// to".
    NotThere {
        /// What is not there, and what to do.
        message: String,
    },
    /// It was not done, for a reason that is no failure; the message stands by itself.
    Refused {
        /// What the shell is told.
        exit: Exit,
        /// What was not done, and why.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl Error {
    /// With the exit code of its kind.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Failed { exit, message: message.into() }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something is misconfigured.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Config, message)
    }

    /// Something failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A dataset is not there.
    pub(crate) fn not_there(message: impl Into<String>) -> Self {
        Self::NotThere { message: message.into() }
    }

    /// Standard output did not take what we wrote.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::failed(format!("write to standard output: {error}")),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenPipe => f.write_str("write to standard output: its reader has gone"),
            Self::Failed { message, .. }
            | Self::NotThere { message }
            | Self::Refused { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}
