//! `stats`: what was logged, what has landed, and whether the two agree.

use clap::Args;
use namel3ss_safety::SafetyAction;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::error::Error;
use crate::exit::Exit;
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
        let mut datasets = Vec::new();
        for place in self.places(context)? {
            datasets.push((place.path().display().to_string(), Tally::of(&place)?));
        }
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
            context.out.json(&json!({"datasets": list}))?;
        } else {
            for (name, tally) in &datasets {
                show(context, name, tally)?;
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
        // Its journals can be counted although the dataset is on another machine, or not there yet.
        let place = match place::default_dataset() {
            Ok(place) => place,
            Err(error) => {
                context.err.note(&format!("left out the default dataset: failed to {error}"));
                return Ok(Vec::new());
            }
        };
        if place.path().exists() {
            return Ok(vec![place]);
        }
        context.err.note(&format!("{} is not there yet", place.path().display()));
        Ok(Vec::new())
    }
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
