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
