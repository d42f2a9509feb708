//! Why a dataset did not take a batch.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The kind of a failure: what the sink does next depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It may work next time, and no row is to blame: a lost connection, a full disk.
    Transient,
    /// The dataset asked for fewer requests, and perhaps said how long to wait.
    Throttled(Option<Duration>),
    /// It won't work until somebody changes something: a password, a missing bucket, a schema.
    Config,
    /// These rows, by their positions in the batch, can't be stored as they are.
    Poison(Vec<usize>),
    /// Other events are stored under the (`journal_id`, `seq`) of these rows, given by their positions
    /// in the batch; every other row of the batch is stored. Copies of one process (a snapshot that
    /// is started several times) number their events alike. The sink stores such rows under another
    /// journal id.
    IdsTaken(Vec<usize>),
    /// There is not enough memory for so many rows: half of them are tried, and a single row later. It
    /// is no fault of the dataset, and no row goes to a fallback file for it.
    NoMemory,
    /// The adapter can't tell.
    Unknown,
}

/// A failure with what the operator should read; never a secret, never the content of an event.
#[derive(Debug)]
pub struct AdapterError {
    failure: Failure,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl AdapterError {
    /// Of the given kind; the message is a lowercase fragment that follows "failed to".
    #[must_use]
    pub fn new(failure: Failure, message: impl Into<String>) -> Self {
        Self { failure, message: message.into(), source: None }
    }

    /// It may work next time.
    #[must_use]
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(Failure::Transient, message)
    }

    /// Somebody must change something.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Failure::Config, message)
    }

    /// Other events have the ids of these rows; all others are stored. See [`Failure::IdsTaken`].
    #[must_use]
    pub fn ids_taken(rows: Vec<usize>) -> Self {
        let text = "store rows under their (journal_id, seq): other events have it";
        Self::new(Failure::IdsTaken(rows), text)
    }

    /// There is not enough memory for so many rows.
    #[must_use]
    #[doc(hidden)]
    pub fn no_memory(doing: impl fmt::Display) -> Self {
        Self::new(Failure::NoMemory, format!("{doing}: there is not enough memory"))
    }

    /// From an operation on a file: permissions, missing folders and links are configuration, all
    /// else may pass.
    #[must_use]
    pub fn io(doing: impl fmt::Display, error: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let failure = match error.kind() {
            K::NotFound | K::PermissionDenied | K::IsADirectory | K::NotADirectory => {
                Failure::Config
            }
            K::OutOfMemory => Failure::NoMemory,
            _ => Failure::Transient,
        };
        Self { failure, message: format!("{doing}: {error}"), source: None }
    }

    /// With the error that caused it. A notice tells what it and its causes say beyond the message,
    /// with passwords hidden.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Its kind.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

impl fmt::Display for AdapterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for AdapterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
