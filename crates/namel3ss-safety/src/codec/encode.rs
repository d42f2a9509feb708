//! Writing: one pass over the event, into a buffer that is used again and again.

use serde_json::{Number, Value};

use super::{DEPTH_MAX, FIXED_BYTES, PAYLOAD_BYTES_MAX, SEVERITY_OTHER, TEXTS, VERSION, tag};
use crate::event::{SafetyEvent, Severity};

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
        let mut writer = Writer { out, start, text_max, items_left: items_max, truncated: false };
        if let Some(end) = writer.event(event) {
            return end;
        }
    }
    debug_assert!(false, "the last step of the ladder always fits");
    start
}

/// Where it writes is passed from call to call rather than kept in a field: twenty short texts in a
/// row would otherwise wait for each other's store of it (measured: 86 ns an event, then 59).
struct Writer<'o> {
    /// Written up to where the caller says; what is behind is old, and room.
    out: &'o mut Vec<u8>,
    start: usize,
    text_max: usize,
    items_left: usize,
    truncated: bool,
}

impl Writer<'_> {
    /// Where it ends; `None` when the event did not fit.
    fn event(&mut self, event: &SafetyEvent) -> Option<usize> {
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
        let mut at = self.put(self.start, fixed);

        at = self.text(at, &event.event_id);
        for text in texts.into_iter().flatten() {
            at = self.text(at, text);
        }
        if let Some(word) = severity_word {
            at = self.text(at, word);
        }
        for category in &event.categories[..categories] {
            if self.full(at) {
                return None;
            }
            at = self.text(at, category);
        }
        let content_at = self.put(at, [0; 4]);
        at = content_at;
        for (key, value) in &event.metadata {
            if self.full(at) {
                return None;
            }
            if self.items_left == 0 {
                self.truncated = true;
                break;
            }
            self.items_left -= 1;
            at = self.text(at, key);
            at = self.value(at, value, 1);
        }
        if self.truncated {
            at = self.text(at, "truncated");
            at = self.put(at, [tag::TRUE]);
        }
        self.close(content_at, at);
        (!self.full(at)).then_some(at)
    }

    fn full(&self, at: usize) -> bool {
        at - self.start > PAYLOAD_BYTES_MAX
    }

    /// Writes down how long what lies between is, before it.
    #[expect(clippy::cast_possible_truncation, reason = "a payload that long does not fit anyway")]
    fn close(&mut self, content_at: usize, at: usize) {
        let length = (at - content_at) as u32;
        self.out[content_at - 4..content_at].copy_from_slice(&length.to_le_bytes());
    }

    /// Room for `n` bytes.
    #[inline]
    fn room(&mut self, at: usize, n: usize) -> &mut [u8] {
        if self.out.len() < at + n {
            self.grow(at + n);
        }
        &mut self.out[at..at + n]
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        self.out.resize(end.next_power_of_two().max(1024), 0);
    }

    #[inline]
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> usize {
        self.room(at, N).copy_from_slice(&bytes);
        at + N
    }

    #[inline]
    fn text(&mut self, at: usize, text: &str) -> usize {
        let n = text.len();
        let room = self.out.get_mut(at..).and_then(|room| room.first_chunk_mut());
        match room {
            Some(room) if n < SHORT_MAX && n <= self.text_max => {
                copy_short(text.as_bytes(), room);
                at + 1 + n
            }
            _ => self.any_text(at, text),
        }
    }

    /// A text that is long, or meets the end of the buffer.
    #[inline(never)]
    fn any_text(&mut self, at: usize, text: &str) -> usize {
        let text = if text.len() <= self.text_max {
            text
        } else {
            self.truncated = true;
            &text[..text.floor_char_boundary(self.text_max)]
        };
        let at = self.varint(at, text.len() as u64);
        self.room(at, text.len()).copy_from_slice(text.as_bytes());
        at + text.len()
    }

    #[inline]
    fn varint(&mut self, mut at: usize, mut n: u64) -> usize {
        while n >= 0x80 {
            at = self.put(at, [n as u8 | 0x80]);
            n >>= 7;
        }
        self.put(at, [n as u8])
    }

    fn value(&mut self, at: usize, value: &Value, depth: usize) -> usize {
        match value {
            Value::Null => self.put(at, [tag::NULL]),
            Value::Bool(false) => self.put(at, [tag::FALSE]),
            Value::Bool(true) => self.put(at, [tag::TRUE]),
            Value::Number(number) => self.number(at, number),
            Value::String(text) => {
                let at = self.put(at, [tag::STRING]);
                self.text(at, text)
            }
            Value::Array(_) | Value::Object(_) if depth >= DEPTH_MAX => {
                self.truncated = true;
                self.put(at, [tag::NULL])
            }
            Value::Array(items) => {
                let content_at = self.put(at, [tag::ARRAY, 0, 0, 0, 0]);
                let mut at = content_at;
                for item in items {
                    if !self.take_item(at) {
                        break;
                    }
                    at = self.value(at, item, depth + 1);
                }
                self.close(content_at, at);
                at
            }
            Value::Object(entries) => {
                let content_at = self.put(at, [tag::OBJECT, 0, 0, 0, 0]);
                let mut at = content_at;
                for (key, item) in entries {
                    if !self.take_item(at) {
                        break;
                    }
                    at = self.text(at, key);
                    at = self.value(at, item, depth + 1);
                }
                self.close(content_at, at);
                at
            }
        }
    }

    fn take_item(&mut self, at: usize) -> bool {
        if self.full(at) || self.items_left == 0 {
            self.truncated = true;
            return false;
        }
        self.items_left -= 1;
        true
    }

    fn number(&mut self, at: usize, number: &Number) -> usize {
        if let Some(n) = number.as_i64() {
            let at = self.put(at, [tag::INT]);
            self.varint(at, ((n << 1) ^ (n >> 63)) as u64)
        } else if let Some(n) = number.as_u64() {
            let at = self.put(at, [tag::UINT]);
            self.varint(at, n)
        } else if let Some(n) = number.as_f64() {
            let at = self.put(at, [tag::FLOAT]);
            self.put(at, n.to_le_bytes())
        } else {
            let at = self.put(at, [tag::NUMBER]);
            self.text(at, &number.to_string())
        }
    }
}

/// The shortest text whose length takes two bytes.
const SHORT_MAX: usize = 0x80;

/// Writes a short text's length and the text, by two overlapping words instead of a call.
#[inline]
fn copy_short(from: &[u8], to: &mut [u8; 1 + SHORT_MAX]) {
    let n = from.len();
    to[0] = n as u8;
    if let (Some(first), Some(last)) = (from.first_chunk::<16>(), from.last_chunk::<16>()) {
        if n <= 32 {
            to[1..17].copy_from_slice(first);
            to[n - 15..=n].copy_from_slice(last);
        } else {
            to[1..=n].copy_from_slice(from);
        }
    } else if let (Some(first), Some(last)) = (from.first_chunk::<8>(), from.last_chunk::<8>()) {
        to[1..9].copy_from_slice(first);
        to[n - 7..=n].copy_from_slice(last);
    } else if let (Some(first), Some(last)) = (from.first_chunk::<4>(), from.last_chunk::<4>()) {
        to[1..5].copy_from_slice(first);
        to[n - 3..=n].copy_from_slice(last);
    } else if n > 0 {
        to[1] = from[0];
        to[1 + n / 2] = from[n / 2];
        to[n] = from[n - 1];
    }
}
