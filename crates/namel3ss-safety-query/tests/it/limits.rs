//! What a statement may not do, and how much it may.

use std::time::{Duration, Instant};

use namel3ss_safety_query::{Database, QueryError};

use crate::{Memory, event, rows};

fn database() -> Database {
    Memory::new((0..10).map(event).collect()).database()
}

#[track_caller]
fn refused(sql: &str) -> String {
    match rows(&mut database(), sql) {
        Err(QueryError::NotAllowed(text)) => text,
        Err(QueryError::Sql { message, .. }) => message,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn a_statement_only_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    for (sql, part) in [
        (format!("attach '{}' as other", path.display()), "ATTACH is not allowed"),
        (format!("vacuum into '{}'", path.display()), "not allowed"),
        ("pragma temp_store = FILE".to_owned(), "PRAGMA is not allowed"),
        ("pragma table_info(events)".to_owned(), "PRAGMA is not allowed"),
        ("select * from pragma_table_info('events')".to_owned(), "may not be read"),
        ("select load_extension('x')".to_owned(), "load_extension"),
        ("select fts3_tokenizer('simple')".to_owned(), "fts3_tokenizer"),
        ("select * from sqlite_schema".to_owned(), "may not be read"),
        ("select * from dbstat".to_owned(), "may not be read"),
        ("select count(*) from dbstat".to_owned(), "may not be read"),
        ("select count(*) from sqlite_schema".to_owned(), "may not be read"),
        ("select count(*) from pragma_compile_options".to_owned(), "may not be read"),
        ("select sqlite_version()".to_owned(), "sqlite_version"),
        ("insert into events(action) values ('allow')".to_owned(), "not"),
        ("delete from events".to_owned(), "not"),
        ("create table t(x)".to_owned(), "writing is not allowed"),
        ("create temp table t as select * from events".to_owned(), "writing is not allowed"),
        ("create virtual table t using fts5(x)".to_owned(), "writing is not allowed"),
        ("create temp view v as select 1".to_owned(), "writing is not allowed"),
        ("begin".to_owned(), "transactions are not allowed"),
        ("savepoint x".to_owned(), "transactions are not allowed"),
        ("reindex".to_owned(), "no statement"),
        ("select 1; select 2".to_owned(), "one statement at a time"),
        ("select 1; drop table events".to_owned(), "not allowed"),
        ("".to_owned(), "there is no statement"),
        (" -- nothing".to_owned(), "there is no statement"),
        ("select \"action is a text\"".to_owned(), "no column"),
        ("select ?".to_owned(), "write :name"),
        ("select :x".to_owned(), "the parameter :x has no value"),
    ] {
        let said = refused(&sql);
        assert!(said.contains(part), "{sql}: {said}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    for sql in
        ["select 1;", "select 1 ; -- done", "values (1)", "with x as (select 1) select * from x"]
    {
        assert_eq!(rows(&mut database(), sql).unwrap(), [["1"]], "{sql}");
    }
    let json = "select count(*) from events, json_each('[1,2,3]') where value > 1";
    assert_eq!(rows(&mut database(), json).unwrap(), [["20"]]);
}

#[test]
fn a_statement_ends_at_its_deadline() {
    let endless =
        "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    let joined = "select count(*) from events a, events b, events c, events d, events e, events f,
        events g, events h, events i, events j where a.seq + b.seq + c.seq + d.seq = -1";
    for sql in [endless, joined] {
        let mut database = database();
        let began = Instant::now();
        database.set_deadline(Some(began + Duration::from_millis(300)));
        assert_eq!(rows(&mut database, sql), Err(QueryError::Deadline), "{sql}");
        assert!(began.elapsed() < Duration::from_secs(20), "{sql}: {:?}", began.elapsed());
        // The next one has its own.
        database.set_deadline(None);
        assert_eq!(rows(&mut database, "select count(*) from events").unwrap(), [["10"]]);
    }
}

#[test]
fn values_and_statements_have_a_size() {
    for sql in [
        "select zeroblob(1000000000)".to_owned(),
        "select replace(hex(zeroblob(8000000)), '0', 'xxxxxxxxxx')".to_owned(),
        "select group_concat(hex(zeroblob(4000000))) from events".to_owned(),
    ] {
        let error = rows(&mut database(), &sql).unwrap_err();
        assert!(matches!(error, QueryError::TooLarge(_)), "{sql}: {error:?}");
    }
    for sql in [
        format!("select {}1", "1 + ".repeat(1000)),
        format!("select {}", "1,".repeat(1000) + "1"),
        format!("select '{}'", "x".repeat(200_000)),
        format!("select 1{}", " union all select 1".repeat(1000)),
        format!("select 'x' like '{}'", "%x".repeat(5000)),
        format!(
            "select count(*) from events where event_id regexp '{}'",
            "(\\w{100}){100}".repeat(9)
        ),
    ] {
        let error = rows(&mut database(), &sql).unwrap_err();
        assert!(
            matches!(error, QueryError::Sql { .. } | QueryError::TooLarge(_)),
            "{}: {error:?}",
            &sql[..60]
        );
    }
}

#[test]
fn mistakes_say_what_was_meant() {
    for (sql, message, at) in [
        (
            "select polcy_name from events",
            "no column 'polcy_name': did you mean policy_name?",
            Some(7),
        ),
        ("select e.acton from events e", "no column 'acton': did you mean action?", Some(7)),
        ("select 1 from evnts", "no table 'evnts': did you mean events?", None),
        (
            "select buket('1h', timestamp) from events",
            "no function 'buket': did you mean bucket?",
            None,
        ),
    ] {
        match rows(&mut database(), sql) {
            Err(QueryError::Sql { message: said, at: place }) => {
                assert_eq!(said, message);
                if at.is_some() {
                    assert_eq!(place, at, "{sql}");
                }
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
    let mut database = database();
    let mut statement = database.prepare("select :usr").unwrap();
    let error = statement.bind("user", 5).unwrap_err();
    drop(statement);
    assert_eq!(error.to_string(), "no parameter 'user' in the statement: did you mean usr?");
    for name in ["", "1x", "a b", "events", "sqlite_x", "Pragma_x", "a\"b"] {
        let memory = std::sync::Arc::new(Memory::default());
        assert!(database.add(name, memory).is_err(), "{name}");
    }
}
