//! What was dropped, and why: the payload of a gap frame. No event vanishes without one.

use crate::clock::Timestamp;
use crate::id::Seq;
use std::fmt;

/// Why events are neither in their dataset nor on their way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The buffer was full, and the strategy gave up the oldest.
    DropOldest,
    /// The buffer was full, and the strategy gave up the new one.
    DropNewest,
    /// The journal could not take it: the disk is full or failing, and so is the ring.
    JournalFull,
    /// Its bytes in the journal are damaged.
    Damaged,
    /// It was no event that could be stored.
    Invalid,
    /// The journal was in memory and its logger went away.
    NotPersisted,
}

impl DropReason {
    /// Every reason, in the order of their codes.
    #[doc(hidden)]
    pub const ALL: [Self; 6] = [
        Self::DropOldest,
        Self::DropNewest,
        Self::JournalFull,
        Self::Damaged,
        Self::Invalid,
        Self::NotPersisted,
    ];

    /// The word under which stats and gap records count it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
            Self::JournalFull => "journal_full",
            Self::Damaged => "damaged",
            Self::Invalid => "invalid",
            Self::NotPersisted => "not_persisted",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    #[must_use]
    #[doc(hidden)]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One record of a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: DropReason,
    /// How many events.
    pub events: u64,
    /// The positions they had, if they ever had one; otherwise (0, 0).
    pub seqs: (Seq, Seq),
    /// When it was noticed.
    pub at: Timestamp,
}

/// The size of a gap frame's payload.
pub const GAP_BYTES: usize = 40;

impl Gap {
    /// As it is stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; GAP_BYTES] {
        let mut bytes = [0; GAP_BYTES];
        bytes[0] = self.reason as u8;
        bytes[8..16].copy_from_slice(&self.events.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.seqs.0.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.seqs.1.0.to_le_bytes());
        bytes[32..].copy_from_slice(&self.at.micros().to_le_bytes());
        bytes
    }

    /// Reads it back; `None` if it is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; GAP_BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        Some(Self {
            reason: *DropReason::ALL.get(usize::from(bytes[0]))?,
            events: word(8)?,
            seqs: (Seq(word(16)?), Seq(word(24)?)),
            at: Timestamp::from_micros(word(32)? as i64),
        })
    }
}
