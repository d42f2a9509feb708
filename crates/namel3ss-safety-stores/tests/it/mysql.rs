//! MariaDB passes the suite, and what is particular to it, on a real server.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use namel3ss_safety::conformance::{Subject, buffer, plain_event, run};
use namel3ss_safety::{Delivery, Failure, JournalId, SafetyEvent, Timestamp};
use namel3ss_safety_stores::open;
use namel3ss_safety_stores::schema::{Dialect, ddl};

use crate::servers::{
    TestServer, all, check_killed_server, check_once_as_sent, check_processes, check_reader,
    expected, fresh_table, places, rows,
};

fn server() -> &'static TestServer {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = TestServer::up("mariadb", "shared");
        sql_on(&server, "", "CREATE DATABASE IF NOT EXISTS safety");
        server
    })
}

/// What the server's own client prints.
pub(crate) fn sql_on(server: &TestServer, database: &str, text: &str) -> String {
    let ran = Command::new("mariadb")
        .args(["--no-defaults", "-h", "127.0.0.1", "-P", &server.port.to_string(), "-u", "root"])
        .args(["--default-character-set=utf8mb4", "-N", "-B", "-r", "-e", text, database])
        .output()
        .expect("mariadb is there");
    assert!(ran.status.success(), "{text}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("UTF-8").trim().to_owned()
}

fn sql(text: &str) -> String {
    sql_on(server(), "safety", text)
}

fn url(table: &str) -> String {
    format!("mysql://root@127.0.0.1:{}/safety?table={table}", server().port)
}

#[test]
fn mariadb_conforms() {
    run(|| {
        let url = url(&fresh_table());
        let (read, again) = (url.clone(), url.clone());
        Subject::new(open(&url).unwrap(), move || all(&read))
            .reopened_by(move || open(&again).unwrap())
    });
}

/// Our own table, by year: the key holds the partition column.
fn partitioned(partitions: &str) -> String {
    let table = fresh_table();
    let ddl = ddl(Dialect::Mysql, &table.parse().unwrap())
        .replace("(journal_id, seq)", "(journal_id, seq, `timestamp`)");
    let ddl = ddl.trim_end().trim_end_matches(';');
    sql(&format!("{ddl} PARTITION BY RANGE COLUMNS (`timestamp`) ({partitions})"));
    table
}

#[test]
fn a_partitioned_table_holds_every_row_once_as_it_was() {
    check_once_as_sent(&url(&partitioned(
        "PARTITION a VALUES LESS THAN ('2001-01-01'), PARTITION b VALUES LESS THAN (MAXVALUE)",
    )));
}

#[test]
fn a_row_of_a_day_without_a_partition_costs_itself_alone() {
    let table = partitioned("PARTITION a VALUES LESS THAN ('2101-01-01')");
    let late =
        SafetyEvent { timestamp: Timestamp::from_micros(5_000_000_000_000_000), ..plain_event(1) };
    let rows = buffer(JournalId::generate(), 1, &[plain_event(0), late, plain_event(2)]);
    let adapter = open(&url(&table)).unwrap();
    let error = adapter.insert(&rows.batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Poison(vec![1]), "{error}");
    adapter.insert(&rows.batch().slice(0..1)).unwrap();
    sql(&format!("ALTER TABLE {table} ADD PARTITION (PARTITION b VALUES LESS THAN (MAXVALUE))"));
    adapter.insert(&rows.batch()).unwrap();
    assert_eq!(places(&url(&table)).len(), 3);
    assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));
}

#[test]
fn what_it_can_not_hold_is_stored_as_well_as_can_be() {
    let table = fresh_table();
    let deep = (0..40).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let event = SafetyEvent {
        confidence: f64::INFINITY,
        latency_ms: f64::NAN,
        timestamp: Timestamp::from_micros(i64::MAX),
        metadata: [("deep".to_owned(), deep), ("flat".to_owned(), 1.into())].into_iter().collect(),
        ..plain_event(1)
    };
    let rows = buffer(JournalId::generate(), 1, std::slice::from_ref(&event));
    open(&url(&table)).unwrap().insert(&rows.batch()).unwrap();
    let found = sql(&format!(
        "SELECT confidence, latency_ms, timestamp, JSON_EXTRACT(metadata, '$.flat'), \
         JSON_EXISTS(metadata, '$.deep'), JSON_EXISTS(JSON_VALUE(metadata, '$.\"row.exact\"'), '$.confidence') \
         FROM {table}"
    ));
    assert_eq!(found, "NULL\tNULL\t9999-12-31 23:59:59.999999\t1\t0\t1");
    let read = &all(&url(&table))[0].event;
    assert!(namel3ss_safety::conformance::same_event(&event, read), "{read:?}");
}

