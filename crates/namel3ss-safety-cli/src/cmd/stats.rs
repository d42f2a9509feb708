//! `stats`: what was logged, what has landed, and whether the two agree.

use std::collections::BTreeMap;

use clap::Args;
use namel3ss_safety::SafetyAction;
use namel3ss_safety::internal::home::home;
use namel3ss_safety::internal::journal::account::Account;
use namel3ss_safety::internal::journal::slug;
use serde_json::{Value, json};

use crate::cmd::journal;
use crate::context::Context;
use crate::error::Error;
use crate::exit::Exit;
use crate::journals::{self, Fates, Journal};
use crate::out::Cell;
use crate::place::{self, Place};
use crate::recovery::shown;
use crate::style::Style;
use crate::tally::Tally;

/// Count events: in datasets by policy and action, in journals by what became of them
///
/// In every journal, also one that is finished and gone, logged = flushed + fallback + dropped +
/// pending. Where several sinks deliver one journal, that holds for each of them, and the journal is
/// counted as the one has it that is furthest behind.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety stats
  n3-safety stats safety.csv sqlite:///safety.db
  n3-safety stats -o json | jq .totals")]
pub(crate) struct Stats {
    /// What to count: a URL, a .csv, .json, .jsonl or SQLite file, a folder of objects by day, the
    /// folder of a Delta table, or a folder with journals; may be repeated [default: the default
    /// dataset, and the journals of the home folder and of those in its register]
    #[arg(long, value_name = "URL|PATH")]
    from: Vec<String>,
    /// The same as --from
    #[arg(value_name = "DATASET")]
    datasets: Vec<String>,
}

/// What a dataset holds, and what waits for it.
struct Dataset {
    name: String,
    stored: Tally,
    waiting: Tally,
}

