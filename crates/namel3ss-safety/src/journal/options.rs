//! How a journal is made.

use crate::batch::Durability;

/// How a journal is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What must survive.
    pub durability: Durability,
    /// The ring's room at first.
    pub ring_bytes: u64,
    /// The ring's room at most.
    pub ring_bytes_max: u64,
    /// The most bytes of one segment; the first ones are smaller.
    pub segment_bytes_max: u64,
}

impl Default for Options {
    /// A ring of 512 KiB that grows to 16 MiB (some 60,000 events), segments up to 8 MiB.
    fn default() -> Self {
        Self {
            durability: Durability::Process,
            ring_bytes: 512 << 10,
            ring_bytes_max: 16 << 20,
            segment_bytes_max: 8 << 20,
        }
    }
}