#[test]
fn another_table_keeps_its_columns_and_types() {
    let table = fresh_table();
    sql(&format!(
        "CREATE TABLE {table} (Event_ID VARCHAR(20) PRIMARY KEY, team TEXT DEFAULT 'ours', \
         timestamp VARCHAR(40), action ENUM('block', 'allow'), categories TEXT, metadata LONGTEXT, \
         journal_id BINARY(16), seq DECIMAL(20), twice TEXT AS (CONCAT(team, team)) STORED)"
    ));
    let url = url(&table);
    let adapter = open(&url).unwrap();
    let journal = JournalId::generate();
    let event = SafetyEvent { timestamp: Timestamp::from_micros(1_500_000), ..plain_event(9) };
    adapter.insert(&buffer(journal, 9, &[event]).batch()).unwrap();
    assert_eq!(adapter.delivery(), Delivery::AtLeastOnce);
    let found = sql(&format!(
        "SELECT Event_ID, team, timestamp, action, categories, LOWER(HEX(journal_id)), seq, \
         JSON_VALUE(metadata, '$.app_name'), JSON_VALUE(metadata, '$.n'), twice FROM {table}"
    ));
    assert_eq!(
        found,
        format!(
            "event-9\tours\t1970-01-01T00:00:01.500000Z\tblock\t[\"pii\"]\t{journal}\t9\tapp\t9\toursours"
        )
    );
    sql(&format!("ALTER TABLE {table} DROP COLUMN metadata"));
    let error = open(&url).unwrap().insert(&rows(journal, 1, 1).batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Config);
    assert!(error.to_string().contains("it lacks app_name"), "{error}");
}

#[test]
fn a_column_may_come_and_go_while_rows_are_stored() {
    let table = fresh_table();
    let adapter = open(&url(&table)).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    sql(&format!("ALTER TABLE {table} DROP COLUMN user_id, DROP COLUMN policy_name"));
    adapter.insert(&rows(journal, 2, 1).batch()).unwrap();
    sql(&format!("ALTER TABLE {table} ADD COLUMN team TEXT, ADD COLUMN policy_name TEXT"));
    adapter.insert(&rows(journal, 3, 1).batch()).unwrap();
    open(&url(&table)).unwrap().insert(&rows(journal, 4, 1).batch()).unwrap();
    let found = sql(&format!(
        "SELECT COALESCE(policy_name, JSON_VALUE(metadata, '$.policy_name'), '-') FROM {table} ORDER BY seq"
    ));
    assert_eq!(found, "-\npolicy\npolicy\npolicy");
    // As a later version may leave it: columns that this one does not know.
    sql(&format!("ALTER TABLE {table} ADD COLUMN level INT NOT NULL DEFAULT 3"));
    for adapter in [&adapter, &open(&url(&table)).unwrap()] {
        (0..2).for_each(|_| adapter.insert(&rows(journal, 5, 1).batch()).unwrap());
    }
    let found = all(&url(&table));
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|row| row.event.app_name.as_deref() == Some("app")), "{found:?}");
    assert_eq!(sql(&format!("SELECT count(*) FROM {table} WHERE level = 3")), "5");
    sql(&format!("DROP TABLE {table}"));
    adapter.insert(&rows(journal, 5, 1).batch()).unwrap();
    assert_eq!(places(&url(&table)), [(journal, 5)]);
}

#[test]
fn keys_of_theirs_count_if_they_hold_ours() {
    for (columns, once) in [
        ("seq BIGINT, journal_id CHAR(32), UNIQUE (seq, journal_id)", true),
        ("seq BIGINT, journal_id BINARY(16), PRIMARY KEY (journal_id, timestamp, seq)", true),
        ("seq BIGINT, journal_id VARCHAR(64), UNIQUE (journal_id(8), seq)", false),
        ("seq BIGINT, journal_id CHAR(32)", false),
    ] {
        let table = fresh_table();
        sql(&format!("CREATE TABLE {table} (metadata JSON, timestamp DATETIME(6), {columns})"));
        let adapter = open(&url(&table)).unwrap();
        let rows = rows(JournalId::generate(), 1, 3);
        adapter.insert(&rows.batch().slice(1..2)).unwrap();
        assert_eq!(adapter.delivery() != Delivery::AtLeastOnce, once, "{columns}");
        if once {
            (0..2).for_each(|_| adapter.insert(&rows.batch()).unwrap());
        }
        let found = sql(&format!("SELECT COUNT(*) FROM {table}"));
        assert_eq!(found, if once { "3" } else { "1" }, "{columns}");
    }
}

