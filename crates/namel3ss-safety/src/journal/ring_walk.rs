//! Finding the frames of a ring whose process is gone, or whose memory is damaged.

use super::frame::{self, Header, Kind, Place};

/// See [`RingWalk`]; some 0.1 s of checking.
const FAILED_BYTES_MAX: u64 = 1 << 30;

/// One thing met in a ring.
pub(super) enum RingStep {
    /// A frame that is whole, and where it begins in the data area.
    Frame(Header, u64),
    /// From where to where the bytes are damaged.
    Damage(u64, u64),
}

/// Walks a ring's data area from its head on; resynchronizes on steps of 8 bytes.
pub(super) struct RingWalk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) epoch: u64,
    pub(super) capacity: u64,
    /// Behind this place anything may stand.
    pub(super) sure: u64,
    pub(super) at: u64,
    /// Bytes whose check failed: bounds what hostile bytes can cost.
    pub(super) failed_bytes: u64,
    /// Whether a frame ended right before `at`.
    pub(super) at_boundary: bool,
}

impl RingWalk<'_> {
    /// The next thing before position `end`.
    pub(super) fn next(&mut self, end: u64) -> Option<RingStep> {
        let mut damaged_from = None;
        while self.at < end {
            let place = self.at & (self.capacity - 1);
            let Some(rest) = self.bytes.get(place as usize..).filter(|rest| rest.len() >= 16)
            else {
                // Behind the file's end: the next lap.
                self.at = self.at - place + self.capacity;
                continue;
            };
            let at = Place { epoch: self.epoch, position: self.at };
            if let Some(header) = Header::parse_bytes(rest, at) {
                let plausible = header.length <= frame::PAYLOAD_BYTES_MAX
                    && matches!(header.kind, Kind::Event | Kind::Wrap)
                    && self.failed_bytes < FAILED_BYTES_MAX;
                let payload = rest.get(frame::HEADER_BYTES..frame::HEADER_BYTES + header.length);
                let matches = plausible && payload.is_some_and(|payload| header.matches(payload));
                self.failed_bytes += if matches { 0 } else { header.length as u64 };
                if matches {
                    if let Some(from) = damaged_from {
                        return Some(RingStep::Damage(from, place));
                    }
                    if header.kind == Kind::Wrap {
                        self.at = self.at - place + self.capacity;
                        continue;
                    }
                    self.at += header.size() as u64;
                    self.at_boundary = true;
                    return Some(RingStep::Frame(header, place));
                }
            }
            // Where a frame must begin, a commit word that is not zero was stored by somebody:
            // nothing but damage makes it wrong. A claim that was never committed has none.
            if self.at_boundary && self.at < self.sure && rest[..8].iter().any(|byte| *byte != 0) {
                damaged_from = Some(place);
            }
            self.at_boundary = false;
            self.at += 8;
        }
        damaged_from.map(|from| RingStep::Damage(from, self.capacity.min(self.bytes.len() as u64)))
    }
}
