//! One logger, an SQLite file, a file of lines and a database server that is killed meanwhile: each
//! has every event once in the end, and nobody has waited for the server.

use std::time::Duration;

use namel3ss_safety::conformance::plain_event;
use namel3ss_safety::{AdapterRegistry, SafetyEventLogger};

use crate::servers::{TestServer, fresh_table, places};

const EVENTS: u64 = 3_000;

#[test]
fn a_server_that_is_killed_holds_up_no_file_and_misses_nothing() {
    let server = TestServer::up("postgres", "fan_out");
    let (home, table) = (tempfile::tempdir().unwrap(), fresh_table());
    let at = |name: &str| home.path().join(name).display().to_string();
    let remote = format!("postgresql://postgres@127.0.0.1:{}/postgres?table={table}", server.port);
    let urls = [remote, format!("sqlite:///{}", at("a.db")), at("b.jsonl")];
    let [remote, sqlite, lines] =
        urls.each_ref().map(|url| namel3ss_safety_stores::open(url).unwrap());
    let registry = AdapterRegistry::default();
    registry.register("safety_events", remote);
    let logger = SafetyEventLogger::builder()
        .adapter_registry(registry)
        .also_to(sqlite)
        .also_to(lines)
        .home(home.path())
        .retry_delay(Duration::from_millis(20))
        .no_fallback()
        .build()
        .unwrap();
    logger.start();
    let log = |from: u64| {
        for n in from..from + EVENTS {
            let _ = logger.log(&plain_event(n));
        }
    };
    log(0);
    server.kill();
    log(EVENTS);
    // The files are complete while the server is gone.
    let report = logger.flush(Some(Duration::from_secs(30)));
    let stats = logger.stats();
    assert_eq!(report.behind, [stats.sinks[0].name.clone()], "{stats:?}");
    assert!(stats.sinks[1..].iter().all(|sink| sink.flushed == 2 * EVENTS), "{stats:?}");
    assert!(!stats.healthy && stats.sinks[1].healthy && stats.sinks[2].healthy, "{stats:?}");
    server.restart();
    log(2 * EVENTS);
    let report = logger.stop(Some(Duration::from_secs(60)));
    assert!(report.complete, "{report:?} {:?}", logger.notices());
    let stats = logger.stats();
    assert_eq!((stats.total_flushed, stats.total_dropped), (3 * EVENTS, 0), "{stats:?}");
    drop(logger);
    let seqs: Vec<u64> = places(&urls[0]).iter().map(|(_, seq)| *seq).collect();
    assert_eq!(seqs, (1..=3 * EVENTS).collect::<Vec<_>>());
    let text = std::fs::read_to_string(home.path().join("b.jsonl")).unwrap();
    assert_eq!(text.lines().count() as u64, 3 * EVENTS);
}
