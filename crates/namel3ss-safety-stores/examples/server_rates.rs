//! Rows a second into real servers, beside their own loaders: `cargo run --release --features
//! postgres,mysql --example server_rates`. The servers are started by scripts/sql-servers, and sync.
#![expect(clippy::print_stdout, reason = "its numbers are its output")]

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use namel3ss_safety::{JournalId, RowBuffer, SafetyAction, SafetyEvent, Seq, Severity};
use namel3ss_safety_stores::{Dialect, Table, ddl, open};
use serde_json::Value;

const BATCH: u64 = 10_000;
const BATCHES: u64 = 30;
const ROUNDS: usize = 3;

type Failed = Box<dyn Error>;

fn output(command: &mut Command) -> Result<String, Failed> {
    let ran = command.output()?;
    if !ran.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&ran.stderr)).into());
    }
    Ok(String::from_utf8(ran.stdout)?.trim().to_owned())
}

fn script(words: &[&str]) -> Result<String, Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/sql-servers");
    output(Command::new(path).args(words).env("N3_SQL_SYNC", "1"))
}

/// A server of `kind`: its port, and the lock that keeps it.
fn up(kind: &str) -> Result<(u64, File), Failed> {
    let lock = File::create(script(&["lock", kind, "rates"])?)?;
    lock.lock_shared()?;
    let facts: Value = serde_json::from_str(&script(&["up", kind, "rates"])?)?;
    Ok((facts["port"].as_u64().ok_or("no port")?, lock))
}

/// Rows a second of all batches into `url`; sent twice, of the second time.
fn rate(url: &str, twice: bool) -> Result<f64, Failed> {
    let adapter = open(url)?;
    let journal = JournalId::generate();
    let mut rows = RowBuffer::new(journal);
    let mut event = SafetyEvent {
        app_name: Some("support-bot".into()),
        policy_name: Some("pii_policy".into()),
        reason: Some("email address found in the model's output, and replaced".into()),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        session_id: Some("s-83621".into()),
        user_id: Some("u-1842".into()),
        action: SafetyAction::Redact,
        categories: vec!["pii".into(), "email".into()],
        severity: Severity::Medium,
        confidence: 0.93,
        latency_ms: 10.5,
        metadata: serde_json::json!({"rule": 7, "model": "m-2", "spans": [12, 31]})
            .as_object()
            .cloned()
            .unwrap_or_default(),
        ..SafetyEvent::default()
    };
    let mut total = 0.0;
    for batch in 0..BATCHES {
        rows.reset(journal, Default::default());
        for i in 1..=BATCH {
            event.event_id = namel3ss_safety::id::new_event_id();
            event.timestamp = namel3ss_safety::Timestamp::now();
            rows.push_event(Seq(batch * BATCH + i), &event);
        }
        if twice {
            adapter.insert(&rows.batch())?;
        }
        let start = Instant::now();
        adapter.insert(&rows.batch())?;
        total += start.elapsed().as_secs_f64();
    }
    Ok((BATCH * BATCHES) as f64 / total)
}

fn postgres() -> Result<(), Failed> {
    let (port, _lock) = up("postgres")?;
    let at = port.to_string();
    let psql = |sql: &str| {
        let place = ["-h", "127.0.0.1", "-p", &at, "-U", "postgres", "-X", "-q", "-c", sql];
        output(Command::new("psql").args(place))
    };
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().display().to_string();
    let make = |name: &str| -> Result<(), Failed> {
        let table: Table = name.parse()?;
        psql(&format!("DROP TABLE IF EXISTS {name}"))?;
        psql(&ddl(Dialect::Postgres, &table))?;
        psql("CHECKPOINT")?;
        Ok(())
    };
    for round in 1..=ROUNDS {
        make("rates")?;
        let url = format!("postgresql://postgres@127.0.0.1:{port}/postgres?table=rates");
        let ours = rate(&url, false)?;
        psql(&format!("\\copy rates TO '{path}' (FORMAT binary)"))?;
        make("loaded")?;
        let start = Instant::now();
        psql(&format!("\\copy loaded FROM '{path}' (FORMAT binary)"))?;
        let theirs = (BATCH * BATCHES) as f64 / start.elapsed().as_secs_f64();
        make("rates")?;
        let again = rate(&url, true)?;
        println!(
            "postgres {round}: {ours:.0} rows/s, psql \\copy {theirs:.0} rows/s with the same key, \
             {:.2} of it; sent again {again:.0} rows/s",
            ours / theirs
        );
    }
    Ok(())
}

fn mariadb() -> Result<(), Failed> {
    let (port, _lock) = up("mariadb")?;
    let at = port.to_string();
    let client = |sql: &str| {
        let place =
            ["--no-defaults", "-h", "127.0.0.1", "-P", &at, "-u", "root", "--local-infile=1"];
        output(Command::new("mariadb").args(place).args(["-e", sql]))
    };
    client("SET GLOBAL local_infile = 1; CREATE DATABASE IF NOT EXISTS safety")?;
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().display().to_string();
    for round in 1..=ROUNDS {
        client("DROP TABLE IF EXISTS safety.rates, safety.loaded")?;
        let ours = rate(&format!("mysql://root@127.0.0.1:{port}/safety?table=rates"), false)?;
        let place = ["--no-defaults", "-h", "127.0.0.1", "-P", &at, "-u", "root", "-N", "-B", "-q"];
        let rows = Command::new("mariadb")
            .args(place)
            .args(["-e", "SELECT * FROM safety.rates"])
            .output()?;
        std::fs::write(&path, rows.stdout)?;
        client("CREATE TABLE safety.loaded LIKE safety.rates")?;
        let start = Instant::now();
        client(&format!("LOAD DATA LOCAL INFILE '{path}' INTO TABLE safety.loaded"))?;
        let theirs = (BATCH * BATCHES) as f64 / start.elapsed().as_secs_f64();
        println!(
            "mariadb {round}: {ours:.0} rows/s, LOAD DATA {theirs:.0} rows/s with the same key, {:.2} \
             of it",
            ours / theirs
        );
    }
    Ok(())
}

fn main() -> Result<(), Failed> {
    postgres()?;
    mariadb()
}
