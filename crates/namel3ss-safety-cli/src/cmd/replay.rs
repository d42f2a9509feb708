//! `replay`: fallback files into the dataset they were meant for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use namel3ss_safety::DatasetAdapter;
use namel3ss_safety::home::home;
use namel3ss_safety::sink::{ReplayError, ReplayOptions, replay_file};
use serde_json::{Value, json};

use crate::cli::Context;
use crate::destination;
use crate::error::Error;
use crate::exit::Exit;
use crate::fallback;
use crate::progress::{self, Unit};
use crate::recovery;
use crate::style::Style;

/// Store fallback files where their rows should have gone
///
/// A file whose rows have all landed is moved to the folder `replayed` beside it. Replaying a file
/// twice is harmless where the dataset stores exactly once.
///
/// Of a logger with several sinks each further one has a folder of its own for its files, within the
/// first one's; a file `destination` in it says where they go.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety replay
  n3-safety replay --dry-run /var/log/safety
  n3-safety replay --to postgresql://db/safety safety_events_20260301_120000_1.json")]
pub(crate) struct Replay {
    /// Fallback files, or folders with such files [default: the usual folders]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to store the rows [default: where their folder says, or else the default dataset]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Only read and count
    #[arg(long)]
    dry_run: bool,
}

impl Replay {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let files = self.files()?;
        if files.is_empty() {
            context.err.note("no fallback files wait");
        }
        // A dry run reads files only, so that it works while the dataset does not.
        let mut destinations = Destinations::of(self.to.as_deref());
        if let (false, Some(_)) = (files.is_empty(), &self.to) {
            // What is wrong with the command line is said before anything is done.
            destinations.at(None)?;
        }
        let nowhere = namel3ss_safety::MemoryAdapter::default();
        let bar = progress::bar(&context.err, Some(files.len() as u64), Unit::Things);
        let (mut rows, mut failures, mut done, mut unopened) = (0, Vec::new(), Vec::new(), 0);
        for path in &files {
            bar.set_message(progress::name(path));
            let options = ReplayOptions { dry_run: self.dry_run, ..ReplayOptions::default() };
            let adapter = match self.dry_run {
                true => None,
                false => match destinations.for_file(path)? {
                    Some(adapter) => Some(adapter),
                    None => {
                        let text = unopened_text(path);
                        bar.suspend(|| context.err.say(Style::Bad, "error:", &text));
                        done.push(json!({
                            "path": path.display().to_string(), "rows": 0, "error": text,
                        }));
                        unopened += 1;
                        continue;
                    }
                },
            };
            let result = match &adapter {
                Some(adapter) => replay_file(path, &**adapter, options),
                None => replay_file(path, &nowhere, options),
            };
            bar.inc(1);
            match result {
                Ok(report) => {
                    rows += report.rows;
                    done.push(json!({
                        "path": path.display().to_string(),
                        "rows": report.rows,
                        "duplicates": report.duplicates,
                        "moved_to": report.moved_to.map(|to| to.display().to_string()),
                    }));
                }
                Err(error) => {
                    let text = format!("failed to {error}");
                    bar.suspend(|| context.err.say(Style::Bad, "error:", &text));
                    done.push(json!({
                        "path": path.display().to_string(), "rows": 0, "error": error.to_string(),
                    }));
                    failures.push(error);
                }
            }
        }
        bar.finish_and_clear();
        let exit = match unopened {
            0 => exit_of(&failures, files.len()),
            all if all == files.len() => Exit::Config,
            _ => Exit::Partial,
        };
        if context.out.is_json() {
            context.out.json(&json!({
                "dry_run": self.dry_run, "files": done, "rows": rows, "failed": failures.len() + unopened,
            }))?;
        } else {
            for file in &done {
                self.show(context, file)?;
            }
        }
        Ok(exit)
    }

    fn show(&self, context: &mut Context, file: &Value) -> Result<(), Error> {
        if file.get("error").is_some() {
            return Ok(());
        }
        let verb = if self.dry_run { "would store" } else { "stored" };
        let path = file["path"].as_str().unwrap_or_default();
        let rows = &file["rows"];
        context.out.text(format!("{verb} {rows} rows of {path}"))
    }

    /// The files that are meant: those named, and those in folders named or usual.
    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        let usual;
        let paths = if self.paths.is_empty() {
            usual = fallback::usual_folders(&home());
            &usual
        } else {
            &self.paths
        };
        let mut files = Vec::new();
        for path in paths {
            if path.is_dir() {
                for folder in fallback::with_those_within(path) {
                    let waiting = fallback::waiting_in(&folder);
                    files.extend(waiting.map_err(|e| unreadable(&folder, &e))?);
                }
            } else {
                files.push(path.clone());
            }
        }
        Ok(files)
    }
}

/// Where files go; each adapter is opened once.
struct Destinations<'a> {
    to: Option<&'a str>,
    opened: BTreeMap<Option<String>, Arc<dyn DatasetAdapter>>,
}

impl<'a> Destinations<'a> {
    fn of(to: Option<&'a str>) -> Self {
        Self { to, opened: BTreeMap::new() }
    }

    /// `None` where its folder says a destination that can't be opened from here.
    fn for_file(&mut self, path: &Path) -> Result<Option<Arc<dyn DatasetAdapter>>, Error> {
        match self.to {
            Some(_) => self.at(None),
            None => self.at(fallback::destination_of(path)?),
        }
    }

    fn at(&mut self, said: Option<String>) -> Result<Option<Arc<dyn DatasetAdapter>>, Error> {
        if let Some(adapter) = self.opened.get(&said) {
            return Ok(Some(adapter.clone()));
        }
        let adapter = match &said {
            Some(said) => recovery::open(said),
            None => {
                let to: Vec<String> = self.to.into_iter().map(str::to_owned).collect();
                // Files that no folder says anything of are the first sink's.
                destination::open(&to)?.into_iter().next()
            }
        };
        if let Some(adapter) = &adapter {
            self.opened.insert(said, adapter.clone());
        }
        Ok(adapter)
    }
}

fn unopened_text(path: &Path) -> String {
    format!(
        "failed to replay {}: the destination that its folder says can't be opened from here, say \
         where with --to URL",
        path.display()
    )
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
        Some(ReplayError::Damaged { .. }) => Exit::Integrity,
        Some(ReplayError::Insert { transient: false, .. }) => Exit::Config,
        Some(_) => Exit::Failed,
    }
}
