//! Reading the next batch from a journal, and accounting for what was not there.

use std::io;
use std::sync::atomic::Ordering;

use super::super::branch::Branch;
use super::super::lane::Lane;
use super::super::shared::Shared;
use crate::adapter::Batching;
use crate::batch::RowBuffer;
use crate::id::Seq;
use crate::journal::DropReason;
use crate::journal::cursor::Cursor;
use crate::journal::store::{Damage, ReadPlace, ReadReport, Store};
use crate::notice::Level;

/// Where a batch comes from.
pub(super) struct Source<'a> {
    pub(super) store: &'a Store,
    pub(super) cursor: &'a Cursor,
    pub(super) branch: &'a Branch,
    /// This logger's own journal; `None` for an orphan's.
    pub(super) lane: Option<&'a Lane>,
}

/// Fills `rows` with the next batch and says up to where it reaches. A batch that was frozen and
/// not settled comes first, exactly as it was.
pub(super) fn read(
    shared: &Shared,
    source: &Source<'_>,
    place: &mut ReadPlace,
    rows: &mut RowBuffer,
    upto: Seq,
    batching: &Batching,
) -> io::Result<Seq> {
    let front = source.cursor.front();
    let (frozen_first, frozen_last) = source.cursor.state().frozen;
    // It may begin behind the front: seqs that hold no event, or an earlier part of a cut batch,
    // stand before it.
    let frozen = frozen_last >= front && frozen_last <= upto;
    let mut before = false;
    let mut starved = None;
    let upto = if frozen { frozen_last } else { upto };
    rows.reset(source.store.journal, shared.config.options.durability);
    let mut invalid = Vec::new();
    let report = source.store.read(place, front, upto, &mut |seq, payload| {
        let full = rows.len() >= batching.rows_max
            || (!rows.is_empty() && rows.bytes() + payload.len() > batching.bytes_max);
        let of_frozen = frozen && seq >= frozen_first;
        if (full && !of_frozen) || (of_frozen && before) {
            return false;
        }
        if let Err(error) = rows.reserve(payload.len()) {
            // A smaller batch, then; where not even one row fits, a later one.
            starved = Some(error);
            return false;
        }
        before |= frozen && !of_frozen;
        // A frame whose check holds and whose payload makes no sense: another version wrote it.
        if rows.push(seq, payload).is_err() {
            invalid.push((seq, seq));
        }
        true
    })?;
    let through = report.through;
    account(shared, source, report, &invalid);
    if through < front
        && let Some(error) = starved
    {
        return Err(error);
    }
    if through < front {
        // Everything up to here is in a segment, and the segments don't have it.
        return Err(io::Error::other(format!("seq {front} is not where it should be")));
    }
    Ok(through)
}

/// Counts and says what was met on the way and could not be delivered.
fn account(shared: &Shared, source: &Source<'_>, report: ReadReport, invalid: &[(Seq, Seq)]) {
    let notices = &shared.config.notices;
    for Damage { file, what } in report.damage {
        let text = format!("{}/{file}: {what}", source.store.folder.describe());
        notices.say(Level::Error, "damage", text);
    }
    for (first, last) in &report.missing {
        let events = last.0 - first.0 + 1;
        let text = format!(
            "{events} events of journal {} are damaged: seqs {first} to {last}",
            source.store.journal
        );
        notices.say(Level::Critical, "damaged", text);
    }
    source.give_up(shared, DropReason::Damaged, &report.missing);
    if !invalid.is_empty() {
        let text = format!("{} events can't be decoded, and are given up", invalid.len());
        notices.say(Level::Critical, "invalid", text);
        source.give_up(shared, DropReason::Invalid, invalid);
    }
}

impl Source<'_> {
    fn give_up(&self, shared: &Shared, reason: DropReason, runs: &[(Seq, Seq)]) {
        let events = runs.iter().map(|(first, last)| last.0 - first.0 + 1).sum();
        if events == 0 {
            return;
        }
        let Some(lane) = self.lane else {
            shared.lost_of_others.store(true, Ordering::Relaxed);
            // Written down with the next batch that settles.
            let _ = self.cursor.save(|state| state.dropped[reason.index()] += events);
            return;
        };
        self.branch.reader(lane).give_up(reason, events);
        if let Some(merged) = &lane.merged {
            // Each sink meets it; as an event of the lane it is given up once.
            runs.iter().for_each(|(first, last)| merged.give_up(*first, *last, Some(reason)));
        }
    }
}
