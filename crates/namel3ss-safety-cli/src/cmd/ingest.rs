//! `ingest`: events from a file or a pipe, through the real logger, into a dataset.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use namel3ss_safety::SafetyEvent;
use namel3ss_safety::stats::SinkStats;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::destination;
use crate::error::Error;
use crate::exit::Exit;
use crate::feed::{Fed, Feed};
use crate::input::{self, Format, Interruptible};
use crate::mapping::{Mapping, Mappings};
use crate::place;
use crate::progress::{self, Unit};
use crate::style::Style;

/// How many bad lines are told one by one; the rest is counted.
const BAD_LINES_TOLD: usize = 20;

/// Log events from a file or a pipe
///
/// Every event is in the journal before it is counted, and delivered from there, as an
/// application's own events are. A line that is no event is left out, told on standard error with
/// its number, and makes the exit code 4.
///
/// Ctrl-C ends reading; what was read is delivered first. A second Ctrl-C ends at once, and what is
/// in the journal then waits for the next logger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety ingest events.jsonl
  n3-safety ingest --to sqlite:///safety.db export.csv
  n3-safety ingest --to sqlite:///safety.db --to postgresql://db/safety events.jsonl
  tail -F guard.log | n3-safety ingest - --map timestamp=ts --map user_id=user.id")]
pub(crate) struct Ingest {
    /// What to read; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Where the events go; repeated, they go to each, and none waits for another [default: the
    /// default dataset]
    #[arg(long, value_name = "URL")]
    to: Vec<String>,
    /// The dataset's name
    #[arg(long, value_name = "NAME", default_value = place::DEFAULT_DATASET)]
    dataset: String,
    /// How the input is written [default: told from its name and its first bytes]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Take a field from somewhere else: a dotted path, such as user_id=request.user.id; may be
    /// repeated, and what no mapping takes goes where its name says, or to metadata
    #[arg(long = "map", value_name = "FIELD=PATH")]
    mappings: Vec<Mapping>,
}

/// What was read.
#[derive(Debug, Default)]
struct Tally {
    read: u64,
    bad: u64,
    told: Vec<(u64, String)>,
}

