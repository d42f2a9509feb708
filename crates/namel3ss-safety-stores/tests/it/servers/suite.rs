//! What every kind of server passes, on a real one.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use namel3ss_safety::conformance::{Subject, buffer, hostile_events, plain_event, run, same_event};
use namel3ss_safety::{
    AdapterError, AdapterRegistry, Delivery, Failure, JournalId, SafetyEvent, SafetyEventLogger,
    Timestamp,
};
use namel3ss_safety_stores::open;
use namel3ss_safety_stores::read::{DatasetReader as _, Scan, ScanError};

use super::{Database, JOB, TestServer, all, expected, fresh_table, places, reader, rows};
use crate::jobs::helper;

pub(crate) use crate::copies::servers::*;

/// The suite's tests for one kind of server.
macro_rules! suite {
    ($database:ty) => {
        crate::servers::suite!($database:
            it_conforms
            copies_of_a_process_lose_nothing
            copies_that_are_killed_store_each_event_once
            ids_and_moments_are_compared_as_the_columns_have_them
            another_table_keeps_its_columns_and_types
            a_table_of_few_columns_gives_back_what_was_logged
            a_column_may_come_and_go_while_rows_are_stored
            keys_of_theirs_count_if_they_hold_ours
            a_partitioned_table_holds_every_row_once_as_it_was
            a_row_of_no_partition_costs_itself_alone
            rows_that_the_server_refuses_are_named_and_nothing_is_stored
            two_processes_of_two_threads_store_every_event_once
            a_reader_gives_the_newest_and_then_what_comes
            a_pushed_filter_equals_the_plain_one
            a_scan_of_our_own_table_gives_what_is_asked_for
            a_deadline_ends_the_statement_on_the_server
            a_table_is_described_and_a_missing_one_is_told_with_the_others
            sessions_that_are_ended_at_any_moment_lose_and_repeat_nothing
            a_server_killed_while_loggers_write_gets_every_event_once
            encryption_is_as_strict_as_asked_for
            failures_are_told_apart_and_never_tell_a_password
            nothing_waits_for_ever
        );
    };
    ($database:ty: $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                crate::servers::suite::$test::<$database>();
            }
        )*
    };
}
pub(crate) use suite;

fn insert(url: &str, journal: JournalId, first: u64, count: u64) -> Result<(), AdapterError> {
    open(url).unwrap().insert(&rows(journal, first, count).batch())
}

pub(crate) fn it_conforms<D: Database>() {
    run(|| {
        let url = D::url(&fresh_table());
        let (read, again) = (url.clone(), url.clone());
        Subject::new(open(&url).unwrap(), move || all(&read))
            .reopened_by(move || open(&again).unwrap())
    });
}

pub(crate) fn another_table_keeps_its_columns_and_types<D: Database>() {
    let journal = JournalId::generate();
    let theirs = D::theirs(&fresh_table(), journal);
    D::sql(&theirs.make);
    let url = D::url(&theirs.table);
    let adapter = open(&url).unwrap();
    let event = SafetyEvent { timestamp: Timestamp::from_micros(1_500_000), ..plain_event(9) };
    adapter.insert(&buffer(journal, 9, &[event]).batch()).unwrap();
    assert_eq!(adapter.delivery(), Delivery::AtLeastOnce);
    assert_eq!(D::sql(&format!("SELECT {} FROM {}", theirs.ask, theirs.table)), theirs.says);
    D::sql(&format!("ALTER TABLE {} DROP COLUMN metadata", theirs.table));
    let error = insert(&url, journal, 1, 1).unwrap_err();
    assert_eq!(*error.failure(), Failure::Config);
    assert!(error.to_string().contains("it lacks app_name"), "{error}");
}

