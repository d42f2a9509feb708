//! Telling the events of copies of a process apart costs nothing where there is no copy: a batch of new
//! events takes no statement, no request and no read more than storing it does.
#![expect(unsafe_code, reason = "SQLite tells its statements to a C function")]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use namel3ss_safety::{DatasetAdapter, JournalId};
use namel3ss_safety_stores::open;
use rusqlite::ffi;

use crate::faults::proxy::Proxy;
use crate::mysql::Mysql;
use crate::objects::stores::s3;
use crate::objects::xml_store::{Honours, XmlStore};
use crate::postgres::Postgres;
use crate::servers::{Database, fresh_table, rows};

/// Rows of a batch: one statement of SQLite's for many rows, and some for one.
const ROWS: u64 = 70;

fn insert(adapter: &dyn DatasetAdapter, journal: JournalId, first: u64) {
    adapter.insert(&rows(journal, first, ROWS).batch()).expect("stored");
}

/// What a journal's first batch takes, its second one, and the first one again, for which rows must be
/// compared; all in a dataset that has rows of another journal already.
fn batches(
    adapter: &dyn DatasetAdapter,
    mut taken: impl FnMut() -> Vec<String>,
) -> [Vec<String>; 3] {
    insert(adapter, JournalId::generate(), 1);
    let journal = JournalId::generate();
    taken();
    [1, 1 + ROWS, 1].map(|first| {
        insert(adapter, journal, first);
        taken()
    })
}

thread_local! {
    static STATEMENTS: RefCell<Vec<String>> = RefCell::default();
}

unsafe extern "C" fn note(_: c_uint, _: *mut c_void, _: *mut c_void, sql: *mut c_void) -> c_int {
    // SAFETY: for a statement that begins, this is its text.
    let sql = unsafe { CStr::from_ptr(sql.cast::<c_char>()) }.to_string_lossy().into_owned();
    STATEMENTS.with_borrow_mut(|statements| statements.push(sql));
    0
}

unsafe extern "C" fn listen(
    connection: *mut ffi::sqlite3,
    _: *mut *mut c_char,
    _: *const ffi::sqlite3_api_routines,
) -> c_int {
    let kind = ffi::SQLITE_TRACE_STMT as c_uint;
    // SAFETY: a connection that is being opened, and a function that lives for ever.
    unsafe { ffi::sqlite3_trace_v2(connection, kind, Some(note), std::ptr::null_mut()) }
}

#[test]
fn sqlite_runs_no_statement_more() {
    // SAFETY: the function lives for ever.
    let listens = unsafe { ffi::sqlite3_auto_extension(Some(listen)) };
    assert_eq!(listens, ffi::SQLITE_OK);
    let folder = tempfile::tempdir().expect("a folder");
    let adapter = open(&format!("sqlite:///{}/x.db", folder.path().display())).expect("a URL");
    let [first, second, again] = batches(&*adapter, || {
        let kind = |sql: String| sql.split(' ').next().unwrap_or_default().to_owned();
        STATEMENTS.take().into_iter().map(kind).collect()
    });
    // It asks whether somebody has changed the table.
    let mut expected = vec!["BEGIN", "PRAGMA"];
    expected.extend(["INSERT"].repeat(1 + ROWS as usize % 64));
    expected.push("COMMIT");
    assert_eq!(first, expected);
    assert_eq!(second, expected);
    assert!(again.contains(&"SELECT".to_owned()), "rows are compared: {again:?}");
}

/// The statements in what a client has sent, each kind of them once in a row.
fn statements(heard: &[u8], parse: impl Fn(&[u8]) -> (usize, Option<String>)) -> Vec<String> {
    let (mut statements, mut at) = (Vec::new(), 0);
    while at < heard.len() {
        let (bytes, statement) = parse(&heard[at..]);
        statements.extend(statement);
        at += bytes;
    }
    statements.dedup();
    statements
}

/// A message of PostgreSQL's protocol: its kind, a length, and a statement that is run or prepared.
fn postgres(message: &[u8]) -> (usize, Option<String>) {
    let bytes = 1 + u32::from_be_bytes(message[1..5].try_into().expect("4 bytes")) as usize;
    let texts: Vec<_> = message[5..bytes].split(|byte| *byte == 0).collect();
    let sql = match message[0] {
        b'Q' => Some(texts[0]),
        b'P' => Some(texts[1]),
        _ => None,
    };
    (bytes, sql.map(|sql| String::from_utf8_lossy(sql).into_owned()))
}

