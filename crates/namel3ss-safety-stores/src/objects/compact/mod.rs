//! Few large objects in the place of many small ones, day by day, while loggers write and others
//! read. `docs/design/compact.md` says in which order, and what that promises.

mod merged;
mod source;
mod plan;
mod build;
#[cfg(all(test, unix))]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use namel3ss_safety::ReadError;
use namel3ss_safety::{AdapterError, Durability, Seq, Timestamp};

use self::build::{Built, build};
use self::plan::{Chosen, plan};
use self::source::Source;
use super::adapter::{ObjectStoreAdapter, Rows, keep};
#[cfg(unix)]
use super::exchange::Exchange;
use super::format::Format;
use super::key::MERGED;
use super::opened::Opened;
use super::partition::{Partition, partitions};
use super::place::Place;
use super::store::{Created, Object, Store};
use crate::ids::Ids;

pub(super) use self::merged::ids;

/// How often a day is looked at anew: after each merge, and each time others were faster.
const ROUNDS_MAX: usize = 1_000;

/// What is to be compacted.
#[derive(Clone, Debug)]
pub struct CompactOptions {
    /// Only days that end at this moment or earlier.
    pub before: Timestamp,
    /// How large a merged object is to become, at most and near enough, in bytes. Objects of half
    /// this size stay as they are.
    pub target_bytes: u64,
    /// Look, and change nothing.
    pub dry_run: bool,
    /// How long the old folder of a day stays for readers that are listing it; a store has none.
    pub linger: Duration,
}

impl CompactOptions {
    /// How large a merged object becomes unless somebody says otherwise: 128 MiB.
    pub const TARGET_BYTES: u64 = 128 << 20;
    /// The largest target: 512 MiB, which is held in memory.
    pub const TARGET_BYTES_MAX: u64 = 512 << 20;
    /// How long the old folder of a day stays, unless somebody says otherwise: 2 s.
    pub const LINGER: Duration = Duration::from_secs(2);
}

/// What is being done: for a progress bar, and for tests that kill it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompactStep<'a> {
    /// A day begins, with so many objects.
    Day {
        /// Its partition.
        folder: &'a str,
        /// How many objects it has.
        objects: usize,
    },
    /// One more object was looked at.
    Read,
    /// A merged object is about to be published, or a step nearer to it.
    Made,
    /// A merged object is where readers see it.
    Published,
    /// The objects that it replaces are gone.
    Removed,
}

/// What became of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactedDay {
    /// Its partition, such as `year=2026/month=03/day=01` under the prefix.
    pub folder: String,
    /// Its objects before, and after; in a dry run, after as planned.
    pub objects: [u64; 2],
    /// Their bytes before, and after; in a dry run the same.
    pub bytes: [u64; 2],
    /// Rows that were, or would be, written anew.
    pub rows: u64,
    /// Objects that were there in vain, all of whose rows a merged one has: the rest of a crash.
    pub mended: u64,
    /// What stands in the way of objects that were left as they are, or of the whole day.
    pub errors: Vec<String>,
}

/// Compacts the days of a dataset; `step` is told what is done, and ends it by false, before the next
/// object is merged. The last item is whether it came to its end.
///
/// # Errors
/// If the dataset is not in Parquet, can't be listed or exchanged, is being compacted by another
/// process, or its store can't create without overwriting. What goes wrong with one day stands there.
pub fn compact(
    place: Place,
    options: &CompactOptions,
    step: &mut dyn FnMut(CompactStep<'_>) -> bool,
) -> Result<(Vec<CompactedDay>, bool), AdapterError> {
    if place.format != Format::Parquet {
        return Err(AdapterError::config("compact the dataset: only Parquet can be, so far"));
    }
    let adapter = ObjectStoreAdapter::open(place)?;
    let mut days = partitions(&adapter.place, &*adapter.store, None, None)?;
    days.retain(|day| day.day.is_some_and(|day| day.next().start() <= options.before));
    if days.is_empty() {
        return Ok((Vec::new(), true));
    }
    if !options.dry_run && !adapter.creates_only()? {
        return Err(AdapterError::config(
            "compact the dataset: the store can't create an object without overwriting one",
        ));
    }
    #[cfg(unix)]
    let exchange = match options.dry_run {
        true => None,
        false => adapter.store.exchange(&adapter.place.prefix)?,
    };
    let mut compaction = Compaction {
        adapter: &adapter,
        options,
        #[cfg(unix)]
        exchange,
        stopped: false,
    };
    let mut done = Vec::new();
    for day in days {
        let mut report = CompactedDay { folder: day.folder.clone(), ..CompactedDay::default() };
        if let Err(error) = compaction.day(&day, &mut report, step) {
            report.errors.push(error.to_string());
        }
        done.push(report);
        if compaction.stopped {
            break;
        }
    }
    #[cfg(unix)]
    if let Some(exchange) = compaction.exchange.take() {
        let ended = exchange.end(options.linger);
        ended.map_err(|error| AdapterError::io("remove what was exchanged", error))?;
    }
    Ok((done, !compaction.stopped))
}

struct Compaction<'a> {
    adapter: &'a ObjectStoreAdapter,
    options: &'a CompactOptions,
    /// Where one object takes the place of many at once.
    #[cfg(unix)]
    exchange: Option<Exchange>,
    stopped: bool,
}

