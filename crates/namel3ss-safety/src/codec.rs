//! One event as the payload of one frame: versioned, compact, read without copying.
//!
//! The layout is drawn byte by byte in `docs/design/journal-format.md`. Strings are cut and
//! containers thinned until an event fits [`PAYLOAD_BYTES_MAX`]; such an event carries
//! `"truncated": true` in its metadata. Non-finite numbers are kept as they are here; JSON writes
//! them as the texts `NaN`, `Infinity` and `-Infinity`.

use std::fmt;

use serde_json::{Map, Number, Value};

use crate::clock::Timestamp;
use crate::event::{Direction, SafetyAction, SafetyEvent, Severity};

/// The first byte of a payload: the layout's major version. A reader refuses any other.
pub const VERSION: u8 = 1;
/// The most that one event takes: 256 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// How deep metadata may nest; what is deeper is stored as null and marked as truncated.
pub const DEPTH_MAX: usize = 64;

/// Bytes before the first text.
const FIXED_BYTES: usize = 32;
/// The code of a severity that is the app's own word.
const SEVERITY_OTHER: u8 = 7;
/// How many optional texts there are; bit 8 of the presence word is the severity's own word.
const TEXTS: usize = 8;

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const UINT: u8 = 4;
    pub(super) const FLOAT: u8 = 5;
    pub(super) const NUMBER: u8 = 6;
    pub(super) const STRING: u8 = 7;
    pub(super) const ARRAY: u8 = 8;
    pub(super) const OBJECT: u8 = 9;
}

/// Appends the payload of `event` to `out`: never more than [`PAYLOAD_BYTES_MAX`] bytes.
///
/// ```
/// use namel3ss_safety::{codec, SafetyEvent};
/// let event = SafetyEvent::default();
/// let mut payload = Vec::new();
/// codec::encode(&event, &mut payload);
/// assert_eq!(codec::decode(&payload).unwrap().to_event(), event);
/// ```
pub fn encode(event: &SafetyEvent, out: &mut Vec<u8>) {
    let start = out.len();
    let end = encode_at(event, out, start);
    out.truncate(end);
}

/// Writes the payload of `event` into `scratch` from its first byte, and gives what was written.
/// The scratch grows by need and is never cleared, so that the usual call neither allocates nor
/// zeroes anything.
pub fn encode_into<'s>(event: &SafetyEvent, scratch: &'s mut Vec<u8>) -> &'s [u8] {
    let end = encode_at(event, scratch, 0);
    &scratch[..end]
}

/// Writes from `start` on; where the payload ends.
fn encode_at(event: &SafetyEvent, out: &mut Vec<u8>, start: usize) -> usize {
    // Each step is far smaller than the one before; the last always fits.
    for (text_max, items_max) in
        [(PAYLOAD_BYTES_MAX, usize::MAX), (16384, 4096), (2048, 512), (256, 128), (64, 32)]
    {
        let mut writer =
            Writer { out, at: start, start, text_max, items_left: items_max, truncated: false };
        if writer.event(event) {
            return writer.at;
        }
    }
    debug_assert!(false, "the last step of the ladder always fits");
    start
}

struct Writer<'o> {
    /// Written up to `at`; what is behind is old, and room.
    out: &'o mut Vec<u8>,
    at: usize,
    start: usize,
    text_max: usize,
    items_left: usize,
    truncated: bool,
}

