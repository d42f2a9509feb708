//! PostgreSQL passes the suite, and what is particular to it, on a real server.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{Delivery, Failure, JournalId, SafetyEvent, Timestamp};
use namel3ss_safety_stores::open;
use namel3ss_safety_stores::schema::{Dialect, ddl};

use crate::servers::{Database, EVERY, TestServer, Theirs, all, fresh_table, places, rows, suite};

pub(crate) struct Postgres;

suite!(Postgres);

fn make_role(name: &str, with: &str) -> String {
    format!(
        "DO $$ BEGIN CREATE ROLE {name} LOGIN {with}; \
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
}

impl Database for Postgres {
    const KIND: &'static str = "postgres";
    const SCHEME: &'static str = "postgresql";
    const USER: &'static str = "postgres";
    const DATABASE: &'static str = "postgres";

    fn shared() -> &'static TestServer {
        static SERVER: OnceLock<TestServer> = OnceLock::new();
        SERVER.get_or_init(|| TestServer::up(Self::KIND, "shared"))
    }

    fn client(port: u64, text: &str) -> Command {
        let mut client = Command::new("psql");
        client.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres"]);
        client.args(["-d", "postgres", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", text]);
        client
    }

    fn in_metadata(key: &str) -> String {
        format!("metadata->>'{key}'")
    }

    fn theirs(table: &str, journal: JournalId) -> Theirs {
        Theirs {
            table: format!("audit.{table}"),
            make: format!(
                "CREATE SCHEMA IF NOT EXISTS audit; \
                 CREATE TYPE audit.e_{table} AS ENUM ('block', 'allow'); \
                 CREATE TABLE audit.{table} (\"Event_ID\" varchar(20) PRIMARY KEY, \
                 team text DEFAULT 'ours', timestamp timestamp, action audit.e_{table}, \
                 categories jsonb, metadata json, confidence numeric, policy_name char(10), \
                 journal_id text, seq numeric, \
                 twice text GENERATED ALWAYS AS (team || team) STORED)"
            ),
            ask: "\"Event_ID\", team, timestamp, action, categories->>0, confidence, policy_name, \
                  journal_id, seq, metadata->>'app_name', metadata->>'direction', metadata->>'n', \
                  twice",
            says: format!(
                "event-9|ours|1970-01-01 00:00:01.5|block|pii|1|policy    |{journal}|9|app|input|9|\
                 oursours"
            ),
        }
    }

    const COLUMNS: &'static str = "metadata jsonb, timestamp timestamptz";
    const KEYS: &'static [(&'static str, bool)] = &[
        ("seq bigint, journal_id uuid, UNIQUE (seq, journal_id)", true),
        ("seq bigint, journal_id text, PRIMARY KEY (journal_id, seq)", true),
        ("seq bigint, journal_id uuid, PRIMARY KEY (journal_id, seq) DEFERRABLE", false),
        ("seq bigint, journal_id uuid", false),
    ];

    const IDENTITIES: &'static [(&'static str, bool)] = &[
        ("event_id varchar(40), timestamp timestamptz(0)", true),
        ("event_id char(40), timestamp text, team text DEFAULT 'ours'", true),
        ("\"Event_ID\" text, \"Timestamp\" date", true),
        ("event_id json", true),
        ("timestamp timestamp(2)", true),
        ("team text", false),
    ];

    fn partitioned(table: &str, before: &str) -> String {
        let ddl = ddl(Dialect::Postgres, &table.parse().unwrap()).replace(
            "(journal_id, seq)\n);",
            "(journal_id, seq, timestamp)\n) PARTITION BY RANGE (timestamp);",
        );
        format!(
            "{ddl} CREATE TABLE {table}_1 PARTITION OF {table} \
             FOR VALUES FROM (MINVALUE) TO ('{before}')"
        )
    }

    fn rest(table: &str) -> String {
        format!("CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
    }

    const REFUSED: &'static [(&'static str, &'static [usize])] = &[
        ("ADD CHECK (seq NOT IN (3, 5)), ADD CHECK (app_name = 'app')", &[2, 4]),
        ("ALTER event_id TYPE varchar(7)", &[9, 10]),
        ("ADD UNIQUE (app_name, event_id)", &[0]),
        ("ADD UNIQUE (app_name)", EVERY),
        ("ADD UNIQUE (app_name) DEFERRABLE INITIALLY DEFERRED", EVERY),
        ("ADD team text, ADD CHECK (seq = 0 OR team IS NOT NULL)", EVERY),
    ];
    const KEYS_SHOW_AT_OPENING: bool = false;

    fn make_user(name: &str) -> String {
        make_role(name, "SUPERUSER")
    }
    const END_SESSIONS: &'static str =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ended'";

    const ROOT_NEEDS_NAME: bool = false;

    fn wrong(table: &str) -> Vec<(String, Failure, &'static str)> {
        for (name, with) in [
            ("canary", "PASSWORD 'right-canary'"),
            ("reader", ""),
            ("crowd", "CONNECTION LIMIT 0"),
            ("replica", "SUPERUSER"),
        ] {
            Self::sql(&make_role(name, with));
        }
        Self::sql(&format!(
            "ALTER ROLE replica SET default_transaction_read_only = on; \
             GRANT INSERT, SELECT (journal_id, seq) ON {table} TO canary"
        ));
        vec![
            (Self::url_of("crowd", table), Failure::Throttled(None), "too many connections"),
            (Self::url_of("replica", table), Failure::Transient, "replica"),
        ]
    }

    const MAKE_ODD: &'static str = "CREATE COLLATION IF NOT EXISTS any_case \
         (provider = icu, locale = 'und-u-ks-level1', deterministic = false)";
    const ODD_TABLES: &'static [&'static str] = &[
        "event_id varchar, timestamp timestamp(2), trace_id char(60), reason varchar, \
         direction text, action text, severity varchar, confidence numeric, categories json, \
         metadata json, journal_id text, seq numeric, team text DEFAULT 'k'",
        "event_id text, timestamp text, trace_id text COLLATE any_case, reason text COLLATE any_case, \
         direction text COLLATE any_case, action text COLLATE any_case, severity text COLLATE any_case, \
         confidence float8, categories text, metadata text, journal_id uuid, seq int, \
         UNIQUE (journal_id, seq)",
    ];
    const ODD_ROWS: &'static [&'static str] = &[
        "action = ' DENY'",
        "action = 'maybe', trace_id = 'ABC', reason = 'ABC'",
        "action = 'álert', severity = 'hígh', direction = 'inpút'",
        "timestamp = 'infinity'",
        "timestamp = '0044-03-15 12:00:00 BC'",
        "timestamp = '10001-01-01 00:00:00'",
        "action = NULL, trace_id = NULL",
        "action = 'would_block', metadata = '{\"k\": \"\\u0061bc\", \"n\": 1.50e1}'",
        "direction = 'Response', severity = ' HIGH'",
        "direction = NULL, severity = NULL",
        "direction = 'sideways', confidence = NULL",
        "timestamp = '2026-02-03 04:05:06.789'",
        "timestamp = '1999-12-31 23:59:59.999999'",
        "metadata = '{\"in\": {\"k\": \"abc\"}, \"mode\": \"abc\"}', event_id = 'abc'",
        "confidence = 'NaN', metadata = NULL",
    ];

    fn slow(table: &str) -> String {
        format!("SELECT t.* FROM {table} AS t WHERE pg_sleep(60) IS NOT NULL")
    }

    fn running(table: &str) -> String {
        format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
             AND pid <> pg_backend_pid() AND query LIKE '%{table}%'"
        )
    }

    fn hold(table: &str) -> String {
        format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep(2.5); COMMIT")
    }

    fn holders(table: &str) -> String {
        format!(
            "SELECT count(*) FROM pg_locks \
             WHERE mode = 'AccessExclusiveLock' AND relation = '{table}'::regclass"
        )
    }
}