type Step<'s> = &'s mut dyn FnMut(CompactStep<'_>) -> bool;

fn failed(error: &ReadError) -> AdapterError {
    AdapterError::config(error.to_string())
}

impl Compaction<'_> {
    /// Does what is to be done in a day, group by group, until nothing is.
    fn day(
        &mut self,
        day: &Partition,
        report: &mut CompactedDay,
        step: Step<'_>,
    ) -> Result<(), AdapterError> {
        let (place, store) = (&self.adapter.place, &*self.adapter.store);
        let mut known = BTreeMap::new();
        for round in 0..ROUNDS_MAX {
            let objects = day.objects(place, store)?;
            let bytes = objects.iter().map(|object| object.bytes).sum();
            report.objects[1] = objects.len() as u64;
            report.bytes[1] = bytes;
            if round == 0 {
                (report.objects[0], report.bytes[0]) = (report.objects[1], bytes);
                self.tell(step, CompactStep::Day { folder: &day.folder, objects: objects.len() });
            }
            // One object alone, or none: not worth a request.
            if self.stopped || objects.len() < 2 {
                return Ok(());
            }
            let Some(sources) = self.survey(day, &objects, &mut known, report, step)? else {
                continue;
            };
            let plan = plan(sources, self.options.target_bytes);
            if self.options.dry_run {
                report.mended = plan.idle.len() as u64;
                report.objects[1] -= report.mended;
                for group in &plan.groups {
                    report.rows += rows_of(group);
                    report.objects[1] -= group.len() as u64 - 1;
                }
                return Ok(());
            }
            if !plan.idle.is_empty() {
                let keys: Vec<String> = plan.idle.iter().map(|name| day.key(name)).collect();
                store.remove(&keys)?;
                report.mended += keys.len() as u64;
                self.tell(step, CompactStep::Removed);
                continue;
            }
            let Some(group) = plan.groups.first() else { return Ok(()) };
            let newest = objects.iter().filter_map(|object| self.generation(&object.name)).max();
            let name = merged::name(newest.unwrap_or(0) + 1, &place.extension());
            let built = match build(store, day, group) {
                Ok(built) => built,
                // Others took a part away while it was read.
                Err(_) if !lists(place, store, day, &objects)? => continue,
                Err(error) => return Err(failed(&error)),
            };
            self.tell(step, CompactStep::Made);
            if self.stopped {
                return Ok(());
            }
            if let Some(built) = built
                && self.publish(day, &name, &built, group, step)?
            {
                report.rows += rows_of(group);
            }
        }
        Err(AdapterError::transient("compact a day: its objects keep changing, try again later"))
    }

    fn tell(&mut self, step: Step<'_>, what: CompactStep<'_>) {
        self.stopped |= !step(what);
    }

    fn generation(&self, name: &str) -> Option<u64> {
        merged::generation(name, &self.adapter.place.extension())
    }

    /// What is known about the objects, of which those that are not ours are left out; `None` where
    /// one is gone since it was listed.
    fn survey(
        &mut self,
        day: &Partition,
        objects: &[Object],
        known: &mut BTreeMap<String, Option<Source>>,
        report: &mut CompactedDay,
        step: Step<'_>,
    ) -> Result<Option<Vec<Source>>, AdapterError> {
        let extension = self.adapter.place.extension();
        for object in objects {
            if known.contains_key(&object.name) {
                continue;
            }
            match Source::survey(&*self.adapter.store, day, object, &extension) {
                Ok(Some(source)) => known.insert(object.name.clone(), Some(source)),
                Ok(None) => return Ok(None),
                Err(_) if !lists(&self.adapter.place, &*self.adapter.store, day, objects)? => {
                    return Ok(None);
                }
                Err(error) => {
                    report.errors.push(format!("leave {} as it is: {error}", object.name));
                    known.insert(object.name.clone(), None)
                }
            };
            self.tell(step, CompactStep::Read);
            if self.stopped {
                return Ok(Some(Vec::new()));
            }
        }
        let sources = objects.iter().filter_map(|object| known.get(&object.name)?.clone());
        Ok(Some(sources.collect()))
    }

    /// Puts a merged object in the place of its parts; false where others were faster.
    fn publish(
        &mut self,
        day: &Partition,
        name: &str,
        built: &Built,
        group: &[Chosen],
        step: Step<'_>,
    ) -> Result<bool, AdapterError> {
        #[cfg(unix)]
        if let Some(exchange) = &mut self.exchange {
            let sources: Vec<&str> = group.iter().map(|one| one.source.name.as_str()).collect();
            let mut stopped = false;
            let mut told = || stopped |= !step(CompactStep::Made);
            let replaced = exchange
                .replace(&day.folder, name, built.body.as_ref(), &sources, &mut told)
                .and_then(|replaced| exchange.sweep(self.options.linger).map(|()| replaced))
                .map_err(|error| AdapterError::io("exchange a day's folder", error))?;
            self.stopped |= stopped;
            self.tell(step, CompactStep::Removed);
            return Ok(replaced);
        }
        let store = &*self.adapter.store;
        let key = day.key(name);
        if store.create(&key, &built.body, Durability::Power)? != Created::New {
            return Ok(false);
        }
        self.tell(step, CompactStep::Published);
        if self.is_late(day, name, &built.ids)? {
            store.remove(&[key])?;
            return Ok(false);
        }
        let keys: Vec<String> = group.iter().map(|one| day.key(&one.source.name)).collect();
        store.remove(&keys)?;
        self.tell(step, CompactStep::Removed);
        Ok(true)
    }

    /// Whether the rows of the merged object `name` have gone on to newer ones meanwhile: whoever made
    /// it was stopped for long, in between.
    fn is_late(&self, day: &Partition, name: &str, rows: &Ids) -> Result<bool, AdapterError> {
        let (place, store) = (&self.adapter.place, &*self.adapter.store);
        let mut newer = Ids::default();
        for object in day.merged(place, store)? {
            if self.generation(&object.name) <= self.generation(name) {
                continue;
            }
            let opened = Opened::open(store, &day.key(&object.name), object.bytes);
            if let Some(opened) = opened.map_err(|error| failed(&error))?
                && let Some(ids) = ids(&opened.footer)
            {
                newer.add(&ids);
            }
        }
        Ok(newer.holds(rows))
    }
}