impl Writer<'_> {
    /// False when the event did not fit.
    fn event(&mut self, event: &SafetyEvent) -> bool {
        let texts: [Option<&str>; TEXTS] = [
            event.app_name.as_deref(),
            event.chain_name.as_deref(),
            event.agent_name.as_deref(),
            event.policy_name.as_deref(),
            event.reason.as_deref(),
            event.trace_id.as_deref(),
            event.session_id.as_deref(),
            event.user_id.as_deref(),
        ];
        let (severity, severity_word) = match &event.severity {
            Severity::None => (0, None),
            Severity::Low => (1, None),
            Severity::Medium => (2, None),
            Severity::High => (3, None),
            Severity::Critical => (4, None),
            Severity::Other(word) => (SEVERITY_OTHER, Some(word.as_str())),
        };
        let mut present = u16::from(severity_word.is_some()) << TEXTS;
        for (bit, text) in texts.iter().enumerate() {
            present |= u16::from(text.is_some()) << bit;
        }
        let categories = event.categories.len().min(self.items_left).min(usize::from(u16::MAX));
        self.truncated |= categories < event.categories.len();
        self.items_left -= categories;

        let mut fixed = [0_u8; FIXED_BYTES];
        fixed[0] = VERSION;
        fixed[1] = event.direction.code() | event.action.code() << 1 | severity << 4;
        fixed[2..4].copy_from_slice(&present.to_le_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "bounded by u16::MAX above")]
        fixed[4..6].copy_from_slice(&(categories as u16).to_le_bytes());
        fixed[8..16].copy_from_slice(&event.timestamp.micros().to_le_bytes());
        fixed[16..24].copy_from_slice(&event.confidence.to_le_bytes());
        fixed[24..32].copy_from_slice(&event.latency_ms.to_le_bytes());
        self.put(fixed);

        self.text(&event.event_id);
        texts.into_iter().flatten().for_each(|text| self.text(text));
        if let Some(word) = severity_word {
            self.text(word);
        }
        for category in &event.categories[..categories] {
            if self.full() {
                return false;
            }
            self.text(category);
        }
        let length_at = self.open();
        for (key, value) in &event.metadata {
            if self.full() {
                return false;
            }
            if self.items_left == 0 {
                self.truncated = true;
                break;
            }
            self.items_left -= 1;
            self.text(key);
            self.value(value, 1);
        }
        if self.truncated {
            self.text("truncated");
            self.put([tag::TRUE]);
        }
        self.close(length_at);
        !self.full()
    }

    fn full(&self) -> bool {
        self.at - self.start > PAYLOAD_BYTES_MAX
    }

    fn open(&mut self) -> usize {
        self.put([0; 4]);
        self.at
    }

    #[expect(clippy::cast_possible_truncation, reason = "a payload that long does not fit anyway")]
    fn close(&mut self, content_at: usize) {
        let length = (self.at - content_at) as u32;
        self.out[content_at - 4..content_at].copy_from_slice(&length.to_le_bytes());
    }

    /// Room for `n` more bytes.
    #[inline]
    fn room(&mut self, n: usize) -> &mut [u8] {
        if self.out.len() - self.at < n {
            self.grow(n);
        }
        &mut self.out[self.at..self.at + n]
    }

    #[cold]
    fn grow(&mut self, n: usize) {
        let len = (self.at + n).next_power_of_two().max(1024);
        self.out.resize(len, 0);
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.room(N).copy_from_slice(&bytes);
        self.at += N;
    }

    #[inline]
    fn text(&mut self, text: &str) {
        let n = text.len();
        if n >= 0x80 || n > self.text_max {
            return self.long_text(text);
        }
        let room = self.room(1 + n);
        room[0] = n as u8;
        copy_short(text.as_bytes(), &mut room[1..]);
        self.at += 1 + n;
    }

    fn long_text(&mut self, text: &str) {
        let text = if text.len() <= self.text_max {
            text
        } else {
            self.truncated = true;
            &text[..text.floor_char_boundary(self.text_max)]
        };
        self.varint(text.len() as u64);
        self.room(text.len()).copy_from_slice(text.as_bytes());
        self.at += text.len();
    }

    #[inline]
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.put([n as u8 | 0x80]);
            n >>= 7;
        }
        self.put([n as u8]);
    }

    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Null => self.put([tag::NULL]),
            Value::Bool(false) => self.put([tag::FALSE]),
            Value::Bool(true) => self.put([tag::TRUE]),
            Value::Number(number) => self.number(number),
            Value::String(text) => {
                self.put([tag::STRING]);
                self.text(text);
            }
            Value::Array(_) | Value::Object(_) if depth >= DEPTH_MAX => {
                self.truncated = true;
                self.put([tag::NULL]);
            }
            Value::Array(items) => {
                self.put([tag::ARRAY]);
                let at = self.open();
                for item in items {
                    if !self.take_item() {
                        break;
                    }
                    self.value(item, depth + 1);
                }
                self.close(at);
            }
            Value::Object(entries) => {
                self.put([tag::OBJECT]);
                let at = self.open();
                for (key, item) in entries {
                    if !self.take_item() {
                        break;
                    }
                    self.text(key);
                    self.value(item, depth + 1);
                }
                self.close(at);
            }
        }
    }

    fn take_item(&mut self) -> bool {
        if self.full() || self.items_left == 0 {
            self.truncated = true;
            return false;
        }
        self.items_left -= 1;
        true
    }

    fn number(&mut self, number: &Number) {
        if let Some(n) = number.as_i64() {
            self.put([tag::INT]);
            self.varint(((n << 1) ^ (n >> 63)) as u64);
        } else if let Some(n) = number.as_u64() {
            self.put([tag::UINT]);
            self.varint(n);
        } else if let Some(n) = number.as_f64() {
            self.put([tag::FLOAT]);
            self.put(n.to_le_bytes());
        } else {
            self.put([tag::NUMBER]);
            self.text(&number.to_string());
        }
    }
}

