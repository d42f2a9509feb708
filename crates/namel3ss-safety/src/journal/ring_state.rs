//! What a ring's file says of itself beside its header: how large the ring is, and what has left it.

use super::frame::SEQ_MAX;
use crate::id::Seq;

/// Words of the header block that live on: two slots of the head's position, the last seq that
/// has left the ring, and a check of both. They are written in turn, so that a kill in between
/// leaves one whole.
pub const HEAD_WORDS: [usize; 2] = [384, 387];
/// The data area's size and its check, written once; zero where there is none.
pub const CAPACITY_WORDS: usize = 390;
/// The largest position: a gigabyte a second fills it in 146 years, so that a larger one is damage,
/// and sums of positions never overflow.
pub const POSITION_MAX: u64 = 1 << 62;
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
        let (stored, sum) = (word(CAPACITY_WORDS)?, word(CAPACITY_WORDS + 1)?);
        if stored == 0 && sum == 0 {
            return Some(Self::default());
        }
        // The check is stored first and says as much: a kill between the two, or damage to the
        // capacity alone, costs nothing.
        let capacity = (3..=CAPACITY_MAX.ilog2())
            .map(|bits| 1 << bits)
            .find(|capacity| sum == u64::from(check([epoch, *capacity])))?;
        let mut state = Self { capacity, ..Self::default() };
        let mut whole = 0;
        let mut blank = 0;
        for slot in HEAD_WORDS {
            let (head, seq) = (word(slot)?, Seq(word(slot + 1)?));
            let stored = word(slot + 2)?;
            if stored == 0 && head == 0 && seq == Seq(0) {
                blank += 1;
            } else if stored == head_check(epoch, head, seq)
                && head % 8 == 0
                && head <= POSITION_MAX
                && seq.0 <= SEQ_MAX
            {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_whose_maker_was_killed_half_way_is_empty() {
        let mut block = vec![0; 4096];
        assert_eq!(RingState::parse(&block, 7), Some(RingState::default()));
        let sum = u64::from(check([7, 1 << 20]));
        let at = (CAPACITY_WORDS + 1) * 8;
        block[at..at + 8].copy_from_slice(&sum.to_le_bytes());
        let made = RingState { capacity: 1 << 20, ..RingState::default() };
        assert_eq!(RingState::parse(&block, 7), Some(made));
        assert_eq!(RingState::parse(&block, 8), None);
    }

    /// A head near 2^64 whose check is right had every reader of the journal walk for ever: the sum
    /// of the head and the ring's size was less than the head.
    #[test]
    fn a_head_beyond_the_largest_is_damage_however_right_its_check_is() {
        let mut block = vec![0; 4096];
        let mut put = |word: usize, value: u64| {
            block[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
        };
        put(CAPACITY_WORDS, 1 << 20);
        put(CAPACITY_WORDS + 1, u64::from(check([7, 1 << 20])));
        let heads = [POSITION_MAX + 8, u64::MAX - 7];
        for (slot, head) in HEAD_WORDS.into_iter().zip(heads) {
            put(slot, head);
            put(slot + 1, 5);
            put(slot + 2, head_check(7, head, Seq(5)));
        }
        assert_eq!(RingState::parse(&block, 7), None);
    }
}
