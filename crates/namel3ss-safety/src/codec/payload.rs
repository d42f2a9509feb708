//! An event that was encoded, to be logged or stored later.

use super::encode::{Source, encode_noting};

/// An event that was encoded, to be logged or stored later.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Empty where there was no memory for it.
    bytes: Vec<u8>,
    cut: bool,
}

impl Payload {
    /// Encodes an event. Where there is not enough memory it has no bytes, and is dropped when it is
    /// logged.
    #[must_use]
    pub fn of(event: &impl Source) -> Self {
        let mut bytes = Vec::new();
        let cut = encode_noting(event, &mut bytes).unwrap_or(false);
        Self { bytes, cut }
    }

    /// The bytes, as a journal keeps them; none where there was no memory for them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the event was larger than a payload may be, or nested too deep, and was cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}
