//! Rows a second into each store, beside its own loader with the same rows, key and indexes, in one run.
//!
//! Run it with `cargo bench -p namel3ss-safety-stores --all-features --bench stores`; words after `--`
//! pick the parts: `sqlite`, `parquet`, `s3`, `postgres`, `mariadb`. The servers are started by
//! scripts/sql-servers, which sync here, and scripts/servers; the loaders are `sqlite3 .import`, boto3,
//! `psql \copy` and `LOAD DATA`.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use namel3ss_safety::{
    JournalId, Row, RowBuffer, SafetyAction, SafetyEvent, Seq, Severity, Timestamp,
};
use namel3ss_safety_stores::{Dialect, Table, ddl, open};
use serde_json::Value;

const BATCH: u64 = 10_000;
const BATCHES: u64 = 30;
/// An object holds so many.
const OBJECT_ROWS: u64 = 50_000;
const OBJECTS: u64 = 10;
const ROUNDS: usize = 3;

type Failed = Box<dyn Error>;
type Part = fn() -> Result<(), Failed>;

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let parts: [(&str, Part); 5] = [
        ("parquet", parquet),
        ("sqlite", sqlite),
        ("s3", s3),
        ("postgres", postgres),
        ("mariadb", mariadb),
    ];
    for (name, part) in parts {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            part()?;
        }
    }
    Ok(())
}

/// Fills `rows` as a support bot's guardrails would.
fn fill(rows: &mut RowBuffer, journal: JournalId, first: u64, count: u64) {
    let policies = ["pii_policy", "toxicity", "prompt_injection", "topic"];
    rows.reset(journal, Default::default());
    let start = Timestamp::now().micros();
    for n in first..first + count {
        let at = usize::try_from(n).unwrap_or_default();
        let event = SafetyEvent {
            timestamp: Timestamp::from_micros(start + n.cast_signed() * 137),
            app_name: Some("support-bot".into()),
            policy_name: Some(policies[at % policies.len()].into()),
            reason: Some("email address found in the model's output, and replaced".into()),
            trace_id: Some(format!("{:032x}", fastrand::u128(..))),
            session_id: Some(format!("s-{}", n / 20)),
            user_id: Some(format!("u-{}", fastrand::u32(..10_000))),
            action: SafetyAction::ALL[at % 4],
            categories: vec!["pii".into(), "email".into()],
            severity: Severity::Medium,
            confidence: f64::from(fastrand::u8(..100)) / 100.0,
            latency_ms: f64::from(fastrand::u16(..2_000)) / 100.0,
            metadata: serde_json::json!({"model": "m-2", "rule": fastrand::u8(..50)})
                .as_object()
                .cloned()
                .unwrap_or_default(),
            ..SafetyEvent::default()
        };
        rows.push_event(Seq(n), &event);
    }
}

/// Rows a second of all batches into `url`; sent twice, of the second time.
fn rate(url: &str, batches: u64, batch: u64, twice: bool) -> Result<f64, Failed> {
    let adapter = open(url)?;
    let journal = JournalId::generate();
    let mut rows = RowBuffer::new(journal);
    let mut total = 0.0;
    for number in 0..batches {
        fill(&mut rows, journal, number * batch + 1, batch);
        if twice {
            adapter.insert(&rows.batch())?;
        }
        let start = Instant::now();
        adapter.insert(&rows.batch())?;
        total += start.elapsed().as_secs_f64();
    }
    Ok((batches * batch) as f64 / total)
}

/// Rows a second of a loader that takes all of [`BATCHES`] at once.
fn loaded(load: impl FnOnce() -> Result<(), Failed>) -> Result<f64, Failed> {
    let start = Instant::now();
    load()?;
    Ok((BATCH * BATCHES) as f64 / start.elapsed().as_secs_f64())
}

fn show(store: &str, ours: f64, loader: &str, theirs: f64) {
    let part = ours / theirs;
    println!("{store}: {ours:.0} rows/s, {loader} {theirs:.0} rows/s, {part:.2} of it");
}

fn output(command: &mut Command) -> Result<String, Failed> {
    let ran = command.output().map_err(|error| format!("run {command:?}: {error}"))?;
    if !ran.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&ran.stderr)).into());
    }
    Ok(String::from_utf8(ran.stdout)?.trim().to_owned())
}

