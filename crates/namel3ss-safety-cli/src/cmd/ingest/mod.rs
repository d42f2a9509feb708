//! `ingest`: events from a file or a pipe, through the real logger, into a dataset.

mod known;
mod report;
mod seen;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use namel3ss_safety::internal::parse::{self, Remark, field_of};
use namel3ss_safety::{DatasetAdapter, FIELDS, SafetyEvent};
use namel3ss_safety_stores::read::scanner::item::Item;
use serde_json::{Map, Value};

use self::known::Known;
use self::report::Tally;
use self::seen::Seen;
use crate::context::Context;
use crate::destination;
use crate::error::Error;
use crate::exit::Exit;
use crate::feed::{Fed, Feed};
use crate::input::{Format, Incoming, Next, Options, Reader};
use crate::mapping::{Mapping, Mappings, Meaning};
use crate::place::{self, Place};
use crate::progress::{self, Unit};
use crate::shell::shell;
use crate::style::Style;

/// How long a pipe may show no action, and how much of it, before its records are taken for alerts.
const HELD_FOR: Duration = Duration::from_secs(1);
const HELD_BYTES_MAX: u64 = 1 << 20;
/// How soon what comes from a pipe is delivered.
const PIPE_FLUSH_SECONDS: f64 = 0.25;

/// Log events from a file or a pipe
///
/// Reads JSON (lines, arrays, objects over several lines, lists in an object such as
/// {"Records":[…]}, lines of Docker and CRI, RFC 7464) and CSV (, ; tab or |), in UTF-8 or UTF-16,
/// plain, gzip or zstd; all of this is told from the input itself.
///
/// Every event is in the journal before it is counted, and delivered from there, as an
/// application's own events are. A line that is no event is left out, told on standard error with
/// its number, and makes the exit code 4. If no line has an action, nothing is stored, and the exit
/// code is 2. Records of checks that decided nothing (skipped, not_run) are left out and counted.
///
/// Ctrl-C ends reading; what was read is delivered first. A second Ctrl-C ends at once, and what is
/// in the journal then waits for the next logger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety ingest events.jsonl
  n3-safety ingest --to sqlite:///safety.db export.csv.gz
  n3-safety ingest --to sqlite:///safety.db --to postgresql://db/safety events.jsonl
  n3-safety ingest --dedupe event_id events.jsonl
  n3-safety ingest log.jsonl --map action=verdict --map-value action:intervention=block
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
    /// How the input is written [default: told from its first bytes and its name]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Take a field from somewhere else: a dotted path, such as user_id=request.user.id; may be
    /// repeated, and what no mapping takes goes where its name says, or to metadata
    #[arg(long = "map", value_name = "FIELD=PATH")]
    mappings: Vec<Mapping>,
    /// Read a word of a field as another one, such as action:intervened=block; may be repeated
    #[arg(long = "map-value", value_name = "FIELD:WORD=VALUE")]
    meanings: Vec<Meaning>,
    /// What becomes of records without an action, also if no record has one [default: alert, if
    /// another record has one]
    #[arg(long, value_enum, value_name = "WHAT")]
    missing_action: Option<MissingAction>,
    /// Leave out what is stored already, told by this field: in the dataset, in this home's
    /// journals, or earlier in the input
    #[arg(long, value_enum, value_name = "FIELD")]
    dedupe: Option<Dedupe>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MissingAction {
    /// Store them, as alerts
    Alert,
    /// Leave them out
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dedupe {
    /// Records without an id are stored
    #[value(name = "event_id")]
    EventId,
}

/// A record that was read.
struct Row {
    line: u64,
    event: SafetyEvent,
    remarks: Vec<Remark>,
    kind: Kind,
    has_id: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Decision,
    NoAction,
    NoDecision,
}

impl Row {
    fn read(item: Item, mappings: &mut Mappings, seen: Option<&mut Seen>) -> Result<Self, String> {
        let Value::Object(line) = item.value? else {
            return Err("not an object: a row is a JSON object".to_owned());
        };
        if let Some(seen) = seen {
            seen.line(&line);
        }
        let mut row = mappings.apply(line);
        if let Some(time) = item.time
            && !has(&row, "timestamp")
        {
            row.insert("timestamp".to_owned(), time.into());
        }
        let has_id = has(&row, "event_id");
        let parsed = parse::object(row);
        let kind = if parsed.is_no_decision() {
            Kind::NoDecision
        } else if parsed.has_no_action() {
            Kind::NoAction
        } else {
            Kind::Decision
        };
        Ok(Self { line: item.line, event: parsed.event, remarks: parsed.remarks, kind, has_id })
    }
}

/// Whether a row has a value in a field.
fn has(row: &Map<String, Value>, field: &str) -> bool {
    row.iter().any(|(key, value)| {
        let is_empty = value.is_null() || value == "";
        !is_empty && field_of(key).is_some_and(|at| FIELDS[at] == field)
    })
}

/// Where a run stands.
struct Run<'a> {
    args: &'a Ingest,
    context: &'a mut Context,
    adapters: Vec<Arc<dyn DatasetAdapter>>,
    is_pipe: bool,
    bar: ProgressBar,
    mappings: Mappings,
    tally: Tally,
    known: Option<Known>,
    feed: Option<Feed>,
    /// Records of a pipe that has shown no action yet.
    held: Vec<Row>,
    /// What a pipe without actions holds, as long as nothing is stored.
    seen: Seen,
    /// Whether records are stored as they come.
    open: bool,
    /// Whether nobody knows if the mapping is right.
    blind: bool,
}

