//! PostgreSQL passes the suite, and what is particular to it, on a real server.

use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use namel3ss_safety::conformance::{Subject, buffer, plain_event, run};
use namel3ss_safety::{AdapterError, Delivery, Failure, JournalId, SafetyEvent, Timestamp};
use namel3ss_safety_stores::open;
use namel3ss_safety_stores::schema::{Dialect, ddl};

use crate::servers::{
    TestServer, all, check_killed_server, check_once_as_sent, check_processes, check_reader,
    fresh_table, places, rows,
};

fn server() -> &'static TestServer {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    SERVER.get_or_init(|| TestServer::up("postgres", "shared"))
}

/// What psql prints.
fn sql(text: &str) -> String {
    let port = server().port.to_string();
    let ran = Command::new("psql")
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", "postgres"])
        .args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", text])
        .output()
        .expect("psql is there");
    assert!(ran.status.success(), "{text}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("UTF-8").trim().to_owned()
}

fn url(table: &str) -> String {
    format!("postgresql://postgres@127.0.0.1:{}/postgres?table={table}", server().port)
}

fn insert(url: &str, journal: JournalId, first: u64, count: u64) -> Result<(), AdapterError> {
    open(url).unwrap().insert(&rows(journal, first, count).batch())
}

fn failure(url: &str) -> (Failure, String) {
    let error = insert(url, JournalId::generate(), 1, 1).expect_err(url);
    (error.failure().clone(), error.to_string())
}

#[test]
fn postgres_conforms() {
    run(|| {
        let url = url(&fresh_table());
        let (read, again) = (url.clone(), url.clone());
        Subject::new(open(&url).unwrap(), move || all(&read))
            .reopened_by(move || open(&again).unwrap())
    });
}

#[test]
fn a_text_with_nul_is_readable_in_sql_and_reads_back_unchanged() {
    let table = fresh_table();
    let event = SafetyEvent { reason: Some("a\0b".into()), ..plain_event(1) };
    let adapter = open(&url(&table)).unwrap();
    adapter.insert(&buffer(JournalId::generate(), 1, &[event]).batch()).unwrap();
    assert_eq!(sql(&format!("SELECT reason FROM {table}")), "a\u{fffd}b");
    let exact = sql(&format!("SELECT metadata->>'row.exact' FROM {table}"));
    assert_eq!(exact, r#"{"reason":"a\u0000b"}"#);
    assert_eq!(all(&url(&table))[0].event.reason.as_deref(), Some("a\0b"));
}

#[test]
fn another_table_keeps_its_columns_types_and_schema() {
    let table = fresh_table();
    sql(&format!(
        "CREATE SCHEMA IF NOT EXISTS audit; CREATE TYPE audit.e_{table} AS ENUM ('block', 'allow');
         CREATE TABLE audit.{table} (\"Event_ID\" varchar(20) PRIMARY KEY, team text DEFAULT 'ours',
           timestamp timestamp, action audit.e_{table}, categories jsonb, metadata json,
           confidence numeric, policy_name char(10), journal_id text, seq numeric,
           twice text GENERATED ALWAYS AS (team || team) STORED)"
    ));
    let url = url(&format!("audit.{table}"));
    let adapter = open(&url).unwrap();
    let journal = JournalId::generate();
    let event = SafetyEvent { timestamp: Timestamp::from_micros(1_500_000), ..plain_event(9) };
    adapter.insert(&buffer(journal, 9, &[event]).batch()).unwrap();
    assert_eq!(adapter.delivery(), Delivery::AtLeastOnce);
    let found = sql(&format!(
        "SELECT \"Event_ID\", team, timestamp, action, categories->>0, confidence, policy_name,
           journal_id, seq, metadata->>'app_name', metadata->>'direction', metadata->>'n', twice
         FROM audit.{table}"
    ));
    assert_eq!(
        found,
        format!(
            "event-9|ours|1970-01-01 00:00:01.5|block|pii|1|policy    |{journal}|9|app|input|9|oursours"
        )
    );
    sql(&format!("ALTER TABLE audit.{table} DROP COLUMN metadata"));
    let (failure, text) = self::failure(&url);
    assert_eq!(failure, Failure::Config);
    assert!(text.contains("it lacks app_name"), "{text}");
}

#[test]
fn a_column_may_come_and_go_while_rows_are_stored() {
    let table = fresh_table();
    let adapter = open(&url(&table)).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    sql(&format!("ALTER TABLE {table} DROP COLUMN user_id, DROP COLUMN policy_name"));
    adapter.insert(&rows(journal, 2, 1).batch()).unwrap();
    sql(&format!("ALTER TABLE {table} ADD COLUMN team text, ADD COLUMN policy_name text"));
    adapter.insert(&rows(journal, 3, 1).batch()).unwrap();
    open(&url(&table)).unwrap().insert(&rows(journal, 4, 1).batch()).unwrap();
    let found = sql(&format!(
        "SELECT coalesce(policy_name, metadata->>'policy_name') FROM {table} ORDER BY seq"
    ));
    assert_eq!(found, "\npolicy\npolicy\npolicy".trim_start());
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
        ("seq bigint, journal_id uuid, UNIQUE (seq, journal_id)", true),
        ("seq bigint, journal_id text, PRIMARY KEY (journal_id, seq)", true),
        ("seq bigint, journal_id uuid, PRIMARY KEY (journal_id, seq) DEFERRABLE", false),
        ("seq bigint, journal_id uuid", false),
    ] {
        let table = fresh_table();
        sql(&format!("CREATE TABLE {table} (metadata jsonb, timestamp timestamptz, {columns})"));
        let adapter = open(&url(&table)).unwrap();
        let rows = rows(JournalId::generate(), 1, 3);
        adapter.insert(&rows.batch()).unwrap();
        assert_eq!(adapter.delivery() != Delivery::AtLeastOnce, once, "{columns}");
        if once {
            adapter.insert(&rows.batch()).unwrap();
        }
        assert_eq!(places(&url(&table)).len(), 3, "{columns}");
    }
}

#[test]
fn a_partitioned_table_stores_once_with_its_partition_key_in_the_constraint() {
    let table = fresh_table();
    sql(&format!(
        "CREATE TABLE {table} (metadata jsonb, event_id text, journal_id uuid, seq bigint,
           timestamp timestamptz, PRIMARY KEY (timestamp, journal_id, seq)) PARTITION BY RANGE (timestamp);
         CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES FROM (MINVALUE) TO ('2001-01-01');
         CREATE TABLE {table}_2 PARTITION OF {table} FOR VALUES FROM ('2001-01-01') TO (MAXVALUE)"
    ));
    let journal = JournalId::generate();
    let event = |at| SafetyEvent { timestamp: Timestamp::from_micros(at), ..plain_event(1) };
    let rows = buffer(journal, 1, &[event(1), event(2_000_000_000_000_000), event(2)]);
    let adapter = open(&url(&table)).unwrap();
    (0..2).for_each(|_| adapter.insert(&rows.batch()).unwrap());
    adapter.insert(&rows.batch().slice(1..3)).unwrap();
    assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));
    assert_eq!(places(&url(&table)), [(journal, 1), (journal, 2), (journal, 3)]);
    assert_eq!(sql(&format!("SELECT count(*) FROM {table}_1")), "2");
}

