//! One record in a journal: 16 bytes of header, the payload, padding to 8 bytes.
//!
//! ```text
//! 0        3    4        8                16
//! ┌────────┬────┬────────┬────────────────┬─────────────┬───────┐
//! │ length │kind│ check  │ seq            │ payload …   │ 0 … 0 │   little-endian
//! └────────┴────┴────────┴────────────────┴─────────────┴───────┘
//!  ╰── commit word: stored last ──╯
//! ```
//!
//! `check` is CRC-32C of the payload, xored with CRC-32C of (epoch, position, length and kind,
//! seq). So a frame counts only in the file and at the place it was written for: a recycled place
//! or a copied file can't pass for a new frame, and moving a frame from the ring to a segment
//! needs no second pass over its payload.

use crate::id::Seq;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a void frame's payload: the last of its seqs.
pub const VOID_BYTES: usize = 8;
/// The largest payload that a frame can hold: 1 MiB, four times what the codec makes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The largest seq: a million events a second fill it in 2,000 years, so that a larger one is
/// damage, and sums of seqs never overflow.
pub const SEQ_MAX: u64 = 1 << 56;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An event's payload.
    Event,
    /// What was dropped here, and why; its seq is that of the event before it.
    Gap,
    /// No event ever had the seqs from this frame's to the one in its payload: they were claimed
    /// and never committed.
    Void,
    /// Nothing up to the ring's start: the ring goes on there.
    Wrap,
}

impl Kind {
    // Odd bytes that text and small numbers seldom have, so that damage rarely looks like one.
    const fn byte(self) -> u8 {
        match self {
            Self::Event => 0xE5,
            Self::Gap => 0x9D,
            Self::Void => 0x71,
            Self::Wrap => 0xB7,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0xE5 => Some(Self::Event),
            0x9D => Some(Self::Gap),
            0x71 => Some(Self::Void),
            0xB7 => Some(Self::Wrap),
            _ => None,
        }
    }
}

/// Where a frame lies: what its check binds it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's random number.
    pub epoch: u64,
    /// The frame's position in it: a file's offset, or the ring's running count of bytes.
    pub position: u64,
}

/// A frame's first 16 bytes, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Bytes of payload.
    pub length: usize,
    /// Its position in the journal.
    pub seq: Seq,
    check: u32,
}

impl Header {
    /// For `payload`, not yet bound to a place.
    ///
    /// # Panics
    /// If the payload is longer than [`PAYLOAD_BYTES_MAX`].
    #[must_use]
    pub fn new(kind: Kind, seq: Seq, payload: &[u8]) -> Self {
        Self::with_crc(kind, seq, payload.len(), payload_crc(payload))
    }

    /// As `new`, with the payload's CRC computed before.
    #[inline]
    #[must_use]
    pub fn with_crc(kind: Kind, seq: Seq, length: usize, payload_crc: u32) -> Self {
        assert!(length <= PAYLOAD_BYTES_MAX, "the codec bounds payloads");
        Self { kind, length, seq, check: payload_crc }
    }

    /// The whole frame's size, padding included.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        size_of_frame(self.length)
    }

    /// The two words as they are stored at `place`: the commit word, and the seq.
    #[inline]
    #[must_use]
    pub fn words(&self, place: Place) -> [u64; 2] {
        let head = self.head();
        let check = self.check ^ place_crc(place, head, self.seq);
        [u64::from(head) | u64::from(check) << 32, self.seq.0]
    }

    /// As [`words`](Self::words), in bytes.
    #[must_use]
    pub fn bytes(&self, place: Place) -> [u8; HEADER_BYTES] {
        let [commit, seq] = self.words(place);
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&commit.to_le_bytes());
        bytes[8..].copy_from_slice(&seq.to_le_bytes());
        bytes
    }

    /// Takes two stored words apart and unbinds them from `place`; `None` if they can't be a
    /// frame's. Whether they are one is for [`matches`](Self::matches) to say.
    #[inline]
    #[must_use]
    pub fn parse([commit, seq]: [u64; 2], place: Place) -> Option<Self> {
        let head = commit as u32;
        let kind = Kind::from_byte((head >> 24) as u8)?;
        // Cheap, and turns most of what is no header away before its payload is checked.
        if seq > SEQ_MAX || (seq == 0 && kind == Kind::Event) {
            return None;
        }
        let seq = Seq(seq);
        let check = (commit >> 32) as u32 ^ place_crc(place, head, seq);
        Some(Self { kind, length: (head & 0x00ff_ffff) as usize, seq, check })
    }

    /// As [`parse`](Self::parse), from bytes.
    #[must_use]
    pub fn parse_bytes(bytes: &[u8], place: Place) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        Self::parse([word(0)?, word(8)?], place)
    }

    /// Whether `payload` is what was written under this header at this place.
    #[inline]
    #[must_use]
    pub fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.length && payload_crc(payload) == self.check
    }

    fn head(&self) -> u32 {
        self.length as u32 | u32::from(self.kind.byte()) << 24
    }
}

/// A frame's size for a payload of `length` bytes.
#[inline]
#[must_use]
pub const fn size_of_frame(length: usize) -> usize {
    (HEADER_BYTES + length + 7) & !7
}

/// The payload's part of the check.
#[inline]
#[must_use]
pub fn payload_crc(payload: &[u8]) -> u32 {
    crc32c::crc32c(payload)
}

/// The place's part of the check.
#[inline]
fn place_crc(place: Place, head: u32, seq: Seq) -> u32 {
    let mut bytes = [0_u8; 28];
    bytes[..8].copy_from_slice(&place.epoch.to_le_bytes());
    bytes[8..16].copy_from_slice(&place.position.to_le_bytes());
    bytes[16..24].copy_from_slice(&seq.0.to_le_bytes());
    bytes[24..].copy_from_slice(&head.to_le_bytes());
    crc32c::crc32c(&bytes)
}

/// Appends a whole frame for `place` to `out`.
pub fn write(out: &mut Vec<u8>, kind: Kind, seq: Seq, payload: &[u8], place: Place) {
    let header = Header::new(kind, seq, payload);
    let end = out.len() + header.size();
    out.extend_from_slice(&header.bytes(place));
    out.extend_from_slice(payload);
    out.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_only_where_it_was_written() {
        let place = Place { epoch: 7, position: 4096 };
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Event, Seq(3), b"payload", place);
        assert_eq!(bytes.len(), 24);
        let read = |bytes: &[u8], place| {
            Header::parse_bytes(bytes, place)
                .filter(|h| bytes.get(16..16 + h.length).is_some_and(|p| h.matches(p)))
        };
        assert_eq!(read(&bytes, place).map(|h| h.seq), Some(Seq(3)));
        assert_eq!(read(&bytes, Place { position: 8192, ..place }), None);
        assert_eq!(read(&bytes, Place { epoch: 8, ..place }), None);
        for i in 0..23 {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[i] ^= 1 << bit;
                assert_eq!(read(&flipped, place), None, "byte {i} bit {bit}");
            }
        }
    }
}