/// Copies a short text by two overlapping words instead of a call: an event has some twenty of
/// them, and the calls were a third of what encoding costs (measured: 100 ns to 65).
#[inline]
fn copy_short(from: &[u8], to: &mut [u8]) {
    let n = from.len();
    let to = &mut to[..n];
    if n > 32 {
        to.copy_from_slice(from);
    } else if n > 16 {
        to[..16].copy_from_slice(&from[..16]);
        to[n - 16..].copy_from_slice(&from[n - 16..]);
    } else if n >= 8 {
        to[..8].copy_from_slice(&from[..8]);
        to[n - 8..].copy_from_slice(&from[n - 8..]);
    } else if n >= 4 {
        to[..4].copy_from_slice(&from[..4]);
        to[n - 4..].copy_from_slice(&from[n - 4..]);
    } else if n > 0 {
        to[0] = from[0];
        to[n / 2] = from[n / 2];
        to[n - 1] = from[n - 1];
    }
}

/// Why bytes are no payload of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Another major version: a newer library wrote it.
    Version(u8),
    /// The bytes do not follow the layout.
    Malformed,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(v) => {
                write!(f, "decode an event of payload version {v}: this library reads {VERSION}")
            }
            Self::Malformed => f.write_str("decode an event: its bytes do not follow the layout"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads a payload, borrowing every text from it. Everything is checked here, once.
///
/// # Errors
/// For bytes of another version or layout; never panics, whatever the bytes.
pub fn decode(payload: &[u8]) -> Result<EventRef<'_>, DecodeError> {
    match payload.first() {
        Some(&VERSION) => EventRef::read(payload).ok_or(DecodeError::Malformed),
        Some(&version) => Err(DecodeError::Version(version)),
        None => Err(DecodeError::Malformed),
    }
}

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
}

impl<'a> EventRef<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        let fixed: &[u8; FIXED_BYTES] = payload.first_chunk()?;
        let flags = fixed[1];
        let present = u16::from_le_bytes([fixed[2], fixed[3]]);
        let count = u16::from_le_bytes([fixed[4], fixed[5]]);
        let word = |at: usize| -> [u8; 8] {
            // Infallible: `fixed` is 32 bytes long and `at` is 8, 16 or 24.
            fixed[at..at + 8].try_into().unwrap_or_default()
        };
        let mut reader = Reader { bytes: &payload[FIXED_BYTES..] };
        let event_id = reader.text()?;
        let mut texts = [None; TEXTS];
        for (bit, text) in texts.iter_mut().enumerate() {
            if present >> bit & 1 == 1 {
                *text = Some(reader.text()?);
            }
        }
        let severity = match flags >> 4 {
            0 => "none",
            1 => "low",
            2 => "medium",
            3 => "high",
            4 => "critical",
            SEVERITY_OTHER if present >> TEXTS & 1 == 1 => reader.text()?,
            _ => return None,
        };
        let categories = Categories { reader, left: count };
        for _ in 0..count {
            reader.text()?;
        }
        let metadata = reader.object()?;
        if !metadata.check(DEPTH_MAX) {
            return None;
        }
        Some(Self {
            event_id,
            timestamp: Timestamp::from_micros(i64::from_le_bytes(word(8))),
            texts,
            direction: Direction::from_code(flags & 1)?,
            action: SafetyAction::from_code(flags >> 1 & 3)?,
            severity,
            confidence: f64::from_le_bytes(word(16)),
            latency_ms: f64::from_le_bytes(word(24)),
            categories,
            metadata,
        })
    }

    /// The eight optional texts, in the order of [`crate::FIELDS`]: `app_name` to `user_id`.
    #[must_use]
    pub fn texts(&self) -> [Option<&'a str>; 8] {
        self.texts
    }

    /// Which application.
    #[must_use]
    pub fn app_name(&self) -> Option<&'a str> {
        self.texts[0]
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