fn script(name: &str) -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(root.join("scripts").join(name))
}

/// A database server of `kind`: its port, and the lock that keeps it.
fn up(kind: &str) -> Result<(u64, File), Failed> {
    let said =
        |verb| output(script("sql-servers").args([verb, kind, "rates"]).env("N3_SQL_SYNC", "1"));
    let lock = File::create(said("lock")?)?;
    lock.lock_shared()?;
    let facts: Value = serde_json::from_str(&said("up")?)?;
    Ok((facts["port"].as_u64().ok_or("no port")?, lock))
}

/// What this thread has used of a core: others on the machine don't count.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// Seconds that Parquet takes for one row, from the batch on.
fn encoding() -> Result<f64, Failed> {
    let journal = JournalId::generate();
    let (mut rows, mut total) = (RowBuffer::new(journal), 0.0);
    for number in 0..OBJECTS {
        fill(&mut rows, journal, number * OBJECT_ROWS + 1, OBJECT_ROWS);
        let start = Instant::now();
        let views: Vec<Row<'_>> = rows.batch().rows().collect();
        std::hint::black_box(namel3ss_safety_stores::parquet::encode(&views)?);
        total += start.elapsed().as_secs_f64();
    }
    Ok(total / (OBJECTS * OBJECT_ROWS) as f64)
}

fn parquet() -> Result<(), Failed> {
    let (mut best, mut total, mut bytes) = (Duration::MAX, Duration::ZERO, 0);
    let mut rows = RowBuffer::new(JournalId::generate());
    for _ in 0..OBJECTS {
        fill(&mut rows, JournalId::generate(), 1, OBJECT_ROWS);
        let begin = cpu();
        let views: Vec<Row<'_>> = rows.batch().rows().collect();
        bytes = namel3ss_safety_stores::parquet::encode(&views)?.len();
        let took = cpu() - begin;
        best = best.min(took);
        total += took;
    }
    let rate = |took: Duration, rows: u64| rows as f64 / took.as_secs_f64() / 1e6;
    println!(
        "parquet: {:.2} M rows/s of a core at best, {:.2} mean; {:.1} B a row",
        rate(best, OBJECT_ROWS),
        rate(total, OBJECT_ROWS * OBJECTS),
        bytes as f64 / OBJECT_ROWS as f64,
    );
    Ok(())
}

fn sqlite() -> Result<(), Failed> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let sqlite3 =
        |path: &Path, commands: &[&str]| output(Command::new("sqlite3").arg(path).args(commands));
    for round in 1..=ROUNDS {
        let (ours, theirs) = (
            folder.path().join(format!("ours{round}.db")),
            folder.path().join(format!("{round}.db")),
        );
        let rate = rate(&format!("sqlite:///{}", ours.display()), BATCHES, BATCH, false)?;
        let csv = folder.path().join("rows.csv");
        std::fs::write(&csv, sqlite3(&ours, &[".mode csv", "SELECT * FROM safety_events"])?)?;
        sqlite3(&theirs, &["PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"])?;
        sqlite3(&theirs, &[&ddl(Dialect::Sqlite, &Table::default())])?;
        let import = format!(".import {} safety_events", csv.display());
        let commands = ["PRAGMA synchronous = NORMAL", ".mode csv", &import];
        let loaded = loaded(|| sqlite3(&theirs, &commands).map(drop))?;
        let count = sqlite3(&theirs, &["SELECT count(*) FROM safety_events"])?;
        assert_eq!(count, (BATCH * BATCHES).to_string(), ".import left rows out");
        show(&format!("sqlite {round}"), rate, "sqlite3 .import", loaded);
    }
    Ok(())
}

/// Uploads the files that it is given, one after the other; prints the seconds.
const UPLOAD: &str = "
import sys, time, boto3
from botocore.config import Config
client = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1',
    aws_access_key_id='test', aws_secret_access_key='testtest')
bucket, prefix = 'safety', sys.argv[2]
keys = [found['Key'] for page in client.get_paginator('list_objects_v2').paginate(Bucket=bucket, Prefix=prefix)
    for found in page['Contents'] if '/year=' in found['Key']]
