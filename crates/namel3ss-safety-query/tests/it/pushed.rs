//! What a statement asks the scan for.

use crate::{Memory, event, one, rows};

/// What the scans of a statement were asked for, in short.
#[track_caller]
fn asked(memory: &Memory, sql: &str) -> Vec<String> {
    memory.asked();
    rows(&mut memory.database(), sql).unwrap();
    let scans = memory.asked().into_iter().map(|scan| {
        let columns: Vec<_> = scan.columns.names().collect();
        let filter: Vec<_> = (scan.filter.conditions().iter())
            .map(|condition| format!("{}={}", condition.field(), condition.value()))
            .collect();
        let moment = |at: Option<namel3ss_safety::Timestamp>| {
            at.map(|at| at.to_string()).unwrap_or_default()
        };
        let (from, to) = (moment(scan.from), moment(scan.to));
        format!("{} | {} | {from}..{to}", columns.join(" "), filter.join(" "))
    });
    scans.collect()
}

/// Columns that every scan needs to give each row once.
const IDS: &str = "journal_id seq";

#[test]
fn columns_equality_and_the_time_range_are_pushed_down() {
    let memory = Memory::new(vec![event(0), event(1)]);
    for (sql, expected) in [
        ("select count(*) from events", format!("timestamp {IDS} |  | ..")),
        (
            "select user_id from events where action = 'block'",
            format!("timestamp user_id action {IDS} | action=block | .."),
        ),
        (
            "select 1 from events where timestamp >= '2026-03-01T00:00:00Z' and '2026-03-02' > timestamp",
            format!(
                "timestamp {IDS} |  | 2026-03-01T00:00:00.000000Z..2026-03-02T00:00:00.000000Z"
            ),
        ),
        (
            "select 1 from events where timestamp > '2026-03-01' and timestamp <= '2026-03-01'",
            format!(
                "timestamp {IDS} |  | 2026-03-01T00:00:00.000001Z..2026-03-01T00:00:00.000001Z"
            ),
        ),
        (
            "select 1 from events where timestamp between '2026-03-01' and '2026-03-02' and user_id = '=x~y'",
            format!(
                "timestamp user_id {IDS} | user_id==x~y | 2026-03-01T00:00:00.000000Z..2026-03-02T00:00:00.000001Z"
            ),
        ),
        (
            "select 1 from events where trace_id = 't' and latency_ms = 5",
            format!("timestamp trace_id latency_ms {IDS} | trace_id=t latency_ms=5 | .."),
        ),
    ] {
        assert_eq!(asked(&memory, sql), [expected], "{sql}");
    }
}

#[test]
fn what_compares_in_another_way_is_not_pushed_down() {
    let memory = Memory::new(vec![event(0)]);
    for condition in [
        "action = 'BLOCK' collate nocase",
        "timestamp > '2026-03-01' collate binary",
        "timestamp > 'yesterday'",
        "timestamp > '2026-03'",
        "timestamp > 2461000.5",
        "timestamp > null",
        "action = 'no such word'",
        "user_id = 5 or action = 'block'",
        "user_id > 'u'",
        "user_id in ('a', 'b')",
        "user_id is null",
        "upper(user_id) = 'U'",
        "latency_ms = '5'",
        "journal_id = 'x' and seq = 1 and categories = '[]' and metadata = '{}'",
        "timestamp like '2026-03%'",
    ] {
        let all = asked(&memory, &format!("select 1 from events where {condition}"));
        assert_eq!(all.len(), 1, "{condition}: {all:?}");
        assert!(all[0].ends_with(" |  | .."), "{condition}: {all:?}");
    }
}

/// SQLite unites several scans for an OR by row numbers, which are not the same in two scans: rows were
/// lost. One scan is cheaper.
#[test]
fn an_or_is_one_scan() {
    let memory = Memory::new((0..100).map(event).collect());
    let mut database = memory.database();
    for condition in [
        "event_id = 'e1' or event_id = 'e2' or trace_id = 'x'",
        "(event_id = 'e1' and action = 'allow' and timestamp < '2000') or (event_id = 'e2' and app_name is null)",
        "timestamp >= '1970-01-01' and (event_id = 'e1' or event_id = 'e2') and action = 'allow'",
    ] {
        let sql = format!("select count(*) from events where {condition}");
        let plan = rows(&mut database, &format!("explain query plan {sql}")).unwrap();
        assert!(plan.iter().flatten().all(|line| !line.contains("MULTI-INDEX")), "{plan:?}");
        memory.asked();
        assert_eq!(one(&mut database, &sql), "2", "{sql}");
        assert_eq!(memory.asked().len(), 1, "{sql}");
    }
    let join = "with few(e) as (values ('e1'), ('e2'), ('e3'))
        select count(*) from few join events x on (x.event_id = e or x.trace_id = e)
        join events y on (y.event_id = x.event_id or y.trace_id = x.event_id)";
    assert_eq!(one(&mut database, join), "3");
    let error = rows(&mut database, "select rowid from events").unwrap_err();
    assert!(error.to_string().contains("journal_id and seq"), "{error}");
}

#[test]
fn several_tables_are_joined() {
    let (old, new) =
        (Memory::new((0..5).map(event).collect()), Memory::new((3..9).map(event).collect()));
    let mut database = new.database();
    database.add("old", std::sync::Arc::new(old)).unwrap();
    let sql = "select count(*) from events join old using (event_id)";
    assert_eq!(one(&mut database, sql), "2");
    let sql = "select count(*) from events where event_id not in (select event_id from old)";
    assert_eq!(one(&mut database, sql), "4");
}
