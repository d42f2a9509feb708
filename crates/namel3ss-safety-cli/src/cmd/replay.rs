//! `replay`: fallback files into the dataset they were meant for.

use std::path::{Path, PathBuf};

use clap::Args;
use namel3ss_safety::home::home;
use namel3ss_safety::sink::{ReplayError, ReplayOptions, replay_file};
use serde_json::{Value, json};

use crate::cli::Context;
use crate::destination;
use crate::error::Error;
use crate::exit::Exit;
use crate::fallback;
use crate::progress::{self, Unit};
use crate::style::Style;

/// Store fallback files where their rows should have gone
///
/// A file whose rows have all landed is moved to the folder `replayed` beside it. Replaying a file
/// twice is harmless where the dataset stores exactly once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety replay
  n3-safety replay --dry-run /var/log/safety
  n3-safety replay --to postgresql://db/safety safety_events_20260301_120000_1.json")]
pub(crate) struct Replay {
    /// Fallback files, or folders with such files [default: the usual folders]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to store the rows [default: the default dataset]
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
        let adapter = match (files.is_empty(), self.dry_run, &self.to) {
            (true, _, _) | (_, true, None) => None,
            (_, _, to) => Some(destination::open(to.as_deref())?),
        };
        let nowhere = namel3ss_safety::MemoryAdapter::default();
        let bar = progress::bar(&context.err, Some(files.len() as u64), Unit::Things);
        let (mut rows, mut failures, mut done) = (0, Vec::new(), Vec::new());
        for path in &files {
            bar.set_message(progress::name(path));
            let options = ReplayOptions { dry_run: self.dry_run, ..ReplayOptions::default() };
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
        let exit = exit_of(&failures, files.len());
        if context.out.is_json() {
            context.out.json(&json!({
                "dry_run": self.dry_run, "files": done, "rows": rows, "failed": failures.len(),
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
                files.extend(fallback::waiting_in(path).map_err(|e| unreadable(path, &e))?);
            } else {
                files.push(path.clone());
            }
        }
        Ok(files)
    }
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
