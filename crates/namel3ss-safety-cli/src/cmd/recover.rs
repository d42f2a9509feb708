//! `recover`: journals that nobody adopts, delivered by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use namel3ss_safety::DatasetAdapter;
use namel3ss_safety::internal::home::home;
use namel3ss_safety::internal::journal::inspect::JournalInfo;
use serde_json::{Value, json};

use crate::context::Context;
use crate::destination;
use crate::error::Error;
use crate::exit::Exit;
use crate::feed;
use crate::journals;
use crate::progress::{self, Unit};
use crate::recovery::{self, Instead, shown};
use crate::style::Style;

/// Deliver what crashed programs left and nobody adopts
///
/// A logger adopts the journals of its own dataset and destination when it starts. This delivers
/// the others: to where they were meant to go, or to --to. A journal that a process has open is
/// left alone. Journals are looked for under NAMEL3SS_SAFETY_HOME, and under the folders outside it that
/// its loggers have used.
///
/// A journal may have several destinations. Each gets what it has yet to get: from the --to that is
/// the same place, which may hold its password, or else as above.
///
/// What is damaged in a journal costs what can't be read of it. A file that can't be used is set aside
/// under another name and reported, and the exit code is 3.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety recover --dry-run
  n3-safety recover
  n3-safety recover /var/log/safety
  n3-safety recover --dataset my_safety_events --to sqlite:////var/lib/app/safety.db")]
pub(crate) struct Recover {
    /// Where to look: homes, or folders with journals [default: the home folder, and the folders in
    /// its register]
    #[arg(value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Where to deliver; repeated, to each [default: where each journal was meant to go]
    #[arg(long, value_name = "URL")]
    to: Vec<String>,
    /// Only the journals of this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Only say what would be delivered
    #[arg(long)]
    dry_run: bool,
}

/// Orphans of one root, dataset and destination.
#[derive(Debug, Default)]
struct Group {
    journals: u64,
    events: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// The folder that holds `journal/`.
    root: PathBuf,
    dataset: String,
    destination: String,
}