/// They counted as flushed: the server answers with how many it stored, and nobody looked.
#[test]
fn rows_that_a_trigger_ignores_are_refused_and_the_others_are_stored() {
    // By COPY into a table of ours; by way of the stage; and without a key.
    let tables = [
        ("", true),
        (
            "timestamp text, metadata json, journal_id text, seq numeric, UNIQUE (seq, journal_id)",
            true,
        ),
        ("timestamp timestamp, metadata jsonb, journal_id uuid, seq bigint", false),
    ];
    for (columns, has_key) in tables {
        let table = fresh_table();
        let (url, journal) = (Postgres::url(&table), JournalId::generate());
        if !columns.is_empty() {
            Postgres::sql(&format!("CREATE TABLE {table} ({columns})"));
        }
        let adapter = open(&url).unwrap();
        adapter.insert(&rows(journal, 2, 1).batch()).unwrap();
        Postgres::sql(&format!(
            "CREATE FUNCTION f_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF new.seq IN (3, 7, 11) THEN RETURN NULL; END IF; RETURN new; END $$; \
             CREATE TRIGGER no BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION f_{table}()"
        ));
        // With a row that is there, and without.
        for from in [1, 3] {
            let error = adapter.insert(&rows(journal, from, 12 - from).batch()).unwrap_err();
            let refused = [3, 7, 11].map(|seq| (seq - from) as usize).to_vec();
            assert_eq!(*error.failure(), Failure::Poison(refused), "{columns}: {error}");
            assert!(error.to_string().contains("a trigger ignored rows"), "{error}");
            assert_eq!(places(&url), [(journal, 2)]);
        }
        let batch = rows(journal, 1, 11);
        for part in [0..2, 3..6, 7..10] {
            adapter.insert(&batch.batch().slice(part)).unwrap();
        }
        assert_eq!(places(&url).len(), if has_key { 8 } else { 9 }, "{columns}");
    }
}

