//! One test body for every store: what it pushes down loses no row, and gives none that is not wanted.

use std::collections::BTreeSet;

use namel3ss_safety::ReadRow;
use namel3ss_safety::conformance::{buffer, hostile_events, same_event};
use namel3ss_safety::{FIELDS, JournalId, SafetyEvent, Timestamp};
use namel3ss_safety_stores::open;
use namel3ss_safety_stores::read::{
    Columns, Condition, DatasetReader, Filter, Scan, open_reader, rows,
};

/// How many different values of a field are asked for, by `=` and by the other operators; each so many.
const VALUES: usize = 8;
const VALUES_OF_OTHERS: usize = 2;
const STEP: usize = 6;

/// The rows of a scan.
pub(crate) fn scanned(reader: &dyn DatasetReader, scan: Scan) -> Vec<ReadRow> {
    let mut batches = reader.scan(scan).expect("a scan");
    let rows = batches.by_ref().flat_map(|batch| {
        let batch = batch.expect("a batch");
        assert!(batch.num_rows() > 0, "an empty batch");
        rows(&batch).collect::<Vec<_>>()
    });
    let rows = rows.collect();
    assert_eq!(batches.unreadable(), 0);
    rows
}

/// Fails where two lists of rows differ.
#[track_caller]
pub(crate) fn same<'r>(
    got: &[ReadRow],
    expected: impl IntoIterator<Item = &'r ReadRow>,
    what: &str,
) {
    let expected: Vec<_> = expected.into_iter().collect();
    let ids = |rows: &[&ReadRow]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    let got: Vec<_> = got.iter().collect();
    assert_eq!(ids(&got), ids(&expected), "{what}");
    for (one, other) in got.iter().zip(&expected) {
        assert!(same_event(&one.event, &other.event), "{what}: {one:?} is not {other:?}");
    }
}

/// Stores hostile rows in the dataset at `url`, and asks for them by what they hold.
pub(crate) fn a_pushed_filter_equals_the_plain_one(url: &str) {
    // The longest ones are the conformance suite's: they say nothing about filters, and take their time.
    let is_short = |event: &SafetyEvent| event.reason.as_ref().is_none_or(|text| text.len() < 1000);
    let mut events: Vec<_> = hostile_events().into_iter().filter(is_short).collect();
    // The same moment to the microsecond, and words with capitals.
    events.extend(events.clone().into_iter().rev().take(3));
    let half = events.len() / 2;
    let adapter = open(url).expect("a URL");
    for (journal, events) in
        [(JournalId([3; 16]), &events[..half]), (JournalId([4; 16]), &events[half..])]
    {
        adapter.insert(&buffer(journal, 1, events).batch()).expect("stored");
    }
    let reader = open_reader(url).expect("a reader");
    let all = scanned(&*reader, Scan::default());
    let mut ids: Vec<_> = all.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len(), "{url}: not all rows, or some twice");
    let check = |filter: &Filter, from: Option<Timestamp>, to: Option<Timestamp>| {
        let scan = Scan { filter: filter.clone(), from, to, ..Scan::default() };
        let wanted =
            |row: &&ReadRow| scan.reaches(row.event.timestamp) && filter.matches(&row.event);
        let expected: Vec<_> = all.iter().filter(wanted).collect();
        let what = format!("{url}: {filter:?} {from:?} {to:?}");
        same(&scanned(&*reader, scan.clone()), expected.iter().copied(), &what);
        let newest = Scan { newest_first: true, limit: Some(3), ..scan };
        same(&scanned(&*reader, newest), expected.iter().rev().take(3).copied(), &what);
    };
    let values = |field: &str| -> Vec<String> {
        let any: Condition = format!("{field}=allow")
            .parse()
            .or_else(|_| format!("{field}=input").parse())
            .expect("a field");
        let texts: BTreeSet<String> = all.iter().flat_map(|row| any.texts(&row.event)).collect();
        texts.into_iter().filter(|text| text.len() < 1000).collect()
    };
    let in_metadata = [
        "metadata.z",
        "metadata.nested.a",
        "metadata.null",
        "metadata.journal_id",
        "metadata.metadata",
    ];
    for (at, field) in FIELDS.into_iter().chain(in_metadata).enumerate() {
        // Of the texts that are in each field, each is asked for in some of them.
        let mut values = values(field);
        let first = at % STEP.min(values.len().max(1));
        values = values.into_iter().skip(first).step_by(STEP).collect();
        for (op, most) in [("=", VALUES), ("!=", VALUES_OF_OTHERS), ("~", VALUES_OF_OTHERS)] {
            for value in
                values.iter().map(String::as_str).chain(["", "no such value", "0.50"]).take(most)
            {
                if let Ok(filter) = format!("{field}{op}{value}").parse() {
                    check(&filter, None, None);
                }
            }
        }
    }
    let moments: BTreeSet<Timestamp> = all.iter().map(|row| row.event.timestamp).collect();
    for moment in moments {
        let next = Timestamp::from_micros(moment.micros().saturating_add(1));
        check(&Filter::default(), Some(moment), Some(next));
        check(&"action=alert".parse().expect("a filter"), None, Some(moment));
        check(&"severity=HIGH".parse().expect("a filter"), Some(next), None);
    }
    let two =
        ["action=block", "reason!=x"].map(|text| text.parse::<Condition>().expect("a condition"));
    check(&two.into_iter().collect(), None, None);
    only_some_columns(&*reader, all.len());
    in_pages(&*reader, &all);
}