impl Recover {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let to = if self.to.is_empty() { Vec::new() } else { destination::open(&self.to)? };
        let (groups, hurt) = self.groups(context)?;
        if !groups.is_empty() && !self.dry_run {
            destination::make_home()?;
        }
        if groups.is_empty() {
            context.err.note("no journals were left behind");
        }
        let total = groups.values().map(|group| group.events).sum();
        let bar = progress::bar(&context.err, Some(total), Unit::Things);
        let (mut done, mut settled, mut stuck) = (Vec::new(), 0_u64, 0_u64);
        for (key, group) in &groups {
            let adapters = adapters(&to, key, &groups);
            let result = match (self.dry_run, adapters.is_empty()) {
                (true, _) => Ok(0),
                (false, false) => self.deliver(context, key, adapters),
                (false, true) => Err(format!(
                    "the destination {} can't be opened from here: say where with --to URL",
                    shown(&key.destination)
                )),
            };
            bar.inc(group.events);
            let (delivered, error) = match result {
                Ok(delivered) => (delivered, None),
                Err(error) => (0, Some(error)),
            };
            if let Some(error) = &error {
                let text = format!("failed to recover the dataset {}: {error}", key.dataset);
                bar.suspend(|| context.err.say(Style::Bad, "error:", &text));
            }
            let delivered = delivered.min(group.events);
            settled += delivered;
            if !self.dry_run {
                stuck += group.events.saturating_sub(delivered);
            }
            done.push(json!({
                "dataset": key.dataset,
                "destination": key.destination,
                "journals": group.journals,
                "events": group.events,
                "delivered": delivered,
                "error": error,
            }));
        }
        bar.finish_and_clear();
        let set_aside = hurt.iter().flat_map(|journal| {
            journals::set_aside_in(journal).into_iter().map(|name| journal.join(name))
        });
        let set_aside: Vec<String> = set_aside.map(|path| path.display().to_string()).collect();
        for path in &set_aside {
            let text = format!(
                "{path} is set aside: keep it for whoever looks into the disk, then remove it"
            );
            context.err.say(Style::Bad, "damaged:", &text);
        }
        if context.out.is_json() {
            context.out.json(&json!({
                "dry_run": self.dry_run, "recovered": done, "delivered": settled, "left": stuck,
                "set_aside": set_aside,
            }))?;
        } else {
            for group in &done {
                self.show(context, group)?;
            }
        }
        Ok(match (stuck, settled) {
            _ if !hurt.is_empty() => Exit::Integrity,
            (0, _) => Exit::Ok,
            (_, 0) => Exit::Failed,
            _ => Exit::Partial,
        })
    }

    /// The orphans that have something to deliver, and the folders of those that are damaged.
    fn groups(&self, context: &mut Context) -> Result<(BTreeMap<Key, Group>, Vec<PathBuf>), Error> {
        let journals = if self.folders.is_empty() {
            journals::find_all(journals::folders_of(&home()), |text| {
                context.err.say(Style::Warn, "warning:", text);
            })
        } else {
            let mut found = Vec::new();
            for folder in &self.folders {
                let failed = |e| Error::failed(format!("read {}: {e}", folder.display()));
                found.extend(journals::find(folder).map_err(failed)?);
            }
            found
        };
        let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
        let mut hurt = Vec::new();
        for journal in journals.iter().filter(|journal| !journal.live) {
            let is_wanted = |content: &JournalInfo| {
                self.dataset.as_ref().is_none_or(|name| *name == content.header.dataset)
            };
            let is_damaged = |content: &JournalInfo| {
                is_wanted(content) && !(content.damage.is_empty() && journal.set_aside.is_empty())
            };
            if journal.content.as_ref().map_or(true, is_damaged) {
                hurt.push(journal.path.clone());
            }
            let content = match &journal.content {
                Ok(content) => content,
                Err(_) if journal.is_gone() => continue,
                Err(error) => {
                    let text = format!("left out {}: failed to {error}", journal.path.display());
                    context.err.say(Style::Warn, "warning:", &text);
                    continue;
                }
            };
            let Some(root) = journals::root_of(&journal.path) else {
                let text = format!(
                    "left out {}: it does not lie in a folder {}/DATASET",
                    journal.path.display(),
                    journals::JOURNAL_NAME
                );
                context.err.say(Style::Warn, "warning:", &text);
                continue;
            };
            let wanted = is_wanted(content);
            for sink in content.sinks().into_iter().filter(|sink| wanted && sink.pending > 0) {
                let key = Key {
                    root: root.to_owned(),
                    dataset: content.header.dataset.clone(),
                    destination: sink.destination,
                };
                let group = groups.entry(key).or_default();
                group.journals += 1;
                group.events += sink.pending;
            }
        }
        Ok((groups, hurt))
    }

    /// A logger that goes by the recorded destination adopts the group, and delivers it.
    fn deliver(
        &self,
        context: &mut Context,
        Key { root, dataset, destination }: &Key,
        adapters: Vec<Arc<dyn DatasetAdapter>>,
    ) -> Result<u64, String> {
        let instead = Arc::new(Instead::new(adapters, destination));
        // What can't be delivered stays where it is: another file of it would help nobody.
        let adapter: Arc<dyn DatasetAdapter> = instead.clone();
        let builder = feed::builder(&[adapter], dataset).home(root).no_fallback();
        let logger = feed::build(builder).map_err(|e| e.to_string())?;
        let report = logger.stop(None);
        feed::tell_notices(&logger, &mut context.err);
        match instead.stored() {
            0 => Err(instead
                .error()
                .or(report.error)
                .unwrap_or_else(|| "nothing was adopted: does another process do so?".to_owned())),
            stored => Ok(stored),
        }
    }

    fn show(&self, context: &mut Context, group: &Value) -> Result<(), Error> {
        let text = |key: &str| group[key].as_str().unwrap_or_default();
        let (dataset, to) = (text("dataset"), shown(text("destination")));
        let (events, journals) = (&group["events"], &group["journals"]);
        let line = if self.dry_run {
            format!(
                "would deliver {events} events of {dataset} ({journals} journals), meant for {to}"
            )
        } else {
            let delivered = &group["delivered"];
            format!("delivered {delivered} of {events} events of {dataset}, meant for {to}")
        };
        context.out.text(line)
    }
}

/// Where a group is delivered: to the one of `to` that is its own destination, else to those that are
/// nobody's own, else to where it was meant to go; empty where that can't be opened from here.
fn adapters(
    to: &[Arc<dyn DatasetAdapter>],
    Key { dataset, destination, .. }: &Key,
    groups: &BTreeMap<Key, Group>,
) -> Vec<Arc<dyn DatasetAdapter>> {
    let is_own = |adapter: &Arc<dyn DatasetAdapter>, of: &str| adapter.identity() == of;
    if let Some(own) = to.iter().find(|adapter| is_own(adapter, destination)) {
        return vec![own.clone()];
    }
    let of_dataset = || groups.keys().filter(|key| key.dataset == *dataset);
    let is_free = |adapter: &&Arc<dyn DatasetAdapter>| {
        !of_dataset().any(|other| is_own(adapter, &other.destination))
    };
    let free: Vec<_> = to.iter().filter(is_free).cloned().collect();
    if free.is_empty() { recovery::open(destination).into_iter().collect() } else { free }
}
