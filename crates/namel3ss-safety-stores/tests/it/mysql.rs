//! MariaDB passes the suite, and what is particular to it, on a real server.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::OnceLock;

use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{Failure, JournalId, SafetyEvent, Timestamp};
use namel3ss_safety_stores::open;
use namel3ss_safety_stores::schema::{Dialect, ddl};

use crate::servers::{Database, EVERY, TestServer, Theirs, all, fresh_table, places, rows, suite};

pub(crate) struct Mysql;

suite!(Mysql);

impl Database for Mysql {
    const KIND: &'static str = "mariadb";
    const SCHEME: &'static str = "mysql";
    const USER: &'static str = "root";
    const DATABASE: &'static str = "safety";

    fn shared() -> &'static TestServer {
        static SERVER: OnceLock<TestServer> = OnceLock::new();
        SERVER.get_or_init(|| TestServer::up(Self::KIND, "shared"))
    }

    fn client(port: u64, text: &str) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-h", "127.0.0.1", "-P", &port.to_string(), "-u", "root"]);
        client.args(["--default-character-set=utf8mb4", "-N", "-B", "-r", "-e", text, "safety"]);
        client
    }

    fn in_metadata(key: &str) -> String {
        format!("JSON_VALUE(metadata, '$.{key}')")
    }

    fn theirs(table: &str, journal: JournalId) -> Theirs {
        Theirs {
            table: table.to_owned(),
            make: format!(
                "CREATE TABLE {table} (Event_ID VARCHAR(20) PRIMARY KEY, team TEXT DEFAULT 'ours', \
                 timestamp VARCHAR(40), action ENUM('block', 'allow'), categories TEXT, \
                 metadata LONGTEXT, journal_id BINARY(16), seq DECIMAL(20), \
                 twice TEXT AS (CONCAT(team, team)) STORED)"
            ),
            ask: "Event_ID, team, timestamp, action, categories, LOWER(HEX(journal_id)), seq, \
                  JSON_VALUE(metadata, '$.app_name'), JSON_VALUE(metadata, '$.n'), twice",
            says: format!(
                "event-9\tours\t1970-01-01T00:00:01.500000Z\tblock\t[\"pii\"]\t{journal}\t9\tapp\t9\t\
                 oursours"
            ),
        }
    }

    const COLUMNS: &'static str = "metadata JSON, timestamp DATETIME(6)";
    const KEYS: &'static [(&'static str, bool)] = &[
        ("seq BIGINT, journal_id CHAR(32), UNIQUE (seq, journal_id)", true),
        ("seq BIGINT, journal_id BINARY(16), PRIMARY KEY (journal_id, timestamp, seq)", true),
        ("seq BIGINT, journal_id VARCHAR(64), UNIQUE (journal_id(8), seq)", false),
        ("seq BIGINT, journal_id CHAR(32)", false),
    ];

    const IDENTITIES: &'static [(&'static str, bool)] = &[
        ("event_id VARCHAR(40), timestamp DATETIME", true),
        ("event_id CHAR(40), timestamp TEXT", true),
        ("Event_ID TEXT, Timestamp TIMESTAMP(2)", true),
        ("timestamp DATETIME(6)", true),
        ("event_id VARBINARY(40)", false),
        ("team TEXT", false),
    ];

    fn partitioned(table: &str, before: &str) -> String {
        let ddl = ddl(Dialect::Mysql, &table.parse().unwrap())
            .replace("(journal_id, seq)", "(journal_id, seq, `timestamp`)");
        let ddl = ddl.trim_end().trim_end_matches(';');
        format!(
            "{ddl} PARTITION BY RANGE COLUMNS (`timestamp`) \
             (PARTITION a VALUES LESS THAN ('{before}'))"
        )
    }

    fn rest(table: &str) -> String {
        format!("ALTER TABLE {table} ADD PARTITION (PARTITION b VALUES LESS THAN (MAXVALUE))")
    }

    const REFUSED: &'static [(&'static str, &'static [usize])] = &[
        ("ADD CHECK (seq NOT IN (3, 5))", &[2, 4]),
        ("MODIFY event_id VARCHAR(7) NOT NULL", &[9, 10]),
        ("ADD UNIQUE (app_name(10), event_id(10))", &[0]),
        ("ADD UNIQUE (app_name(10))", EVERY),
        ("ADD team INT, ADD CHECK (seq = 0 OR team IS NOT NULL)", EVERY),
    ];
    const KEYS_SHOW_AT_OPENING: bool = true;

    fn make_user(name: &str) -> String {
        let with = if name == "tls_only" { "REQUIRE SSL" } else { "" };
        format!("CREATE USER IF NOT EXISTS {name}@'%' {with}; GRANT ALL ON safety.* TO {name}@'%'")
    }
    const END_SESSIONS: &'static str = "KILL USER ended";

    const ROOT_NEEDS_NAME: bool = true;

    fn wrong(table: &str) -> Vec<(String, Failure, &'static str)> {
        Self::sql(&format!(
            "CREATE USER IF NOT EXISTS canary@'%' IDENTIFIED BY 'right-canary'; \
             GRANT INSERT, SELECT ON safety.{table} TO canary@'%'; \
             CREATE USER IF NOT EXISTS reader@'%'; GRANT SELECT ON safety.* TO reader@'%'; \
             CREATE USER IF NOT EXISTS crowd@'%' WITH MAX_CONNECTIONS_PER_HOUR 1; \
             GRANT SELECT ON safety.* TO crowd@'%'"
        ));
        // The one connection that it may have.
        let crowd = Self::url_of("crowd", table);
        let rows = buffer(JournalId::generate(), 1, &[plain_event(1)]);
        let _ = open(&crowd).unwrap().insert(&rows.batch());
        vec![(crowd, Failure::Throttled(None), "crowd")]
    }

    const MAKE_ODD: &'static str = "SELECT 1";
    const ODD_TABLES: &'static [&'static str] = &[
        "Event_ID VARCHAR(191) CHARACTER SET utf8mb4, timestamp DATETIME, \
         trace_id CHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, \
         reason TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, \
         direction VARCHAR(20) CHARACTER SET latin1, action VARCHAR(20) CHARACTER SET latin1, \
         severity VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, \
         confidence VARCHAR(40), categories LONGTEXT CHARACTER SET utf8mb4, \
         metadata LONGTEXT CHARACTER SET utf8mb4, journal_id CHAR(32), seq DECIMAL(20), \
         team TEXT DEFAULT 'k'",
        "event_id TEXT CHARACTER SET utf8mb4, timestamp VARCHAR(40), \
         trace_id TEXT CHARACTER SET utf8mb4, reason TEXT CHARACTER SET utf8mb4, direction TEXT, \
         action TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, \
         severity TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, \
         confidence DOUBLE, categories TEXT CHARACTER SET utf8mb4, \
         metadata LONGTEXT CHARACTER SET utf8mb4, journal_id CHAR(32), seq BIGINT, \
         UNIQUE (journal_id, seq)",
    ];
    const ODD_ROWS: &'static [&'static str] = &[
        "action = 'DENY '",
        "action = 'maybe', trace_id = 'ABC', reason = 'ABC'",
        "action = 'álert', severity = 'hígh', direction = 'inpút'",
        "action = NULL, trace_id = NULL",
        "action = 'would_block', metadata = '{\"k\": \"\\\\u0061bc\", \"n\": 1.50e1}'",
        "direction = 'Response', severity = ' HIGH'",
        "severity = ' HIGH'",
        "direction = NULL, severity = NULL",
        "timestamp = '2026-02-03 04:05:06.789'",
        "timestamp = '1999-12-31 23:59:59.999999'",
        "timestamp = '0500-01-01 00:00:00'",
        "metadata = '{\"in\": {\"k\": \"abc\"}, \"mode\": \"abc\"}', event_id = 'abc'",
        "trace_id = 'abc ', reason = 'abc '",
        "confidence = NULL",
    ];

    fn slow(table: &str) -> String {
        format!("SELECT t.* FROM {table} AS t WHERE SLEEP(60) = 0")
    }

    fn running(table: &str) -> String {
        format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID() \
             AND command <> 'Sleep' AND info LIKE '%{table}%'"
        )
    }

    fn hold(table: &str) -> String {
        format!("LOCK TABLES {table} WRITE; SELECT SLEEP(3.5)")
    }

    fn holders(_: &str) -> String {
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(3.5)'"
            .to_owned()
    }
}

