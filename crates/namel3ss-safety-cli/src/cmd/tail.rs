//! `tail`: the last events, and those to come.

use std::collections::VecDeque;
use std::time::Duration;

use clap::Args;
use namel3ss_safety::Timestamp;

use crate::cli::Context;
use crate::error::Error;
use crate::exit::Exit;
use crate::filter::Filter;
use crate::place::{self, Place};
use crate::record::Record;
use crate::source;
use crate::style::Style;

/// How long a Ctrl-C may go unnoticed.
const NOTICE_WITHIN: Duration = Duration::from_millis(50);
/// How many events are shown without `-n` and `--since`.
const LINES: usize = 10;

/// Show the last events of a dataset or of journals, and follow them
#[derive(Debug, Args)]
#[command(after_help = "Filters:
  field=value      is
  field!=value     is not
  field~substring  contains
  A field is one of the 17 of an event, or metadata.KEY. Several filters must all hold.

Examples:
  n3-safety tail
  n3-safety tail -f action=block severity!=low
  n3-safety tail --since 1h --from sqlite:///safety.db metadata.model~gpt
  n3-safety tail --since 1h --from s3://bucket/safety action=block
  n3-safety tail -f --from delta+s3://bucket/table
  n3-safety tail -n 1000 -o json --from safety.jsonl | jq .policy_name")]
pub(crate) struct Tail {
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many events to show first [default: 10, or all with --since]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Only events of this moment or later: 90s, 15m, 1h, 2d ago, or ISO 8601
    #[arg(long, value_name = "WHEN", value_parser = crate::span::since)]
    since: Option<Timestamp>,
    /// Where to read: a URL, a .csv, .json, .jsonl or SQLite file, a folder of objects by day, the
    /// folder of a Delta table, or a folder with journals
    /// [default: the default dataset]
    #[arg(long, value_name = "URL|PATH")]
    from: Option<String>,
    /// Which events, see below
    #[arg(value_name = "FILTER")]
    filters: Vec<Filter>,
}

impl Tail {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let place = match &self.from {
            Some(from) => Place::parse(from)?,
            None => place::default_dataset()?,
        };
        let mut source = source::open(&place);
        let lines = self.lines.unwrap_or(if self.since.is_some() { usize::MAX } else { LINES });
        if self.filters.is_empty() && self.since.is_none() {
            source.only_newest(u32::try_from(lines).unwrap_or(u32::MAX));
        }
        if let Some(since) = self.since {
            source.only_since(since);
        }
        if self.follow {
            context.interrupt.arm();
        }
        let mut last = VecDeque::new();
        let mut unreadable = 0;
        let mut lacks = None;
        if self.follow && !place.is_there() {
            context.err.note(&format!("waiting for {} to appear", place.shown()));
        } else {
            let mut take = |record| {
                if self.shows(&record) {
                    if last.len() >= lines {
                        last.pop_front();
                    }
                    if lines > 0 {
                        last.push_back(record);
                    }
                }
                Ok(())
            };
            unreadable += source.poll(&mut take)?;
            if !self.follow {
                lacks = source.lacks(&mut take)?;
            }
        }
        for record in last.drain(..) {
            show(context, &record)?;
        }
        while self.follow && wait(context, source.pause())? {
            if !place.is_there() {
                continue;
            }
            unreadable += source.poll(&mut |record| {
                if self.shows(&record) { show(context, &record) } else { Ok(()) }
            })?;
        }
        context.out.flush()?;
        if let Some(lacks) = &lacks {
            context.err.say(Style::Warn, "warning:", lacks);
        }
        if unreadable > 0 {
            let text = format!("{unreadable} rows could not be read and were left out");
            context.err.say(Style::Warn, "warning:", &text);
        }
        if lacks.is_some() || unreadable > 0 {
            return Ok(Exit::Partial);
        }
        Ok(Exit::Ok)
    }

    fn shows(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.event.timestamp >= since)
            && self.filters.iter().all(|filter| filter.matches(&record.event))
    }
}

/// Until the next look; false once somebody wants to end.
fn wait(context: &mut Context, pause: Duration) -> Result<bool, Error> {
    context.out.flush()?;
    let mut waited = Duration::ZERO;
    while waited < pause {
        if context.interrupt.raised() {
            return Ok(false);
        }
        std::thread::sleep(NOTICE_WITHIN);
        waited += NOTICE_WITHIN;
    }
    Ok(true)
}

fn show(context: &mut Context, record: &Record) -> Result<(), Error> {
    if context.out.is_json() {
        context.out.json_text(&record.to_json())
    } else {
        context.out.line(&record.to_cells())
    }
}