#[test]
fn a_text_with_nul_is_readable_in_sql_and_reads_back_unchanged() {
    let table = fresh_table();
    let event = SafetyEvent { reason: Some("a\0b".into()), ..plain_event(1) };
    let adapter = open(&Postgres::url(&table)).unwrap();
    adapter.insert(&buffer(JournalId::generate(), 1, &[event]).batch()).unwrap();
    assert_eq!(Postgres::sql(&format!("SELECT reason FROM {table}")), "a\u{fffd}b");
    let exact = Postgres::sql(&format!("SELECT metadata->>'row.exact' FROM {table}"));
    assert_eq!(exact, r#"{"reason":"a\u0000b"}"#);
    assert_eq!(all(&Postgres::url(&table))[0].event.reason.as_deref(), Some("a\0b"));
}

#[test]
fn a_partitioned_table_stores_once_with_its_partition_key_in_the_constraint() {
    let table = fresh_table();
    Postgres::sql(&format!(
        "CREATE TABLE {table} (metadata jsonb, event_id text, journal_id uuid, seq bigint,
           timestamp timestamptz, PRIMARY KEY (timestamp, journal_id, seq)) PARTITION BY RANGE (timestamp);
         CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES FROM (MINVALUE) TO ('2001-01-01');
         CREATE TABLE {table}_2 PARTITION OF {table} FOR VALUES FROM ('2001-01-01') TO (MAXVALUE)"
    ));
    let journal = JournalId::generate();
    let event = |at| SafetyEvent { timestamp: Timestamp::from_micros(at), ..plain_event(1) };
    let rows = buffer(journal, 1, &[event(1), event(2_000_000_000_000_000), event(2)]);
    let adapter = open(&Postgres::url(&table)).unwrap();
    (0..2).for_each(|_| adapter.insert(&rows.batch()).unwrap());
    adapter.insert(&rows.batch().slice(1..3)).unwrap();
    assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }));
    assert_eq!(places(&Postgres::url(&table)), [(journal, 1), (journal, 2), (journal, 3)]);
    assert_eq!(Postgres::sql(&format!("SELECT count(*) FROM {table}_1")), "2");
}

#[test]
fn a_seq_beyond_bigint_is_poison_and_a_socket_is_as_good_as_a_port() {
    let folder = Postgres::shared().ca.parent().unwrap().display().to_string();
    let table = fresh_table();
    let url = format!(
        "postgresql:///postgres?host={folder}&port={}&user=postgres&table={table}",
        Postgres::shared().port
    );
    let adapter = open(&url).unwrap();
    let journal = JournalId::generate();
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    let error = adapter.insert(&rows(journal, u64::MAX - 2, 1).batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Poison(vec![0]));
    assert!(open(&adapter.identity()).unwrap().identity() == adapter.identity());
}

