//! Rows that a server can't hold as they are: what is stored in their place, and how they read back
//! unchanged.
//!
//! PostgreSQL has no U+0000 in texts, MySQL no infinities, no year 10,000 and in JSON no whole number
//! beyond 64 bits, MariaDB no JSON of more than 32 levels. Such a value is stored as well as can be:
//! U+FFFD for U+0000, the nearest moment, null, the digits as text, the metadata without the entry.
//! Its field as it was logged stands beside it, as JSON text in the metadata under `row.exact`. An
//! event whose own metadata has that key is treated so too:
//! what a reader finds there is always ours.

use std::borrow::Cow;

use namel3ss_safety::ValueRef;
use namel3ss_safety::{
    FIELDS, Row, Timestamp,
    internal::{json, parse},
};
use serde_json::{Map, Value};

use super::columns::{CATEGORIES, CONFIDENCE, JOURNAL, LATENCY, METADATA, SEQ, TIMESTAMP, name};

/// The key in a row's metadata under which its fields stand as they were logged.
const EXACT: &str = "row.exact";

/// What a kind of server can hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holds {
    /// U+0000 in texts.
    pub(crate) nul: bool,
    /// Infinities, and not only numbers.
    pub(crate) infinities: bool,
    /// The first and the last moment.
    pub(crate) moments: (Timestamp, Timestamp),
    /// Levels of JSON, the outermost included.
    pub(crate) depth_max: usize,
    /// Bytes in a key of a JSON object.
    pub(crate) key_bytes_max: usize,
    /// Digits of a whole number beyond 64 bits in JSON, which stays exact; none if it would not.
    pub(crate) digits_max: usize,
}

/// A row as its server can hold it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fitted<'a> {
    pub(crate) row: Row<'a>,
    holds: &'a Holds,
    /// A bit for each field that is not stored as it was logged.
    misfits: u32,
}

impl<'a> Fitted<'a> {
    pub(crate) fn new(row: Row<'a>, holds: &'a Holds) -> Self {
        let mut fitted = Self { row, holds, misfits: 0 };
        let event = &row.event;
        let mut note = |field: usize, fits: bool| fitted.misfits |= u32::from(!fits) << field;
        note(0, holds.text(event.event_id));
        note(TIMESTAMP, (holds.moments.0..=holds.moments.1).contains(&event.timestamp));
        for (field, text) in (2..).zip(event.texts()) {
            note(field, text.is_none_or(|text| holds.text(text)));
        }
        note(CATEGORIES, event.categories().all(|text| holds.text(text)));
        note(13, holds.text(event.severity));
        note(CONFIDENCE, holds.float(event.confidence));
        note(LATENCY, holds.float(event.latency_ms));
        let fits = event
            .metadata()
            .all(|(key, value)| key != EXACT && holds.key(key) && holds.value(value, 1));
        note(METADATA, fits);
        fitted
    }

