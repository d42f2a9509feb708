//! What readers of tables give: of what is stored, exactly what a scan asks for.

use std::collections::BTreeSet;

use namel3ss_safety::ReadRow;
use namel3ss_safety::conformance::{hostile_events, plain_event};
use namel3ss_safety::{FIELDS, SafetyAction, SafetyEvent, Severity, Timestamp};
use namel3ss_safety_stores::read::{
    Batches, Columns, Condition, DatasetReader, Filter, Scan, ScanError, rows,
};
use serde_json::json;

/// All rows as they are stored, one that is there twice also twice.
pub(crate) fn stored(reader: &dyn DatasetReader) -> Result<Vec<ReadRow>, ScanError> {
    let mut raw = reader.scan_raw(Scan::default())?;
    let mut all = Vec::new();
    while let Some(batch) = raw.next_batch()? {
        all.extend(rows(&batch));
    }
    Ok(all)
}

/// The rows of a scan.
pub(crate) fn given(batches: &mut Batches) -> Result<Vec<ReadRow>, ScanError> {
    let mut all = Vec::new();
    for batch in batches {
        all.extend(rows(&batch?));
    }
    Ok(all)
}

fn seqs(reader: &dyn DatasetReader, scan: Scan) -> Vec<u64> {
    let rows = given(&mut reader.scan(scan).unwrap()).unwrap();
    rows.into_iter().map(|row| row.id.expect("an id").1.0).collect()
}

/// Events for tables in which filters are pushed down: the hostile ones, those that are nearly alike, and
/// moments about the ends of what databases hold.
pub(crate) fn events() -> Vec<SafetyEvent> {
    let mut events = hostile_events();
    // Two of them take longer than all others together.
    events.retain(|event| event.reason.as_ref().is_none_or(|reason| reason.len() < 1000));
    let texts = [
        "abc",
        "Abc",
        "ABC",
        "abc ",
        " abc",
        "abc\u{fffd}",
        "abc\0",
        "a%c",
        "a_c",
        "a\\c",
        "a\\%c",
        "ábc",
        "a'c",
        "a\"c",
        "ab",
        "bc",
        "007",
        "7",
        "7.0",
        "7e0",
        "high",
        "HIGH",
        "Block",
    ];
    for (text, n) in texts.into_iter().zip(0_u64..) {
        let some = || Some(text.to_owned());
        events.push(SafetyEvent {
            event_id: text.to_owned(),
            policy_name: some(),
            reason: some(),
            trace_id: some(),
            categories: vec![text.to_owned(), "other".to_owned()],
            severity: Severity::from(text),
            confidence: [0.5, 0.1, 7.0, -0.0, 1e-7][n as usize % 5],
            action: SafetyAction::ALL[n as usize % SafetyAction::ALL.len()],
            metadata: json!({"k": text, "n": n, "in": {"k": [text, 7, 7.5]}, "row.exact": text})
                .as_object()
                .cloned()
                .unwrap(),
            ..plain_event(n)
        });
    }
    // 1000-01-01, 9999-12-31T23:59:59.999999, 0001-01-01.
    for end in [-30_610_224_000_000_000, 253_402_300_799_999_999, -62_135_596_800_000_000] {
        for micros in [end - 1, end, end + 1] {
            events
                .push(SafetyEvent { timestamp: Timestamp::from_micros(micros), ..plain_event(8) });
        }
    }
    // Each of a moment of its own, where it is of this one.
    let now = Timestamp::from_micros(1_780_000_000_000_000);
    for (event, n) in events.iter_mut().zip(0..) {
        if event.timestamp > now && event.timestamp < Timestamp::from_micros(now.micros() * 2) {
            event.timestamp = Timestamp::from_micros(n * 1_000_000 + n);
        }
    }
    events
}

fn later(moment: Timestamp) -> Timestamp {
    Timestamp::from_micros(moment.micros() + 3_600_000_000)
}

/// The conditions that are tried: each field, with what rows have in it and what is nearly that.
fn conditions(all: &[ReadRow], most: usize) -> Vec<Filter> {
    let mut random = fastrand::Rng::with_seed(7);
    let keys = ["k", "n", "in.k", "row.exact", "truth", "action", "mode", "team"];
    let fields = FIELDS.map(str::to_owned).into_iter();
    let fields = fields.chain(keys.map(|key| format!("metadata.{key}")));
    let mut tried = Vec::new();
    for field in fields {
        let of_field: Condition = format!("{field}~").parse().unwrap();
        let mut values: BTreeSet<String> = BTreeSet::new();
        for row in all {
            for text in of_field.texts(&row.event) {
                let middle: String = text.chars().skip(1).take(3).collect();
                let padded = format!("{text} ");
                values.extend([middle, padded, text.to_uppercase(), text.to_lowercase(), text]);
            }
        }
        values.extend(
            ["", "%", "_", "\\", "\u{fffd}", "\0", "0.50", "1", "NaN", "inf", "Denied", "request"]
                .map(str::to_owned),
        );
        let mut values: Vec<String> = values.into_iter().filter(|v| v.len() < 300).collect();
        random.shuffle(&mut values);
        values.truncate(most);
        // Those that mean most are always there, the empty one and what no text can hold among them.
        let most_telling: &[&str] = match field.as_str() {
            "confidence" | "latency_ms" => &["0.5", "0.50", "1", ""],
            "metadata.team" => &["k", "abc", "7", "x"],
            "severity" => &["high", "none", "abc", ""],
            "action" => &["block", "alert", "redact"],
            "event_id" | "reason" | "trace_id" => &["abc", "7", "", "a\u{fffd}c", "1e20", "1e+20"],
            // As the reason is.
            "app_name" | "chain_name" | "agent_name" | "session_id" | "user_id" => {
                values.clear();
                &["abc", ""]
            }
            _ => &["abc", "7", "input", "pii", ""],
        };
        values.splice(0..0, most_telling.iter().map(|value| (*value).to_owned()));
        // That it is not this text is asked of no store but for words: those rows are nearly all.
        let is_word = ["action", "direction", "severity"].contains(&field.as_str());
        for (at, value) in values.into_iter().enumerate() {
            let ops = if is_word || at == 0 { &["=", "~", "!="][..] } else { &["=", "~"] };
            let filters = ops.iter().map(|op| format!("{field}{op}{value}").parse());
            // An unknown word is refused.
            tried.extend(filters.flatten());
        }
    }
    tried
}