/// The columns of a filter need not be among those that are asked for.
fn only_some_columns(reader: &dyn DatasetReader, rows: usize) {
    let columns = Columns::named(["seq", "latency_ms"]).expect("columns");
    let filter: Filter = "policy_name!=no such policy".parse().expect("a filter");
    let batches = reader.scan(Scan { columns, filter, ..Scan::default() }).expect("a scan");
    let schema = batches.schema();
    let mut found = 0;
    for batch in batches {
        let batch = batch.expect("a batch");
        assert_eq!(batch.schema(), schema);
        found += batch.num_rows();
    }
    assert_eq!(found, rows);
}

/// A limit gives the first rows, and nothing is left behind the last position.
fn in_pages(reader: &dyn DatasetReader, all: &[ReadRow]) {
    for limit in [0, 1, 7, all.len(), all.len() + 1] {
        let scan = Scan { limit: Some(limit), ..Scan::default() };
        same(&scanned(reader, scan), all.iter().take(limit), "a limit");
    }
    for newest_first in [false, true] {
        let limit = newest_first.then_some(2);
        let mut batches =
            reader.scan(Scan { newest_first, limit, ..Scan::default() }).expect("a scan");
        assert!(batches.by_ref().all(|batch| batch.is_ok()));
        let after = batches.position();
        assert!(after.is_some(), "it says where it has read to");
        assert_eq!(scanned(reader, Scan { after, ..Scan::default() }), []);
    }
}

/// Rows that were stored behind a position are given from there, each once.
pub(crate) fn a_scan_goes_on_behind_a_position(url: &str) {
    let adapter = open(url).expect("a URL");
    let now = Timestamp::now();
    let event =
        |n: u64| SafetyEvent { timestamp: now, ..namel3ss_safety::conformance::plain_event(n) };
    let store = |first: u64| {
        let events: Vec<_> = (first..first + 3).map(event).collect();
        adapter.insert(&buffer(JournalId([5; 16]), first, &events).batch()).expect("stored");
    };
    let seqs =
        |rows: &[ReadRow]| rows.iter().map(|row| row.id.expect("ours").1.0).collect::<Vec<_>>();
    let reader = open_reader(url).expect("a reader");
    store(1);
    let mut after = None;
    for (first, expected) in [(4, vec![1, 2, 3]), (7, vec![4, 5, 6]), (10, vec![7, 8, 9])] {
        let mut batches =
            reader.scan(Scan { after: after.clone(), ..Scan::default() }).expect("a scan");
        let found: Vec<_> = batches
            .by_ref()
            .flat_map(|batch| rows(&batch.expect("a batch")).collect::<Vec<_>>())
            .collect();
        assert_eq!(seqs(&found), expected, "{url}");
        after = batches.position();
        store(first);
    }
    // Of the same position again, and with a filter.
    let scan =
        Scan { after, filter: "event_id=event-11".parse().expect("a filter"), ..Scan::default() };
    for _ in 0..2 {
        assert_eq!(seqs(&scanned(&*reader, scan.clone())), [11], "{url}");
    }
}
