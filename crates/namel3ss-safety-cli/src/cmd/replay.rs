//! `replay`: fallback files into the dataset they were meant for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use namel3ss_safety::internal::home::home;
use namel3ss_safety::{DatasetAdapter, Notice};
use namel3ss_safety::{ReplayError, ReplayOptions, internal::sink::FallbackFolder, replay_file};
use serde_json::{Value, json};

use crate::context::Context;
use crate::destination;
use crate::error::Error;
use crate::exit::Exit;
use crate::fallback::{self, Looked};
use crate::feed;
use crate::progress::{self, Unit};
use crate::recovery;
use crate::style::Style;

/// Store fallback files where their rows should have gone
///
/// Each folder of fallback files names the destination that they were meant for, in the file
/// `destination`. Its files are stored there, or where --to says; nothing is stored where neither is
/// known. A file whose rows have landed is moved to the folder `replayed` beside it; rows that are
/// refused are then in a new file in its place. Replaying a file twice is harmless where the dataset
/// stores exactly once.
///
/// Only folders and files are replayed that are ours and that nobody else may write to. Root may name
/// another user's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety replay
  n3-safety replay --dry-run /var/log/safety
  n3-safety replay --to postgresql://db/safety safety_events_20260301_120000_1.json")]
pub(crate) struct Replay {
    /// Fallback files, or folders with such files [default: the usual folders, and those in the home's
    /// register]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to store the rows [default: where their folder says]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Only read and count
    #[arg(long)]
    dry_run: bool,
}

/// A file, and where its folder says that it goes.
struct Waiting {
    path: PathBuf,
    destination: Option<String>,
}

/// What became of the files.
#[derive(Default)]
struct Tally {
    rows: u64,
    refused: u64,
    failures: Vec<ReplayError>,
    /// Files for which no destination is known, or none that can be opened from here.
    unopened: usize,
    done: Vec<Value>,
    /// What datasets have to say that is not told yet.
    notices: Vec<Notice>,
}

impl Replay {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let files = self.files(context)?;
        if files.is_empty() {
            context.err.note("no fallback files wait");
        }
        let mut destinations = Destinations::of(self.to.as_deref());
        if let (false, Some(_)) = (files.is_empty(), &self.to) {
            // What is wrong with the command line is said before anything is done.
            destinations.named()?;
        }
        let bar = progress::bar(&context.err, Some(files.len() as u64), Unit::Things);
        let mut tally = Tally::default();
        for file in &files {
            bar.set_message(progress::name(&file.path));
            let told = self.one(file, &mut destinations, &mut tally)?;
            bar.inc(1);
            for notice in tally.notices.drain(..) {
                bar.suspend(|| feed::tell(&notice, &mut context.err));
            }
            if let Some(text) = told {
                bar.suspend(|| context.err.say(Style::Bad, "error:", &text));
            }
        }
        bar.finish_and_clear();
        if context.out.is_json() {
            let failed = tally.failures.len() + tally.unopened;
            context.out.json(&json!({
                "dry_run": self.dry_run, "files": tally.done, "rows": tally.rows,
                "refused": tally.refused, "failed": failed,
            }))?;
        } else {
            for file in &tally.done {
                self.show(context, file)?;
            }
        }
        Ok(match tally.unopened {
            0 if tally.refused > 0 && tally.failures.is_empty() => Exit::Partial,
            0 => exit_of(&tally.failures, files.len()),
            all if all == files.len() => Exit::Config,
            _ => Exit::Partial,
        })
    }

    /// Replays one file; what is to be said of it as an error.
    fn one(
        &self,
        file: &Waiting,
        destinations: &mut Destinations<'_>,
        tally: &mut Tally,
    ) -> Result<Option<String>, Error> {
        let shown = file.path.display().to_string();
        let options =
            ReplayOptions { dry_run: self.dry_run, any_owner: true, ..ReplayOptions::default() };
        // A dry run reads files only, so that it works while the dataset does not.
        let adapter = if self.dry_run { None } else { destinations.of_file(file)? };
        if !self.dry_run && adapter.is_none() {
            let text = unopened_text(file);
            tally.done.push(json!({"path": shown, "rows": 0, "error": text}));
            tally.unopened += 1;
            return Ok(Some(text));
        }
        let to = match (&adapter, self.to.as_deref()) {
            (Some(adapter), _) => Some(adapter.identity()),
            (None, Some(to)) => Some(to.to_owned()),
            (None, None) => file.destination.clone(),
        };
        let nowhere = namel3ss_safety::MemoryAdapter::default();
        let result = match &adapter {
            Some(adapter) => replay_file(&file.path, &**adapter, options),
            None => replay_file(&file.path, &nowhere, options),
        };
        tally.notices.extend(adapter.iter().flat_map(|adapter| adapter.notices()));
        match result {
            Ok(report) => {
                tally.rows += report.rows;
                tally.refused += report.refused;
                tally.done.push(json!({
                    "path": shown,
                    "to": to,
                    "rows": report.rows,
                    "duplicates": report.duplicates,
                    "copied": report.copied,
                    "refused": report.refused,
                    "left_in": report.left_in.as_ref().map(|to| to.display().to_string()),
                    "moved_to": report.moved_to.map(|to| to.display().to_string()),
                }));
                Ok(report.refused_because.map(|why| {
                    let place = report.left_in.unwrap_or_else(|| file.path.clone());
                    let place = place.display();
                    format!(
                        "{} rows of {shown} were refused: {why}; they are in {place}",
                        report.refused
                    )
                }))
            }
            Err(error) => {
                tally.done.push(json!({"path": shown, "rows": 0, "error": error.to_string()}));
                let text = format!("failed to {error}");
                tally.failures.push(error);
                Ok(Some(text))
            }
        }
    }

    fn show(&self, context: &mut Context, file: &Value) -> Result<(), Error> {
        if file.get("error").is_some() {
            return Ok(());
        }
        let verb = if self.dry_run { "would store" } else { "stored" };
        let path = file["path"].as_str().unwrap_or_default();
        let to = file["to"].as_str().map_or_else(
            || "; its folder does not say where: name it with --to URL".to_owned(),
            |to| format!(" in {to}"),
        );
        let copied = match file["copied"].as_u64() {
            None | Some(0) => String::new(),
            Some(copied) => format!(
                "; {copied} of them under other journal ids, because other events have theirs: the file \
                 is of a copy of a process"
            ),
        };
        context.out.text(format!("{verb} {} rows of {path}{to}{copied}", file["rows"]))
    }

    /// The files that are meant: those named, and those in folders named or usual.
    fn files(&self, context: &mut Context) -> Result<Vec<Waiting>, Error> {
        let mut files = Vec::new();
        if self.paths.is_empty() {
            for folder in fallback::usual(&home()) {
                // One that is not trusted must not hold up the others.
                match waiting_in(folder) {
                    Ok(waiting) => files.extend(waiting),
                    Err((path, error)) => {
                        let text = format!("left out {}: {error}", path.display());
                        context.err.say(Style::Warn, "warning:", &text);
                    }
                }
            }
            return Ok(files);
        }
        for path in &self.paths {
            if path.is_dir() {
                for folder in fallback::with_those_within(path, true) {
                    let waiting = waiting_in(folder);
                    files.extend(waiting.map_err(|(path, error)| unreadable(&path, &error))?);
                }
                continue;
            }
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or_else(|| Path::new("."));
            // What is wrong with its folder is said when it is replayed.
            let folder = FallbackFolder::open(parent, true).ok();
            files.push(Waiting {
                path: path.clone(),
                destination: folder.and_then(|f| f.destination().map(str::to_owned)),
            });
        }
        Ok(files)
    }
}