/// The texts of `categories`, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Categories<'a> {
    reader: Reader<'a>,
    left: u16,
}

impl<'a> Iterator for Categories<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        self.reader.text()
    }
}

/// A JSON value in a payload.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// A whole number beyond `i64`.
    UInt(u64),
    /// Any other number; it may be NaN or infinite.
    Float(f64),
    /// A number too large for the others, in its digits.
    Number(&'a str),
    /// Text.
    String(&'a str),
    /// A list.
    Array(ArrayRef<'a>),
    /// An object, in the order in which it was logged.
    Object(ObjectRef<'a>),
}

impl ValueRef<'_> {
    /// A copy of its own; non-finite and oversized numbers become texts.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match *self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Int(n) => Value::from(n),
            Self::UInt(n) => Value::from(n),
            Self::Float(n) => Number::from_f64(n)
                .map_or_else(|| Value::from(crate::json::non_finite(n)), Value::Number),
            Self::Number(digits) => Value::from(digits),
            Self::String(text) => Value::from(text),
            Self::Array(items) => Value::Array(items.map(|item| item.to_value()).collect()),
            Self::Object(entries) => Value::Object(entries.to_map()),
        }
    }
}

/// The items of a list.
#[derive(Clone, Copy, Debug)]
pub struct ArrayRef<'a>(Reader<'a>);

impl<'a> Iterator for ArrayRef<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        if self.0.bytes.is_empty() { None } else { self.0.value() }
    }
}

/// The entries of an object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectRef<'a>(Reader<'a>);

impl<'a> Iterator for ObjectRef<'a> {
    type Item = (&'a str, ValueRef<'a>);

    fn next(&mut self) -> Option<(&'a str, ValueRef<'a>)> {
        if self.0.bytes.is_empty() { None } else { Some((self.0.text()?, self.0.value()?)) }
    }
}

impl ObjectRef<'_> {
    /// A copy of its own.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        self.map(|(key, value)| (key.to_owned(), value.to_value())).collect()
    }

    fn check(&self, depth_left: usize) -> bool {
        let mut reader = self.0;
        while !reader.bytes.is_empty() {
            if reader.text().is_none() || !reader.check_value(depth_left) {
                return false;
            }
        }
        true
    }
}

#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.varint()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn sized(&mut self) -> Option<Reader<'a>> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        Some(Reader { bytes: self.take(usize::try_from(length).ok()?)? })
    }

    fn object(&mut self) -> Option<ObjectRef<'a>> {
        self.sized().map(ObjectRef)
    }

    fn value(&mut self) -> Option<ValueRef<'a>> {
        Some(match self.byte()? {
            tag::NULL => ValueRef::Null,
            tag::FALSE => ValueRef::Bool(false),
            tag::TRUE => ValueRef::Bool(true),
            tag::INT => {
                let n = self.varint()?;
                ValueRef::Int((n >> 1) as i64 ^ -((n & 1) as i64))
            }
            tag::UINT => ValueRef::UInt(self.varint()?),
            tag::FLOAT => ValueRef::Float(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            tag::NUMBER => ValueRef::Number(self.text()?),
            tag::STRING => ValueRef::String(self.text()?),
            tag::ARRAY => ValueRef::Array(ArrayRef(self.sized()?)),
            tag::OBJECT => ValueRef::Object(self.object()?),
            _ => return None,
        })
    }

    fn check_value(&mut self, depth_left: usize) -> bool {
        match self.value() {
            None => false,
            Some(ValueRef::Array(ArrayRef(mut items))) => {
                if depth_left == 0 {
                    return false;
                }
                while !items.bytes.is_empty() {
                    if !items.check_value(depth_left - 1) {
                        return false;
                    }
                }
                true
            }
            Some(ValueRef::Object(entries)) => depth_left > 0 && entries.check(depth_left - 1),
            Some(ValueRef::Number(digits)) => is_number(digits),
            Some(_) => true,
        }
    }
}

