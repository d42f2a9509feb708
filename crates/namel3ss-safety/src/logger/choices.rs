//! What a logger lets one choose, by the words that users write, and what is said of a wrong one.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::batch::Durability;
use crate::nearest::nearest;
use crate::overflow::OverflowStrategy;

impl FromStr for OverflowStrategy {
    type Err = ConfigError;

    fn from_str(word: &str) -> Result<Self, ConfigError> {
        match word {
            "drop_oldest" => Ok(Self::DropOldest),
            "drop_newest" => Ok(Self::DropNewest),
            "block" => Ok(Self::Block),
            _ => Err(ConfigError::unknown("overflow_strategy", word, &Self::WORDS)),
        }
    }
}

impl FromStr for Durability {
    type Err = ConfigError;

    fn from_str(word: &str) -> Result<Self, ConfigError> {
        match word {
            "process" => Ok(Self::Process),
            "power" => Ok(Self::Power),
            _ => Err(ConfigError::unknown("durability", word, &["process", "power"])),
        }
    }
}

/// Where accepted events are kept until they are delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalKind {
    /// In a file, mapped where that can be done: they survive the process.
    #[default]
    File,
    /// In a file that is written, never mapped.
    Unmapped,
    /// In memory: they go with the process.
    Memory,
    /// In a file under this folder; not beside [`LoggerBuilder::home`](super::LoggerBuilder::home).
    Folder(PathBuf),
}

/// Why a logger can't be made as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    parameter: &'static str,
    message: String,
}

impl ConfigError {
    pub(super) fn new(parameter: &'static str, message: impl Into<String>) -> Self {
        Self { parameter, message: message.into() }
    }

    fn unknown(parameter: &'static str, word: &str, known: &[&str]) -> Self {
        let shown: String = word.chars().take(40).collect();
        let hint = match nearest(word, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("it is one of {}", known.join(", ")),
        };
        Self::new(parameter, format!("is {shown:?}: {hint}"))
    }

    /// Which parameter is wrong.
    #[must_use]
    pub fn parameter(&self) -> &'static str {
        self.parameter
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.parameter, self.message)
    }
}

impl std::error::Error for ConfigError {}
