//! Writing: one pass over the event, into a buffer that is used again and again.

use std::alloc::{Layout, handle_alloc_error};

use serde_json::{Number, Value};

use super::layout::{
    DEPTH_MAX, FIXED_BYTES, PAYLOAD_BYTES_MAX, SEVERITY_OTHER, TEXTS, VERSION, tag,
};
use super::value::is_number;
use crate::clock::Timestamp;
use crate::event::{Direction, SafetyAction, SafetyEvent};
use crate::memory;

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

/// There is not enough memory to encode an event in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Starved;

impl Starved {
    /// Ends the process, as a `Vec` does that can't grow.
    fn abort(self) -> ! {
        handle_alloc_error(Layout::new::<[u8; PAYLOAD_BYTES_MAX]>())
    }
}

/// Appends the payload of `event` to `out`: never more than [`PAYLOAD_BYTES_MAX`] bytes.
///
/// ```
/// use namel3ss_safety::{internal::codec, SafetyEvent};
/// let event = SafetyEvent::default();
/// let mut payload = Vec::new();
/// codec::encode(&event, &mut payload);
/// assert_eq!(codec::decode(&payload).unwrap().to_event(), event);
/// ```
pub fn encode(event: &impl Source, out: &mut Vec<u8>) {
    encode_noting(event, out).unwrap_or_else(|starved| starved.abort());
}

/// As [`encode`]; whether the event was cut.
pub(super) fn encode_noting(event: &impl Source, out: &mut Vec<u8>) -> Result<bool, Starved> {
    let start = out.len();
    let (end, cut) = encode_at(event, out, start).inspect_err(|_| out.truncate(start))?;
    out.truncate(end);
    Ok(cut)
}

/// Writes the payload of `event` into `scratch` from its first byte, and gives what was written.
/// The scratch grows by need and is never cleared, so that the usual call neither allocates nor
/// zeroes anything.
pub fn encode_into<'s>(event: &impl Source, scratch: &'s mut Vec<u8>) -> &'s [u8] {
    match encode_into_noting(event, scratch) {
        Ok((payload, _)) => payload,
        Err(starved) => starved.abort(),
    }
}

/// As [`encode_into`]; also whether the event was cut.
#[inline]
pub(crate) fn encode_into_noting<'s>(
    event: &impl Source,
    scratch: &'s mut Vec<u8>,
) -> Result<(&'s [u8], bool), Starved> {
    let (end, cut) = encode_at(event, scratch, 0)?;
    Ok((&scratch[..end], cut))
}

/// Appends an object alone, as a host keeps one in its [`tail`](Source::tail); cut where it is
/// larger than an event may be.
pub fn encode_object(entries: impl FnOnce(&mut Entries<'_, '_>), out: &mut Vec<u8>) {
    let start = out.len();
    let text_max = PAYLOAD_BYTES_MAX;
    let mut writer = Writer::new(out, start, text_max, usize::MAX);
    let content_at = writer.put(start, [0; 4]);
    let mut object = Entries { writer: &mut writer, at: content_at, depth: 1 };
    entries(&mut object);
    let end = object.at;
    writer.close(content_at, end);
    if writer.starved {
        Starved.abort();
    }
    out.truncate(end);
}

/// Writes from `start` on; where the payload ends, and whether the event was cut.
fn encode_at(
    event: &impl Source,
    out: &mut Vec<u8>,
    start: usize,
) -> Result<(usize, bool), Starved> {
    // Each step is far smaller than the one before; the last always fits.
    for (text_max, items_max) in
        [(PAYLOAD_BYTES_MAX, usize::MAX), (16384, 4096), (2048, 512), (256, 128), (64, 32)]
    {
        let mut writer = Writer::new(out, start, text_max, items_max);
        let end = writer.event(event);
        if writer.starved {
            return Err(Starved);
        }
        if let Some(end) = end {
            return Ok((end, writer.truncated));
        }
    }
    debug_assert!(false, "the last step of the ladder always fits");
    Ok((start, true))
}

/// Where it writes is passed from call to call rather than kept in a field: twenty short texts in a
/// row would otherwise wait for each other's store of it (measured: 86 ns an event, then 59).
pub(super) struct Writer<'o> {
    /// Written up to where the caller says; what is behind is old, and room.
    out: &'o mut Vec<u8>,
    start: usize,
    text_max: usize,
    items_left: usize,
    truncated: bool,
    /// There was no memory for some of it: what was written is of no use.
    starved: bool,
}

impl<'o> Writer<'o> {
    #[inline]
    fn new(out: &'o mut Vec<u8>, start: usize, text_max: usize, items_left: usize) -> Self {
        Self { out, start, text_max, items_left, truncated: false, starved: false }
    }
}