/// Our own table, by day: the key holds the partition column.
fn partitioned(partitions: &str) -> String {
    let table = fresh_table();
    let ddl = ddl(Dialect::Postgres, &table.parse().unwrap()).replace(
        "(journal_id, seq)\n);",
        "(journal_id, seq, timestamp)\n) PARTITION BY RANGE (timestamp);",
    );
    sql(&format!("{ddl}{}", partitions.replace("{}", &table)));
    table
}

#[test]
fn a_partitioned_table_holds_every_row_once_as_it_was() {
    check_once_as_sent(&url(&partitioned(
        "CREATE TABLE {}_1 PARTITION OF {} FOR VALUES FROM ('2001-01-01') TO ('2101-01-01');
             CREATE TABLE {}_rest PARTITION OF {} DEFAULT",
    )));
}

#[test]
fn a_row_of_a_day_without_a_partition_costs_itself_alone() {
    let table = partitioned(
        "CREATE TABLE {}_1 PARTITION OF {} FOR VALUES FROM ('2001-01-01') TO (MAXVALUE)",
    );
    let early = SafetyEvent { timestamp: Timestamp::from_micros(0), ..plain_event(1) };
    let rows = buffer(JournalId::generate(), 1, &[plain_event(0), early, plain_event(2)]);
    let adapter = open(&url(&table)).unwrap();
    let error = adapter.insert(&rows.batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Poison(vec![1]), "{error}");
    adapter.insert(&rows.batch().slice(0..1)).unwrap();
    sql(&format!("CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT"));
    adapter.insert(&rows.batch()).unwrap();
    assert_eq!(places(&url(&table)).len(), 3);
    assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));
}