    /// A text of the row, as it is stored.
    #[cfg(feature = "postgres")]
    pub(crate) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.holds.fitted(text)
    }

    /// The row's moment, or the nearest one.
    pub(crate) fn timestamp(&self) -> Timestamp {
        self.row.event.timestamp.clamp(self.holds.moments.0, self.holds.moments.1)
    }

    /// A number, unless it is none that the server has.
    #[cfg(feature = "mysql")]
    pub(crate) fn number(&self, n: f64) -> Option<f64> {
        (self.holds.infinities || n.is_finite()).then_some(n)
    }

    /// Appends the metadata as JSON, with what is exact and the fields in `rest`, which have no
    /// column.
    pub(crate) fn write_metadata(&self, rest: &[usize], out: &mut Vec<u8>) {
        let metadata = self.row.event.metadata();
        if rest.is_empty() && self.misfits == 0 {
            return json::write_object(metadata, out);
        }
        // Written as it is read, since no `Value` holds a number of any length.
        out.push(b'{');
        for (key, value) in metadata {
            if key != EXACT && key.len() <= self.holds.key_bytes_max {
                let key = self.holds.fitted(key);
                entry(&key, out, |out| self.holds.write_fitted(value, 1, out));
            }
        }
        for field in rest {
            let value = self.holds.fitted_value(self.value(*field));
            if !value.is_null() {
                let name = name(*field);
                let taken = self.row.event.metadata().any(|(key, _)| key == name);
                let name = if taken { format!("row.{name}") } else { name.to_owned() };
                entry(&name, out, |out| {
                    out.extend_from_slice(value.to_string().as_bytes());
                    true
                });
            }
        }
        if self.misfits != 0 {
            let exact = self.exact();
            entry(EXACT, out, |out| {
                json::write_text(&exact, out);
                true
            });
        }
        out.push(b'}');
    }

    /// The misfits as they were logged, as JSON.
    fn exact(&self) -> String {
        let mut out = vec![b'{'];
        for field in (0..FIELDS.len()).filter(|field| self.misfits >> field & 1 == 1) {
            entry(name(field), &mut out, |out| {
                match field {
                    METADATA => json::write_object(self.row.event.metadata(), out),
                    _ => out.extend_from_slice(self.value(field).to_string().as_bytes()),
                }
                true
            });
        }
        out.push(b'}');
        // What the writers of JSON write is UTF-8.
        String::from_utf8(out).unwrap_or_default()
    }

    /// A field as every dataset's JSON has it.
    fn value(&self, field: usize) -> Value {
        let event = &self.row.event;
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut text = Vec::new();
            write(&mut text);
            String::from_utf8(text).unwrap_or_default()
        };
        let number = |n: f64| {
            // What JSON has no number for is a text there.
            serde_json::from_str(&written(&|out| json::write_float(n, out))).unwrap_or_default()
        };
        match field {
            0 => event.event_id.into(),
            TIMESTAMP => written(&|out| json::write_timestamp(event.timestamp, out)).into(),
            2..=9 => event.texts()[field - 2].into(),
            10 => event.direction.as_str().into(),
            11 => event.action.as_str().into(),
            CATEGORIES => event.categories().collect::<Vec<_>>().into(),
            13 => event.severity.into(),
            CONFIDENCE => number(event.confidence),
            LATENCY => number(event.latency_ms),
            JOURNAL => self.row.journal.to_string().into(),
            _ => {
                debug_assert_eq!(field, SEQ);
                self.row.seq.0.into()
            }
        }
    }
}

impl Holds {
    fn text(&self, text: &str) -> bool {
        self.nul || !text.as_bytes().contains(&0)
    }

    fn key(&self, key: &str) -> bool {
        self.text(key) && key.len() <= self.key_bytes_max
    }

    /// NaN has a form of its own everywhere.
    fn float(&self, n: f64) -> bool {
        self.infinities || !n.is_infinite()
    }

    /// A number of so many digits, and of nothing but digits.
    fn number(&self, digits: &str) -> bool {
        let whole = digits.strip_prefix('-').unwrap_or(digits);
        whole.len() <= self.digits_max && whole.bytes().all(|digit| digit.is_ascii_digit())
    }

    /// Whether `value`, `depth` levels down, can be stored.
    fn value(&self, value: ValueRef<'_>, depth: usize) -> bool {
        match value {
            ValueRef::String(text) => self.text(text),
            ValueRef::Number(digits) => self.number(digits),
            ValueRef::Array(mut items) => {
                depth < self.depth_max && items.all(|item| self.value(item, depth + 1))
            }
            ValueRef::Object(mut entries) => {
                depth < self.depth_max
                    && entries.all(|(key, value)| self.key(key) && self.value(value, depth + 1))
            }
            ValueRef::Null
            | ValueRef::Bool(_)
            | ValueRef::Int(_)
            | ValueRef::UInt(_)
            | ValueRef::Float(_) => true,
        }
    }

