//! Why a dataset can't be read.

use std::fmt;

use namel3ss_safety::ReadError;
use namel3ss_safety::{AdapterError, Failure};

/// Why a scan has failed. Messages follow "failed to", and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScanError {
    /// The scan makes no sense.
    Invalid(String),
    /// The dataset is not there yet.
    NotThere(String),
    /// The dataset's settings are wrong, or the access is not permitted.
    Config(String),
    /// It could not be read.
    Failed(String),
    /// The deadline has passed.
    Deadline,
}

impl ScanError {
    /// The same with `read`, the dataset's name and a colon before its message.
    #[must_use]
    pub fn of(self, identity: &str) -> Self {
        let about = |text: String| format!("read {identity}: {text}");
        match self {
            Self::NotThere(text) => Self::NotThere(about(text)),
            Self::Config(text) => Self::Config(about(text)),
            Self::Failed(text) => Self::Failed(about(text)),
            other => other,
        }
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text)
            | Self::NotThere(text)
            | Self::Config(text)
            | Self::Failed(text) => f.write_str(text),
            Self::Deadline => f.write_str("read the dataset before the deadline"),
        }
    }
}

impl std::error::Error for ScanError {}

impl From<ReadError> for ScanError {
    fn from(error: ReadError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<AdapterError> for ScanError {
    fn from(error: AdapterError) -> Self {
        match error.failure() {
            Failure::Config => Self::Config(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}