#[test]
fn rows_that_the_server_refuses_are_named_and_nothing_is_stored() {
    let every = || (0..11).collect::<Vec<_>>();
    for (change, poison) in [
        ("ADD CHECK (seq NOT IN (3, 5)), ADD CHECK (app_name = 'app')", vec![2, 4]),
        ("ALTER event_id TYPE varchar(7)", vec![9, 10]),
        ("ADD UNIQUE (app_name, event_id)", vec![0]),
        ("ADD UNIQUE (app_name)", every()),
        ("ADD UNIQUE (app_name) DEFERRABLE INITIALLY DEFERRED", every()),
        ("ADD team text, ADD CHECK (seq = 0 OR team IS NOT NULL)", every()),
    ] {
        let table = fresh_table();
        let adapter = open(&url(&table)).unwrap();
        let journal = JournalId::generate();
        adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
        // The row that stands there is no longer one of these, and has the texts of the first.
        sql(&format!("UPDATE {table} SET seq = 0; ALTER TABLE {table} {change}"));
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
    let adapter = open(&url).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut failures = 0;
    std::thread::scope(|scope| {
        let (stop, table) = (&stop, &table);
        scope.spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                sql(&format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE application_name = 'namel3ss-safety' AND query LIKE '%{table}%'"
                ));
            }
        });
        for batch in 0..300 {
            let rows = rows(journal, batch * 50 + 1, 50);
            while let Err(error) = adapter.insert(&rows.batch()) {
                assert_eq!(*error.failure(), Failure::Transient, "{error}");
                failures += 1;
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(failures > 0, "no session was ended while it stored");
    assert_eq!(places(&url), crate::servers::expected(&[journal], 15_000));
}

#[test]
fn a_server_killed_while_loggers_write_gets_every_event_once() {
    let server = TestServer::up("postgres", "restarted");
    check_killed_server(
        &server,
        &format!("postgresql://postgres@localhost:{}/postgres", server.port),
    );
}

#[test]
fn encryption_is_as_strict_as_asked_for() {
    let (port, ca) = (server().port, server().ca.display());
    let other = tempfile::tempdir().unwrap();
    let wrong = other.path().join("other.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout"])
        .args([other.path().join("key").as_os_str(), "-out".as_ref(), wrong.as_os_str()])
        .output()
        .unwrap();
    assert!(made.status.success());
    let wrong = wrong.display();
    sql(
        "DO $$ BEGIN CREATE ROLE tls_only LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
    );
    for (host, options, good) in [
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}"), true),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}"), false),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), true),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={ca}"), true),
        ("localhost", format!("sslmode=require&sslrootcert={wrong}"), false),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={wrong}"), false),
        ("localhost", "sslmode=verify-full".to_owned(), false),
        ("localhost", "sslmode=verify-ca&sslrootcert=/nowhere.pem".to_owned(), false),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        ("127.0.0.1", "sslmode=prefer".to_owned(), true),
        ("127.0.0.1", "".to_owned(), true),
        ("127.0.0.1", "sslmode=disable".to_owned(), false),
    ] {
        let table = fresh_table();
        let url = format!("postgres://tls_only@{host}:{port}/postgres?table={table}&{options}");
        let result = insert(&url, JournalId::generate(), 1, 1);
        assert_eq!(result.is_ok(), good, "{host} {options}: {result:?}");
        if let Err(error) = result {
            assert_eq!(*error.failure(), Failure::Config, "{options}: {error}");
        }
    }
}