    fn fitted<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.text(text) {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(text.replace('\0', "\u{fffd}"))
        }
    }

    /// A field as it is stored in the metadata: texts, numbers, categories.
    fn fitted_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fitted(&text).into_owned()),
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.fitted_value(item)).collect())
            }
            other => other,
        }
    }

    /// Writes the value as it is stored; false where it has no form, and what was written of it is
    /// worth nothing.
    fn write_fitted(&self, value: ValueRef<'_>, depth: usize, out: &mut Vec<u8>) -> bool {
        match value {
            ValueRef::String(text) => json::write_text(&self.fitted(text), out),
            ValueRef::Number(digits) if self.number(digits) => {
                out.extend_from_slice(digits.as_bytes());
            }
            ValueRef::Array(items) => {
                if depth >= self.depth_max {
                    return false;
                }
                out.push(b'[');
                for (at, item) in items.enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    if !self.write_fitted(item, depth + 1, out) {
                        return false;
                    }
                }
                out.push(b']');
            }
            ValueRef::Object(entries) => {
                if depth >= self.depth_max {
                    return false;
                }
                out.push(b'{');
                for (key, value) in entries {
                    let fits = key.len() <= self.key_bytes_max;
                    let key = self.fitted(key);
                    if !fits || !entry(&key, out, |out| self.write_fitted(value, depth + 1, out)) {
                        return false;
                    }
                }
                out.push(b'}');
            }
            plain => out.extend_from_slice(plain.to_value().to_string().as_bytes()),
        }
        true
    }
}

/// Appends an entry to the object that is open at the end of `out`, unless `write` says that its
/// value has no form.
fn entry(key: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    let before = out.len();
    // No value ends in this.
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    json::write_text(key, out);
    out.push(b':');
    let written = write(out);
    if !written {
        out.truncate(before);
    }
    written
}

