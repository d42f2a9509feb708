//! Objects as events: what fits, what does not, and what never becomes `allow`.

use super::{ActionWord, Parsed, Remark, action, field_of, object, stored_row};
use crate::event::{Direction, FIELDS, SafetyAction, Severity};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}

fn parsed(value: Value) -> Parsed {
    object(fields(value))
}

#[track_caller]
fn check(value: Value, expected: SafetyAction, metadata: Value, remarks: &[Remark]) {
    let text = value.to_string();
    let Parsed { event, remarks: found } = parsed(value);
    assert_eq!(event.action, expected, "{text}");
    assert_eq!(Value::Object(event.metadata), metadata, "{text}");
    assert_eq!(found, remarks, "{text}");
}

const NO_NEAR: Remark = Remark::UnknownAction { near: None };

#[test]
fn an_action_that_is_missing_or_unknown_is_an_alert() {
    use SafetyAction::{Alert, Block, Redact};
    let none = &[][..];
    check(json!({"action": "Blocked "}), Block, json!({}), none);
    check(json!({"Action": "deny"}), Block, json!({}), none);
    check(json!({}), Alert, json!({}), &[Remark::NoAction]);
    check(json!({"action": null}), Alert, json!({}), &[Remark::NoAction]);
    check(json!({"action": ""}), Alert, json!({"action": ""}), &[Remark::NoAction]);
    check(json!({"action": true}), Alert, json!({"action": true}), &[NO_NEAR]);
    check(json!({"action": 1}), Alert, json!({"action": 1}), &[NO_NEAR]);
    check(json!({"action": ["allow"]}), Alert, json!({"action": ["allow"]}), &[NO_NEAR]);
    check(
        json!({"action": "blok", "metadata": {"action": "mine"}}),
        Alert,
        json!({"action": "mine", "row.action": "blok"}),
        &[Remark::UnknownAction { near: Some("block") }],
    );
    check(json!({"action": "skipped"}), Alert, json!({"action": "skipped"}), &[Remark::NoDecision]);
    check(json!({"action": "would_block"}), Block, json!({"mode": "monitor"}), none);
    check(
        json!({"action": "would_mask", "metadata": {"mode": "shadow"}}),
        Redact,
        json!({"mode": "shadow"}),
        none,
    );
    let misspelt = Remark::MisspeltField { key: "actoin".into(), field: "action" };
    check(
        json!({"actoin": "block"}),
        Alert,
        json!({"actoin": "block"}),
        &[misspelt, Remark::NoAction],
    );
    // The field's very name goes first, and the other is kept.
    check(json!({"Action": "allow", "action": "block"}), Block, json!({"Action": "allow"}), none);
    check(json!({"ACTION": "block", "Action": "x"}), Block, json!({"Action": "x"}), none);
}

#[test]
fn what_does_not_fit_its_field_is_kept_under_its_name() {
    for (field, value) in [
        ("confidence", json!("HIGH")),
        ("confidence", json!("0,87")),
        ("confidence", json!("87%")),
        ("confidence", json!(true)),
        ("latency_ms", json!("12ms")),
        ("reason", json!(["a", "b"])),
        ("reason", json!({"code": 1})),
        ("user_id", json!({"id": 1})),
        ("event_id", json!([1])),
        ("severity", json!({"level": 3})),
        ("direction", json!("sideways")),
        ("direction", json!(1)),
        ("timestamp", json!("15/11/2022 17:59")),
        ("timestamp", json!("")),
        ("metadata", json!([])),
        ("metadata", json!("free text")),
        ("metadata", json!(5)),
        ("categories", json!(5)),
        ("categories", json!({"hate": 0.9})),
    ] {
        let misfit = FIELDS.into_iter().find(|known| *known == field).unwrap();
        check(
            json!({"action": "block", field: value}),
            SafetyAction::Block,
            json!({field: value}),
            &[Remark::Misfit { field: misfit }],
        );
    }
    let event = parsed(json!({"action": "block", "reason": ["a"], "user_id": {}})).event;
    assert_eq!((event.reason, event.user_id), (None, None));
}