#[test]
fn rows_that_the_server_refuses_are_named_and_nothing_is_stored() {
    let every = || (0..11).collect::<Vec<_>>();
    for (change, poison) in [
        ("ADD CHECK (seq NOT IN (3, 5))", vec![2, 4]),
        ("MODIFY event_id VARCHAR(7) NOT NULL", vec![9, 10]),
        ("ADD UNIQUE (app_name(10), event_id(10))", vec![0]),
        ("ADD UNIQUE (app_name(10))", every()),
        ("ADD team INT, ADD CHECK (seq = 0 OR team IS NOT NULL)", every()),
    ] {
        let table = fresh_table();
        let adapter = open(&url(&table)).unwrap();
        let journal = JournalId::generate();
        adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
        // The row that stands there is no longer one of these, and has the texts of the first.
        sql(&format!("UPDATE {table} SET seq = 0; ALTER TABLE {table} {change}"));
        // Another look at the table finds the other key.
        let adapter = if change.contains("UNIQUE") { open(&url(&table)).unwrap() } else { adapter };
        let batch = rows(journal, 1, 11);
        let error = adapter.insert(&batch.batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Poison(poison.clone()), "{change}: {error}");
        assert!(!error.to_string().contains("event-"), "{error}");
        assert_eq!(places(&url(&table)).len(), 1, "{change}");
        for at in (0..11).filter(|at| !poison.contains(at)) {
            adapter.insert(&batch.batch().slice(at..at + 1)).unwrap();
        }
    }
}

/// The driver refused the whole statement, and with it every row of the batch.
#[test]
fn a_row_that_no_packet_holds_costs_itself_alone() {
    let server = TestServer::up("mariadb", "packets");
    sql_on(
        &server,
        "",
        "CREATE DATABASE IF NOT EXISTS safety; SET GLOBAL max_allowed_packet = 65536",
    );
    let url = format!("mysql://root@127.0.0.1:{}/safety?table={}", server.port, fresh_table());
    let (adapter, journal) = (open(&url).unwrap(), JournalId::generate());
    let events: Vec<SafetyEvent> = (0..300)
        .map(|n| SafetyEvent {
            reason: Some("x".repeat(if n == 7 { 70_000 } else { 3_000 })),
            ..plain_event(n)
        })
        .collect();
    let rows = buffer(journal, 1, &events);
    let error = adapter.insert(&rows.batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Poison(vec![7]), "{error}");
    adapter.insert(&rows.batch().slice(0..7)).unwrap();
    adapter.insert(&rows.batch().slice(8..300)).unwrap();
    assert_eq!(places(&url).len(), 299);
}

#[test]
fn two_processes_of_two_threads_store_every_event_once() {
    check_processes(&url(&fresh_table()));
}

#[test]
fn a_reader_gives_the_newest_and_then_what_comes() {
    check_reader(&url(&fresh_table()));
}