/// One row that a policy refused cost its batch, as a missing right does, and stopped the delivery.
#[test]
fn a_row_that_a_policy_refuses_costs_that_row() {
    let table = fresh_table();
    Postgres::sql(&make_role("tenant", ""));
    let ours = open(&Postgres::url(&table)).unwrap();
    let journal = JournalId::generate();
    ours.insert(&rows(journal, 1, 1).batch()).unwrap();
    let url = Postgres::url_of("tenant", &table);
    let adapter = open(&url).unwrap();
    // Without a right to the table it is a mistake in the set-up, whatever the row.
    let error = adapter.insert(&rows(journal, 2, 9).batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Config, "{error}");
    Postgres::sql(&format!(
        "GRANT INSERT, SELECT ON {table} TO tenant; \
         ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY own ON {table} USING (true) WITH CHECK (seq NOT IN (4, 7))"
    ));
    let adapter = open(&url).unwrap();
    let batch = rows(journal, 2, 9);
    let error = adapter.insert(&batch.batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Poison(vec![2, 5]), "{error}");
    for part in [0..2, 3..5, 6..9] {
        adapter.insert(&batch.batch().slice(part)).unwrap();
    }
    let stored = [1, 2, 3, 5, 6, 8, 9, 10].map(|seq| (journal, seq));
    assert_eq!(places(&Postgres::url(&table)), stored);
}

/// Of nineteen columns, the server does not say which one has the wrong type.
#[test]
fn a_value_that_does_not_fit_is_told_by_its_column() {
    let kept = "metadata jsonb, journal_id uuid, seq bigint, PRIMARY KEY (journal_id, seq)";
    for (columns, column, code) in [
        // By way of the stage, where values are cast.
        ("\"Action\" e_TABLE, app_name text", "Action", "22P02"),
        ("app_name text, reason integer", "reason", "22P02"),
        ("reason date, event_id text", "reason", "22007"),
        ("severity smallint, confidence numeric(3, 2)", "severity", "22P02"),
        ("reason varchar(3), confidence numeric", "reason", "22001"),
        ("confidence numeric(3, 2), reason text", "confidence", "22003"),
        // Straight into the table.
        ("app_name text, reason varchar(3)", "reason", "22001"),
        ("\"Reason\" varchar(3)", "Reason", "22001"),
    ] {
        let table = fresh_table();
        Postgres::sql(&format!(
            "CREATE TYPE e_{table} AS ENUM ('block', 'allow'); CREATE TABLE {table} ({}, {kept})",
            columns.replace("TABLE", &table)
        ));
        let journal = JournalId::generate();
        let mut events: Vec<SafetyEvent> = (1..=9)
            .map(|n| SafetyEvent {
                // What all of the types above take.
                action: namel3ss_safety::SafetyAction::Block,
                reason: None,
                severity: "1".into(),
                confidence: 0.5,
                ..plain_event(n)
            })
            .collect();
        for at in [3, 6] {
            events[at] = SafetyEvent {
                action: namel3ss_safety::SafetyAction::Alert,
                reason: Some("canary".into()),
                severity: "canary".into(),
                confidence: 4711.5,
                ..plain_event(9)
            };
        }
        let adapter = open(&Postgres::url(&table)).unwrap();
        let error = adapter.insert(&buffer(journal, 1, &events).batch()).unwrap_err();
        let said = format!("{error} {error:?}");
        assert_eq!(*error.failure(), Failure::Poison(vec![3, 6]), "{columns}: {said}");
        assert!(error.to_string().contains(&format!("({code})")), "{columns}: {said}");
        assert!(error.to_string().ends_with(&format!(", column {column}")), "{columns}: {said}");
        assert!(!said.contains("canary") && !said.contains("4711"), "{said}");
        let events = [&events[..3], &events[4..6], &events[7..]].concat();
        adapter.insert(&buffer(journal, 1, &events).batch()).unwrap();
    }
}

