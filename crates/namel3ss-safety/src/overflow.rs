//! What a full buffer means.

use std::fmt;

/// What happens to an event that finds the buffer full: it holds `buffer_size` events and can't be
/// handed over, because the logger is not started or its backlog is at its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverflowStrategy {
    /// The oldest undelivered event goes.
    #[default]
    DropOldest,
    /// The new event goes.
    DropNewest,
    /// `log()` waits for room; not started, it delivers the buffer first.
    Block,
}

impl OverflowStrategy {
    pub(crate) const WORDS: [&str; 3] = ["drop_oldest", "drop_newest", "block"];

    /// The word that users write.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DropOldest => Self::WORDS[0],
            Self::DropNewest => Self::WORDS[1],
            Self::Block => Self::WORDS[2],
        }
    }
}

impl fmt::Display for OverflowStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
