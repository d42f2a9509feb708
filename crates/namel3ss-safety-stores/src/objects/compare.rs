//! Whether rows that are there are the events that are sent under their ids: the copies of one process
//! send different ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use namel3ss_safety::ReadRow;
use namel3ss_safety::{AdapterError, Batch, JournalId, Row, Seq};

/// The rows that are sent, by their ids, and what was found of them.
#[derive(Debug)]
pub(super) struct Compared<'r> {
    sent: HashMap<(JournalId, Seq), Row<'r>>,
    /// Whether it is the same event; of several rows of one id, any.
    found: BTreeMap<Seq, bool>,
}

impl<'r> Compared<'r> {
    pub(super) fn with<'a>(rows: impl Iterator<Item = &'a Row<'r>>) -> Self
    where
        'r: 'a,
    {
        Self {
            sent: rows.map(|row| ((row.journal, row.seq), *row)).collect(),
            found: BTreeMap::new(),
        }
    }

    /// Takes in a row that is there.
    pub(super) fn take(&mut self, held: &ReadRow) {
        if let Some(sent) = held.id.and_then(|id| self.sent.get(&id)) {
            let same = held.event.event_id == sent.event.event_id
                && held.event.timestamp == sent.event.timestamp;
            *self.found.entry(sent.seq).or_default() |= same;
        }
    }

    /// Whether the row is there, as the same event or as another one.
    pub(super) fn has(&self, seq: Seq) -> bool {
        self.found.contains_key(&seq)
    }

    /// The rows in place of which other events are.
    pub(super) fn others(&self) -> impl Iterator<Item = Seq> {
        self.found.iter().filter(|(_, same)| !**same).map(|(seq, _)| *seq)
    }
}

/// What an adapter answers when everything is stored but the rows in place of which `others` are.
pub(super) fn answer(batch: &Batch<'_>, others: &BTreeSet<Seq>) -> Result<(), AdapterError> {
    if others.is_empty() {
        return Ok(());
    }
    let at = batch.rows().enumerate().filter(|(_, row)| others.contains(&row.seq));
    Err(AdapterError::ids_taken(at.map(|(at, _)| at).collect()))
}
