//! Three guardrails over real text files, each decision logged: `./quickstart [FILE or FOLDER …]`.
//!
//! An e-mail address is redacted, a payment card blocks its line, an IPv4 address raises an alert;
//! what none of them finds is allowed. Each hit is one event, each line without one too; blank
//! lines are left out. No event repeats what was found: it says where. The events go through the
//! journal into `safety_events.db` under `NAMEL3SS_SAFETY_HOME`; a second run adds to it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the summary is its output")]

#[path = "guard_text/scanners.rs"]
mod scanners;
#[path = "guard_text/report.rs"]
mod report;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namel3ss_safety::internal::home::home;
use namel3ss_safety::{
    AdapterRegistry, Direction, Logged, SafetyAction, SafetyEvent, SafetyEventLogger, Severity,
};
use namel3ss_safety_stores::SqliteAdapter;
use serde_json::{Map, Value};

/// Read where no file or folder is named: on Debian, the copyright notices of every package.
const DEFAULT_INPUT: &str = "/usr/share/doc";
/// A longer line is looked at in parts.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// One guardrail.
struct Policy {
    name: &'static str,
    find: fn(&str) -> Vec<Range<usize>>,
    action: SafetyAction,
    severity: Severity,
    /// How rarely the scanner is wrong; see its limit.
    confidence: f64,
    categories: [&'static str; 2],
    reason: &'static str,
}

const POLICIES: [Policy; 3] = [
    Policy {
        name: "email_address",
        find: scanners::emails,
        action: SafetyAction::Redact,
        severity: Severity::Medium,
        confidence: 0.95,
        categories: ["pii", "email"],
        reason: "an e-mail address was found, and replaced",
    },
    Policy {
        name: "payment_card",
        find: scanners::cards,
        action: SafetyAction::Block,
        severity: Severity::Critical,
        confidence: 0.9,
        categories: ["pii", "payment_card"],
        reason: "a payment card number was found: its prefix, length and check digit fit",
    },
    Policy {
        name: "ipv4_address",
        find: scanners::ipv4s,
        action: SafetyAction::Alert,
        severity: Severity::Low,
        confidence: 0.7,
        categories: ["network", "ipv4"],
        reason: "an IPv4 address was found",
    },
];

/// What was read, and what `log()` cost.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) files: u64,
    pub(crate) skipped: u64,
    pub(crate) lines: u64,
    pub(crate) blank: u64,
    pub(crate) in_memory: u64,
    pub(crate) dropped: u64,
    pub(crate) log_nanos: Vec<u32>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guard_text: failed to {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every event reached the dataset.
fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let mut inputs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let named = !inputs.is_empty();
    if !named {
        inputs.push(DEFAULT_INPUT.into());
    }
    let mut files = Vec::new();
    for input in &inputs {
        collect(input, &mut files, named).map_err(|e| format!("read {}: {e}", input.display()))?;
    }
    if files.is_empty() {
        return Err("find a text file: name files or folders, ./quickstart FOLDER".into());
    }
    files.sort_unstable();

    let home = home();
    std::fs::create_dir_all(&home).map_err(|e| format!("make {}: {e}", home.display()))?;
    let database = home.join("safety_events.db");
    let dataset = Arc::new(SqliteAdapter::open(&database, Default::default())?);
    let registry = AdapterRegistry::default();
    registry.register("safety_events", dataset);
    let logger = SafetyEventLogger::builder().adapter_registry(registry).home(&home).build()?;

    let begun = Instant::now();
    logger.start();
    let mut run = Run::default();
    for path in &files {
        match guard(&logger, path, &mut run) {
            Ok(true) => run.files += 1,
            Ok(false) => run.skipped += 1,
            Err(error) => {
                run.skipped += 1;
                eprintln!("guard_text: {}: {error}", path.display());
            }
        }
    }
    let logged_in = begun.elapsed();
    // A journal's folder is named after it; each row says which journal it came from.
    let journal = logger.journal_folder();
    let delivered = logger.stop(Some(Duration::from_secs(60)));
    let delivered_in = begun.elapsed();
    let journal = journal.as_deref().and_then(Path::file_name).map(|id| id.to_string_lossy());

    let took = report::Took { logged_in, delivered_in };
    report::print(&database, journal.as_deref().unwrap_or(""), &mut run, &logger.stats(), took)?;
    for notice in logger.notices() {
        println!("{notice}");
    }
    Ok(delivered.complete && run.dropped == 0)
}

/// The files at `path`, without following links; of a folder that nobody named, the copyright
/// notices only.
fn collect(path: &Path, files: &mut Vec<PathBuf>, all: bool) -> std::io::Result<()> {
    let kind = std::fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        for entry in std::fs::read_dir(path)? {
            // What vanishes or can't be read below a folder is left out.
            let _ = collect(&entry?.path(), files, all);
        }
    } else if kind.is_file() && (all || path.ends_with("copyright")) {
        files.push(path.to_owned());
    }
    Ok(())
}

/// Looks at each line of a file; false if it is no text.
fn guard(logger: &SafetyEventLogger, path: &Path, run: &mut Run) -> std::io::Result<bool> {
    let mut reader = BufReader::with_capacity(64 << 10, File::open(path)?);
    if reader.fill_buf()?.contains(&0) {
        return Ok(false);
    }
    let file = path.display().to_string();
    let mut bytes = Vec::new();
    for number in 1_u64.. {
        bytes.clear();
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&bytes);
        if line.trim().is_empty() {
            run.blank += 1;
            continue;
        }
        run.lines += 1;
        check_line(logger, &line, &file, number, run);
    }
    Ok(true)
}

fn check_line(logger: &SafetyEventLogger, line: &str, file: &str, number: u64, run: &mut Run) {
    let mut hits = 0;
    let mut all_ms = 0.0;
    for policy in &POLICIES {
        let start = Instant::now();
        let found = (policy.find)(line);
        let latency_ms = start.elapsed().as_secs_f64() * 1e3;
        all_ms += latency_ms;
        if found.is_empty() {
            continue;
        }
        hits += 1;
        let event = SafetyEvent {
            policy_name: Some(policy.name.into()),
            reason: Some(policy.reason.into()),
            action: policy.action,
            categories: policy.categories.map(String::from).into(),
            severity: policy.severity.clone(),
            confidence: policy.confidence,
            latency_ms,
            metadata: place(file, number, found.len()),
            ..event()
        };
        log(logger, &event, run);
    }
    if hits == 0 {
        let event = SafetyEvent { latency_ms: all_ms, metadata: place(file, number, 0), ..event() };
        log(logger, &event, run);
    }
}

fn event() -> SafetyEvent {
    SafetyEvent {
        app_name: Some("quickstart".into()),
        direction: Direction::Input,
        ..SafetyEvent::default()
    }
}

/// Where it was found, and how often; never what.
fn place(file: &str, line: u64, matches: usize) -> Map<String, Value> {
    let entries = [("file", file.into()), ("line", line.into()), ("matches", matches.into())];
    entries.into_iter().map(|(key, value): (&str, Value)| (key.to_owned(), value)).collect()
}

fn log(logger: &SafetyEventLogger, event: &SafetyEvent, run: &mut Run) {
    let start = Instant::now();
    let logged = logger.log(event);
    run.log_nanos.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
    match logged {
        Logged::Journaled(_) => {}
        Logged::Buffered(_) => run.in_memory += 1,
        Logged::Dropped(_) => run.dropped += 1,
    }
}
