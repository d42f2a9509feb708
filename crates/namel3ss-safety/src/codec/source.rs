//! What can be written as an event: the library's own type, or the objects of a host language,
//! which are read where they are, without a copy in between.

use super::encode::{Entries, Texts, encode_noting};
use crate::clock::Timestamp;
use crate::event::{Direction, SafetyAction, SafetyEvent};

/// The fields of an event that have one value.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// See [`SafetyEvent`] for this field and those that follow.
    pub event_id: &'a str,
    #[expect(missing_docs, reason = "as in SafetyEvent")]
    pub timestamp: Timestamp,
    /// The eight optional texts, in the order of [`crate::FIELDS`]: `app_name` to `user_id`.
    pub texts: [Option<&'a str>; 8],
    #[expect(missing_docs, reason = "as in SafetyEvent")]
    pub direction: Direction,
    #[expect(missing_docs, reason = "as in SafetyEvent")]
    pub action: SafetyAction,
    #[expect(missing_docs, reason = "as in SafetyEvent")]
    pub severity: &'a str,
    #[expect(missing_docs, reason = "as in SafetyEvent")]
    pub confidence: f64,
    #[expect(missing_docs, reason = "as in SafetyEvent")]
    pub latency_ms: f64,
}

/// An event that can be encoded. What it gives must be the same at each call: an event that does
/// not fit is read again, with shorter texts and fewer items.
pub trait Source {
    /// The fields that have one value.
    fn head(&self) -> Head<'_>;

    /// Writes the categories.
    fn categories(&self, into: &mut Texts<'_, '_>);

    /// Writes the metadata.
    fn metadata(&self, into: &mut Entries<'_, '_>);

    /// Bytes of the host's own, kept behind the event and given back by
    /// [`EventRef::tail`](super::EventRef::tail); left out where the event was cut.
    fn tail(&self) -> &[u8] {
        &[]
    }
}

impl Source for SafetyEvent {
    #[inline]
    fn head(&self) -> Head<'_> {
        Head {
            event_id: &self.event_id,
            timestamp: self.timestamp,
            texts: [
                self.app_name.as_deref(),
                self.chain_name.as_deref(),
                self.agent_name.as_deref(),
                self.policy_name.as_deref(),
                self.reason.as_deref(),
                self.trace_id.as_deref(),
                self.session_id.as_deref(),
                self.user_id.as_deref(),
            ],
            direction: self.direction,
            action: self.action,
            severity: self.severity.as_str(),
            confidence: self.confidence,
            latency_ms: self.latency_ms,
        }
    }

    #[inline]
    fn categories(&self, into: &mut Texts<'_, '_>) {
        let _ = self.categories.iter().all(|category| into.push(category));
    }

    #[inline]
    fn metadata(&self, into: &mut Entries<'_, '_>) {
        let _ = self.metadata.iter().all(|(key, value)| into.entry(key, |slot| slot.json(value)));
    }
}

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
