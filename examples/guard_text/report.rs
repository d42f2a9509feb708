//! What happened, told from the dataset itself: counts by policy and action, the logger's own
//! count, and the rates.

use std::path::Path;
use std::time::Duration;

use namel3ss_safety::Stats;
use rusqlite::{Connection, OpenFlags};

use crate::Run;

/// How long it took until everything was logged, and until everything was in the dataset.
#[derive(Clone, Copy)]
pub(crate) struct Took {
    pub(crate) logged_in: Duration,
    pub(crate) delivered_in: Duration,
}

struct Counted {
    policy: String,
    action: String,
    this_run: i64,
    all: i64,
    mean_us: f64,
}

pub(crate) fn print(
    database: &Path,
    journal: &str,
    run: &mut Run,
    stats: &Stats,
    took: Took,
) -> Result<(), Box<dyn std::error::Error>> {
    let rows = read(database, journal).map_err(|e| format!("read the dataset: {e}"))?;
    println!("read       {} lines with text in {} files", grouped(run.lines), grouped(run.files));
    println!(
        "           {} blank lines and {} files that are no text left out",
        grouped(run.blank),
        grouped(run.skipped)
    );
    println!();
    println!(
        "{:<16}{:<10}{:>12}{:>14}{:>16}",
        "policy", "action", "this run", "in dataset", "mean check"
    );
    for row in &rows {
        let this_run = grouped(row.this_run.unsigned_abs());
        let all = grouped(row.all.unsigned_abs());
        let mean = format!("{:.1} µs", row.mean_us);
        println!("{:<16}{:<10}{this_run:>12}{all:>14}{mean:>16}", row.policy, row.action);
    }
    let sum =
        |part: fn(&Counted) -> i64| grouped(rows.iter().map(part).sum::<i64>().unsigned_abs());
    println!("{:<26}{:>12}{:>14}", "all", sum(|r| r.this_run), sum(|r| r.all));
    println!();

    let Stats { total_logged, total_flushed, total_fallback, total_dropped, pending, .. } = stats;
    let done = total_flushed + total_fallback + total_dropped + pending;
    let sign = if *total_logged == done { "=" } else { "!=" };
    println!(
        "logged     {total_logged} {sign} {total_flushed} in the dataset + {total_fallback} in \
         fallback files + {total_dropped} dropped + {pending} pending"
    );
    if stats.total_recovered > 0 {
        println!("recovered  {} events of earlier runs", grouped(stats.total_recovered));
    }
    if run.in_memory > 0 {
        println!("warning    {} events were kept in memory only", grouped(run.in_memory));
    }
    let per_second = |took: Duration| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
        grouped((*total_logged as f64 / took.as_secs_f64().max(1e-9)) as u64)
    };
    println!(
        "rate       {} events/s read, checked and logged ({:.2} s); {} until in the dataset ({:.2} s)",
        per_second(took.logged_in),
        took.logged_in.as_secs_f64(),
        per_second(took.delivered_in),
        took.delivered_in.as_secs_f64(),
    );
    run.log_nanos.sort_unstable();
    let at = |share: usize| {
        let nanos = &run.log_nanos;
        let at = (nanos.len() * share / 1000).min(nanos.len().saturating_sub(1));
        nanos.get(at).map_or(0.0, |n| f64::from(*n) / 1e3)
    };
    println!(
        "log()      {:.2} µs median, {:.2} µs at 99 %, {:.2} µs at 99.9 %, {:.0} µs at most",
        at(500),
        at(990),
        at(999),
        at(1000),
    );
    println!("dataset    {}", database.display());
    Ok(())
}

fn read(database: &Path, journal: &str) -> rusqlite::Result<Vec<Counted>> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare(
        "SELECT coalesce(policy_name, '-'), action, sum(journal_id = ?1), count(*),
                avg(latency_ms) * 1000
         FROM safety_events GROUP BY 1, 2 ORDER BY 4 DESC",
    )?;
    let rows = statement.query_map([journal], |row| {
        Ok(Counted {
            policy: row.get(0)?,
            action: row.get(1)?,
            this_run: row.get(2)?,
            all: row.get(3)?,
            mean_us: row.get::<_, Option<f64>>(4)?.unwrap_or(0.0),
        })
    })?;
    rows.collect()
}

/// 1234567 as 1,234,567.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
