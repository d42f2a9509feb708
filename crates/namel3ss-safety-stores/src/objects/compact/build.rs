//! From a group of objects to the bytes of one: their rows by time, a window of time after the other,
//! so that what is in memory is bounded however much a day holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use namel3ss_safety::ReadError;

use super::merged::NOTE;
use super::plan::Chosen;
use super::source::{Group, ids_of};
use crate::ids::Ids;
use crate::objects::opened::Opened;
use crate::objects::partition::Partition;
use crate::objects::store::{Body, Store};
use crate::parquet::{Footer, Key, Merger, Part, keys, only};

/// How many bytes of rows, unpacked, are sorted at once.
const WINDOW_BYTES: u64 = 32 << 20;
const SECOND_MICROS: i64 = 1_000_000;

/// A merged object, before it is anywhere.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) body: Body,
    pub(super) ids: Ids,
}

/// Merges a group; `None` where one of its objects is gone.
///
/// # Errors
/// If an object can't be read, or the result does not hold what it should.
pub(super) fn build(
    store: &dyn Store,
    day: &Partition,
    group: &[Chosen],
) -> Result<Option<Built>, ReadError> {
    let mut ids = Ids::default();
    for one in group {
        ids.add(&one.source.ids.without(&one.held));
    }
    let mut merger = Merger::new(NOTE, ids.to_text())?;
    for (from, to) in windows(group) {
        let mut batches = Vec::new();
        let mut rows: Vec<(Key, (usize, usize))> = Vec::new();
        for one in group {
            let groups = one.source.groups.iter().enumerate();
            let mut groups = groups.filter(|(_, g)| g.first < to && g.last >= from).peekable();
            if groups.peek().is_none() {
                continue;
            }
            let key = day.key(&one.source.name);
            let Some(opened) = Opened::open(store, &key, one.source.bytes)? else {
                return Ok(None);
            };
            for (at, _) in groups {
                let Some(part) = opened.group(store, at)? else { return Ok(None) };
                for batch in opened.footer.batches(at, part, None, 4096)? {
                    let keys = keys(&batch)?;
                    let is_wanted = |key: &Key| {
                        (from..to).contains(&key.micros) && !one.held.contains(key.journal, key.seq)
                    };
                    let wanted: Vec<bool> = keys.iter().map(is_wanted).collect();
                    let place = batches.len();
                    let kept = keys.into_iter().filter(is_wanted).enumerate();
                    let before = rows.len();
                    rows.extend(kept.map(|(row, key)| (key, (place, row))));
                    if rows.len() > before {
                        batches.push(only(&batch, wanted)?);
                    }
                }
            }
        }
        rows.sort_unstable_by_key(|(key, _)| *key);
        let rows: Vec<(usize, usize)> = rows.into_iter().map(|(_, place)| place).collect();
        merger.write(&batches, &rows)?;
    }
    let body = Body::from(merger.finish()?);
    check(&body, &ids)?;
    Ok(Some(Built { body, ids }))
}

/// Reads again what is to take the place of others.
fn check(body: &Body, expected: &Ids) -> Result<(), ReadError> {
    let part = Part::whole(Bytes::from_owner(body.clone()));
    match ids_of(&Footer::read(&part)?, |_| Ok(Some(part.clone())))? {
        Some(ids) if ids == *expected => Ok(()),
        _ => {
            let text = "a merged object does not hold the rows of its parts, which stay";
            Err(ReadError::Dataset(text.to_owned()))
        }
    }
}

/// Windows of time that hold so many bytes each, as the row groups' statistics let expect.
fn windows(group: &[Chosen]) -> Vec<(i64, i64)> {
    let mut seconds: BTreeMap<i64, u64> = BTreeMap::new();
    let mut end = i64::MIN;
    for one in group {
        for Group { first, last, unpacked } in &one.source.groups {
            let (from, to) = (first.div_euclid(SECOND_MICROS), last.div_euclid(SECOND_MICROS));
            let each = unpacked / u64::try_from(to - from + 1).unwrap_or(1).max(1);
            (from..=to).for_each(|second| *seconds.entry(second).or_default() += each + 1);
            end = end.max(last.saturating_add(1));
        }
    }
    let mut windows = Vec::new();
    let mut open: Option<(i64, u64)> = None;
    for (second, bytes) in seconds {
        let begin = second.saturating_mul(SECOND_MICROS);
        match &mut open {
            Some((from, sum)) if *sum + bytes > WINDOW_BYTES => {
                windows.push((*from, begin));
                open = Some((begin, bytes));
            }
            Some((_, sum)) => *sum += bytes,
            None => open = Some((begin, bytes)),
        }
    }
    windows.extend(open.map(|(from, _)| (from, end)));
    windows
}