impl Stats {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let (mut datasets, mut found, mut finished) = (Vec::new(), Vec::new(), Vec::new());
        for place in self.places(context)? {
            match &place {
                Place::Journals(path) => {
                    let failed = |e| Error::failed(format!("read {}: {e}", path.display()));
                    found.extend(journals::find(path).map_err(failed)?);
                    finished.extend(journals::finished(path).map_err(failed)?);
                }
                _ => datasets.extend(self.dataset(&place, context)?),
            }
        }
        let mut totals = Fates::default();
        found.iter().for_each(|journal| totals.add(&journal.fates()));
        finished.iter().for_each(|(_, account)| totals.add(&account.into()));
        let by_destination = journals::by_destination(&found, &finished);
        let unreadable: u64 =
            datasets.iter().map(|d| d.stored.unreadable + d.waiting.unreadable).sum();
        if context.out.is_json() {
            let list: Vec<Value> = datasets
                .iter()
                .map(|dataset| {
                    let mut value = dataset.stored.to_json();
                    value["dataset"] = json!(dataset.name);
                    value["waiting"] = dataset.waiting.to_json();
                    value
                })
                .collect();
            let gone: Vec<Value> = finished
                .iter()
                .map(|(name, account)| {
                    json!({
                        "dataset": name,
                        "journals": account.journals,
                        "logged": account.logged(),
                        "flushed": account.flushed,
                        "fallback": account.fallback,
                        "dropped": account.dropped.iter().sum::<u64>(),
                        "sinks": account.sinks.iter().map(|(destination, sink)| json!({
                            "destination": destination,
                            "flushed": sink.flushed,
                            "fallback": sink.fallback,
                            "dropped": sink.dropped,
                        })).collect::<Vec<_>>(),
                    })
                })
                .collect();
            let journals: Vec<Value> = found.iter().map(journal::to_json).collect();
            let sinks: Vec<Value> = by_destination
                .iter()
                .map(|(destination, fates)| journal::sink_to_json(destination, fates))
                .collect();
            context.out.json(&json!({
                "datasets": list,
                "journals": journals,
                "finished": gone,
                "sinks": sinks,
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
            for dataset in &datasets {
                show(context, dataset)?;
            }
            if !found.is_empty() || !finished.is_empty() {
                show_journals(context, &found, &finished, &totals)?;
            }
            // Of a single destination the equation says it all.
            if by_destination.len() > 1 {
                show_sinks(context, &by_destination)?;
            }
        }
        if unreadable > 0 {
            let text = format!("{unreadable} rows could not be read and were not counted");
            context.err.say(Style::Warn, "warning:", &text);
            return Ok(Exit::Partial);
        }
        Ok(Exit::Ok)
    }

    /// Counts a dataset. One that is not there is an error if it was asked for and nothing waits for
    /// it.
    fn dataset(&self, place: &Place, context: &mut Context) -> Result<Option<Dataset>, Error> {
        // What is delivered meanwhile would be counted twice or never: this way round, twice.
        let waiting = Tally::waiting_for(place)?;
        let stored = match Tally::of(place) {
            Ok(stored) => stored,
            Err(error @ Error::NotThere { .. }) => {
                if waiting.rows == 0 && self.named().next().is_some() {
                    return Err(error);
                }
                context.err.note(&format!("{} is not there yet", place.shown()));
                if waiting.rows == 0 {
                    return Ok(None);
                }
                Tally::default()
            }
            Err(error) => return Err(error),
        };
        if stored.rows == 0 && waiting.rows == 0 {
            context.err.note(&format!("hint: there are no events in {}", place.shown()));
        }
        Ok(Some(Dataset { name: place.shown(), stored, waiting }))
    }

    fn named(&self) -> impl Iterator<Item = &String> {
        self.datasets.iter().chain(&self.from)
    }

    fn places(&self, context: &mut Context) -> Result<Vec<Place>, Error> {
        if self.named().next().is_some() {
            return self.named().map(|from| Place::parse(from)).collect();
        }
        let mut places = Vec::new();
        // Journals can be counted although the dataset is on another machine, or not there yet.
        let datasets = place::default_datasets().unwrap_or_else(|error| vec![Err(error)]);
        for place in datasets {
            match place {
                Ok(place) => places.push(place),
                Err(error) => {
                    context.err.note(&format!("left out the default dataset: failed to {error}"));
                }
            }
        }
        places.extend(journals::folders_of(&home()).into_iter().map(Place::Journals));
        Ok(places)
    }
}

/// The equation, a line a dataset and a line for all.
fn show_journals(
    context: &mut Context,
    found: &[Journal],
    finished: &[(String, Account)],
    totals: &Fates,
) -> Result<(), Error> {
    // By the folder's name, which a finished journal's dataset has left as well.
    let mut by_folder: BTreeMap<String, (String, u64, Fates)> = BTreeMap::new();
    let mut add = |folder: String, name: &str, journals: u64, fates: &Fates| {
        let (_, sum, all) =
            by_folder.entry(folder).or_insert_with(|| (name.to_owned(), 0, Fates::default()));
        *sum += journals;
        all.add(fates);
    };
    for journal in found {
        let unread = if journal.is_gone() { "(set aside)" } else { "(unreadable)" };
        let name = journal.content.as_ref().map_or(unread, |info| info.header.dataset.as_str());
        add(slug(name), name, 1, &journal.fates());
    }
    for (folder, account) in finished {
        add(folder.clone(), folder, account.journals, &account.into());
    }
    let row = |name: Cell, journals: u64, fates: &Fates| -> Vec<Cell> {
        let numbers =
            [journals, fates.logged, fates.flushed, fates.fallback, fates.dropped, fates.pending];
        std::iter::once(name).chain(numbers.map(|n| Cell::from(n.to_string()))).collect()
    };
    let journals = by_folder.values().map(|(_, journals, _)| journals).sum();
    let mut rows: Vec<Vec<Cell>> = by_folder
        .values()
        .map(|(name, journals, fates)| row(Cell::from(name.as_str()), *journals, fates))
        .collect();
    rows.push(row(Cell::new(Style::Bold, "all"), journals, totals));
    context.out.line(&[
        Cell::new(Style::Bold, "journals"),
        Cell::from("logged = flushed + fallback + dropped + pending"),
    ])?;
    let heads = ["dataset", "journals", "logged", "flushed", "fallback", "dropped", "pending"];
    context.out.table(&heads, &rows)
}

/// How each destination fares.
fn show_sinks(context: &mut Context, sinks: &BTreeMap<String, Fates>) -> Result<(), Error> {
    let row = |(destination, fates): (&String, &Fates)| -> Vec<Cell> {
        let numbers = [fates.logged, fates.flushed, fates.fallback, fates.dropped, fates.pending];
        let numbers = numbers.map(|n| Cell::from(n.to_string()));
        [Cell::from(shown(destination))].into_iter().chain(numbers).collect()
    };
    let rows: Vec<Vec<Cell>> = sinks.iter().map(row).collect();
    context
        .out
        .line(&[Cell::new(Style::Bold, "sinks"), Cell::from("the same for each destination")])?;
    let heads = ["destination", "logged", "flushed", "fallback", "dropped", "pending"];
    context.out.table(&heads, &rows)
}

fn show(context: &mut Context, dataset: &Dataset) -> Result<(), Error> {
    let Dataset { name, stored: tally, waiting } = dataset;
    let moment = |at: Option<namel3ss_safety::Timestamp>| {
        at.map_or_else(|| "-".to_owned(), |at| at.to_string())
    };
    context.out.line(&[Cell::new(Style::Bold, "dataset"), Cell::from(name.as_str())])?;
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
    if waiting.rows > 0 {
        let totals = actions.iter().map(|action| number(waiting.of_action(action)));
        rows.push([Cell::new(Style::Bold, "waiting")].into_iter().chain(totals).collect());
    }
    context.out.table(&heads, &rows)
}