impl Writer<'_> {
    /// Where it ends; `None` when the event did not fit.
    #[inline]
    fn event(&mut self, event: &impl Source) -> Option<usize> {
        let head = event.head();
        let (severity, severity_word) = match head.severity {
            "none" => (0, None),
            "low" => (1, None),
            "medium" => (2, None),
            "high" => (3, None),
            "critical" => (4, None),
            word => (SEVERITY_OTHER, Some(word)),
        };
        let mut present = u16::from(severity_word.is_some()) << TEXTS;
        for (bit, text) in head.texts.iter().enumerate() {
            present |= u16::from(text.is_some()) << bit;
        }
        let mut fixed = [0_u8; FIXED_BYTES];
        fixed[0] = VERSION;
        fixed[1] = head.direction.code() | head.action.code() << 1 | severity << 4;
        fixed[2..4].copy_from_slice(&present.to_le_bytes());
        fixed[8..16].copy_from_slice(&head.timestamp.micros().to_le_bytes());
        fixed[16..24].copy_from_slice(&head.confidence.to_le_bytes());
        fixed[24..32].copy_from_slice(&head.latency_ms.to_le_bytes());
        let mut at = self.put(self.start, fixed);

        at = self.text(at, head.event_id);
        for text in head.texts.into_iter().flatten() {
            at = self.text(at, text);
        }
        if let Some(word) = severity_word {
            at = self.text(at, word);
        }
        let mut categories = Texts { writer: self, at, count: 0 };
        event.categories(&mut categories);
        let count = categories.count;
        at = categories.at;
        if count > 0 {
            let place = self.start + 4;
            if let Some(place) = self.out.get_mut(place..place + 2) {
                place.copy_from_slice(&count.to_le_bytes());
            }
        }
        if self.full(at) {
            return None;
        }
        let content_at = self.put(at, [0; 4]);
        let mut entries = Entries { writer: self, at: content_at, depth: 1 };
        event.metadata(&mut entries);
        at = entries.at;
        if self.truncated {
            at = self.text(at, "truncated");
            at = self.put(at, [tag::TRUE]);
        }
        self.close(content_at, at);
        if self.full(at) {
            return None;
        }
        let tail = event.tail();
        let fits = at - self.start + tail.len() <= PAYLOAD_BYTES_MAX;
        if !tail.is_empty() && !self.truncated && fits {
            at = self.bytes(at, tail);
        }
        Some(at)
    }

    /// Whether no more need be written.
    fn full(&self, at: usize) -> bool {
        at - self.start > PAYLOAD_BYTES_MAX || self.starved
    }

    /// Writes down how long what lies between is, before it.
    #[expect(clippy::cast_possible_truncation, reason = "a payload that long does not fit anyway")]
    fn close(&mut self, content_at: usize, at: usize) {
        let length = (at - content_at) as u32;
        // It is missing where there was no memory for it.
        if let Some(place) = self.out.get_mut(content_at - 4..content_at) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    /// Room for `n` bytes; none where there is no memory for them.
    #[inline]
    fn room(&mut self, at: usize, n: usize) -> Option<&mut [u8]> {
        if self.out.len() < at + n && !self.grow(at + n) {
            return None;
        }
        Some(&mut self.out[at..at + n])
    }

    #[cold]
    fn grow(&mut self, end: usize) -> bool {
        // By the size of the event, not of what stands before it: that would be zeroed each time.
        let bytes = (end - self.start).next_power_of_two().max(1024);
        self.starved |= memory::resize(self.out, self.start + bytes, 0).is_err();
        !self.starved
    }

    #[inline]
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> usize {
        if let Some(room) = self.room(at, N) {
            room.copy_from_slice(&bytes);
        }
        at + N
    }

    #[inline]
    fn bytes(&mut self, at: usize, bytes: &[u8]) -> usize {
        if let Some(room) = self.room(at, bytes.len()) {
            room.copy_from_slice(bytes);
        }
        at + bytes.len()
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
        self.bytes(at, text.as_bytes())
    }

    /// Has `value` write one value at `at`; where it ends.
    #[inline]
    fn slot(&mut self, at: usize, depth: usize, value: impl FnOnce(Slot<'_, '_>)) -> usize {
        let mut end = at;
        value(Slot { writer: self, at: &mut end, depth });
        if end == at { self.put(at, [tag::NULL]) } else { end }
    }

    #[inline]
    fn varint(&mut self, mut at: usize, mut n: u64) -> usize {
        while n >= 0x80 {
            at = self.put(at, [n as u8 | 0x80]);
            n >>= 7;
        }
        self.put(at, [n as u8])
    }

    #[inline]
    fn take_item(&mut self, at: usize) -> bool {
        if self.full(at) || self.items_left == 0 {
            self.truncated = true;
            return false;
        }
        self.items_left -= 1;
        true
    }
}

/// Takes the categories of an event.
pub struct Texts<'w, 'o> {
    writer: &'w mut Writer<'o>,
    at: usize,
    count: u16,
}

impl Texts<'_, '_> {
    /// Adds one; false when no more are taken.
    #[inline]
    pub fn push(&mut self, text: &str) -> bool {
        if self.count == u16::MAX || !self.writer.take_item(self.at) {
            self.writer.truncated = true;
            return false;
        }
        self.count += 1;
        self.at = self.writer.text(self.at, text);
        true
    }