impl Ingest {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let adapters = destination::open(&self.to)?;
        for adapter in &adapters {
            adapter.prepare().map_err(|error| Error::config(error.to_string()))?;
        }
        let known = self.known(&adapters)?;
        context.interrupt.arm();
        let (reader, bytes) = self.reader(context)?;
        let is_file = bytes.is_some();
        if is_file && self.missing_action.is_none() && !self.shows_action(context)? {
            return Ok(Exit::Partial);
        }
        let bar = progress::bar(&context.err, bytes, Unit::Bytes);
        let reader = Box::new(bar.wrap_read(reader));
        let mut incoming = self.incoming(reader, context)?;
        let mut run = Run {
            args: self,
            context,
            adapters,
            is_pipe: !is_file,
            bar,
            mappings: self.mappings(),
            tally: Tally::default(),
            known,
            feed: None,
            held: Vec::new(),
            seen: Seen::default(),
            open: is_file || self.missing_action.is_some(),
            blind: false,
        };
        let broken = match run.read(&mut incoming) {
            Ok(broken) => broken.map(|error| self.unreadable(&error)),
            // What was read until then is delivered.
            Err(error) => Some(error),
        };
        run.end(broken)
    }

    fn mappings(&self) -> Mappings {
        Mappings::new(&self.mappings, &self.meanings)
    }

    fn unreadable(&self, error: &std::io::Error) -> Error {
        Error::failed(format!("read {}: {error}", self.file.display()))
    }

    fn incoming(&self, reader: Reader, context: &Context) -> Result<Incoming, Error> {
        let options = Options { format: self.format, wanted: self.mappings().wanted() };
        let name = (self.file != Path::new("-")).then(|| self.file.clone());
        Incoming::start(reader, name, options, context.interrupt.clone())
            .map_err(|error| self.unreadable(&error))
    }

    /// The input, and how long it is where it is a file.
    fn reader(&self, context: &mut Context) -> Result<(Reader, Option<u64>), Error> {
        if self.file == Path::new("-") {
            if context.stdin_is_terminal {
                context.err.note("reading events from the terminal: end with Ctrl-D");
            }
            let stdin = std::mem::replace(&mut context.stdin, Box::new(std::io::empty()));
            return Ok((stdin, None));
        }
        let file = File::open(&self.file).map_err(|e| self.unreadable(&e))?;
        let metadata = file.metadata().map_err(|e| self.unreadable(&e))?;
        if metadata.is_dir() {
            return Err(Error::failed(format!(
                "read {}: it is a folder: name a file, or - for standard input",
                self.file.display()
            )));
        }
        Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
    }

    /// What is stored already.
    fn known(&self, adapters: &[Arc<dyn DatasetAdapter>]) -> Result<Option<Known>, Error> {
        let (Some(Dedupe::EventId), [adapter, further @ ..]) = (self.dedupe, adapters) else {
            return Ok(None);
        };
        if !further.is_empty() {
            return Err(Error::usage(
                "compare event ids with several datasets: name one with --to, and run ingest once \
                 for each",
            ));
        }
        let place = match self.to.first() {
            Some(to) => Place::parse(to)?,
            None => place::default_dataset()?,
        };
        Known::of(&place, &adapter.identity()).map(Some)
    }

    /// Looks through a file for its first action, before anything is stored. An error if it holds
    /// records and none of them has one; false if the run was ended meanwhile.
    fn shows_action(&self, context: &mut Context) -> Result<bool, Error> {
        let (reader, _) = self.reader(context)?;
        let mut incoming = self.incoming(reader, context)?;
        let (mut mappings, mut seen) = (self.mappings(), Seen::default());
        loop {
            match incoming.next(None) {
                Next::Batch(batch) => {
                    seen.ordered(batch.names);
                    for item in batch.items {
                        let row = Row::read(item, &mut mappings, Some(&mut seen));
                        if row.is_ok_and(|row| row.kind != Kind::NoAction) {
                            return Ok(true);
                        }
                    }
                }
                Next::Nothing => {}
                Next::End if context.interrupt.raised() => return Ok(false),
                Next::End if seen.lines == 0 => return Ok(true),
                Next::End => return Err(self.refusal(&seen)),
                Next::Failed(error) if seen.lines == 0 => return Err(self.unreadable(&error)),
                // It is read again, up to there, and the error told then.
                Next::Failed(_) => return Err(self.refusal(&seen)),
            }
        }
    }

    /// Nothing is stored, because no record had an action.
    fn refusal(&self, seen: &Seen) -> Error {
        let mappings = self.mappings();
        let paths: Vec<String> = mappings.of_action().map(|path| format!("'{path}'")).collect();
        let place = match &paths[..] {
            [] => String::new(),
            paths => format!(" at {}", paths.join(" or ")),
        };
        Error::Refused {
            exit: Exit::Usage,
            message: format!("no action{place} in {}, nothing stored", seen.summary()),
            hint: seen.hint(&shell(&self.file)),
        }
    }
}

