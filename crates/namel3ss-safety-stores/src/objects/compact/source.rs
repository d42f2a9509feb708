//! What is known about an object before it is merged: its rows, their times, where its groups lie.

use namel3ss_safety::ReadError;
use namel3ss_safety::Timestamp;

use super::merged;
use crate::ids::Ids;
use crate::objects::key::Day;
use crate::objects::opened::Opened;
use crate::objects::partition::Partition;
use crate::objects::store::{Object, Store};
use crate::parquet::{Footer, KEYS, Part, keys};

/// An object of a day: little enough that a day of thousands fits.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// `None` for a batch as a logger stored it.
    pub(super) generation: Option<u64>,
    pub(super) ids: Ids,
    pub(super) groups: Vec<Group>,
}

/// A row group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// The first and the last moment of its rows, in microseconds.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Its bytes before they were compressed.
    pub(super) unpacked: u64,
}

impl Source {
    /// Reads which rows an object has; `None` where it is gone.
    ///
    /// # Errors
    /// If it can't be read, or its columns or rows are not ours.
    pub(super) fn survey(
        store: &dyn Store,
        partition: &Partition,
        object: &Object,
        extension: &str,
    ) -> Result<Option<Self>, ReadError> {
        let key = partition.key(&object.name);
        let Some(opened) = Opened::open(store, &key, object.bytes)? else { return Ok(None) };
        let other = |what: &str| ReadError::Dataset(what.to_owned());
        let footer = &opened.footer;
        if !footer.is_ours() {
            return Err(other("its columns are others than ours"));
        }
        let group = |at| {
            let (first, last) = footer.times(at)?;
            let (first, last) = (first.micros(), last.micros());
            Some(Group { first, last, unpacked: footer.unpacked(at) })
        };
        let groups: Option<Vec<_>> = (0..footer.groups()).map(group).collect();
        let groups = groups.ok_or_else(|| other("it does not say of which times its rows are"))?;
        let of_day = |at: i64| partition.day == Some(Day::of(Timestamp::from_micros(at)));
        if !groups.iter().all(|group| of_day(group.first) && of_day(group.last)) {
            return Err(other("it has rows of other days"));
        }
        let ids = match merged::ids(footer) {
            Some(ids) => ids,
            None => match ids_of(footer, |group| opened.group(store, group))? {
                Some(ids) => ids,
                None => return Ok(None),
            },
        };
        let rows: u64 = (0..footer.groups()).map(|group| footer.rows(group)).sum();
        if rows != ids.len() {
            return Err(other("it holds a row twice"));
        }
        Ok(Some(Self {
            name: object.name.clone(),
            bytes: object.bytes,
            generation: merged::generation(&object.name, extension),
            ids,
            groups,
        }))
    }

    /// The first moment of its rows.
    pub(super) fn first(&self) -> i64 {
        self.groups.iter().map(|group| group.first).min().unwrap_or(i64::MAX)
    }
}

/// Reads which rows a file has, of which `fetch` gives the row groups; `None` once that gives none.
pub(super) fn ids_of(
    footer: &Footer,
    fetch: impl Fn(usize) -> Result<Option<Part>, ReadError>,
) -> Result<Option<Ids>, ReadError> {
    let mut ids = Ids::default();
    for group in 0..footer.groups() {
        let Some(part) = fetch(group)? else { return Ok(None) };
        for batch in footer.batches(group, part, Some(&KEYS), 8192)? {
            for key in keys(&batch)? {
                ids.insert(key.journal, key.seq);
            }
        }
    }
    Ok(Some(ids))
}
