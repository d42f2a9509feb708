//! The rows that the suite sends: plain ones, and the worst that an app may log.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::batch::RowBuffer;
use crate::clock::Timestamp;
use crate::event::{Direction, SafetyAction, SafetyEvent, Severity};
use crate::id::{JournalId, Seq};

/// 2026-03-01T12:30:00Z.
const PLAIN_MICROS: i64 = 1_772_368_200_000_000;

/// An event like any other; `n` tells them apart, and gives the same one each time.
#[must_use]
pub fn plain_event(n: u64) -> SafetyEvent {
    let after = i64::try_from(n % 1_000_000_000).unwrap_or(0);
    SafetyEvent {
        event_id: format!("event-{n}"),
        timestamp: Timestamp::from_micros(PLAIN_MICROS + after),
        app_name: Some("app".to_owned()),
        policy_name: Some("policy".to_owned()),
        action: SafetyAction::Block,
        categories: vec!["pii".to_owned()],
        metadata: [("n".to_owned(), Value::from(n))].into_iter().collect(),
        ..SafetyEvent::default()
    }
}

/// Rows of `events`, from the seq `first` on.
#[must_use]
pub fn buffer(journal: JournalId, first: u64, events: &[SafetyEvent]) -> RowBuffer {
    let mut rows = RowBuffer::new(journal);
    for (seq, event) in (first..).zip(events) {
        rows.push_event(Seq(seq), event);
    }
    rows
}

pub(super) fn plain(journal: JournalId, seqs: RangeInclusive<u64>) -> RowBuffer {
    let mut rows = RowBuffer::new(journal);
    seqs.for_each(|seq| rows.push_event(Seq(seq), &plain_event(seq)));
    rows
}

/// Events whose texts, numbers and metadata have broken datasets before.
#[must_use]
pub fn hostile_events() -> Vec<SafetyEvent> {
    let texts = [
        "",
        " ",
        "  two  ",
        "'",
        "''",
        "'=1",
        "it's",
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n",
        "a\r\nb",
        "\r",
        "a,b;c",
        "\"",
        "\"\"",
        "\"a\",\"b\"",
        "\\",
        "\\u0000",
        "\\\"",
        "NULL",
        "null",
        "NaN",
        "None",
        "[]",
        "{}",
        "[\"a\"]",
        "\0",
        "a\0b",
        "\u{1}\u{7f}\u{9b}",
        "\u{1b}[31m",
        "\u{1b}]52;c;YQ==\u{7}",
        "\u{202e}txt.exe",
        "\u{feff}bom",
        "\u{2028}\u{2029}",
        "é",
        "e\u{301}",
        "日本語",
        "🙂",
        "\u{10ffff}",
        "\u{fffd}",
        "'; DROP TABLE safety_events; --",
        "%s%n{}",
        "]",
        "]\n",
        "true",
        "1e5",
        "2026-01-01",
    ];
    let mut events: Vec<SafetyEvent> = texts.iter().map(|text| texts_of(text)).collect();
    events.push(texts_of(&"long \"quoted\", ".repeat(4_000)));
    for n in [
        0.0,
        -0.0,
        1.5,
        -1.5,
        1e300,
        -1e-300,
        f64::MIN_POSITIVE,
        5e-324,
        0.1 + 0.2,
        f64::MAX,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        9_007_199_254_740_993.0,
    ] {
        events.push(SafetyEvent { confidence: n, latency_ms: -n, ..plain_event(1) });
    }
    let mut deep = json!("bottom");
    for _ in 0..60 {
        deep = json!({ "d": [deep] });
    }
    for metadata in [
        json!({"big": i64::MAX, "bigger": u64::MAX, "least": i64::MIN, "f": 1.0, "z": 0.1, "e": 1e300}),
        json!({"": "", "=1": "=1", "null": null, "truth": [true, false], "empty": [{}, []]}),
        json!({"nested": {"a": [1, {"b": ["c\n\"", -1.5]}]}, "journal_id": "x", "seq": 0}),
        json!({"event_id": "mine", "metadata": {"metadata": "yes"}, "k".repeat(300): 1}),
        json!({ "deep": deep }),
    ] {
        let metadata = metadata.as_object().cloned().unwrap_or_default();
        events.push(SafetyEvent { metadata, ..plain_event(2) });
    }
    for micros in [0, -1, 1, i64::MIN, i64::MAX, 253_402_300_800_000_000, -62_167_219_200_000_001] {
        events.push(SafetyEvent { timestamp: Timestamp::from_micros(micros), ..plain_event(3) });
    }
    for action in SafetyAction::ALL {
        for direction in Direction::ALL {
            events.push(SafetyEvent { action: *action, direction: *direction, ..plain_event(4) });
        }
    }
    // The same event_id twice is two events.
    events.extend([plain_event(5), plain_event(5)]);
    events.push(SafetyEvent { categories: vec![String::new(); 300], ..plain_event(6) });
    events.push(SafetyEvent { event_id: String::new(), ..SafetyEvent::default() });
    events.push(SafetyEvent { reason: Some("x".repeat(1 << 20)), ..plain_event(7) });
    events
}

/// `text` wherever an event takes one.
fn texts_of(text: &str) -> SafetyEvent {
    let some = || Some(text.to_owned());
    SafetyEvent {
        event_id: text.to_owned(),
        app_name: some(),
        chain_name: some(),
        agent_name: some(),
        policy_name: some(),
        reason: some(),
        trace_id: some(),
        session_id: some(),
        user_id: some(),
        categories: vec![text.to_owned(), text.to_owned()],
        severity: Severity::from(text),
        metadata: [(text.to_owned(), Value::from(text))].into_iter().collect(),
        ..SafetyEvent::default()
    }
}

/// Whether two events are equal, where one NaN is like another.
#[must_use]
pub fn same_event(a: &SafetyEvent, b: &SafetyEvent) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a == b || (a.is_nan() && b.is_nan());
    let numbers = |e: &SafetyEvent| SafetyEvent { confidence: 0.0, latency_ms: 0.0, ..e.clone() };
    same(a.confidence, b.confidence) && same(a.latency_ms, b.latency_ms) && numbers(a) == numbers(b)
}