/// Each filter and each range, pushed down, gives the rows for which it holds: those that it gives where
/// nothing is pushed down.
pub(crate) fn a_pushed_filter_equals_the_plain_one(reader: &dyn DatasetReader, most: usize) {
    let now = Timestamp::now();
    let all = given(&mut reader.scan(Scan::default()).unwrap()).unwrap();
    assert!(!all.is_empty());
    // Whose moment can't be read is of another one each time.
    let is_of_now = |row: &ReadRow| row.event.timestamp >= now && row.event.timestamp < later(now);
    let of_now = all.iter().filter(|row| is_of_now(row));
    let of_now: BTreeSet<u64> = of_now.map(|row| row.id.expect("an id").1.0).collect();
    let check = |scan: Scan| {
        let plain = all
            .iter()
            .filter(|row| scan.filter.matches(&row.event) && scan.reaches(row.event.timestamp));
        let mut plain: Vec<u64> = plain.map(|row| row.id.expect("an id").1.0).collect();
        let asked = format!("{scan:?}");
        let by_moment = scan.filter.columns().has("timestamp");
        let mut pushed = seqs(reader, scan);
        if by_moment {
            plain.retain(|seq| !of_now.contains(seq));
            pushed.retain(|seq| !of_now.contains(seq));
        }
        plain.sort_unstable();
        pushed.sort_unstable();
        assert_eq!(pushed, plain, "{asked}");
    };
    let tried = conditions(&all, most);
    for filter in &tried {
        check(Scan { filter: filter.clone(), ..Scan::default() });
    }
    let mut random = fastrand::Rng::with_seed(8);
    let known = all.iter().filter(|row| !is_of_now(row));
    let moments: BTreeSet<Timestamp> = known.map(|row| row.event.timestamp).collect();
    let mut moments: Vec<Timestamp> = moments.into_iter().collect();
    random.shuffle(&mut moments);
    moments.truncate(most);
    for moment in moments {
        for after in [-1, 0, 1] {
            let moment = Timestamp::from_micros(moment.micros().saturating_add(after));
            check(Scan { from: Some(moment), ..Scan::default() });
            check(Scan { to: Some(moment), ..Scan::default() });
            let to = Timestamp::from_micros(moment.micros().saturating_add(2));
            check(Scan { from: Some(moment), to: Some(to), ..Scan::default() });
        }
    }
    for _ in 0..most * 6 {
        let some = |random: &mut fastrand::Rng| tried[random.usize(..tried.len())].clone();
        let both = [some(&mut random), some(&mut random)];
        let filter = both.iter().flat_map(|filter| filter.conditions().to_vec()).collect();
        let row = &all[random.usize(..all.len())];
        let from = Some(row.event.timestamp).filter(|_| random.bool() && !is_of_now(row));
        check(Scan { filter, from, ..Scan::default() });
    }
}

/// Fewer columns hold what they hold in whole rows.
pub(crate) fn fewer_columns_hold_the_same(reader: &dyn DatasetReader) {
    let read = |columns: Columns| -> Vec<_> {
        let batches = reader.scan(Scan { columns, ..Scan::default() }).unwrap();
        batches.map(Result::unwrap).collect()
    };
    let all = read(Columns::default());
    let names: Vec<&str> = Columns::default().names().collect();
    for (at, name) in names.iter().enumerate() {
        // An event without an id, or a moment, has another one each time.
        if ["event_id", "timestamp"].contains(name) {
            continue;
        }
        for some in [vec![*name], vec![*name, names[(at * 7 + 3) % names.len()]]] {
            let few = read(Columns::named(some.iter().copied()).unwrap());
            let [few, all] = [&few, &all].map(|batches| {
                let values = batches.iter().flat_map(|batch| {
                    let column = batch.column_by_name(name).unwrap();
                    (0..batch.num_rows()).map(|row| column.slice(row, 1))
                });
                values.collect::<Vec<_>>()
            });
            assert!(few == all, "{some:?}");
        }
    }
}

/// The newest rows that match, and on from there.
pub(crate) fn newest_rows_are_the_last_of_all(reader: &dyn DatasetReader) {
    let all = seqs(reader, Scan::default());
    for filter in ["", "action=block", "reason~a", "trace_id=abc"] {
        let filter: Filter = match filter {
            "" => Filter::default(),
            filter => filter.parse().unwrap(),
        };
        let matching = seqs(reader, Scan { filter: filter.clone(), ..Scan::default() });
        for limit in [1, 3, 7, all.len() + 1] {
            let scan = Scan {
                filter: filter.clone(),
                newest_first: true,
                limit: Some(limit),
                ..Scan::default()
            };
            let newest: Vec<u64> = matching.iter().rev().take(limit).copied().collect();
            assert_eq!(seqs(reader, scan), newest, "{filter:?} {limit}");
        }
    }
}
