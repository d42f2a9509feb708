//! `journal`: what waits on disk.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use namel3ss_safety::internal::home::home;
use namel3ss_safety::internal::journal::inspect::JournalInfo;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Error;
use crate::exit::Exit;
use crate::journals::{self, Fates, Journal as Found};
use crate::out::Cell;
use crate::recovery::shown;
use crate::style::Style;

/// Look at the journals, in which events wait for their dataset
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety journal ls
  n3-safety journal ls -o json | jq '.journals[] | select(.state == \"orphan\")'")]
pub(crate) struct Journal {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Ls(Ls),
}

/// List the journals: whose they are, what waits in them, what is damaged
///
/// A live journal is open in some process; an orphan's process is gone. Exits with 3 when something
/// is damaged.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety journal ls
  n3-safety journal ls /var/log/safety -o json")]
struct Ls {
    /// Where to look [default: the home folder, and the folders in its register]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Journal {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        match &self.verb {
            Verb::Ls(ls) => ls.run(context),
        }
    }
}

impl Ls {
    fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let journals = match &self.folder {
            Some(folder) => journals::find(folder)
                .map_err(|error| Error::failed(format!("read {}: {error}", folder.display())))?,
            // Nothing may have been logged there yet; a folder that somebody named should exist.
            None => journals::find_all(journals::folders_of(&home()), |text| {
                context.err.say(Style::Warn, "warning:", text);
            }),
        };
        if context.out.is_json() {
            let list: Vec<Value> = journals.iter().map(to_json).collect();
            context.out.json(&json!({"journals": list}))?;
        } else if journals.is_empty() {
            let folder = self.folder.clone().unwrap_or_else(home);
            context.err.note(&format!("no journals under {}", folder.display()));
        } else {
            let heads = [
                "journal",
                "dataset",
                "state",
                "created",
                "logged",
                "pending",
                "dropped",
                "bytes",
                "destination",
            ];
            let rows: Vec<Vec<Cell>> = journals.iter().map(to_cells).collect();
            context.out.table(&heads, &rows)?;
            tell_damage(context, &journals);
        }
        let damaged = journals.iter().any(is_damaged);
        Ok(if damaged { Exit::Integrity } else { Exit::Ok })
    }
}

fn is_damaged(journal: &Found) -> bool {
    let damage = |content: &JournalInfo| !content.damage.is_empty();
    !journal.set_aside.is_empty() || journal.content.as_ref().map_or(true, damage)
}

fn state(journal: &Found) -> Cell {
    match (journal.live, &journal.content) {
        // All that could be read of it was delivered.
        _ if journal.is_gone() => Cell::new(Style::Bad, "set aside"),
        (_, Err(_)) => Cell::new(Style::Bad, "unreadable"),
        (true, _) => Cell::new(Style::Good, "live"),
        // Everything is settled; the next logger of its dataset removes it.
        (false, Ok(info)) if info.pending == 0 => Cell::new(Style::Dim, "settled"),
        (false, _) => Cell::new(Style::Warn, "orphan"),
    }
}

fn to_cells(journal: &Found) -> Vec<Cell> {
    let fates = journal.fates();
    let number = |n: u64| Cell::from(n.to_string());
    let (dataset, created, destination): (_, _, String) = match &journal.content {
        Ok(content) => {
            let created = content.header.created.to_string();
            (content.header.dataset.as_str(), created, destinations(content))
        }
        Err(_) => ("-", "-".to_owned(), "-".to_owned()),
    };
    vec![
        Cell::from(journal.id.to_string()),
        Cell::from(dataset),
        state(journal),
        Cell::from(created),
        number(fates.logged),
        number(fates.pending),
        number(fates.dropped),
        number(journal.bytes),
        Cell::from(destination),
    ]
}

/// Where events go; of several, with what each of them has yet to get.
fn destinations(content: &JournalInfo) -> String {
    let sinks = content.sinks();
    let several = sinks.len() > 1;
    let each = sinks.iter().map(|sink| match sink.pending {
        pending if several && pending > 0 => {
            format!("{} ({pending} pending)", shown(&sink.destination))
        }
        _ => shown(&sink.destination).to_owned(),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// One of a journal's destinations, as `-o json` shows it.
pub(crate) fn sink_to_json(destination: &str, fates: &Fates) -> Value {
    json!({
        "destination": destination,
        "logged": fates.logged,
        "flushed": fates.flushed,
        "fallback": fates.fallback,
        "dropped": fates.dropped,
        "pending": fates.pending,
        "balanced": fates.is_balanced(),
    })
}

fn tell_damage(context: &mut Context, journals: &[Found]) {
    for journal in journals {
        let path = journal.path.display();
        let mut tell = |text: String| context.err.say(Style::Bad, "damaged:", &text);
        match &journal.content {
            Ok(content) => {
                for damage in &content.damage {
                    tell(format!("{path}/{}: {}", damage.file, damage.what));
                }
            }
            Err(_) if journal.is_gone() => {}
            Err(error) => tell(format!("{path}: failed to {error}")),
        }
        for name in &journal.set_aside {
            tell(format!("{path}/{name} is set aside"));
        }
    }
}

/// A journal as `-o json` shows it, here and in `stats`.
pub(crate) fn to_json(journal: &Found) -> Value {
    let fates = journal.fates();
    let mut value = json!({
        "journal": journal.id.to_string(),
        "path": journal.path.display().to_string(),
        "state": state(journal).text,
        "bytes": journal.bytes,
        "logged": fates.logged,
        "flushed": fates.flushed,
        "fallback": fates.fallback,
        "dropped": fates.dropped,
        "pending": fates.pending,
        "balanced": fates.is_balanced(),
        "set_aside": journal.set_aside,
    });
    match &journal.content {
        Ok(content) => {
            value["dataset"] = json!(content.header.dataset);
            value["destination"] = json!(content.header.destination);
            value["sinks"] = content
                .sinks()
                .iter()
                .map(|sink| sink_to_json(&sink.destination, &journals::fates_of(content, sink)))
                .collect();
            value["created"] = json!(content.header.created.to_string());
            value["torn_tails"] = json!(content.torn_tails);
            value["segments"] = json!(content.segments);
            value["dropped_by_reason"] = journals::dropped(content)
                .into_iter()
                .map(|(why, n)| (why.to_owned(), json!(n)))
                .collect();
            value["damage"] = content
                .damage
                .iter()
                .map(|damage| json!({"file": damage.file, "what": damage.what}))
                .collect();
            value["cursors"] = content
                .cursors
                .iter()
                .map(|(file, state, pending)| {
                    json!({"file": file, "acked": state.acked.0, "pending": pending})
                })
                .collect();
            value["gaps"] = content
                .gaps
                .iter()
                .map(|gap| {
                    json!({
                        "reason": gap.reason.as_str(),
                        "events": gap.events,
                        "first": gap.seqs.0.0,
                        "last": gap.seqs.1.0,
                        "at": gap.at.to_string(),
                    })
                })
                .collect();
        }
        Err(_) if journal.is_gone() => {}
        Err(error) => value["error"] = json!(error.to_string()),
    }
    value
}
