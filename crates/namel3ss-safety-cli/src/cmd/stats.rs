//! `stats`: what was logged, what has landed, and whether the two agree.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use namel3ss_safety::SafetyAction;
use namel3ss_safety::home::home;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cmd::journal;
use crate::error::Error;
use crate::exit::Exit;
use crate::journals::{self, Fates, Journal};
use crate::out::Cell;
use crate::place::{self, Place};
use crate::style::Style;
use crate::tally::Tally;

/// Count events: in datasets by policy and action, in journals by what became of them
///
/// In every journal, logged = flushed + fallback + dropped + pending.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety stats
  n3-safety stats --from safety.csv --from sqlite:///safety.db
  n3-safety stats -o json | jq .totals")]
pub(crate) struct Stats {
    /// What to count: a URL, a .csv, .json, .jsonl or SQLite file, or a folder with journals; may
    /// be repeated [default: the default dataset, and the journals of the home folder]
    #[arg(long, value_name = "URL|PATH")]
    from: Vec<String>,
}

impl Stats {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let (mut datasets, mut found) = (Vec::new(), Vec::new());
        for place in self.places(context)? {
            match &place {
                Place::Journals(path) => found.extend(journals_in(path)?),
                _ => datasets.push((place.path().display().to_string(), Tally::of(&place)?)),
            }
        }
        let mut totals = Fates::default();
        found.iter().for_each(|journal| totals.add(&journal.fates()));
        let unreadable: u64 = datasets.iter().map(|(_, tally)| tally.unreadable).sum();
        if context.out.is_json() {
            let list: Vec<Value> = datasets
                .iter()
                .map(|(name, tally)| {
                    let mut value = tally.to_json();
                    value["dataset"] = json!(name);
                    value
                })
                .collect();
            let journals: Vec<Value> = found.iter().map(journal::to_json).collect();
            context.out.json(&json!({
                "datasets": list,
                "journals": journals,
                "totals": {
                    "logged": totals.logged,
                    "flushed": totals.flushed,
                    "fallback": totals.fallback,
                    "dropped": totals.dropped,
                    "pending": totals.pending,
                    "balanced": totals.is_balanced(),
                },
            }))?;
        } else {
            for (name, tally) in &datasets {
                show(context, name, tally)?;
            }
            if !found.is_empty() {
                show_journals(context, &found, &totals)?;
            }
        }
        if unreadable > 0 {
            let text = format!("{unreadable} rows could not be read and were not counted");
            context.err.say(Style::Warn, "warning:", &text);
            return Ok(Exit::Partial);
        }
        Ok(Exit::Ok)
    }

    fn places(&self, context: &mut Context) -> Result<Vec<Place>, Error> {
        if !self.from.is_empty() {
            return self.from.iter().map(|from| Place::parse(from)).collect();
        }
        let mut places = Vec::new();
        // Journals can be counted although the dataset is on another machine, or not there yet.
        match place::default_dataset() {
            Ok(place) if place.path().exists() => places.push(place),
            Ok(place) => {
                context.err.note(&format!("{} is not there yet", place.path().display()));
            }
            Err(error) => {
                context.err.note(&format!("left out the default dataset: failed to {error}"));
            }
        }
        let folder = home().join("journal");
        if folder.exists() {
            places.push(Place::Journals(folder));
        }
        Ok(places)
    }
}

fn journals_in(path: &Path) -> Result<Vec<Journal>, Error> {
    journals::find(path).map_err(|e| Error::failed(format!("read {}: {e}", path.display())))
}

/// The equation, a line a dataset and a line for all.
fn show_journals(context: &mut Context, found: &[Journal], totals: &Fates) -> Result<(), Error> {
    let mut by_dataset: BTreeMap<&str, (u64, Fates)> = BTreeMap::new();
    for journal in found {
        let name =
            journal.content.as_ref().map_or("(unreadable)", |info| info.header.dataset.as_str());
        let (journals, fates) = by_dataset.entry(name).or_default();
        *journals += 1;
        fates.add(&journal.fates());
    }
    let row = |name: Cell, journals: u64, fates: &Fates| -> Vec<Cell> {
        let numbers =
            [journals, fates.logged, fates.flushed, fates.fallback, fates.dropped, fates.pending];
        std::iter::once(name).chain(numbers.map(|n| Cell::from(n.to_string()))).collect()
    };
    let mut rows: Vec<Vec<Cell>> = by_dataset
        .iter()
        .map(|(name, (journals, fates))| row(Cell::from(*name), *journals, fates))
        .collect();
    rows.push(row(Cell::new(Style::Bold, "all"), found.len() as u64, totals));
    context.out.line(&[
        Cell::new(Style::Bold, "journals"),
        Cell::from("logged = flushed + fallback + dropped + pending"),
    ])?;
    let heads = ["dataset", "journals", "logged", "flushed", "fallback", "dropped", "pending"];
    context.out.table(&heads, &rows)
}

fn show(context: &mut Context, name: &str, tally: &Tally) -> Result<(), Error> {
    let moment = |at: Option<namel3ss_safety::Timestamp>| {
        at.map_or_else(|| "-".to_owned(), |at| at.to_string())
    };
    context.out.line(&[Cell::new(Style::Bold, "dataset"), Cell::from(name)])?;
    context.out.text(format!(
        "{} rows, {} to {}",
        tally.rows,
        moment(tally.first),
        moment(tally.last)
    ))?;
    let actions: Vec<&str> = SafetyAction::ALL.iter().map(|action| action.as_str()).collect();
    let heads: Vec<&str> = ["policy"].into_iter().chain(actions.iter().copied()).collect();
    let number = |rows: u64| Cell::from(rows.to_string());
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for (policy, counts) in &tally.policies {
        let name = if policy.is_empty() { "-" } else { policy };
        let counts = actions.iter().map(|action| number(counts.get(*action).copied().unwrap_or(0)));
        rows.push([Cell::from(name)].into_iter().chain(counts).collect());
    }
    let totals = actions.iter().map(|action| number(tally.of_action(action)));
    rows.push([Cell::new(Style::Bold, "all")].into_iter().chain(totals).collect());
    context.out.table(&heads, &rows)
}