/// What has no column is read from the metadata. Such a table was refused, or its rows were `allow`, of
/// this moment and with new ids.
pub(crate) fn a_table_of_few_columns_gives_back_what_was_logged<D: Database>() {
    let table = fresh_table();
    let (metadata, _) = D::COLUMNS.split_once(',').unwrap();
    D::sql(&format!("CREATE TABLE {table} ({metadata}, {})", D::KEYS[0].0));
    let (url, journal) = (D::url(&table), JournalId::generate());
    let mut events = hostile_events();
    for (event, second) in events.iter_mut().zip(1..) {
        if event.timestamp > Timestamp::from_micros(1_700_000_000_000_000) {
            event.timestamp = Timestamp::from_micros(second * 1_000_000);
        }
    }
    let adapter = open(&url).unwrap();
    let sent = buffer(journal, 1, &events);
    (0..2).for_each(|_| adapter.insert(&sent.batch()).unwrap());
    let found = all(&url);
    assert_eq!(found.len(), events.len());
    for (found, sent) in found.iter().zip(sent.batch().rows()) {
        assert_eq!(found.id, Some((journal, sent.seq)));
        assert!(
            same_event(&found.event, &sent.event.to_event()),
            "{:?}",
            found.event.event_id.get(..40)
        );
    }
    let last = events.len() as u64;
    let late = SafetyEvent { timestamp: "2026-03-01T12:00:00Z".parse().unwrap(), ..plain_event(8) };
    adapter.insert(&buffer(journal, last + 1, &[late]).batch()).unwrap();
    let newest = Scan { newest_first: true, limit: Some(2), ..Scan::default() };
    let newest = crate::scans::given(&mut reader(&url).scan(newest).unwrap()).unwrap();
    let newest: Vec<String> = newest.into_iter().map(|row| row.event.event_id).collect();
    assert_eq!(newest.len(), 2);
    assert!(newest.contains(&"event-8".to_owned()), "{newest:?}");
}

pub(crate) fn a_column_may_come_and_go_while_rows_are_stored<D: Database>() {
    let table = fresh_table();
    let url = D::url(&table);
    let adapter = open(&url).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    D::sql(&format!("ALTER TABLE {table} DROP COLUMN user_id, DROP COLUMN policy_name"));
    adapter.insert(&rows(journal, 2, 1).batch()).unwrap();
    D::sql(&format!("ALTER TABLE {table} ADD COLUMN team TEXT, ADD COLUMN policy_name TEXT"));
    adapter.insert(&rows(journal, 3, 1).batch()).unwrap();
    insert(&url, journal, 4, 1).unwrap();
    let policy = D::in_metadata("policy_name");
    let found =
        D::sql(&format!("SELECT COALESCE(policy_name, {policy}, '-') FROM {table} ORDER BY seq"));
    assert_eq!(found, "-\npolicy\npolicy\npolicy");
    // As a later version may leave it: columns that this one does not know.
    D::sql(&format!("ALTER TABLE {table} ADD COLUMN level INT NOT NULL DEFAULT 3"));
    for adapter in [&adapter, &open(&url).unwrap()] {
        (0..2).for_each(|_| adapter.insert(&rows(journal, 5, 1).batch()).unwrap());
    }
    let found = all(&url);
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|row| row.event.app_name.as_deref() == Some("app")), "{found:?}");
    assert_eq!(D::sql(&format!("SELECT COUNT(*) FROM {table} WHERE level = 3")), "5");
    D::sql(&format!("DROP TABLE {table}"));
    adapter.insert(&rows(journal, 5, 1).batch()).unwrap();
    assert_eq!(places(&url), [(journal, 5)]);
}

pub(crate) fn keys_of_theirs_count_if_they_hold_ours<D: Database>() {
    for (key, once) in D::KEYS {
        let table = fresh_table();
        D::sql(&format!("CREATE TABLE {table} ({}, {key})", D::COLUMNS));
        let adapter = open(&D::url(&table)).unwrap();
        let rows = rows(JournalId::generate(), 1, 3);
        adapter.insert(&rows.batch().slice(1..2)).unwrap();
        assert_eq!(adapter.delivery() != Delivery::AtLeastOnce, *once, "{key}");
        if *once {
            (0..2).for_each(|_| adapter.insert(&rows.batch()).unwrap());
        }
        let found = D::sql(&format!("SELECT COUNT(*) FROM {table}"));
        assert_eq!(found, if *once { "3" } else { "1" }, "{key}");
    }
}

/// Our own table, by moment: the key holds the partition column.
fn partitioned<D: Database>(before: &str, default: bool) -> String {
    let table = fresh_table();
    D::sql(&D::partitioned(&table, before));
    if default {
        D::sql(&D::rest(&table));
    }
    table
}

