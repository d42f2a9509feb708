//! One event as the payload of one frame: versioned, compact, read without copying.
//!
//! The layout is drawn byte by byte in `docs/design/journal-format.md`. Strings are cut and
//! containers thinned until an event fits [`PAYLOAD_BYTES_MAX`]; such an event carries
//! `"truncated": true` in its metadata. Non-finite numbers are kept as they are here; JSON writes
//! them as the texts `NaN`, `Infinity` and `-Infinity`.

mod layout;
mod encode;
mod payload;
mod event_ref;
mod value;

pub use self::encode::{
    Entries, Head, Items, Slot, Source, Texts, encode, encode_into, encode_object,
};
pub(crate) use self::encode::{Starved, encode_into_noting};
pub use self::event_ref::EventRef;
pub use self::layout::{DEPTH_MAX, DecodeError, PAYLOAD_BYTES_MAX, VERSION};
pub use self::payload::Payload;
pub(crate) use self::value::RawValue;
pub use self::value::{ArrayRef, Categories, ObjectRef, ValueRef};

/// Reads a payload, borrowing every text from it. Everything is checked here, once.
///
/// # Errors
/// For bytes of another version or layout; never panics, whatever the bytes.
pub fn decode(payload: &[u8]) -> Result<EventRef<'_>, DecodeError> {
    match payload.first() {
        Some(&VERSION) => EventRef::read(payload, false).ok_or(DecodeError::Malformed),
        Some(&version) => Err(DecodeError::Version(version)),
        None => Err(DecodeError::Malformed),
    }
}

/// Reads what [`encode_object`] wrote, and what stands behind it.
#[must_use]
pub fn decode_object(bytes: &[u8]) -> Option<(ObjectRef<'_>, &[u8])> {
    let mut reader = value::Reader { bytes };
    let object = reader.object()?;
    object.check(DEPTH_MAX).then_some((object, reader.bytes))
}

/// Reads a payload that [`decode`] has read before, or [`encode`] has written. `None` if it did
/// not; what is wrong in its metadata then ends the metadata.
pub(crate) fn decode_again(payload: &[u8]) -> Option<EventRef<'_>> {
    EventRef::read(payload, true)
}

#[cfg(test)]
mod tests {
    use super::value::is_number;
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{Direction, SafetyAction, SafetyEvent, Severity};
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    /// A batch of 50,000 events took 40 µs an event to gather: each one that was appended had the
    /// whole buffer rounded up to a power of two, and that room zeroed.
    #[test]
    fn appending_to_a_long_buffer_costs_no_more_than_to_a_short_one() {
        let mut out = vec![0; (16 << 20) + 1];
        let event = SafetyEvent::default();
        let start = std::time::Instant::now();
        for _ in 0..5_000 {
            let before = out.len();
            encode(&event, &mut out);
            out.truncate(before);
        }
        // It was 5,000 × 16 MiB to zero, and is 5 MiB.
        assert!(start.elapsed().as_secs_f64() < 1.0, "{:?}", start.elapsed());
    }

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

    /// An action that a later version adds was read as another one, since a bit of its code was not
    /// looked at.
    #[test]
    fn no_byte_reads_as_another_action() {
        let mut payload = Vec::new();
        encode(&SafetyEvent::default(), &mut payload);
        for flags in 0..=u8::MAX {
            payload[1] = flags;
            let known = flags & 0b1000 == 0 && flags >> 4 <= 4;
            let action = decode(&payload).ok().map(|event| event.action.code());
            assert_eq!(action, known.then_some(flags >> 1 & 3), "{flags:#b}");
        }
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
