//! A backlog as large as the disk holds opens at once and in little memory: it is read as it is
//! delivered. `N3_SAFETY_BACKLOG_MIB` says how large; a longer run asks for 2048.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use namel3ss_safety::conformance::plain_event;
use namel3ss_safety::internal::journal::media::{DiskFolder, Folder};
use namel3ss_safety::internal::journal::{Journal, Options};
use namel3ss_safety::{
    AdapterError, AdapterRegistry, Batch, DatasetAdapter, Delivery, JournalId, SafetyEventLogger,
    Seq, internal::codec,
};

use crate::jobs::helper;

const JOB: &str = "N3_SAFETY_TEST_BACKLOG";
const MIB: &str = "N3_SAFETY_BACKLOG_MIB";

/// Says when the first batch came, and then waits.
#[derive(Debug)]
struct First(Mutex<mpsc::Sender<usize>>);

impl DatasetAdapter for First {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        let _ = self.0.lock().expect("nobody panics in it").send(batch.len());
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    }

    fn identity(&self) -> String {
        "first".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

fn write_backlog(home: &Path, bytes: u64) -> u64 {
    let id = JournalId::generate();
    let path = home.join("journal/safety_events").join(id.to_string());
    let folder: Arc<dyn Folder> = Arc::new(DiskFolder::create(&path, true).unwrap());
    let names = ("safety_events", &["first".to_owned()][..]);
    let journal = Journal::create(folder, None, id, names, Options::default()).unwrap();
    let mut event = plain_event(1);
    event.reason = Some("x".repeat(3000));
    let mut payload = Vec::new();
    codec::encode(&event, &mut payload);
    let mut written = 0;
    let mut events = 0;
    while written < bytes {
        journal.append(&payload).unwrap();
        written += payload.len() as u64;
        events += 1;
        if events % 256 == 0 {
            journal.drain(Seq(0)).unwrap();
        }
    }
    events
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_backlog_opens_at_once_and_in_little_memory() {
    let mib: u64 = std::env::var(MIB).ok().and_then(|n| n.parse().ok()).unwrap_or(256);
    let home = tempfile::tempdir().unwrap();
    let events = write_backlog(home.path(), mib << 20);
    let out = helper("backlog").env(JOB, home.path()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("@ ")).expect("the child's line");
    let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
    let [micros, resident_kib, most_kib, pending, read_bytes] = numbers[..] else {
        panic!("{line}")
    };
    if std::env::var_os(MIB).is_some() {
        let mut to = std::io::stderr();
        let _ = writeln!(
            to,
            "{mib} MiB, {events} events: first batch after {micros} µs, {resident_kib} KiB \
             resident, {most_kib} KiB at most"
        );
    }
    assert_eq!(pending, events);
    // At once: without reading it all. A time would say as much of what else the machine does.
    assert!(read_bytes < 64 << 20, "{read_bytes} bytes were read before the first batch");
    assert!(most_kib < 64 << 10, "{most_kib} KiB");
}

/// What this process has read so far, by system calls.
fn read_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.map_or(0, |bytes| bytes.parse().unwrap())
}

pub(crate) fn child() {
    let home = PathBuf::from(std::env::var(JOB).expect("a home"));
    let (sender, first) = mpsc::channel();
    let registry = AdapterRegistry::default();
    registry.register("safety_events", Arc::new(First(Mutex::new(sender))));
    let (began, read_before) = (Instant::now(), read_bytes());
    let logger =
        SafetyEventLogger::builder().adapter_registry(registry).home(home).build().unwrap();
    logger.start();
    let rows = first.recv_timeout(Duration::from_secs(30)).expect("a first batch");
    let micros = began.elapsed().as_micros();
    assert!(rows > 0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).expect("a line of it");
        line.split_whitespace().nth(1).expect("a number").to_owned()
    };
    let pending = logger.stats().recovering;
    let read = read_bytes() - read_before;
    let text = format!("@ {micros} {} {} {pending} {read}\n", kib("VmRSS:"), kib("VmHWM:"));
    std::io::stdout().write_all(text.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
    // Not even the adapter is waited for.
    std::process::exit(0);
}