/// The driver refused the whole statement, and with it every row of the batch.
#[test]
fn a_row_that_no_packet_holds_costs_itself_alone() {
    let server = TestServer::up(Mysql::KIND, "packets");
    let small = Mysql::client(server.port, "SET GLOBAL max_allowed_packet = 65536").output();
    assert!(small.unwrap().status.success());
    let place = Mysql::place(Mysql::USER, "127.0.0.1", server.port);
    let url = format!("{place}?table={}", fresh_table());
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
    open(&Mysql::url(&table)).unwrap().insert(&rows.batch()).unwrap();
    let found = Mysql::sql(&format!(
        "SELECT confidence, latency_ms, timestamp, JSON_EXTRACT(metadata, '$.flat'), \
         JSON_EXISTS(metadata, '$.deep'), JSON_EXISTS(JSON_VALUE(metadata, '$.\"row.exact\"'), '$.confidence') \
         FROM {table}"
    ));
    assert_eq!(found, "NULL\tNULL\t9999-12-31 23:59:59.999999\t1\t0\t1");
    let read = &all(&Mysql::url(&table))[0].event;
    assert!(namel3ss_safety::conformance::same_event(&event, read), "{read:?}");
}

/// What answered on the port could write a terminal's commands and the password into the log.
#[test]
fn the_words_of_who_pretends_to_be_a_server_are_escaped_and_bounded() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // An error in the place of a greeting.
            let words = format!("was it canary-7? \u{1b}[31m{}", "x".repeat(9000));
            let body = [&[0xff, 0x15, 0x04][..], words.as_bytes()].concat();
            let length = u32::try_from(body.len()).expect("a length").to_le_bytes();
            let _ = stream.write_all(&[&length[..3], &[0], &body].concat());
        }
    });
    let url = format!("mysql://u:canary-7@127.0.0.1:{port}/db?connect_timeout=20");
    let adapter = open(&url).unwrap();
    let error = adapter.insert(&rows(JournalId::generate(), 1, 1).batch()).unwrap_err();
    // The debug form would escape them by itself.
    let (said, debug) = (error.to_string(), format!("{error:?}"));
    assert!(said.contains("was it ***? \\u{1b}[31mxxx"), "{said}");
    for said in [said, debug] {
        assert!(!said.contains("canary") && said.len() < 1000, "{said}");
    }
}

fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a length").to_le_bytes();
    [&length[..3], &[number], body].concat()
}

/// A text with its length, as rows and columns have it.
fn sized(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat()
}

/// One row of numbers.
fn numbers(count: u8, number: &str) -> Vec<u8> {
    let column = [
        ["def", "", "", "", "n", "n"].map(sized).concat(),
        vec![12, 63, 0, 20, 0, 0, 0, 8, 0, 0, 0, 0, 0],
    ]
    .concat();
    let end = [0xfe, 0, 0, 2, 0];
    let bodies = std::iter::once(vec![count]).chain((0..count).map(|_| column.clone())).chain([
        end.to_vec(),
        (0..count).flat_map(|_| sized(number)).collect(),
        end.to_vec(),
    ]);
    bodies.zip(1..).flat_map(|(body, number)| packet(number, &body)).collect()
}

/// Whoever answers on the port may say that its packets have a gigabyte.
#[test]
fn who_only_pretends_to_be_a_server_gets_no_more_memory_than_a_packet_has() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let hear = |mut stream: &std::net::TcpStream| -> Option<Vec<u8>> {
                let mut head = [0; 4];
                stream.read_exact(&mut head).ok()?;
                let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
                let mut body = vec![0; length as usize];
                stream.read_exact(&mut body).ok()?;
                Some(body)
            };
            let greeting = [
                &b"\x0a8.0.0\0\x01\0\0\0saltsalt\0\x0c\xa2\x21\x02\0\x08\0\x15"[..],
                &[0; 10],
                b"saltsaltsalt\0mysql_native_password\0",
            ]
            .concat();
            let _ = stream.write_all(&packet(0, &greeting));
            let _ = hear(&stream);
            let _ = stream.write_all(&packet(2, &[0, 0, 0, 2, 0, 0, 0]));
            while let Some(body) = hear(&stream) {
                let asked = String::from_utf8_lossy(&body).matches("@@").count();
                let huge = 0xff_ffff;
                let answer = match asked {
                    0 => (1..=3).flat_map(|n| packet(n, &vec![3; huge])).collect(),
                    _ => numbers(u8::try_from(asked).expect("a few"), "1073741824"),
                };
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    let url =
        format!("mysql://u:canary-7@127.0.0.1:{port}/db?connect_timeout=20&ssl-mode=disabled");
    let error = open(&url).unwrap().insert(&rows(JournalId::generate(), 1, 1).batch()).unwrap_err();
    assert_eq!(*error.failure(), Failure::Transient, "{error}");
    assert!(error.to_string().contains("larger than max_allowed_packet"), "{error}");
}
