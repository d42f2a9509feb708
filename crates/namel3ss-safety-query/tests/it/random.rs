//! A random WHERE over random rows gives what it gives over a plain table of SQLite with the same rows.

use namel3ss_safety::{Direction, SafetyAction, SafetyEvent, Severity, Timestamp};
use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::{Memory, rows};

const BASE: i64 = 1_772_366_400_000_000;

fn texts() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        "[ab=~é%_']{0,2}".prop_map(Some),
        Just(Some(String::new())),
        Just(Some("5".to_owned()))
    ]
}

fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.5), Just(5.0), Just(-5.0), Just(1e300), 0.0..1.0]
}

/// Moments near each other, and at the ends of days.
fn moments() -> impl Strategy<Value = i64> {
    (-2..3_i64, -2..3_i64)
        .prop_map(|(half_days, micros)| BASE + half_days * 43_200_000_000 + micros)
}

fn events() -> impl Strategy<Value = SafetyEvent> {
    (
        (moments(), texts(), texts(), texts(), texts()),
        (0..4_usize, any::<bool>(), 0..5_usize, numbers(), numbers()),
        prop::collection::vec("[ab]{1}", 0..3),
    )
        .prop_map(
            |(
                (micros, user, reason, policy, trace),
                (action, input, severity, confidence, latency),
                categories,
            )| {
                SafetyEvent {
                    event_id: format!("e{micros}"),
                    timestamp: Timestamp::from_micros(micros),
                    user_id: user,
                    reason,
                    policy_name: policy,
                    trace_id: trace,
                    action: SafetyAction::ALL[action],
                    direction: if input { Direction::Input } else { Direction::Output },
                    severity: Severity::from(
                        ["none", "low", "medium", "high", "critical"][severity],
                    ),
                    confidence,
                    latency_ms: latency,
                    categories,
                    ..SafetyEvent::default()
                }
            },
        )
}

/// A text of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A condition as we are asked it, and as the plain table is asked it: there, moments are written as the
/// column shows them.
fn conditions() -> impl Strategy<Value = (String, String)> {
    let same = |text: String| (text.clone(), text);
    let operators = || prop::sample::select(vec!["=", "<", "<=", ">", ">=", "!=", "is", "is not"]);
    let columns = || {
        prop::sample::select(vec![
            "user_id",
            "reason",
            "policy_name",
            "trace_id",
            "action",
            "direction",
            "severity",
        ])
    };
    let words = || {
        prop_oneof![
            texts().prop_map(|text| text.map_or("null".to_owned(), |text| quoted(&text))),
            prop::sample::select(vec![
                "'block'", "'Block'", "'allow'", "'HIGH'", "'high'", "'input'", "5", "5.0"
            ])
            .prop_map(str::to_owned),
        ]
    };
    let moment = || {
        (moments(), 0..6_usize).prop_map(|(micros, form)| {
            let moment = Timestamp::from_micros(micros);
            let iso = moment.to_string();
            let shown = iso.replacen('T', " ", 1).trim_end_matches('Z').to_owned();
            let ahead = Timestamp::from_micros(micros + 7_200_000_000).to_string();
            let ours = match form {
                0 => iso.clone(),
                1 => shown.clone(),
                2 => ahead.replace('Z', "+02:00"),
                3 => iso.replace('Z', "+00:00"),
                4 => iso.replacen('T', " ", 1),
                _ => iso.replace(".000000", ""),
            };
            (quoted(&ours), quoted(&shown))
        })
    };
    let leaf = prop_oneof![
        3 => (columns(), operators(), words())
            .prop_map(move |(column, operator, word)| same(format!("{column} {operator} {word}"))),
        3 => (operators(), moment(), any::<bool>()).prop_map(|(operator, (ours, plain), turned)| {
            let written = |at: &str| match turned {
                true => format!("{at} {operator} timestamp"),
                false => format!("timestamp {operator} {at}"),
            };
            (written(&ours), written(&plain))
        }),
        1 => (moment(), moment()).prop_map(|((a, b), (c, d))| {
            (format!("timestamp between {a} and {c}"), format!("timestamp between {b} and {d}"))
        }),
        1 => (moment(), moment()).prop_map(|((a, b), (c, d))| {
            (format!("timestamp in ({a}, {c})"), format!("timestamp in ({b}, {d})"))
        }),
        1 => (columns(), words(), words())
            .prop_map(move |(column, a, b)| same(format!("{column} in ({a}, {b})"))),
        1 => (columns(), "[ab%_]{0,3}").prop_map(move |(column, pattern)| {
            same(format!("{column} like '{pattern}'"))
        }),
        1 => columns().prop_map(move |column| same(format!("{column} is null"))),
        1 => (prop::sample::select(vec!["confidence", "latency_ms"]), operators(),
              prop::sample::select(vec!["0", "0.5", "5", "-5", "1e300", "'5'", "null"]))
            .prop_map(move |(column, operator, number)| same(format!("{column} {operator} {number}"))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| {
                (format!("({} and {})", a.0, b.0), format!("({} and {})", a.1, b.1))
            }),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| {
                (format!("({} or {})", a.0, b.0), format!("({} or {})", a.1, b.1))
            }),
            inner.prop_map(|a| (format!("not ({})", a.0), format!("not ({})", a.1))),
        ]
    })
}

/// The same rows as a plain table.
fn plain(memory: &Memory) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "create table events(event_id text, timestamp text, user_id text, reason text, policy_name text,
             trace_id text, action text, direction text, severity text, confidence real, latency_ms real,
             categories text, seq integer)",
        )
        .unwrap();
    for row in memory.rows.iter() {
        let event = &row.event;
        let shown = event.timestamp.to_string().replacen('T', " ", 1);
        connection
            .execute(
                "insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rusqlite::params![
                    event.event_id,
                    shown.trim_end_matches('Z'),
                    event.user_id,
                    event.reason,
                    event.policy_name,
                    event.trace_id,
                    event.action.as_str(),
                    event.direction.as_str(),
                    event.severity.as_str(),
                    event.confidence,
                    event.latency_ms,
                    serde_json::to_string(&event.categories).unwrap(),
                    row.id.unwrap().1.0 as i64,
                ],
            )
            .unwrap();
    }
    connection
}

fn plain_rows(connection: &Connection, sql: &str) -> Vec<Vec<String>> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let value = |column| match row.get_ref(column).unwrap() {
            ValueRef::Null => "NULL".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => format!("{number:?}"),
            ValueRef::Text(text) => format!("'{}'", std::str::from_utf8(text).unwrap()),
            ValueRef::Blob(bytes) => format!("x{bytes:?}"),
        };
        all.push((0..columns).map(value).collect());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_where_is_the_same_as_over_a_plain_table(
        events in prop::collection::vec(events(), 0..40),
        (ours, expected) in conditions(),
    ) {
        let memory = Memory::new(events);
        let mut database = memory.database();
        let connection = plain(&memory);
        for select in [
            "select seq, event_id, timestamp, user_id, categories, confidence from events where {} order by seq",
            "select action, count(*), min(timestamp), max(latency_ms) from events where {} group by 1 order by 1",
            "select a.seq, b.seq from events a join events b on a.timestamp = b.timestamp and a.seq < b.seq
             where a.seq in (select seq from events where {}) order by 1, 2",
            "select timestamp, count(*) from events where {} group by timestamp order by timestamp desc limit 5",
        ] {
            let given = rows(&mut database, &select.replace("{}", &ours)).unwrap();
            let wanted = plain_rows(&connection, &select.replace("{}", &expected));
            prop_assert_eq!(given, wanted, "{}", ours);
        }
    }
}