    /// Says that something of the event could not be kept.
    pub fn mark_truncated(&mut self) {
        self.writer.truncated = true;
    }
}

/// Takes the entries of an object, in order.
pub struct Entries<'w, 'o> {
    writer: &'w mut Writer<'o>,
    at: usize,
    depth: usize,
}

impl Entries<'_, '_> {
    /// Adds one, whose value `value` writes (`null` if it writes none); false when no more are
    /// taken.
    #[inline]
    pub fn entry(&mut self, key: &str, value: impl FnOnce(Slot<'_, '_>)) -> bool {
        if !self.writer.take_item(self.at) {
            return false;
        }
        let at = self.writer.text(self.at, key);
        self.at = self.writer.slot(at, self.depth, value);
        true
    }

    /// Says that something of the event could not be kept.
    pub fn mark_truncated(&mut self) {
        self.writer.truncated = true;
    }
}

/// Takes the items of a list, in order.
pub struct Items<'w, 'o> {
    writer: &'w mut Writer<'o>,
    at: usize,
    depth: usize,
}

impl Items<'_, '_> {
    /// Adds one, which `value` writes (`null` if it writes none); false when no more are taken.
    #[inline]
    pub fn item(&mut self, value: impl FnOnce(Slot<'_, '_>)) -> bool {
        if !self.writer.take_item(self.at) {
            return false;
        }
        self.at = self.writer.slot(self.at, self.depth, value);
        true
    }
}

/// The place of one value: written once, by one of its methods.
pub struct Slot<'w, 'o> {
    writer: &'w mut Writer<'o>,
    at: &'w mut usize,
    depth: usize,
}

impl Slot<'_, '_> {
    /// `true` or `false`
    #[inline]
    pub fn bool(self, value: bool) {
        *self.at = self.writer.put(*self.at, [if value { tag::TRUE } else { tag::FALSE }]);
    }

    /// A whole number.
    #[inline]
    pub fn int(self, n: i64) {
        let at = self.writer.put(*self.at, [tag::INT]);
        *self.at = self.writer.varint(at, ((n << 1) ^ (n >> 63)) as u64);
    }

    /// A whole number beyond `i64`.
    pub fn uint(self, n: u64) {
        let at = self.writer.put(*self.at, [tag::UINT]);
        *self.at = self.writer.varint(at, n);
    }

    /// Any other number, also NaN and the infinities.
    #[inline]
    pub fn float(self, n: f64) {
        let at = self.writer.put(*self.at, [tag::FLOAT]);
        *self.at = self.writer.put(at, n.to_le_bytes());
    }

    /// A number too large for the others, in its digits; as text, if JSON's grammar knows no such
    /// number, or it is too long.
    pub fn number(self, digits: &str) {
        if digits.len() > self.writer.text_max || !is_number(digits) {
            return self.text(digits);
        }
        let at = self.writer.put(*self.at, [tag::NUMBER]);
        *self.at = self.writer.text(at, digits);
    }

    /// Text.
    #[inline]
    pub fn text(self, text: &str) {
        let at = self.writer.put(*self.at, [tag::STRING]);
        *self.at = self.writer.text(at, text);
    }

    /// A list, whose items `items` writes.
    pub fn array(self, items: impl FnOnce(&mut Items<'_, '_>)) {
        let Self { writer, at, depth } = self;
        if depth >= DEPTH_MAX {
            writer.truncated = true;
            return;
        }
        let content_at = writer.put(*at, [tag::ARRAY, 0, 0, 0, 0]);
        let mut list = Items { writer, at: content_at, depth: depth + 1 };
        items(&mut list);
        *at = list.at;
        writer.close(content_at, *at);
    }

    /// An object, whose entries `entries` writes.
    pub fn object(self, entries: impl FnOnce(&mut Entries<'_, '_>)) {
        let Self { writer, at, depth } = self;
        if depth >= DEPTH_MAX {
            writer.truncated = true;
            return;
        }
        let content_at = writer.put(*at, [tag::OBJECT, 0, 0, 0, 0]);
        let mut object = Entries { writer, at: content_at, depth: depth + 1 };
        entries(&mut object);
        *at = object.at;
        writer.close(content_at, *at);
    }

    /// What `serde_json` holds.
    pub fn json(self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(b) => self.bool(*b),
            Value::Number(number) => self.json_number(number),
            Value::String(text) => self.text(text),
            Value::Array(list) => self.array(|items| {
                let _ = list.iter().all(|item| items.item(|slot| slot.json(item)));
            }),
            Value::Object(map) => self.object(|entries| {
                let _ = map.iter().all(|(key, item)| entries.entry(key, |slot| slot.json(item)));
            }),
        }
    }

    fn json_number(self, number: &Number) {
        if let Some(n) = number.as_i64() {
            self.int(n);
        } else if let Some(n) = number.as_u64() {
            self.uint(n);
        } else if let Some(n) = number.as_f64() {
            self.float(n);
        } else {
            self.number(&number.to_string());
        }
    }

    /// Says that something of the event could not be kept.
    pub fn mark_truncated(self) {
        self.writer.truncated = true;
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
