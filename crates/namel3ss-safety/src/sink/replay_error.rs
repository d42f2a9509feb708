//! Why a fallback file was not replayed.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a fallback file was not replayed. The file is still where it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// It can't be opened or read, or is a link.
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than a file that is replayed may be.
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is not an array of rows, or no row of it can be read. Nothing of it was stored.
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Bytes before the damage.
        offset: usize,
        /// What is wrong there; of the row's content no more than a misspelt word.
        message: String,
    },
    /// The dataset did not take a batch of it.
    Insert {
        /// Rows of the file that had landed before.
        stored: u64,
        /// Whether the same may work later as it is.
        transient: bool,
        /// What the adapter said.
        message: String,
    },
    /// Every row of it was refused by itself, now or before: a person must mend the cause, or the row.
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why the first of them was.
        message: String,
    },
    /// Rows have landed, but those that were refused can't be written to a file of their own.
    LeftOver {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// All rows have landed, but the file can't be moved to `replayed/`.
    Move {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "read {}: {source}", path.display()),
            Self::TooLarge { path, bytes } => write!(
                f,
                "read {}: it has {bytes} bytes, and 1 GiB is the most: split it",
                path.display()
            ),
            Self::Damaged { path, line, offset, message } => write!(
                f,
                "read {} at line {line} (byte {offset}): {message}; mend it and replay it again, \
                 nothing was stored",
                path.display()
            ),
            Self::Refused { path, message } => {
                write!(f, "store a row of {}: {message}", path.display())
            }
            Self::LeftOver { path, source } => write!(
                f,
                "write the refused rows of {} to a file of their own: {source}; replay it again",
                path.display()
            ),
            Self::Insert { stored, message, .. } => {
                write!(f, "{message}; {stored} rows had landed, replay the file again")
            }
            Self::Move { path, source } => write!(
                f,
                "move {} to the folder replayed: {source}; all of its rows have landed",
                path.display()
            ),
        }
    }
}

impl Error for ReplayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Its own words are in the message.
            Self::Read { source, .. }
            | Self::Move { source, .. }
            | Self::LeftOver { source, .. } => source.source(),
            _ => None,
        }
    }
}
