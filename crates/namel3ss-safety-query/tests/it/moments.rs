//! Moments compare as moments, however they are written.

use namel3ss_safety::Timestamp;
use namel3ss_safety_stores::read::open_reader;

use crate::{Memory, event, one, rows};

/// Over the stored texts, `timestamp > datetime('now', '-1 day')` gave 22,223 rows and not 18,034:
/// `…T…` is greater than any `… …` of the same day.
#[test]
fn a_day_is_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("safety.db");
    let day = 86_400_000_000;
    let now = Timestamp::now().micros();
    let adapter = namel3ss_safety_stores::open(path.to_str().unwrap()).unwrap();
    // Every 15 min, 3 days long, and none within a minute of a day ago.
    let events: Vec<_> = (0..288).map(|n| event(now - n * 900_000_000 - 450_000_000)).collect();
    let rows =
        namel3ss_safety::conformance::buffer(namel3ss_safety::JournalId([1; 16]), 1, &events);
    adapter.insert(&rows.batch()).unwrap();
    let expected = events.iter().filter(|event| event.timestamp.micros() > now - day).count();
    assert_eq!(expected, 96);
    let mut database = namel3ss_safety_query::Database::new().unwrap();
    database.add("events", open_reader(path.to_str().unwrap()).unwrap().into()).unwrap();
    let ago = Timestamp::from_micros(now - day);
    for since in [
        "datetime('now', '-1 day')".to_owned(),
        "ago('1 day')".to_owned(),
        "strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 day')".to_owned(),
        "unixepoch('now', '-1 day')".to_owned(),
        format!("'{ago}'"),
        format!("'{}+00:00'", ago.to_string().trim_end_matches('Z')),
    ] {
        let sql = format!("select count(*) from events where timestamp > {since}");
        assert_eq!(one(&mut database, &sql), "96", "{sql}");
        // Where nothing is pushed down, too.
        let sql = format!(
            "select sum(case when not (timestamp <= {since}) then 1 else 0 end) from events"
        );
        assert_eq!(one(&mut database, &sql), "96", "{sql}");
    }
}

#[test]
fn every_form_of_a_moment_compares_in_every_place() {
    let noon = 1_772_366_400_000_000; // 2026-03-01T12:00:00Z
    let memory = Memory::new([-1, 0, 1].map(|after| event(noon + after)).into());
    let mut database = memory.database();
    for at in [
        "'2026-03-01 12:00:00.000000'",
        "'2026-03-01T12:00:00Z'",
        "'2026-03-01T12:00:00.000000Z'",
        "'2026-03-01T14:00:00+02:00'",
        "'2026-03-01 12:00'",
        "datetime('2026-03-01 12:00:00')",
        "(select timestamp from events where event_id = 'e1772366400000000')",
        "1772366400",
    ] {
        for (operator, expected) in
            [("<", "1"), ("<=", "2"), ("=", "1"), (">=", "2"), (">", "1"), ("!=", "2"), ("is", "1")]
        {
            for condition in [
                format!("timestamp {operator} {at}"),
                format!("(timestamp {operator} {at} or 1 = 2)"),
                format!("not not (timestamp {operator} {at})"),
                format!(
                    "event_id in (select event_id from events where timestamp {operator} {at})"
                ),
            ] {
                let sql = format!("select count(*) from events where {condition}");
                assert_eq!(one(&mut database, &sql), expected, "{sql}");
            }
        }
        let sql = format!("select count(*) from events where timestamp in ({at})");
        assert_eq!(one(&mut database, &sql), "1", "{sql}");
        let sql = format!("select count(*) from events where timestamp between {at} and {at}");
        assert_eq!(one(&mut database, &sql), "1", "{sql}");
    }
    let day = |day: &str| {
        format!("select count(*) from events where timestamp >= '{day}' and timestamp < '2026-04'")
    };
    assert_eq!(one(&mut database, &day("2026-03-01")), "3");
    assert_eq!(one(&mut database, &day("2026-03-02")), "0");
    assert_eq!(one(&mut database, &day("2026")), "3");
    assert_eq!(
        one(&mut database, "select max(timestamp) from events"),
        "'2026-03-01 12:00:00.000001'"
    );
    let having =
        "select count(*) from events having max(timestamp) > '2026-03-01T12:00:00Z' collate moment";
    assert_eq!(one(&mut database, having), "3");
}

#[test]
fn buckets_lose_no_row_and_percentiles_are_those_of_sqlite() {
    let memory = Memory::new(
        (0..1000)
            .map(|n| {
                let mut event = event(n * 7_777_777_777 - 3_000_000_000_000);
                event.latency_ms = n as f64;
                event
            })
            .collect(),
    );
    let mut database = memory.database();
    for span in ["1 hour", "15m", "1 day", "1w", "7s"] {
        let sql = format!(
            "select sum(n), count(*) = count(distinct b) from
               (select bucket('{span}', timestamp) b, count(*) n from events group by 1)"
        );
        assert_eq!(rows(&mut database, &sql).unwrap(), [["1000", "1"]], "{span}");
        let sql =
            format!("select count(*) from events where bucket('{span}', timestamp) > timestamp");
        assert_eq!(one(&mut database, &sql), "0", "{span}");
    }
    for (percent, expected) in [("0", "0.0"), ("50", "499.5"), ("95", "949.05"), ("100", "999.0")] {
        let sql = format!("select percentile(latency_ms, {percent}) from events");
        assert_eq!(one(&mut database, &sql), expected);
    }
    assert_eq!(
        one(&mut database, "select percentile(latency_ms, 50) from events where 1 = 2"),
        "NULL"
    );
    assert_eq!(
        one(&mut database, "select count(*) from events where event_id regexp '^e-?[0-9]+$'"),
        "1000"
    );
    for wrong in [
        "percentile(latency_ms, 101)",
        "event_id regexp '('",
        "ago('1 month')",
        "bucket('0s', timestamp)",
    ] {
        let error = rows(&mut database, &format!("select {wrong} from events")).unwrap_err();
        assert!(
            matches!(error, namel3ss_safety_query::QueryError::Sql { .. }),
            "{wrong}: {error:?}"
        );
    }
}