/// Hostile rows, which are sent several times and in parts, are there once and as they were.
pub(crate) fn a_partitioned_table_holds_every_row_once_as_it_was<D: Database>() {
    let url = D::url(&partitioned::<D>("2001-01-01", true));
    let events = hostile_events();
    let rows = buffer(JournalId::generate(), 1, &events);
    let middle = events.len() / 2;
    for range in [10..middle, 0..middle + 10, middle..events.len(), 0..events.len()] {
        let adapter = open(&url).unwrap();
        adapter.insert(&rows.batch().slice(range)).unwrap();
        assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));
    }
    let mut found = all(&url);
    found.sort_unstable_by_key(|row| row.id);
    assert_eq!(found.len(), events.len());
    for (sent, there) in rows.batch().rows().zip(&found) {
        let sent = sent.event.to_event();
        assert!(same_event(&sent, &there.event), "{sent:?}\n{:?}", there.event);
    }
}

pub(crate) fn a_row_of_no_partition_costs_itself_alone<D: Database>() {
    let table = partitioned::<D>("2101-01-01", false);
    let late =
        SafetyEvent { timestamp: Timestamp::from_micros(5_000_000_000_000_000), ..plain_event(1) };
    let rows = buffer(JournalId::generate(), 1, &[plain_event(0), late, plain_event(2)]);
    let adapter = open(&D::url(&table)).unwrap();
    let error = adapter.insert(&rows.batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Poison(vec![1]), "{error}");
    adapter.insert(&rows.batch().slice(0..1)).unwrap();
    D::sql(&D::rest(&table));
    adapter.insert(&rows.batch()).unwrap();
    assert_eq!(places(&D::url(&table)).len(), 3);
    assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));
}

pub(crate) fn rows_that_the_server_refuses_are_named_and_nothing_is_stored<D: Database>() {
    for (change, poison) in D::REFUSED {
        let table = fresh_table();
        let url = D::url(&table);
        let mut adapter = open(&url).unwrap();
        let journal = JournalId::generate();
        adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
        // The row that stands there is no longer one of these, and has the texts of the first.
        D::sql(&format!("UPDATE {table} SET seq = 0; ALTER TABLE {table} {change}"));
        if D::KEYS_SHOW_AT_OPENING && change.contains("UNIQUE") {
            adapter = open(&url).unwrap();
        }
        let batch = rows(journal, 1, 11);
        let error = adapter.insert(&batch.batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Poison(poison.to_vec()), "{change}: {error}");
        assert!(!error.to_string().contains("event-"), "{error}");
        assert_eq!(places(&url).len(), 1, "{change}");
        for at in (0..11).filter(|at| !poison.contains(at)) {
            adapter.insert(&batch.batch().slice(at..at + 1)).unwrap();
        }
    }
}