/// What a server warns of went into the application's log, as it was.
#[test]
fn a_servers_notices_go_nowhere() {
    static HEARD: Mutex<String> = Mutex::new(String::new());
    struct Heard;
    impl log::Log for Heard {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let text = format!("{} {}\n", record.target(), record.args());
            HEARD.lock().unwrap().push_str(&text);
        }
        fn flush(&self) {}
    }
    log::set_logger(&Heard).expect("the only one");
    log::set_max_level(log::LevelFilter::Trace);
    let table = fresh_table();
    let (adapter, journal) = (open(&Postgres::url(&table)).unwrap(), JournalId::generate());
    adapter.insert(&rows(journal, 1, 1).batch()).unwrap();
    Postgres::sql(&format!(
        "CREATE FUNCTION f_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE WARNING E'canary %\\x1b[31m', new.event_id; RETURN new; END $$; \
         CREATE TRIGGER warns BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION f_{table}()"
    ));
    adapter.insert(&rows(journal, 2, 3).batch()).unwrap();
    assert_eq!(places(&Postgres::url(&table)).len(), 4);
    let heard = HEARD.lock().unwrap();
    assert!(heard.contains("tokio_postgres"), "the driver does log: {heard}");
    assert!(!heard.contains("canary"), "{heard}");
}

/// A server of one answer: after the greeting, what `says` makes of a client's first message.
fn impostor(says: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut bytes);
            // Clear text, please.
            let _ = stream.write_all(b"R\0\0\0\x08\0\0\0\x03");
            let heard = stream.read(&mut bytes).unwrap_or(0);
            let answer = says(&bytes[..heard]);
            // Until the client has had enough, but not for ever.
            for _ in 0..64 {
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    port
}

fn refusal(code: &str, words: &[u8]) -> Vec<u8> {
    let mut body = format!("SFATAL\0VFATAL\0C{code}\0M").into_bytes();
    body.extend_from_slice(words);
    body.extend_from_slice(b"\0\0");
    let length = u32::try_from(body.len() + 4).expect("a length");
    [b"E", &length.to_be_bytes()[..], &body].concat()
}

/// What answered on the port could take 2 GiB of the process, end it, and write the password and a
/// terminal's commands into its log.
#[test]
fn who_only_pretends_to_be_a_server_gets_no_memory_and_no_word_into_the_log() {
    let told = |port: u16| {
        let url = format!(
            "postgresql://u:canary-7@127.0.0.1:{port}/db?sslmode=disable&connect_timeout=20"
        );
        let adapter = open(&url).unwrap();
        adapter.insert(&rows(JournalId::generate(), 1, 1).batch()).unwrap_err()
    };
    let huge = impostor(|_| [&b"E\x7f\xff\xff\xff"[..], &vec![b'A'; 1 << 20]].concat());
    let error = told(huge);
    assert_eq!(*error.failure(), Failure::Transient, "{error}");
    assert!(error.to_string().contains("16 MiB"), "{error}");
    let echo = impostor(|heard| {
        let password = &heard[5..heard.len() - 1];
        refusal("28P01", &[b"it was ", password, b" \x1b[31m", &[b'x'; 9000]].concat())
    });
    let error = told(echo);
    assert_eq!(*error.failure(), Failure::Config, "{error}");
    // The debug form would escape them by itself.
    let (said, debug) = (error.to_string(), format!("{error:?}"));
    assert!(said.contains("it was *** \\u{1b}[31mxxx"), "{said}");
    for said in [said, debug] {
        assert!(!said.contains("canary") && said.len() < 1000, "{said}");
    }
    let unknown = told(impostor(|_| refusal("XX000", b"SECRET ROW"))).to_string();
    assert!(unknown.contains("XX000") && !unknown.contains("SECRET"), "{unknown}");
    let pooler =
        impostor(|_| refusal("08P01", b"transaction blocks not allowed in statement pooling mode"));
    let error = told(pooler);
    assert_eq!(*error.failure(), Failure::Config, "{error}");
    assert!(error.to_string().contains("pool_mode"), "{error}");
}

/// The rights that storing needs are those on the key.
#[test]
fn columns_that_may_not_be_read_are_not_compared() {
    let table = fresh_table();
    let journal = JournalId::generate();
    open(&Postgres::url(&table)).unwrap().insert(&rows(journal, 1, 2).batch()).unwrap();
    let rights = "GRANT INSERT, SELECT (journal_id, seq) ON";
    Postgres::sql(&format!("{}; {rights} {table} TO blind", make_role("blind", "")));
    let others = buffer(journal, 2, &[plain_event(7), plain_event(3)]);
    open(&Postgres::url_of("blind", &table)).unwrap().insert(&others.batch()).unwrap();
    let error = open(&Postgres::url(&table)).unwrap().insert(&others.batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::IdsTaken(vec![0]));
    assert_eq!(all(&Postgres::url(&table)).len(), 3);
}