/// Whether all of these objects are still there.
fn lists(
    place: &Place,
    store: &dyn Store,
    day: &Partition,
    objects: &[Object],
) -> Result<bool, AdapterError> {
    let now = day.objects(place, store)?;
    Ok(objects.iter().all(|object| now.contains(object)))
}

fn rows_of(group: &[Chosen]) -> u64 {
    group.iter().map(|one| one.source.ids.len() - one.held.len()).sum()
}

impl ObjectStoreAdapter {
    /// Leaves out of `rows` those that merged objects of their day hold, of which `objects` are listed.
    pub(super) fn leave_out_merged(
        &self,
        rows: &mut Rows<'_, '_>,
        folder: &str,
        objects: &[Object],
        others: &mut BTreeSet<Seq>,
    ) -> Result<(), AdapterError> {
        debug_assert!(objects.iter().all(|object| object.name.starts_with(MERGED)));
        for object in objects {
            let key = format!("{folder}/{}", object.name);
            match Opened::open(&*self.store, &key, object.bytes) {
                Ok(Some(opened)) => {
                    // One without a note is somebody else's.
                    if let Some(ids) = ids(&opened.footer)
                        && rows.iter().any(|row| ids.contains(row.journal, row.seq))
                        && !self.leave_out(rows, &key, object.bytes, &object.name, others)?
                    {
                        // Merged further meanwhile, so that nothing of it can be compared.
                        keep(rows, |row| !ids.contains(row.journal, row.seq));
                    }
                }
                // It is merged further; what became of it is listed by the next look.
                Ok(None) => {}
                Err(_) if !self.merged(folder)?.contains(object) => {}
                Err(error) => {
                    let text = format!("read the merged object {}: {error}", object.name);
                    return Err(AdapterError::transient(text));
                }
            }
        }
        Ok(())
    }
}