/// Two processes of two threads each, all of which send one journal.
pub(crate) fn two_processes_of_two_threads_store_every_event_once<D: Database>() {
    let url = D::url(&fresh_table());
    let journals: Vec<JournalId> = (0..3).map(|_| JournalId::generate()).collect();
    let children = [&journals[..2], &journals[1..]].map(|journals| {
        let ids: Vec<String> = journals.iter().map(ToString::to_string).collect();
        helper("servers")
            .env(JOB, format!("{url}\n{}", ids.join(",")))
            .stdout(Stdio::null())
            .spawn()
            .expect("a child process starts")
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(places(&url), expected(&journals, 500));
}

pub(crate) fn a_reader_gives_the_newest_and_then_what_comes<D: Database>() {
    let url = D::url(&fresh_table());
    let adapter = open(&url).unwrap();
    let journals = [JournalId::generate(), JournalId::generate()];
    // Each batch later than the one before.
    let mut after = 0;
    let mut store = |journal, first: u64, count| {
        after += 10_000;
        let events: Vec<SafetyEvent> = (after..after + count).map(plain_event).collect();
        adapter.insert(&buffer(journal, first, &events).batch()).unwrap();
    };
    journals.iter().for_each(|journal| store(*journal, 1, 1200));
    let following = reader(&url);
    let mut after = None;
    let mut look = |newest: Option<usize>| {
        let scan = Scan {
            newest_first: newest.is_some(),
            limit: newest,
            after: after.take(),
            ..Scan::default()
        };
        let mut batches = following.scan(scan).unwrap();
        let seqs = crate::scans::given(&mut batches).unwrap();
        after = batches.position();
        seqs.into_iter().map(|row| row.id.unwrap().1.0).collect::<Vec<u64>>()
    };
    assert_eq!(look(Some(2)), [1200, 1199]);
    assert!(look(None).is_empty());
    store(journals[0], 1201, 600);
    store(journals[1], 1201, 1);
    store(JournalId::generate(), 1, 1);
    let mut found = look(None);
    found.sort_unstable();
    let mut expected: Vec<u64> = (1201..=1800).chain([1, 1201]).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    // In the order of their moments, whatever their journals.
    let moments: Vec<_> = all(&url).iter().map(|row| row.event.timestamp).collect();
    assert_eq!(moments.len(), 3002);
    assert!(moments.is_sorted());
}

/// In our own table, and in those of others.
pub(crate) fn a_pushed_filter_equals_the_plain_one<D: Database>() {
    D::sql(D::MAKE_ODD);
    let ours = fresh_table();
    let events = crate::scans::events();
    let store = |table: &str| {
        let (journal, adapter) = (JournalId::generate(), open(&D::url(table)).unwrap());
        adapter.insert(&buffer(journal, 1, &events).batch()).unwrap();
        let odd = vec![plain_event(1); D::ODD_ROWS.len()];
        adapter.insert(&buffer(journal, 10_001, &odd).batch()).unwrap();
    };
    store(&ours);
    let theirs = D::ODD_TABLES.iter().map(|columns| {
        let table = fresh_table();
        D::sql(&format!("CREATE TABLE {table} ({columns})"));
        store(&table);
        table
    });
    let theirs: Vec<String> = theirs.collect();
    for table in std::iter::once(&ours).chain(&theirs) {
        // As a program in another language may write them; not every table takes each of them.
        let set = D::ODD_ROWS.iter().zip(10_001..).filter(|(set, seq)| {
            let sql = format!("UPDATE {table} SET {set} WHERE seq = {seq}");
            D::client(D::shared().port, &sql).output().unwrap().status.success()
        });
        let odd = set.count();
        assert!(odd > D::ODD_ROWS.len() / 2, "{odd} in {table}");
        let reader = reader(&D::url(table));
        crate::scans::newest_rows_are_the_last_of_all(&reader);
        crate::scans::fewer_columns_hold_the_same(&reader);
        crate::scans::a_pushed_filter_equals_the_plain_one(&reader, 3);
    }
}

pub(crate) fn a_scan_of_our_own_table_gives_what_is_asked_for<D: Database>() {
    crate::read::pushed::a_pushed_filter_equals_the_plain_one(&D::url(&fresh_table()));
    crate::read::pushed::a_scan_goes_on_behind_a_position(&D::url(&fresh_table()));
}

/// The server ends what it does by itself, and the next scan works.
pub(crate) fn a_deadline_ends_the_statement_on_the_server<D: Database>() {
    let table = fresh_table();
    let url = D::url(&table);
    insert(&url, JournalId::generate(), 1, 1).unwrap();
    let slow = fresh_table();
    D::sql(&format!("CREATE VIEW {slow} AS {}", D::slow(&table)));
    let reader = reader(&D::url(&slow));
    let began = Instant::now();
    let soon = Scan { deadline: Some(began + Duration::from_millis(700)), ..Scan::default() };
    let ended = reader.scan(soon).and_then(|mut batches| crate::scans::given(&mut batches));
    assert_eq!(ended.unwrap_err(), ScanError::Deadline);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // Nothing goes on there: the view sleeps for a minute.
    let until = Instant::now() + Duration::from_secs(10);
    while D::sql(&D::running(&slow)) != "0" {
        assert!(Instant::now() < until, "the statement goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let past = Scan { deadline: Some(Instant::now()), ..Scan::default() };
    assert_eq!(reader.scan(past).unwrap_err(), ScanError::Deadline);
}

pub(crate) fn a_table_is_described_and_a_missing_one_is_told_with_the_others<D: Database>() {
    let table = fresh_table();
    let url = D::url(&table);
    insert(&url, JournalId::generate(), 1, 3).unwrap();
    let described = reader(&url).describe().unwrap();
    let moment = |n| plain_event(n).timestamp;
    assert_eq!(described.time_range, Some((moment(1), moment(3))));
    assert_eq!(described.columns.len(), 19);
    assert!(described.bytes.unwrap() > 0);
    let missing = reader(&D::url("nowhere")).describe().unwrap_err();
    assert!(matches!(&missing, ScanError::NotThere(_)), "{missing}");
    let text = missing.to_string();
    assert!(
        text.contains("there is no table") && text.contains("; name one with ?table="),
        "{text}"
    );
}

pub(crate) fn sessions_that_are_ended_at_any_moment_lose_and_repeat_nothing<D: Database>() {
    D::sql(&D::make_user("ended"));
    let url = D::url_of("ended", &fresh_table());
    let adapter = open(&url).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    let stop = AtomicBool::new(false);
    let mut failures = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                D::sql(D::END_SESSIONS);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        for batch in 0..300 {
            let rows = rows(journal, batch * 50 + 1, 50);
            while let Err(error) = adapter.insert(&rows.batch()) {
                assert_eq!(*error.failure(), Failure::Transient, "{error}");
                failures += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(failures > 0, "no session was ended while it stored");
    assert_eq!(places(&url), expected(&[journal], 15_000));
}

/// Two loggers write while their server is killed and started again, several times.
pub(crate) fn a_server_killed_while_loggers_write_gets_every_event_once<D: Database>() {
    const EVENTS: u64 = 20_000;
    let server = TestServer::up(D::KIND, "restarted");
    let url = D::place(D::USER, "localhost", server.port);
    let home = tempfile::tempdir().unwrap();
    let logger = || {
        let registry = AdapterRegistry::default();
        registry.register("safety_events", open(&url).unwrap());
        let builder = SafetyEventLogger::builder().adapter_registry(registry).home(home.path());
        let builder = builder.retry_delay(Duration::from_millis(20)).max_retries(1000);
        let logger = builder.no_fallback().build().unwrap();
        logger.start();
        logger
    };
    let loggers = [logger(), logger()];
    // They go on for as long as servers die, however slow this machine is, but not for ever.
    let over = AtomicBool::new(false);
    let write = |logger: &SafetyEventLogger| {
        for n in 0..4 * EVENTS {
            if n >= EVENTS && over.load(Ordering::SeqCst) {
                return n;
            }
            let _ = logger.log(&plain_event(n));
            if n % 100 == 0 || n >= EVENTS {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        4 * EVENTS
    };
    let logged: Vec<u64> = std::thread::scope(|scope| {
        let write = &write;
        let writers: Vec<_> =
            loggers.iter().map(|logger| scope.spawn(move || write(logger))).collect();
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(300));
            server.restart();
        }
        server.kill();
        std::thread::sleep(Duration::from_millis(300));
        server.restart();
        over.store(true, Ordering::SeqCst);
        writers.into_iter().map(|writer| writer.join().expect("it ends")).collect()
    });
    for (logger, logged) in loggers.iter().zip(&logged) {
        assert!(logger.stop(Some(Duration::from_secs(60))).complete, "{:?}", logger.notices());
        let stats = logger.stats();
        assert_eq!((stats.total_flushed, stats.total_dropped), (*logged, 0));
        assert!(stats.total_retries > 0, "no batch met a server that was gone");
    }
    let mut found = places(&url);
    assert_eq!(found.len() as u64, logged.iter().sum::<u64>());
    found.dedup();
    assert_eq!(found.len() as u64, logged.iter().sum::<u64>());
}

pub(crate) fn encryption_is_as_strict_as_asked_for<D: Database>() {
    let other = tempfile::tempdir().unwrap();
    let wrong = other.path().join("other.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout"])
        .args([other.path().join("key").as_os_str(), "-out".as_ref(), wrong.as_os_str()])
        .output()
        .unwrap();
    assert!(made.status.success());
    D::sql(&D::make_user("tls_only"));
    let (ca, wrong) = (D::shared().ca.display(), wrong.display());
    for (host, options, good) in [
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}"), true),
        ("127.0.0.1", format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"), false),
        ("localhost", format!("ssl-mode=VERIFY_CA&ssl-ca={ca}"), true),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), !D::ROOT_NEEDS_NAME),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={ca}"), !D::ROOT_NEEDS_NAME),
        ("localhost", format!("ssl_ca={ca}"), true),
        ("127.0.0.1", format!("ssl_ca={ca}"), !D::ROOT_NEEDS_NAME),
        ("localhost", format!("sslmode=require&sslrootcert={wrong}"), false),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={wrong}"), false),
        ("localhost", "sslmode=verify-full".to_owned(), false),
        ("localhost", "sslmode=verify-ca".to_owned(), false),
        ("localhost", "sslmode=verify-ca&sslrootcert=/nowhere.pem".to_owned(), false),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        ("127.0.0.1", "sslmode=prefer".to_owned(), true),
        ("127.0.0.1", String::new(), true),
        ("127.0.0.1", "sslmode=disable".to_owned(), false),
    ] {
        let place = D::place("tls_only", host, D::shared().port);
        let url = format!("{place}?table={}&{options}", fresh_table());
        let result = insert(&url, JournalId::generate(), 1, 1);
        assert_eq!(result.is_ok(), good, "{host} {options}: {result:?}");
        if let Err(error) = result {
            assert_eq!(*error.failure(), Failure::Config, "{options}: {error}");
        }
    }
}

pub(crate) fn failures_are_told_apart_and_never_tell_a_password<D: Database>() {
    let table = fresh_table();
    insert(&D::url(&table), JournalId::generate(), 1, 1).unwrap();
    let mut wrong = D::wrong(&table);
    let canary = D::url_of("canary", &table);
    let nowhere = D::url(&table).replace(&format!("/{}?", D::DATABASE), "/nowhere?");
    wrong.extend([
        (D::url_of("canary:wrong-canary", &table), Failure::Config, "password"),
        (format!("{canary}&password=wrong-canary"), Failure::Config, "password"),
        (canary, Failure::Config, "password"),
        (nowhere, Failure::Config, "nowhere"),
        (D::url_of("reader", &table), Failure::Config, "denied"),
        (D::url_of("reader", &fresh_table()), Failure::Config, "denied"),
        (D::place("u:canary", "127.0.0.1", 1), Failure::Transient, "refused"),
        (D::place("u:canary", "no-such-host.invalid", 1), Failure::Transient, "no-such-host"),
    ]);
    for (url, expected, hint) in wrong {
        let adapter = open(&url).unwrap();
        let error = adapter.insert(&rows(JournalId::generate(), 1, 1).batch()).expect_err(&url);
        assert_eq!(*error.failure(), expected, "{error}");
        assert!(error.to_string().contains(hint), "{error}");
        for shown in [format!("{error} {error:?} {adapter:?}"), adapter.identity()] {
            assert!(!shown.contains("-canary") && !shown.contains(":canary"), "{shown}");
        }
    }
    // Rights to insert and to see the key are enough, also for rows that are there.
    let adapter = open(&D::url_of("canary:right-canary", &table)).unwrap();
    let rows = rows(JournalId::generate(), 1, 3);
    (0..2).for_each(|_| adapter.insert(&rows.batch()).unwrap());
    assert!(!format!("{adapter:?}").contains("right-canary"));
    assert_eq!(D::sql(&format!("SELECT COUNT(*) FROM {table}")), "4");
}

pub(crate) fn nothing_waits_for_ever<D: Database>() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = D::place("u", "127.0.0.1", deaf.local_addr().unwrap().port().into());
    let begun = Instant::now();
    let error =
        insert(&format!("{place}?connect_timeout=1"), JournalId::generate(), 1, 1).unwrap_err();
    assert_eq!(*error.failure(), Failure::Transient);
    assert!(error.to_string().contains("no answer within 1 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());

    let table = fresh_table();
    let adapter = open(&format!("{}&timeout=1", D::url(&table))).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| D::sql(&D::hold(&table)));
        while D::sql(&D::holders(&table)) == "0" {}
        let error = adapter.insert(&rows(journal, 2, 1).batch()).unwrap_err();
        assert_eq!(*error.failure(), Failure::Transient, "{error}");
    });
    adapter.insert(&rows(journal, 2, 1).batch()).unwrap();
    assert_eq!(places(&D::url(&table)).len(), 2);
}
