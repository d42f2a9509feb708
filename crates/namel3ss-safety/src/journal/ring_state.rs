//! What a ring's file says of itself beside its header: how large the ring is, and what has left it.

use super::frame::SEQ_MAX;
use crate::id::Seq;

/// Words of the header block that live on: two slots of the head's position, the last seq that
/// has left the ring, and a check of both. They are written in turn, so that a kill in between
/// leaves one whole.
pub const HEAD_WORDS: [usize; 2] = [384, 387];
/// The data area's size and its check, written once; zero where there is none.
pub const CAPACITY_WORDS: usize = 390;
/// The largest data area.
pub const CAPACITY_MAX: u64 = 1 << 30;

/// The check of a head's slot.
pub(super) fn head_check(epoch: u64, head: u64, seq: Seq) -> u64 {
    // Not zero, so that a slot that was never written is none.
    1 << 32 | u64::from(check([epoch, head, seq.0]))
}

/// The check of some words.
pub(super) fn check<const N: usize>(words: [u64; N]) -> u32 {
    words.iter().fold(0, |crc, word| crc32c::crc32c_append(crc, &word.to_le_bytes()))
}

/// What a ring's file says of itself in its first block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingState {
    /// The data area's size; zero where the ring was never mapped.
    pub capacity: u64,
    /// Where the first frame that is still in it begins, or an earlier place.
    pub head: u64,
    /// The last seq that has left it for a segment, or an earlier one.
    pub released: Seq,
    /// Only one of the two slots is whole: the other was being written, or is damaged, and the
    /// head may have been further.
    pub one_slot: bool,
}

impl RingState {
    /// Reads the first block of the ring's file whose random number is `epoch`; `None` if that
    /// part of it is damaged.
    #[must_use]
    pub fn parse(block: &[u8], epoch: u64) -> Option<Self> {
        let word = |at: usize| {
            let bytes = block.get(at * 8..at * 8 + 8)?;
            bytes.try_into().ok().map(u64::from_le_bytes)
        };
        let capacity = word(CAPACITY_WORDS)?;
        if capacity == 0 && word(CAPACITY_WORDS + 1)? == 0 {
            return Some(Self::default());
        }
        let sane = capacity.is_power_of_two() && (8..=CAPACITY_MAX).contains(&capacity);
        if !sane || word(CAPACITY_WORDS + 1)? != u64::from(check([epoch, capacity])) {
            return None;
        }
        let mut state = Self { capacity, ..Self::default() };
        let mut whole = 0;
        let mut blank = 0;
        for slot in HEAD_WORDS {
            let (head, seq) = (word(slot)?, Seq(word(slot + 1)?));
            let stored = word(slot + 2)?;
            if stored == 0 && head == 0 && seq == Seq(0) {
                blank += 1;
            } else if stored == head_check(epoch, head, seq) && head % 8 == 0 && seq.0 <= SEQ_MAX {
                whole += 1;
                state.head = state.head.max(head);
                state.released = state.released.max(seq);
            }
        }
        // A blank slot is the beginning: as good as a whole one, before the second release.
        state.one_slot = whole + blank < 2;
        (whole + blank > 0).then_some(state)
    }
}