#[test]
fn what_fits_is_read_as_a_person_means_it() {
    let Parsed { event, remarks } = parsed(json!({
        "event_id": 7, "timestamp": 1_767_225_600.25, "severity": "HIGH", "direction": "response",
        "confidence": " 0.5 ", "latency_ms": "NaN", "policyName": true, "reason": null,
        "metadata": "{\"k\":1}", "rule": null, "k": 2, "action": "ok",
    }));
    assert_eq!(remarks, []);
    assert_eq!((event.event_id.as_str(), event.policy_name.as_deref()), ("7", Some("true")));
    assert_eq!(event.timestamp.to_string(), "2026-01-01T00:00:00.250000Z");
    assert_eq!((event.severity, event.direction), (Severity::High, Direction::Output));
    assert_eq!(event.confidence, 0.5);
    assert!(event.latency_ms.is_nan());
    assert_eq!(event.reason, None);
    assert_eq!(Value::Object(event.metadata), json!({"k": 1, "row.k": 2, "rule": null}));
}

#[test]
fn categories_come_from_lists_flags_and_spans() {
    for (given, expected, kept) in [
        (json!(["pii", 7, null, true]), json!(["pii", "7", "true"]), false),
        (json!("pii"), json!(["pii"]), false),
        (json!("pii, email"), json!(["pii, email"]), false),
        (json!(""), json!([]), false),
        (json!("[\"a\",\"b\"]"), json!(["a", "b"]), false),
        (json!("[not json"), json!(["[not json"]), false),
        (json!({"hate": false, "violence": true}), json!(["violence"]), false),
        (json!("{\"hate\":true}"), json!(["hate"]), false),
        (json!({"hate": true, "score": 0.5}), json!(["hate"]), true),
        (json!([{"type": "EMAIL", "start": 3}, "x"]), json!(["EMAIL", "x"]), true),
        (json!([{"start": 3}, ["y"]]), json!([]), true),
    ] {
        let Parsed { event, remarks } = parsed(json!({"action": "block", "categories": given}));
        assert_eq!(json!(event.categories), expected, "{given}");
        let metadata = if kept { json!({"categories": given}) } else { json!({}) };
        assert_eq!(Value::Object(event.metadata), metadata, "{given}");
        assert_eq!(remarks.is_empty(), !kept, "{given}");
    }
}

/// `tail` showed `allow`, now and a new id for the rows of a table that had no such columns: what
/// was written stands in its metadata.
#[test]
fn what_a_table_has_no_column_for_is_taken_from_its_metadata() {
    let row = json!({
        "reason": null, "Policy_Name": "p", "region": "eu", "zone": null,
        "metadata": {
            "action": "mine", "row.action": "block", "event_id": "e-1", "reason": ["kept"],
            "timestamp": "2026-03-01T12:00:00Z", "confidence": "NaN", "rule": 7,
        },
    });
    let Parsed { event, remarks } = stored_row(fields(row));
    assert_eq!(remarks, []);
    assert_eq!((event.event_id.as_str(), event.action), ("e-1", SafetyAction::Block));
    assert_eq!(event.timestamp.to_string(), "2026-03-01T12:00:00.000000Z");
    assert_eq!(event.policy_name.as_deref(), Some("p"));
    assert!(event.confidence.is_nan());
    // Its column is there and null: what the metadata holds under that name is the event's own.
    assert_eq!(event.reason, None);
    assert_eq!(
        Value::Object(event.metadata),
        json!({"action": "mine", "reason": ["kept"], "region": "eu", "rule": 7})
    );
    let nothing = stored_row(fields(json!({"region": "eu", "metadata": null})));
    assert_eq!(nothing.event.action, SafetyAction::Alert);
    assert_eq!(nothing.remarks, [Remark::NoAction]);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[a-z_]{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,8}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_becomes_allow_without_a_word_for_it_and_none_loses_a_key(
        known in prop::collection::btree_map(prop::sample::select(&FIELDS[..]), any_value(), 0..6),
        others in prop::collection::btree_map("[a-zA-Z_.]{0,9}", any_value(), 0..4),
    ) {
        let mut row: Map<String, Value> = others.into_iter().collect();
        row.extend(known.into_iter().map(|(key, value)| (key.to_owned(), value)));
        let said = row.iter().find(|(key, _)| *key == "action").or_else(|| {
            row.iter().find(|(key, _)| field_of(key) == Some(11))
        });
        let word = said.and_then(|(_, value)| value.as_str().map(action));
        let Parsed { event, remarks } = object(row.clone());
        if event.action == SafetyAction::Allow {
            prop_assert_eq!(word, Some(ActionWord::Decided(SafetyAction::Allow)));
        }
        if !word.is_some_and(ActionWord::is_known) {
            prop_assert_eq!(event.action, SafetyAction::Alert);
            prop_assert!(!remarks.is_empty());
        }
        for key in row.keys().filter(|key| field_of(key).is_none()) {
            prop_assert!(event.metadata.contains_key(key.as_str()), "{key} of {row:?}");
        }
    }
}
