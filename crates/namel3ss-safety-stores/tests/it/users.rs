//! A server that begins as root, logs, and then gives up its rights: whatever its dataset is, each
//! event is there once after the next start as root.
#![expect(unsafe_code, reason = "setuid has no safe form")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use namel3ss_safety::conformance::plain_event;
use namel3ss_safety::{AdapterRegistry, Logged, SafetyEventLogger};
use namel3ss_safety_stores::open;

use crate::jobs::helper;
use crate::servers::{TestServer, all, fresh_table};

/// A user that the password database does not know.
const NOBODY: u32 = 54_321;
/// What the helper process is told: the part it is, the dataset, root's home and how many events.
const TOLD: [&str; 4] = ["PART", "URL", "HOME", "EVENTS"];

fn become_user(user: u32) {
    // SAFETY: changes what this process may do, which ends soon.
    let changed = unsafe { libc::setgid(user) == 0 && libc::setuid(user) == 0 };
    assert!(changed, "{}", std::io::Error::last_os_error());
}

fn logger(url: &str, home: &Path) -> SafetyEventLogger {
    let registry = AdapterRegistry::default();
    registry.register("safety_events", open(url).unwrap());
    let builder = SafetyEventLogger::builder().adapter_registry(registry).home(home);
    builder.no_fallback().flush_interval_seconds(0.05).build().unwrap()
}

fn log(logger: &SafetyEventLogger, from: u64, events: u64) {
    for n in from..from + events {
        let logged = logger.log(&plain_event(n));
        assert!(matches!(logged, Logged::Journaled(_)), "{n}: {logged:?}");
    }
}

pub(crate) fn child() {
    let told = TOLD.map(|name| std::env::var(format!("N3_SAFETY_TEST_USER_{name}")));
    let [part, url, home, events] = told.map(|value| value.expect("all of them"));
    let (home, events) = (Path::new(&home), events.parse::<u64>().unwrap());
    match part.as_str() {
        // What it makes of the dataset is the new user's.
        "first life" => {
            become_user(NOBODY);
            let logger = logger(&url, &home.with_file_name("theirs").join("first"));
            log(&logger, 0, 1);
            assert!(logger.stop(Some(Duration::from_secs(30))).complete);
        }
        "server" => {
            let logger = logger(&url, home);
            logger.start();
            log(&logger, 1, events);
            become_user(NOBODY);
            log(&logger, 1 + events, events);
            let start = Instant::now();
            while logger.journal_folder().is_none_or(|folder| folder.starts_with(home)) {
                assert!(start.elapsed() < Duration::from_secs(30), "no new journal");
                log(&logger, 0, 1);
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = logger.stop(Some(Duration::from_secs(60)));
            let stats = logger.stats();
            assert_eq!((stats.total_dropped, stats.healthy), (0, false), "{stats:?}");
        }
        other => panic!("{other} is no part"),
    }
}

/// All events once, by their ids.
fn check(url: impl Fn(&Path) -> String, events: u64, ids: impl Fn(&str) -> Vec<String>) {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (home, theirs) = (folder.path().join("home"), folder.path().join("theirs"));
    fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    let url = url(&theirs);
    for part in ["first life", "server"] {
        let values = [part, &url, home.to_str().unwrap(), &events.to_string()];
        let told = TOLD.map(|name| format!("N3_SAFETY_TEST_USER_{name}"));
        let done = helper("users")
            .envs(told.into_iter().zip(values))
            .env("NAMEL3SS_SAFETY_HOME", theirs.join("journals"))
            .output()
            .unwrap();
        assert!(done.status.success(), "{part}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let logger = logger(&url, &home);
    logger.start();
    let report = logger.flush(Some(Duration::from_secs(60)));
    assert!(report.complete, "{report:?} {:?}", logger.notices());
    assert!(logger.stop(Some(Duration::from_secs(30))).complete);
    let first = plain_event(0).event_id;
    let mut ids = ids(&url);
    ids.retain(|id| *id != first);
    ids.sort_unstable();
    let mut expected: Vec<String> = (1..=2 * events).map(|n| plain_event(n).event_id).collect();
    expected.sort_unstable();
    assert_eq!(ids.len(), expected.len());
    assert!(ids == expected, "an event is missing, or there twice");
}

#[test]
fn sqlite_has_each_event_once_after_a_change_of_user() {
    let url = |theirs: &Path| format!("sqlite:///{}", theirs.join("safety.db").display());
    check(url, 2000, |url| {
        let path = url.trim_start_matches("sqlite:///");
        let database = rusqlite::Connection::open(path).unwrap();
        let mut ask = database.prepare("SELECT event_id FROM safety_events").unwrap();
        let ids = ask.query_map([], |row| row.get(0)).unwrap();
        ids.map(Result::unwrap).collect()
    });
}

#[test]
#[ignore = "60,100 events: ./prove runs it"]
fn postgres_has_each_event_once_after_a_change_of_user() {
    let server = TestServer::up("postgres", "shared");
    let table = fresh_table();
    let url = format!("postgresql://postgres@127.0.0.1:{}/postgres?table={table}", server.port);
    check(
        |_| url.clone(),
        30_050,
        |url| all(url).into_iter().map(|row| row.event.event_id).collect(),
    );
}