bodies = [client.get_object(Bucket=bucket, Key=key)['Body'].read() for key in keys]
start = time.perf_counter()
for number, body in enumerate(bodies):
    client.put_object(Bucket=bucket, Key=f'bare/{prefix}/{number}', Body=body)
print(time.perf_counter() - start, sum(map(len, bodies)))
";

/// A server that ends with its standard input.
struct Bucket(Child, u16);

impl Drop for Bucket {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn s3() -> Result<(), Failed> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut server = script("servers")
        .args(["run", "s3"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    let out = server.stdout.take().ok_or("no output")?;
    BufReader::new(out).read_line(&mut said)?;
    let port = said.trim().strip_prefix("ready ").ok_or("the server did not start")?.parse()?;
    let bucket = Bucket(server, port);
    let python = output(script("servers").args(["python", "boto3"]))?;
    let endpoint = format!("http://127.0.0.1:{}", bucket.1);
    // Round 0 is for the server, which makes its files at the first writes, and is not shown.
    for (round, format) in (0..=ROUNDS).flat_map(|round| [(round, "parquet"), (round, "jsonl")]) {
        let prefix = format!("{format}{round}");
        let url = format!(
            "s3://safety/{prefix}?format={format}&endpoint={endpoint}\
             &access_key_id=test&secret_access_key=testtest"
        );
        let ours = rate(&url, OBJECTS, OBJECT_ROWS, false)?;
        let said = output(Command::new(&python).args(["-c", UPLOAD, &endpoint, &prefix]))?;
        let (seconds, bytes) = said.split_once(' ').ok_or("two numbers")?;
        let theirs = (OBJECTS * OBJECT_ROWS) as f64 / seconds.parse::<f64>()?;
        if round == 0 {
            continue;
        }
        show(&format!("s3 {format} {round}"), ours, "a bare upload of its bytes by boto3", theirs);
        println!("  {} B a row", bytes.parse::<u64>()? / (OBJECTS * OBJECT_ROWS));
        if format == "parquet" {
            // Loopback takes its few bytes sooner than a core makes them.
            let (whole, encoding) = (1.0 / ours, encoding()?);
            println!(
                "  {:.0} ms an object, {:.0} of them encoding; the rest beside a bare upload: {:.2}",
                whole * OBJECT_ROWS as f64 * 1e3,
                encoding * OBJECT_ROWS as f64 * 1e3,
                1.0 / theirs / (whole - encoding),
            );
        }
    }
    std::io::stdout().flush()?;
    Ok(())
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
        let ours = rate(&url, BATCHES, BATCH, false)?;
        psql(&format!("\\copy rates TO '{path}' (FORMAT binary)"))?;
        make("loaded")?;
        let copy = format!("\\copy loaded FROM '{path}' (FORMAT binary)");
        let theirs = loaded(|| psql(&copy).map(drop))?;
        show(&format!("postgres {round}"), ours, "psql \\copy", theirs);
        make("rates")?;
        println!("  sent again {:.0} rows/s", rate(&url, BATCHES, BATCH, true)?);
    }
    Ok(())
}

fn mariadb() -> Result<(), Failed> {
    let (port, _lock) = up("mariadb")?;
    let at = port.to_string();
    let client = |sql: &str| {
        let place =
            ["--no-defaults", "-h", "127.0.0.1", "-P", &at, "-u", "root", "--local-infile=1"];
        output(Command::new("mariadb").args(place).args(["-N", "-B", "-q", "-e", sql]))
    };
    client("SET GLOBAL local_infile = 1")?;
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().display().to_string();
    for round in 1..=ROUNDS {
        client("DROP TABLE IF EXISTS safety.rates, safety.loaded")?;
        let url = format!("mysql://root@127.0.0.1:{port}/safety?table=rates");
        let ours = rate(&url, BATCHES, BATCH, false)?;
        std::fs::write(&path, client("SELECT * FROM safety.rates")?)?;
        client("CREATE TABLE safety.loaded LIKE safety.rates")?;
        let load = format!("LOAD DATA LOCAL INFILE '{path}' INTO TABLE safety.loaded");
        let theirs = loaded(|| client(&load).map(drop))?;
        show(&format!("mariadb {round}"), ours, "LOAD DATA", theirs);
    }
    Ok(())
}