/// Whether `digits` is a number by the grammar of JSON, so that it can be written out unquoted.
fn is_number(digits: &str) -> bool {
    let body = digits.strip_prefix('-').unwrap_or(digits);
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['+', '-']).unwrap_or(e))),
        None => (body, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((w, f)) => (w, Some(f)),
        None => (mantissa, None),
    };
    let all_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    all_digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(all_digits)
        && exponent.is_none_or(all_digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn round_trip(event: &SafetyEvent) -> SafetyEvent {
        let mut payload = Vec::new();
        encode(event, &mut payload);
        assert!(payload.len() <= PAYLOAD_BYTES_MAX);
        decode(&payload).expect("what was encoded decodes").to_event()
    }

    #[test]
    fn an_oversized_event_is_cut_and_says_so() {
        for event in [
            SafetyEvent { reason: Some("é".repeat(1 << 20)), ..SafetyEvent::default() },
            SafetyEvent { categories: vec!["c".repeat(100); 100_000], ..SafetyEvent::default() },
            SafetyEvent {
                metadata: (0..50_000).map(|i| (format!("k{i}"), json!("v".repeat(50)))).collect(),
                ..SafetyEvent::default()
            },
        ] {
            let back = round_trip(&event);
            assert_eq!(back.event_id, event.event_id);
            assert_eq!(back.metadata["truncated"], true);
        }
    }

    #[test]
    fn deep_metadata_is_cut_at_the_limit() {
        let mut value = json!(1);
        for _ in 0..500 {
            value = json!([value]);
        }
        let event = SafetyEvent {
            metadata: Map::from_iter([("deep".to_owned(), value)]),
            ..SafetyEvent::default()
        };
        assert_eq!(round_trip(&event).metadata["truncated"], true);
    }

    #[test]
    fn numbers_follow_the_grammar() {
        for good in ["0", "-0", "10", "1.5", "1e5", "-1.25E-7"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", "-", "01", "1.", ".5", "1e", "1e+", "0x1", "1 ", "NaN"] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_event_reads_back_equal(
            texts in prop::collection::vec(any::<Option<String>>(), 8),
            ids in any::<(String, i64)>(),
            numbers in any::<(f64, f64)>(),
            words in (0_usize..4, any::<bool>(), "[a-z]{0,9}"),
            categories in prop::collection::vec(any::<String>(), 0..5),
            metadata in prop::collection::btree_map(any::<String>(), any_value(), 0..5),
        ) {
            let mut t = texts.into_iter();
            let mut text = move || t.next().flatten();
            let event = SafetyEvent {
                event_id: ids.0,
                timestamp: Timestamp::from_micros(ids.1),
                app_name: text(), chain_name: text(), agent_name: text(), policy_name: text(),
                reason: text(), trace_id: text(), session_id: text(), user_id: text(),
                direction: if words.1 { Direction::Output } else { Direction::Input },
                action: SafetyAction::ALL[words.0],
                categories,
                severity: Severity::from(words.2.as_str()),
                confidence: numbers.0,
                latency_ms: numbers.1,
                metadata: metadata.into_iter().collect(),
            };
            let back = round_trip(&event);
            if event.confidence.is_nan() || event.latency_ms.is_nan() {
                prop_assert_eq!(back.confidence.to_bits(), event.confidence.to_bits());
            } else {
                prop_assert_eq!(back, event);
            }
        }

        #[test]
        fn no_bytes_make_decoding_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes).map(|event| event.to_event());
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = decode(&bytes).map(|event| event.to_event());
        }
    }
}