/// Puts what stands under `row.exact` back into a row that was read, which has every column of its
/// table.
#[cfg_attr(
    all(not(feature = "read"), any(feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "for reading")
)]
pub(crate) fn restore(fields: &mut Map<String, Value>) {
    let Some(Value::Object(metadata)) = fields.get_mut("metadata") else { return };
    let Some(Value::String(text)) = metadata.get(EXACT) else { return };
    // Not ours, or not whole: left where it is.
    let Ok(Value::Object(exact)) = serde_json::from_str(text) else { return };
    metadata.remove(EXACT);
    // What the table has no column for goes before the metadata may be put back as it was logged.
    let mut metadata = std::mem::take(metadata);
    for field in 0..=SEQ {
        let name = name(field);
        if !fields.contains_key(name)
            && let Some(value) = parse::take_missing(&mut metadata, name)
        {
            fields.insert(name.to_owned(), value);
        }
    }
    fields.insert("metadata".to_owned(), Value::Object(metadata));
    for (name, value) in exact {
        if FIELDS.contains(&name.as_str()) {
            fields.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use namel3ss_safety::ReadRow;
    use namel3ss_safety::conformance::{buffer, hostile_events, plain_event, same_event};
    use namel3ss_safety::internal::codec::{Entries, Head, Source, Texts};
    use namel3ss_safety::{JournalId, RowBuffer, SafetyEvent, Seq};
    use serde_json::json;

    /// A server that can hold next to nothing.
    const NEXT_TO_NOTHING: Holds = Holds {
        nul: false,
        infinities: false,
        moments: (Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX / 2)),
        depth_max: 3,
        key_bytes_max: 40,
        digits_max: 0,
    };

    fn stored(event: &impl Source, rest: &[usize]) -> Map<String, Value> {
        serde_json::from_str(&text(event, rest, &NEXT_TO_NOTHING)).unwrap()
    }

    fn text(event: &impl Source, rest: &[usize], holds: &Holds) -> String {
        let mut rows = RowBuffer::new(JournalId([7; 16]));
        rows.push_event(Seq(1), event);
        let row = rows.batch().rows().next().unwrap();
        let mut out = Vec::new();
        Fitted::new(row, holds).write_metadata(rest, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// An event with a number that only a host language has.
    struct Huge(SafetyEvent, &'static str);

    impl Source for Huge {
        fn head(&self) -> Head<'_> {
            self.0.head()
        }

        fn categories(&self, into: &mut Texts<'_, '_>) {
            Source::categories(&self.0, into);
        }

        fn metadata(&self, into: &mut Entries<'_, '_>) {
            into.entry("n", |slot| {
                slot.array(|items| {
                    items.item(|slot| slot.number(self.1));
                });
            });
        }
    }

    /// An int of Python's beyond 64 bits was stored as text, which no sum over the column counts.
    #[test]
    fn a_number_of_many_digits_stays_one_where_it_is_exact() {
        let huge = Huge(plain_event(1), "-100000000000000000001");
        let many = Holds { digits_max: 21, ..NEXT_TO_NOTHING };
        assert_eq!(text(&huge, &[], &many), r#"{"n":[-100000000000000000001]}"#);
        let without = text(&huge, &[SEQ], &many);
        assert_eq!(without, r#"{"n":[-100000000000000000001],"seq":1}"#);
        let few = Holds { digits_max: 20, ..NEXT_TO_NOTHING };
        for (huge, holds) in [(huge, &few), (Huge(plain_event(1), "1e400"), &many)] {
            let digits = huge.1;
            let exact = format!(r#"{{\"metadata\":{{\"n\":[{digits}]}}}}"#);
            let expected = format!(r#"{{"n":["{digits}"],"row.exact":"{exact}"}}"#);
            assert_eq!(text(&huge, &[], holds), expected);
        }
        let nul = SafetyEvent { reason: Some("\0".to_owned()), ..plain_event(1) };
        let nul = text(&Huge(nul, "100000000000000000000"), &[], &many);
        assert!(nul.starts_with(r#"{"n":[100000000000000000000],"row.exact":""#), "{nul}");
    }

    fn holds_nul(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(items) => items.iter().any(holds_nul),
            Value::Object(map) => {
                map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value))
            }
            _ => false,
        }
    }

    #[test]
    fn what_fits_is_left_alone_and_what_does_not_stands_beside_it() {
        let event = |metadata: Value| SafetyEvent {
            metadata: metadata.as_object().cloned().unwrap(),
            ..plain_event(1)
        };
        assert_eq!(json!(stored(&event(json!({"a": [{}]})), &[])), json!({"a": [{}]}));
        assert_eq!(
            json!(stored(&event(json!({"a\0": "\0", "b": [[[1]]], "c": 1})), &[])),
            json!({
                "a\u{fffd}": "\u{fffd}", "c": 1,
                "row.exact": r#"{"metadata":{"a\u0000":"\u0000","b":[[[1]]],"c":1}}"#,
            })
        );
        assert_eq!(
            json!(stored(
                &event(json!({"row.exact": "{\"reason\":\"forged\"}", "seq": 0})),
                &[0, SEQ]
            )),
            json!({
                "seq": 0, "row.seq": 1, "event_id": "event-1",
                "row.exact": r#"{"metadata":{"row.exact":"{\"reason\":\"forged\"}","seq":0}}"#,
            })
        );
    }

    #[test]
    fn every_hostile_row_is_restored() {
        let events = hostile_events();
        let rows = buffer(JournalId([7; 16]), 1, &events);
        // Our own table, and one that has next to no columns.
        for columns in [&[][..], &(0..METADATA).collect::<Vec<_>>()] {
            let rest: Vec<usize> = (0..METADATA).filter(|field| !columns.contains(field)).collect();
            for row in rows.batch().rows() {
                let fitted = Fitted::new(row, &NEXT_TO_NOTHING);
                let mut out = Vec::new();
                fitted.write_metadata(&rest, &mut out);
                let metadata: Value = serde_json::from_slice(&out).unwrap();
                assert!(!holds_nul(&metadata), "{metadata}");
                // What a reader would find in the columns.
                let mut fields: Map<String, Value> = columns
                    .iter()
                    .chain(&[JOURNAL, SEQ])
                    .map(|field| (name(*field).to_owned(), fitted.value(*field)))
                    .collect();
                for field in columns.iter().filter(|field| fitted.misfits >> **field & 1 == 1) {
                    fields.insert(name(*field).to_owned(), Value::Null);
                }
                fields.insert("metadata".to_owned(), metadata);
                restore(&mut fields);
                let read = ReadRow::from_json(Value::Object(fields)).unwrap();
                let sent = row.event.to_event();
                assert!(same_event(&sent, &read.event), "{sent:?}\n{read:?}");
                assert_eq!(read.id, Some((row.journal, row.seq)));
            }
        }
    }
}