/// A packet of MySQL's protocol: a length, a number, and a command if that is 0.
fn mysql(packet: &[u8]) -> (usize, Option<String>) {
    let bytes = 4 + u32::from_le_bytes([packet[0], packet[1], packet[2], 0]) as usize;
    let text = String::from_utf8_lossy(&packet[5..bytes]).into_owned();
    let command = match packet[4] {
        3 => text,
        22 => format!("PREPARE {text}"),
        23 => "EXECUTE".to_owned(),
        other => format!("command {other}"),
    };
    (bytes, (packet[3] == 0).then_some(command))
}

fn of_server<D: Database>(
    options: &str,
    parse: fn(&[u8]) -> (usize, Option<String>),
) -> [Vec<String>; 3] {
    let server = u16::try_from(D::shared().port).expect("a port");
    let proxy = Proxy::to(Arc::new(AtomicU16::new(server)), b"COMMIT");
    let place = D::place(D::USER, "127.0.0.1", proxy.port.into());
    let adapter = open(&format!("{place}?table={}&{options}", fresh_table())).expect("a URL");
    batches(&*adapter, || statements(&proxy.heard(), parse))
}

fn begin_with(statements: &[String], expected: &[&str]) {
    let begin = |(sql, expected): (&String, &&str)| sql.starts_with(*expected);
    let all = statements.iter().zip(expected).all(begin);
    assert!(all && statements.len() == expected.len(), "{statements:?}, and not {expected:?}");
}

#[test]
fn postgres_is_sent_no_statement_more() {
    let [first, second, again] = of_server::<Postgres>("sslmode=disable", postgres);
    begin_with(&first, &["BEGIN", "COPY", "COMMIT"]);
    begin_with(&second, &["BEGIN", "COPY", "COMMIT"]);
    assert!(again.iter().any(|sql| sql.starts_with("SELECT")), "rows are compared: {again:?}");
}

#[test]
fn mysql_is_sent_no_statement_more() {
    let [first, second, again] = of_server::<Mysql>("ssl-mode=disabled", mysql);
    // The statements are prepared, since a batch of as many rows came before.
    begin_with(&first, &["START TRANSACTION", "EXECUTE", "COMMIT"]);
    begin_with(&second, &["START TRANSACTION", "EXECUTE", "COMMIT"]);
    let compared = again.iter().any(|sql| sql.starts_with("PREPARE SELECT"));
    assert!(compared, "rows are compared: {again:?}");
}

/// The looks for what is there already are those of before: no object is opened.
#[test]
fn a_store_gets_no_request_more() {
    for (place, expected) in [
        ("p?format=jsonl", vec!["list", "PUT"]),
        // Compaction is looked for before and after.
        ("p?format=parquet", vec!["list", "list", "PUT", "list"]),
    ] {
        let store = XmlStore::start(Honours::Amazon);
        let adapter = open(&s3(store.port, place)).expect("a URL");
        let mut before = 0;
        let [first, second, again] = batches(&*adapter, || {
            let heard = store.heard();
            let requests = heard[before..].lines().filter(|line| line.contains(" HTTP/1.1"));
            let kinds = requests.map(|line| match line.split_once(' ') {
                Some(("GET", rest)) if rest.contains("list-type") => "list".to_owned(),
                Some((method, _)) => method.to_owned(),
                None => line.to_owned(),
            });
            let kinds = kinds.collect();
            before = heard.len();
            kinds
        });
        assert_eq!(first, expected, "{place}");
        assert_eq!(second, expected, "{place}");
        assert!(again.contains(&"GET".to_owned()), "{place}: rows are compared: {again:?}");
    }
}

/// How many bytes this thread has read of files.
fn bytes_read() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").expect("what this thread has read");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("a count");
    line.parse().expect("a number")
}

/// Of a file its sidecar is read, and some bytes before its end, however long it is.
#[test]
fn a_file_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in ["jsonl", "json", "csv"] {
        let path = folder.path().join(format!("x.{kind}"));
        let adapter = open(&format!("file://{}", path.display())).expect("a URL");
        let mut before = 0;
        let read = batches(&*adapter, || {
            let read = bytes_read() - before;
            before = bytes_read();
            vec![read.to_string()]
        });
        let [first, second, again] = read.map(|read| read[0].parse::<u64>().expect("a number"));
        let length = length(&path);
        assert!(first < length / 4 && second < length / 4, "{kind}: {first}, {second} of {length}");
        assert!(again > length / 2, "{kind}: rows are compared: {again} of {length}");
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len()
}
