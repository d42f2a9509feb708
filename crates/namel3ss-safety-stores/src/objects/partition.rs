//! What lies in a dataset: its partitions by day, and the objects in one, in the order in which they
//! are read.

use std::cmp::Ordering;

use namel3ss_safety::AdapterError;

use super::key::{self, Day};
use super::place::Place;
use super::store::{Object, Store};

/// A day's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) folder: String,
    /// `None` where somebody else has named it.
    pub(super) day: Option<Day>,
}

fn denied() -> AdapterError {
    AdapterError::config("list the objects: it is not permitted")
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The year, the month and the day of a folder, as many of them as its last names say; `None` for
/// one that is named otherwise.
fn date_of(folder: &str) -> Option<[Option<i64>; 3]> {
    let (mut date, mut known) = ([None; 3], 0);
    for name in folder.rsplit('/') {
        let (kind, number) = name.split_once('=')?;
        let at = ["year", "month", "day"].iter().position(|word| *word == kind)?;
        date[at] = Some(number.parse().ok()?);
        known += 1;
        if at == 0 {
            return (date[..known].iter().all(Option::is_some)).then_some(date);
        }
    }
    None
}

/// How a folder of a year, a month or a day compares with that of `day`; `None` for one that is named
/// otherwise. As numbers: a year may have more than four digits, or a sign.
fn compared(folder: &str, day: Day) -> Option<Ordering> {
    let date: Vec<i64> = date_of(folder)?.into_iter().flatten().collect();
    Some(date[..].cmp(&day.date_numbers()[..date.len()]))
}

/// The days from `from` to `to`, or all, in their order.
pub(super) fn partitions(
    place: &Place,
    store: &dyn Store,
    from: Option<Day>,
    to: Option<Day>,
) -> Result<Vec<Partition>, AdapterError> {
    let wanted = |folder: &str| {
        from.is_none_or(|from| compared(folder, from).is_none_or(Ordering::is_ge))
            && to.is_none_or(|to| compared(folder, to).is_none_or(Ordering::is_le))
    };
    let folders = |under: &str, stem: &str| -> Result<Vec<String>, AdapterError> {
        let names = store.folders(under, stem)?.ok_or_else(denied)?;
        Ok(names.iter().map(|name| join(under, name)).filter(|name| wanted(name)).collect())
    };
    let mut found = Vec::new();
    for year in folders(&place.prefix, "year=")? {
        for month in folders(&year, "month=")? {
            for folder in folders(&month, "day=")? {
                found.push(Partition { day: Day::of_folder(&folder), folder });
            }
        }
    }
    Ok(found)
}

impl Partition {
    /// Whether it is `day` or a later one.
    pub(super) fn reaches(&self, day: Day) -> bool {
        compared(&self.folder, day).is_none_or(Ordering::is_ge)
    }

    /// The key of an object in it.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// The merged objects in it, by their names.
    pub(super) fn merged(
        &self,
        place: &Place,
        store: &dyn Store,
    ) -> Result<Vec<Object>, AdapterError> {
        of(place, store.objects(&self.folder, &key::merged())?.ok_or_else(denied)?)
    }

    /// Its objects: merged ones first, the others in the order in which they were stored.
    pub(super) fn objects(
        &self,
        place: &Place,
        store: &dyn Store,
    ) -> Result<Vec<Object>, AdapterError> {
        // Merged ones are listed last: whatever a merged one replaced meanwhile is not missed.
        let mut others = store.objects(&self.folder, &key::all())?.ok_or_else(denied)?;
        others.sort_by(|a, b| (a.stored, &a.name).cmp(&(b.stored, &b.name)));
        let mut objects = self.merged(place, store)?;
        objects.append(&mut of(place, others)?);
        Ok(objects)
    }
}

fn of(place: &Place, mut objects: Vec<Object>) -> Result<Vec<Object>, AdapterError> {
    let extension = format!(".{}", place.extension());
    objects.retain(|object| object.name.ends_with(&extension));
    Ok(objects)
}