fn waiting_in(folder: Looked) -> Result<Vec<Waiting>, (PathBuf, std::io::Error)> {
    let folder = folder?;
    let destination = || folder.destination().map(str::to_owned);
    let files = folder.files().iter();
    Ok(files.map(|path| Waiting { path: path.clone(), destination: destination() }).collect())
}

/// Where files go; each adapter is opened once.
struct Destinations<'a> {
    to: Option<&'a str>,
    opened: BTreeMap<String, Option<Arc<dyn DatasetAdapter>>>,
}

impl<'a> Destinations<'a> {
    fn of(to: Option<&'a str>) -> Self {
        Self { to, opened: BTreeMap::new() }
    }

    /// What --to names, if there is one.
    fn named(&mut self) -> Result<Option<Arc<dyn DatasetAdapter>>, Error> {
        let Some(to) = self.to else { return Ok(None) };
        if let Some(known) = self.opened.get(to) {
            return Ok(known.clone());
        }
        let opened = destination::open(&[to.to_owned()])?.into_iter().next();
        self.opened.insert(to.to_owned(), opened.clone());
        Ok(opened)
    }

    /// `None` where nobody says where a file goes, or that can't be opened from here.
    fn of_file(&mut self, file: &Waiting) -> Result<Option<Arc<dyn DatasetAdapter>>, Error> {
        if self.to.is_some() {
            return self.named();
        }
        let Some(said) = &file.destination else { return Ok(None) };
        if !self.opened.contains_key(said) {
            let opened = recovery::open(said);
            if opened.is_some() {
                // It may be the default dataset of a home that is not there yet.
                destination::make_home()?;
            }
            self.opened.insert(said.clone(), opened);
        }
        Ok(self.opened.get(said).cloned().flatten())
    }
}

fn unopened_text(file: &Waiting) -> String {
    let why = match &file.destination {
        Some(said) => {
            format!("{said}, where its folder says that it goes, can't be opened from here")
        }
        None => "its folder does not say where it goes".to_owned(),
    };
    format!("failed to replay {}: {why}, say where with --to URL", file.path.display())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("read the folder {}: {error}", path.display()))
}

/// Some of it done is partial; none of it is whatever stood in the way.
fn exit_of(failures: &[ReplayError], files: usize) -> Exit {
    match failures.first() {
        None => Exit::Ok,
        Some(_) if failures.len() < files => Exit::Partial,
        Some(ReplayError::Insert { stored: 1.., .. }) => Exit::Partial,
        Some(ReplayError::Damaged { .. } | ReplayError::Refused { .. }) => Exit::Integrity,
        Some(ReplayError::Insert { transient: false, .. }) => Exit::Config,
        Some(_) => Exit::Failed,
    }
}