#[test]
fn failures_are_told_apart_and_never_tell_a_password() {
    let port = server().port;
    sql("DO $$ BEGIN CREATE ROLE canary LOGIN PASSWORD 'right-canary'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         DO $$ BEGIN CREATE ROLE crowd LOGIN CONNECTION LIMIT 0; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         DO $$ BEGIN CREATE ROLE replica LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         ALTER ROLE replica SET default_transaction_read_only = on");
    let table = fresh_table();
    insert(&url(&table), JournalId::generate(), 1, 1).unwrap();
    sql(&format!("GRANT INSERT, SELECT (journal_id, seq) ON {table} TO canary"));
    let at = |user: &str, rest: &str| format!("postgresql://{user}@127.0.0.1:{port}/{rest}");
    for (url, expected, hint) in [
        (at("canary:wrong-canary", "postgres"), Failure::Config, "password"),
        (at("canary", "postgres?password=wrong-canary"), Failure::Config, "password"),
        (at("canary", "postgres"), Failure::Config, "password"),
        (at("postgres", "nowhere"), Failure::Config, "nowhere"),
        (at("reader", &format!("postgres?table={table}")), Failure::Config, "permission denied"),
        (
            at("reader", &format!("postgres?table={}", fresh_table())),
            Failure::Config,
            "permission denied",
        ),
        (at("crowd", "postgres"), Failure::Throttled(None), "too many connections"),
        (at("replica", &format!("postgres?table={table}")), Failure::Transient, "replica"),
        ("postgresql://u:canary@127.0.0.1:1/x".to_owned(), Failure::Transient, "refused"),
        (
            "postgresql://u:canary@no-such-host.invalid/x".to_owned(),
            Failure::Transient,
            "no-such-host",
        ),
    ] {
        let adapter = open(&url).unwrap();
        let error = adapter.insert(&rows(JournalId::generate(), 1, 1).batch()).expect_err(&url);
        assert_eq!(*error.failure(), expected, "{error}");
        assert!(error.to_string().contains(hint), "{error}");
        for shown in [format!("{error} {error:?} {adapter:?}"), adapter.identity()] {
            assert!(!shown.contains("-canary") && !shown.contains(":canary"), "{shown}");
        }
    }
    // Rights to insert, and to see the key, are enough.
    let url = at("canary:right-canary", &format!("postgres?table={table}"));
    let adapter = open(&url).unwrap();
    let rows = rows(JournalId::generate(), 1, 3);
    (0..2).for_each(|_| adapter.insert(&rows.batch()).unwrap());
    assert!(!format!("{adapter:?}").contains("canary-right"));
    assert_eq!(sql(&format!("SELECT count(*) FROM {table}")), "4");
}

#[test]
fn nothing_waits_for_ever() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = deaf.local_addr().unwrap().port();
    let begun = Instant::now();
    let (failure, text) = failure(&format!("postgresql://u@127.0.0.1:{port}/x?connect_timeout=1"));
    assert_eq!(failure, Failure::Transient);
    assert!(text.contains("no answer within 1 s"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());

    let table = fresh_table();
    let adapter = open(&format!("{}&timeout=1", url(&table))).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    std::thread::scope(|scope| {
        let table = &table;
        scope.spawn(move || {
            sql(&format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep(2.5); COMMIT"))
        });
        while sql(&format!(
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = '{table}'::regclass"
        )) == "0"
        {}
        let error = adapter.insert(&rows(journal, 2, 1).batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Transient, "{error}");
    });
    adapter.insert(&rows(journal, 2, 1).batch()).unwrap();
    assert_eq!(places(&url(&table)).len(), 2);
}

#[test]
fn a_seq_beyond_bigint_is_poison_and_a_socket_is_as_good_as_a_port() {
    let folder = server().ca.parent().unwrap().display().to_string();
    let table = fresh_table();
    let url = format!(
        "postgresql:///postgres?host={folder}&port={}&user=postgres&table={table}",
        server().port
    );
    let adapter = open(&url).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    let error = adapter.insert(&rows(journal, u64::MAX - 2, 1).batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Poison(vec![0]));
    assert!(open(&adapter.identity()).unwrap().identity() == adapter.identity());
}
