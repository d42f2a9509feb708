//! An event that borrows its texts from a payload.

use super::layout::{DEPTH_MAX, FIXED_BYTES, SEVERITY_OTHER, TEXTS};
use super::value::{Categories, ObjectRef, Reader};
use crate::clock::Timestamp;
use crate::event::{Direction, SafetyAction, SafetyEvent, Severity};

/// An event whose texts live in somebody else's buffer: what adapters are given.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'a> {
    /// See [`SafetyEvent`] for this field and those that follow.
    pub event_id: &'a str,
    #[expect(missing_docs, reason = "as in SafetyEvent")]
    pub timestamp: Timestamp,
    texts: [Option<&'a str>; TEXTS],
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
    categories: Categories<'a>,
    metadata: ObjectRef<'a>,
    tail: &'a [u8],
}

impl<'a> EventRef<'a> {
    /// Reads a payload. One whose metadata was checked before is not checked for it again.
    pub(super) fn read(payload: &'a [u8], checked: bool) -> Option<Self> {
        let fixed: &[u8; FIXED_BYTES] = payload.first_chunk()?;
        let flags = fixed[1];
        let present = u16::from_le_bytes([fixed[2], fixed[3]]);
        let count = u16::from_le_bytes([fixed[4], fixed[5]]);
        let word = |at: usize| -> [u8; 8] {
            // Infallible: `fixed` is 32 bytes long and `at` is 8, 16 or 24.
            fixed[at..at + 8].try_into().unwrap_or_default()
        };
        let mut reader = Reader { bytes: &payload[FIXED_BYTES..] };
        let own_word = flags >> 4 == SEVERITY_OTHER && present >> TEXTS & 1 == 1;
        let named = (present & ((1 << TEXTS) - 1)).count_ones() as usize;
        let mut words = reader.texts(1 + named + usize::from(own_word) + usize::from(count))?;
        let event_id = words.next()?;
        let mut texts = [None; TEXTS];
        for (bit, text) in texts.iter_mut().enumerate() {
            if present >> bit & 1 == 1 {
                *text = Some(words.next()?);
            }
        }
        let severity = match flags >> 4 {
            0 => "none",
            1 => "low",
            2 => "medium",
            3 => "high",
            4 => "critical",
            SEVERITY_OTHER if own_word => words.next()?,
            _ => return None,
        };
        let categories = Categories { texts: words, left: count };
        let metadata = reader.object()?;
        if !checked && !metadata.check(DEPTH_MAX) {
            return None;
        }
        Some(Self {
            event_id,
            timestamp: Timestamp::from_micros(i64::from_le_bytes(word(8))),
            texts,
            direction: Direction::from_code(flags & 1)?,
            // A code of a later version is none of these, and must not read as one.
            action: SafetyAction::from_code(flags >> 1 & 7)?,
            severity,
            confidence: f64::from_le_bytes(word(16)),
            latency_ms: f64::from_le_bytes(word(24)),
            categories,
            metadata,
            tail: reader.bytes,
        })
    }

    /// What the host keeps behind the event: see [`Source::tail`](super::Source::tail).
    #[must_use]
    #[doc(hidden)]
    pub fn tail(&self) -> &'a [u8] {
        self.tail
    }

    /// The eight optional texts, in the order of [`crate::FIELDS`]: `app_name` to `user_id`.
    #[must_use]
    #[doc(hidden)]
    pub fn texts(&self) -> [Option<&'a str>; 8] {
        self.texts
    }

    /// Which application.
    #[must_use]
    pub fn app_name(&self) -> Option<&'a str> {
        self.texts[0]
    }

    /// Which chain in it.
    #[must_use]
    pub fn chain_name(&self) -> Option<&'a str> {
        self.texts[1]
    }

    /// Which agent in it.
    #[must_use]
    pub fn agent_name(&self) -> Option<&'a str> {
        self.texts[2]
    }

    /// Which policy decided.
    #[must_use]
    pub fn policy_name(&self) -> Option<&'a str> {
        self.texts[3]
    }

    /// Why, in words.
    #[must_use]
    pub fn reason(&self) -> Option<&'a str> {
        self.texts[4]
    }

    /// The trace the decision belongs to.
    #[must_use]
    pub fn trace_id(&self) -> Option<&'a str> {
        self.texts[5]
    }

    /// The session the decision belongs to.
    #[must_use]
    pub fn session_id(&self) -> Option<&'a str> {
        self.texts[6]
    }

    /// Whose text it was.
    #[must_use]
    pub fn user_id(&self) -> Option<&'a str> {
        self.texts[7]
    }

    /// What was found.
    #[must_use]
    pub fn categories(&self) -> Categories<'a> {
        self.categories
    }

    /// Anything else.
    #[must_use]
    pub fn metadata(&self) -> ObjectRef<'a> {
        self.metadata
    }

    /// A copy that owns its texts.
    #[must_use]
    pub fn to_event(&self) -> SafetyEvent {
        let [app, chain, agent, policy, reason, trace, session, user] =
            self.texts.map(|text| text.map(str::to_owned));
        SafetyEvent {
            event_id: self.event_id.to_owned(),
            timestamp: self.timestamp,
            app_name: app,
            chain_name: chain,
            agent_name: agent,
            policy_name: policy,
            reason,
            trace_id: trace,
            session_id: session,
            user_id: user,
            direction: self.direction,
            action: self.action,
            categories: self.categories.map(str::to_owned).collect(),
            severity: Severity::from(self.severity),
            confidence: self.confidence,
            latency_ms: self.latency_ms,
            metadata: self.metadata.to_map(),
        }
    }
}