impl Ingest {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let adapters = destination::open(&self.to)?;
        let is_pipe = self.file == Path::new("-");
        let (reader, bytes) = self.reader(context)?;
        context.interrupt.arm();
        let bar = progress::bar(&context.err, bytes, Unit::Bytes);
        let reader =
            bar.wrap_read(Interruptible::new(reader, context.interrupt.clone()).map_err(|e| {
                Error::failed(format!("start reading {}: {e}", self.file.display()))
            })?);
        let name = (!is_pipe).then_some(self.file.as_path());
        let unreadable =
            |e: std::io::Error| Error::failed(format!("read {}: {e}", self.file.display()));
        let (_, items) = input::open(Box::new(reader), name, self.format).map_err(unreadable)?;
        let feed = Feed::start(&adapters, &self.dataset)?;
        let mut mappings = Mappings::new(&self.mappings);
        let mut tally = Tally::default();
        let mut broken = None;
        for item in items {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    broken = Some(unreadable(error));
                    break;
                }
            };
            let event = item.value.and_then(|row| {
                SafetyEvent::from_json(mappings.apply(row)).map_err(|e| e.to_string())
            });
            match event {
                Ok(event) => {
                    tally.read += 1;
                    feed.log(&event);
                    if tally.read % 1024 == 0 {
                        bar.set_message(format!("{} events", tally.read));
                    }
                }
                // The last line of an input that was cut short is not its author's fault.
                Err(_) if context.interrupt.raised() => {}
                Err(wrong) => {
                    tally.bad += 1;
                    if tally.told.len() < BAD_LINES_TOLD {
                        let text = format!("line {}: {wrong}", item.line);
                        bar.suspend(|| context.err.say(Style::Warn, "bad", &text));
                        tally.told.push((item.line, wrong));
                    }
                }
            }
        }
        bar.set_message("delivering");
        let fed = bar.suspend(|| feed.stop(&mut context.err));
        let fates = fed.fates;
        bar.finish_and_clear();
        self.report(context, &tally, &fed, &mappings)?;
        if let Some(error) = broken {
            return Err(error);
        }
        let cut_short = context.interrupt.raised() && !is_pipe;
        let whole = fates.flushed == fates.logged && tally.bad == 0 && !cut_short;
        Ok(if whole { Exit::Ok } else { Exit::Partial })
    }

    /// The input, and how long it is where that is known.
    fn reader(&self, context: &mut Context) -> Result<(Box<dyn Read + Send>, Option<u64>), Error> {
        if self.file == Path::new("-") {
            if context.stdin_is_terminal {
                context.err.note("reading events from the terminal: end with Ctrl-D");
            }
            let stdin = std::mem::replace(&mut context.stdin, Box::new(std::io::empty()));
            return Ok((stdin, None));
        }
        let failed = |what: &str, hint: &str| {
            Error::failed(format!("read {}: {what}{hint}", self.file.display()))
        };
        let file = File::open(&self.file).map_err(|e| failed(&e.to_string(), ""))?;
        let metadata = file.metadata().map_err(|e| failed(&e.to_string(), ""))?;
        if metadata.is_dir() {
            return Err(failed("it is a folder", ": name a file, or - for standard input"));
        }
        Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
    }

    fn report(
        &self,
        context: &mut Context,
        tally: &Tally,
        fed: &Fed,
        mappings: &Mappings,
    ) -> Result<(), Error> {
        let fates = &fed.fates;
        let untold = tally.bad - tally.told.len() as u64;
        if untold > 0 {
            context.err.say(Style::Warn, "bad", &format!("{untold} more lines"));
        }
        for path in mappings.unused().filter(|_| tally.read > 0) {
            let text = format!("no line had anything at the path '{path}': is it misspelt?");
            context.err.say(Style::Warn, "warning:", &text);
        }
        if context.out.is_json() {
            let told: Vec<Value> = tally
                .told
                .iter()
                .map(|(line, wrong)| json!({"line": line, "error": wrong}))
                .collect();
            return context.out.json(&json!({
                "logged": fates.logged,
                "flushed": fates.flushed,
                "fallback": fates.fallback,
                "dropped": fates.dropped,
                "pending": fates.pending,
                "bad": tally.bad,
                "bad_lines": told,
                "interrupted": context.interrupt.raised(),
                "sinks": fed.sinks.iter().map(sink_to_json).collect::<Vec<_>>(),
            }));
        }
        let bad = (tally.bad, "bad lines left out");
        let [one] = &fed.sinks[..] else {
            for sink in &fed.sinks {
                let text = format!("{}: {} stored", sink.destination, sink.flushed);
                let text = with_counts(text, &rest(sink.fallback, sink.pending, sink.dropped));
                context.out.text(text)?;
            }
            return context
                .out
                .text(with_counts(format!("logged {} events", fates.logged), &[bad]));
        };
        let text = format!("logged {} events, {} stored", fates.logged, one.flushed);
        let mut counts = rest(fates.fallback, fates.pending, fates.dropped).to_vec();
        counts.push(bad);
        context.out.text(with_counts(text, &counts))
    }
}

/// What was not stored, and where it is.
fn rest(fallback: u64, pending: u64, dropped: u64) -> [(u64, &'static str); 3] {
    [
        (fallback, "in fallback files: see n3-safety replay"),
        (pending, "waiting in the journal: see n3-safety journal ls"),
        (dropped, "dropped"),
    ]
}

fn with_counts(mut text: String, counts: &[(u64, &str)]) -> String {
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    text
}

fn sink_to_json(sink: &SinkStats) -> Value {
    json!({
        "name": sink.name,
        "destination": sink.destination,
        "flushed": sink.flushed,
        "fallback": sink.fallback,
        "dropped": sink.dropped,
        "pending": sink.pending,
        "retries": sink.retries,
        "healthy": sink.healthy,
        "last_error": sink.last_error,
    })
}