impl Run<'_> {
    /// Reads to the end; returns why it ended early.
    fn read(&mut self, incoming: &mut Incoming) -> Result<Option<std::io::Error>, Error> {
        let (mut since, mut bytes) = (None, 0);
        loop {
            let until = since.filter(|_| !self.open).map(|since: Instant| since + HELD_FOR);
            match incoming.next(until) {
                Next::Batch(batch) => {
                    self.seen.ordered(batch.names);
                    bytes += batch.bytes;
                    for item in batch.items {
                        self.take(item)?;
                    }
                    if !self.held.is_empty() {
                        since = since.or_else(|| Some(Instant::now()));
                    }
                    if !self.open && bytes > HELD_BYTES_MAX {
                        self.give_up_waiting()?;
                    }
                }
                Next::Nothing => self.give_up_waiting()?,
                Next::End => return Ok(None),
                Next::Failed(error) => return Ok(Some(error)),
            }
        }
    }

    fn take(&mut self, item: Item) -> Result<(), Error> {
        let (line, seen) = (item.line, (!self.open).then_some(&mut self.seen));
        match Row::read(item, &mut self.mappings, seen) {
            Ok(row) if self.open => self.store(row),
            Ok(row) if row.kind == Kind::NoAction => {
                self.held.push(row);
                Ok(())
            }
            Ok(row) => {
                self.release()?;
                self.store(row)
            }
            Err(wrong) => {
                self.tally.bad(line, wrong, &self.bar, &mut self.context.err);
                Ok(())
            }
        }
    }

    /// What was held back is stored, and what comes from now on at once.
    fn release(&mut self) -> Result<(), Error> {
        self.open = true;
        self.seen = Seen::default();
        std::mem::take(&mut self.held).into_iter().try_for_each(|row| self.store(row))
    }

    /// A pipe has shown no action for long enough: its records must not be lost.
    fn give_up_waiting(&mut self) -> Result<(), Error> {
        if self.held.is_empty() {
            return Ok(());
        }
        let text = format!(
            "no action in {}: stored as alerts; {}",
            self.seen.summary(),
            self.seen.hint("-"),
        );
        self.bar.suspend(|| self.context.err.say(Style::Warn, "warning:", &text));
        self.blind = true;
        self.release()
    }

    fn store(&mut self, row: Row) -> Result<(), Error> {
        match row.kind {
            Kind::NoDecision => {
                self.tally.no_decision += 1;
                return Ok(());
            }
            Kind::NoAction => {
                self.tally.no_action += 1;
                if self.args.missing_action == Some(MissingAction::Skip) {
                    self.tally.skipped += 1;
                    return Ok(());
                }
            }
            Kind::Decision => {}
        }
        if let Some(known) = &mut self.known {
            if !row.has_id {
                self.tally.without_id += 1;
            } else if !known.insert(&row.event.event_id)? {
                self.tally.duplicates += 1;
                return Ok(());
            }
        }
        for remark in &row.remarks {
            // Said already, for all of them at once.
            let is_said = row.kind == Kind::NoAction
                && (self.blind || self.args.missing_action.is_some())
                && *remark == Remark::NoAction;
            if !is_said {
                self.tally.odd(row.line, remark, &self.bar, &mut self.context.err);
            }
        }
        let feed = match &mut self.feed {
            Some(feed) => feed,
            none => {
                let flush_seconds = self.is_pipe.then_some(PIPE_FLUSH_SECONDS);
                none.insert(Feed::start(&self.adapters, &self.args.dataset, flush_seconds)?)
            }
        };
        feed.log(&row.event);
        self.tally.logged += 1;
        if self.tally.logged.is_multiple_of(1024) {
            self.bar.set_message(format!("{} events", self.tally.logged));
        }
        Ok(())
    }

    /// Delivers what was read, and says what came of it.
    fn end(self, broken: Option<Error>) -> Result<Exit, Error> {
        if !self.held.is_empty() {
            self.bar.finish_and_clear();
            return Err(broken.unwrap_or_else(|| self.args.refusal(&self.seen)));
        }
        self.bar.set_message("delivering");
        let fed = match &self.feed {
            Some(feed) => self.bar.suspend(|| feed.stop(&mut self.context.err)),
            None => Fed::default(),
        };
        self.bar.finish_and_clear();
        self.tally.report(self.context, &fed, &self.mappings)?;
        if let Some(error) = broken {
            return Err(error);
        }
        let cut_short = self.context.interrupt.raised() && !self.is_pipe;
        let is_whole = fed.fates.flushed == fed.fates.logged
            && self.tally.bad == 0
            && !cut_short
            && !self.blind;
        Ok(if is_whole { Exit::Ok } else { Exit::Partial })
    }
}
