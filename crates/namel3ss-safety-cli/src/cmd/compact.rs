//! `compact`: the many small Parquet objects of a day into few large ones.

use clap::Args;
use namel3ss_safety::{Failure, Timestamp};
use namel3ss_safety_stores::objects::{CompactOptions, CompactStep, CompactedDay, compact};
use serde_json::json;

use crate::context::Context;
use crate::error::Error;
use crate::exit::Exit;
use crate::out::Cell;
use crate::place::{self, Place};
use crate::progress::{self, Unit};
use crate::size;
use crate::span;
use crate::style::Style;

/// The smallest target: below it a merged object is as small as those it is made of.
const TARGET_BYTES_MIN: u64 = 1_000;

/// Merge the small Parquet objects of each day into few large ones
///
/// Loggers may write and others read meanwhile: no row is lost or doubled. Whoever reads a bucket may
/// see rows twice while it runs, and of a folder that a file is gone; docs/design/compact.md says what
/// is promised. It needs to be permitted to remove objects.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety compact file:///data/safety.parquet/ --dry-run
  n3-safety compact s3://bucket/safety --older-than 2d
  n3-safety compact file:///data/safety.parquet/ --before 2026-03-01 --target-size 256MB")]
pub(crate) struct Compact {
    /// A dataset of Parquet objects: a URL, or a folder [default: the default dataset]
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Only days before this date, in UTC
    #[arg(long, value_name = "DATE", value_parser = span::since, conflicts_with = "older_than")]
    before: Option<Timestamp>,
    /// Only days that ended so long ago
    #[arg(long, value_name = "SPAN", value_parser = span::since, default_value = "1d")]
    older_than: Timestamp,
    /// How large a merged object becomes, at most 512MiB; it is held in memory
    #[arg(long, value_name = "SIZE", value_parser = target, default_value = "128MiB")]
    target_size: u64,
    /// Only say what would be merged
    #[arg(long)]
    dry_run: bool,
}

fn target(text: &str) -> Result<u64, String> {
    let bytes = size::size(text)?;
    if (TARGET_BYTES_MIN..=CompactOptions::TARGET_BYTES_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("use the size: a target has 1kB to 512MiB".to_owned())
    }
}

impl Compact {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let found = match &self.url {
            Some(url) => Place::parse(url)?,
            None => place::default_dataset()?,
        };
        let Place::Objects(dataset) = &found else {
            let text = "compact the dataset: name one of Parquet objects, in a folder or a bucket; a \
                        Delta table is packed by OPTIMIZE of other tools";
            return Err(Error::usage(text));
        };
        if !found.is_there() {
            return Err(Error::failed(format!(
                "compact {}: there is no such folder",
                found.shown()
            )));
        }
        let options = CompactOptions {
            before: self.before.unwrap_or(self.older_than),
            target_bytes: self.target_size,
            dry_run: self.dry_run,
            linger: CompactOptions::LINGER,
        };
        context.interrupt.arm();
        let interrupt = context.interrupt.clone();
        let bar = progress::bar(&context.err, None, Unit::Things);
        let mut step = |step: CompactStep<'_>| {
            match step {
                CompactStep::Day { folder, .. } => {
                    bar.set_message(format!("objects, {}", crate::escape::escape(folder)));
                }
                CompactStep::Read => bar.inc(1),
                _ => {}
            }
            !interrupt.raised()
        };
        let done = compact(dataset.clone(), &options, &mut step);
        bar.finish_and_clear();
        let (days, ended) = done.map_err(|error| match error.failure() {
            Failure::Config => Error::config(error.to_string()),
            _ => Error::failed(error.to_string()),
        })?;
        self.tell(context, &days, ended)?;
        for day in &days {
            for error in &day.errors {
                let text = format!("{}: failed to {error}", day.folder);
                context.err.say(Style::Warn, "warning:", &text);
            }
        }
        if !ended {
            context.err.note("stopped; what was merged is merged, and the rest is as it was");
        }
        let whole = ended && days.iter().all(|day| day.errors.is_empty());
        Ok(if whole { Exit::Ok } else { Exit::Partial })
    }

    fn tell(&self, context: &mut Context, days: &[CompactedDay], ended: bool) -> Result<(), Error> {
        let sum = |of: fn(&CompactedDay) -> u64| days.iter().map(of).sum::<u64>();
        let totals = CompactedTotals {
            objects: [sum(|day| day.objects[0]), sum(|day| day.objects[1])],
            bytes: [sum(|day| day.bytes[0]), sum(|day| day.bytes[1])],
            rows: sum(|day| day.rows),
            mended: sum(|day| day.mended),
        };
        if context.out.is_json() {
            let list: Vec<_> = days
                .iter()
                .map(|day| {
                    json!({
                        "day": day.folder,
                        "objects_before": day.objects[0],
                        "objects_after": day.objects[1],
                        "bytes_before": day.bytes[0],
                        "bytes_after": (!self.dry_run).then_some(day.bytes[1]),
                        "rows": day.rows,
                        "mended": day.mended,
                        "errors": day.errors,
                    })
                })
                .collect();
            return context.out.json(&json!({
                "dry_run": self.dry_run,
                "complete": ended,
                "days": list,
                "totals": {
                    "objects_before": totals.objects[0],
                    "objects_after": totals.objects[1],
                    "bytes_before": totals.bytes[0],
                    "bytes_after": (!self.dry_run).then_some(totals.bytes[1]),
                    "rows": totals.rows,
                    "mended": totals.mended,
                },
            }));
        }
        let changed = days.iter().filter(|day| day.rows > 0 || day.mended > 0);
        let mut rows: Vec<Vec<Cell>> = changed
            .map(|day| self.row(Cell::from(day.folder.as_str()), day.objects, day.bytes, day.rows))
            .collect();
        if rows.is_empty() {
            return context.out.text("nothing to merge");
        }
        let all = Cell::new(Style::Bold, "all days");
        rows.push(self.row(all, totals.objects, totals.bytes, totals.rows));
        let after = if self.dry_run { "would be" } else { "now" };
        context.out.table(&["day", "objects", after, "size", after, "rows"], &rows)
    }

    fn row(&self, name: Cell, objects: [u64; 2], bytes: [u64; 2], rows: u64) -> Vec<Cell> {
        // How well the merged rows compress shows when they are.
        let after = if self.dry_run { "?".to_owned() } else { size::shown(bytes[1]) };
        let texts = [
            objects[0].to_string(),
            objects[1].to_string(),
            size::shown(bytes[0]),
            after,
            rows.to_string(),
        ];
        std::iter::once(name).chain(texts.map(Cell::from)).collect()
    }
}

/// Of all days.
struct CompactedTotals {
    objects: [u64; 2],
    bytes: [u64; 2],
    rows: u64,
    mended: u64,
}