#[test]
fn sessions_that_are_ended_at_any_moment_lose_and_repeat_nothing() {
    let table = fresh_table();
    let url = url(&table);
    sql("CREATE USER IF NOT EXISTS ended@'%'; GRANT ALL ON safety.* TO ended@'%'");
    let url = url.replace("root@", "ended@");
    let adapter = open(&url).unwrap();
    let journal = JournalId::generate();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut failures = 0;
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                sql("KILL USER ended");
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        for batch in 0..200 {
            let rows = rows(journal, batch * 50 + 1, 50);
            while let Err(error) = adapter.insert(&rows.batch()) {
                assert_eq!(*error.failure(), Failure::Transient, "{error}");
                failures += 1;
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(failures > 0, "no session was ended while it stored");
    assert_eq!(places(&url), expected(&[journal], 10_000));
}

#[test]
fn a_server_killed_while_loggers_write_gets_every_event_once() {
    let server = TestServer::up("mariadb", "restarted");
    sql_on(&server, "", "CREATE DATABASE IF NOT EXISTS safety");
    check_killed_server(&server, &format!("mysql://root@127.0.0.1:{}/safety", server.port));
}

#[test]
fn encryption_is_as_strict_as_asked_for() {
    let (port, ca) = (server().port, server().ca.display());
    sql(
        "CREATE USER IF NOT EXISTS tls_only@'%' REQUIRE SSL; GRANT ALL ON safety.* TO tls_only@'%'",
    );
    for (host, options, good) in [
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}"), true),
        ("127.0.0.1", format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"), false),
        ("localhost", format!("ssl-mode=VERIFY_CA&ssl-ca={ca}"), true),
        // The driver checks the name as well: stricter than was asked for, and never less.
        ("127.0.0.1", format!("ssl-mode=VERIFY_CA&ssl-ca={ca}"), false),
        ("localhost", format!("ssl_ca={ca}"), true),
        ("127.0.0.1", format!("ssl_ca={ca}"), false),
        ("localhost", "sslmode=verify-full".to_owned(), false),
        ("localhost", "sslmode=verify-ca".to_owned(), false),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        ("127.0.0.1", "".to_owned(), true),
        ("127.0.0.1", "sslmode=disable".to_owned(), false),
    ] {
        let table = fresh_table();
        let url = format!("mariadb://tls_only@{host}:{port}/safety?table={table}&{options}");
        let result = open(&url).unwrap().insert(&rows(JournalId::generate(), 1, 1).batch());
        assert_eq!(result.is_ok(), good, "{host} {options}: {result:?}");
        if let Err(error) = result {
            assert_eq!(*error.failure(), Failure::Config, "{options}: {error}");
        }
    }
}

#[test]
fn failures_are_told_apart_and_never_tell_a_password() {
    let port = server().port;
    let table = fresh_table();
    open(&url(&table)).unwrap().insert(&rows(JournalId::generate(), 1, 1).batch()).unwrap();
    sql(&format!(
        "CREATE USER IF NOT EXISTS canary@'%' IDENTIFIED BY 'right-canary'; \
         GRANT INSERT, SELECT ON safety.{table} TO canary@'%'; \
         CREATE USER IF NOT EXISTS reader@'%'; GRANT SELECT ON safety.* TO reader@'%'; \
         CREATE USER IF NOT EXISTS crowd@'%' WITH MAX_CONNECTIONS_PER_HOUR 1; GRANT SELECT ON safety.* TO crowd@'%'"
    ));
    let at = |user: &str, rest: &str| format!("mysql+pymysql://{user}@127.0.0.1:{port}/{rest}");
    let crowd = at("crowd", &format!("safety?table={table}"));
    let _ = open(&crowd).unwrap().insert(&rows(JournalId::generate(), 1, 1).batch());
    for (url, kind, hint) in [
        (at("canary:wrong-canary", "safety"), Failure::Config, "password"),
        (at("canary", "safety?password=wrong-canary"), Failure::Config, "password"),
        (at("root", "nowhere"), Failure::Config, "nowhere"),
        (at("reader", &format!("safety?table={table}")), Failure::Config, "denied"),
        (at("reader", &format!("safety?table={}", fresh_table())), Failure::Config, "denied"),
        (crowd, Failure::Throttled(None), "crowd"),
        ("mysql://u:canary@127.0.0.1:1/x".to_owned(), Failure::Transient, "refused"),
    ] {
        let adapter = open(&url).unwrap();
        let error = adapter.insert(&rows(JournalId::generate(), 1, 1).batch()).expect_err(&url);
        assert_eq!(*error.failure(), kind, "{error}");
        assert!(error.to_string().contains(hint), "{error}");
        for shown in [format!("{error} {error:?} {adapter:?}"), adapter.identity()] {
            assert!(!shown.contains("-canary") && !shown.contains(":canary"), "{shown}");
        }
    }
    // Rights to insert and to see are enough, also for rows that are there.
    let adapter = open(&at("canary:right-canary", &format!("safety?table={table}"))).unwrap();
    let rows = rows(JournalId::generate(), 1, 3);
    (0..2).for_each(|_| adapter.insert(&rows.batch()).unwrap());
    assert!(!format!("{adapter:?}").contains("right-canary"));
    assert_eq!(sql(&format!("SELECT COUNT(*) FROM {table}")), "4");
}

#[test]
fn nothing_waits_for_ever() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = deaf.local_addr().unwrap().port();
    let adapter = open(&format!("mysql://u@127.0.0.1:{port}/x?connect_timeout=1")).unwrap();
    let error = adapter.insert(&rows(JournalId::generate(), 1, 1).batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Transient);
    assert!(error.to_string().contains("no answer within 1 s"), "{error}");

    let table = fresh_table();
    let adapter = open(&format!("{}&timeout=1", url(&table))).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    std::thread::scope(|scope| {
        let table = &table;
        scope.spawn(move || sql(&format!("LOCK TABLES {table} WRITE; SELECT SLEEP(3.5)")));
        let asleep = "SELECT COUNT(*) FROM information_schema.processlist \
                      WHERE info = 'SELECT SLEEP(3.5)'";
        while sql(asleep) == "0" {}
        let error = adapter.insert(&rows(journal, 2, 1).batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Transient, "{error}");
    });
    adapter.insert(&rows(journal, 2, 1).batch()).unwrap();
    assert_eq!(places(&url(&table)).len(), 2);
}
