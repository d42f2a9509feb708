//! Rows whose ids other events have: copies of one process (a snapshot that is started several times, a
//! reverted VM) go on with the same journal id and the same seqs.
//!
//! The adapter says which rows these are. They are stored under a journal id that is derived from the
//! old one and the first of these events, so that whoever sends the same batch again, after a kill in
//! between, finds them there. **Limit:** a batch of other boundaries, as of a fallback file that was cut
//! by hand, may begin with another such event; its rows are then stored under another id.

use super::attempt::{Failed, attempt};
use crate::adapter::{DatasetAdapter, Failure};
use crate::batch::Batch;
use crate::id::JournalId;

/// How often in a row the derived ids may be taken too: by copies of copies.
const DERIVED_MAX: usize = 16;

/// Rows that were stored under another journal id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) rows: u64,
    pub(super) from: JournalId,
    /// The id of the last of them.
    pub(super) to: JournalId,
}

impl Copied {
    /// What a notice says of it.
    pub(super) fn text(&self) -> String {
        let Self { rows, from, to } = self;
        format!(
            "this process is a copy of another one: {rows} events of journal {from} had numbers that \
             other events have already, and were stored under journal {to}; call after_restore() \
             where a snapshot is started, and give each copy a home of its own"
        )
    }
}

/// What is said of a replayed file with so many such rows.
pub(super) fn replayed_text(rows: u64) -> String {
    format!(
        "{rows} rows of a fallback file had (journal_id, seq) that other events have, and were stored \
         under other journal ids: it is of a copy of a process"
    )
}

/// Inserts `batch` once, also those of its rows whose ids other events have. `has_identity` says of a
/// row whether its event id and moment are its own: one for which a reader had to make them up can't
/// be compared, and counts as delivered.
pub(super) fn land(
    adapter: &dyn DatasetAdapter,
    batch: &Batch<'_>,
    has_identity: impl Fn(usize) -> bool,
) -> Result<Option<Copied>, Failed> {
    let mut others: Vec<usize> = match attempt(adapter, batch) {
        Ok(()) => return Ok(None),
        Err(Failed { failure: Failure::IdsTaken(at), .. }) => {
            at.into_iter().filter(|at| has_identity(*at)).collect()
        }
        Err(failed) => return Err(failed),
    };
    let from = batch.id().journal;
    let rows = others.len() as u64;
    let mut to = from;
    for _ in 0..DERIVED_MAX {
        let Some(first) = others.first().and_then(|at| batch.slice(*at..at + 1).rows().next())
        else {
            return Ok(None);
        };
        to = to.derived(first.seq, first.event.event_id, first.event.timestamp);
        let picked = batch.picked(&others, to).map_err(|_| Failed {
            failure: Failure::NoMemory,
            message: "store rows under another journal id: there is not enough memory".to_owned(),
            panicked: false,
        })?;
        let Err(mut failed) = attempt(adapter, &picked.batch()) else {
            return Ok(Some(Copied { rows, from, to }));
        };
        let in_batch = |at: &mut Vec<usize>| at.iter_mut().for_each(|at| *at = others[*at]);
        match &mut failed.failure {
            Failure::IdsTaken(at) => {
                in_batch(at);
                others = std::mem::take(at);
            }
            Failure::Poison(at) => {
                in_batch(at);
                return Err(failed);
            }
            _ => return Err(failed),
        }
    }
    Err(Failed::unknown("store rows whose numbers other events have: so are all others"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{AdapterError, Delivery, MemoryAdapter};
    use crate::batch::RowBuffer;
    use crate::event::SafetyEvent;
    use crate::id::Seq;

    fn rows(journal: JournalId, what: &str, seqs: std::ops::RangeInclusive<u64>) -> RowBuffer {
        let mut rows = RowBuffer::new(journal);
        for seq in seqs {
            let event_id = format!("{what}{seq}");
            rows.push_event(Seq(seq), &SafetyEvent { event_id, ..SafetyEvent::default() });
        }
        rows
    }

    /// Refuses a row by its event id, wherever it is sent to.
    #[derive(Debug)]
    struct Picky(MemoryAdapter, &'static str);

    impl DatasetAdapter for Picky {
        fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
            let is_bad = |row: crate::batch::Row<'_>| row.event.event_id == self.1;
            match batch.rows().position(is_bad).filter(|_| batch.id().first > Seq(1)) {
                Some(at) => Err(AdapterError::new(Failure::Poison(vec![at]), "take a row")),
                None => self.0.insert(batch),
            }
        }

        fn identity(&self) -> String {
            self.0.identity()
        }

        fn delivery(&self) -> Delivery {
            self.0.delivery()
        }
    }

    #[test]
    fn a_row_that_is_refused_under_its_new_id_is_named_by_its_position_in_the_batch() {
        let journal = JournalId::generate();
        let adapter = Picky(MemoryAdapter::default(), "b4");
        let (theirs, ours) = (rows(journal, "a", 2..=6), rows(journal, "b", 1..=7));
        adapter.insert(&theirs.batch()).expect("it is empty");
        let error = land(&adapter, &ours.batch(), |_| true).expect_err("a bad row");
        assert_eq!(error.failure, Failure::Poison(vec![3]));
        assert_eq!(adapter.0.len(), 7, "its own ids are stored, the others are not yet");
        let copied = land(&adapter, &ours.batch().slice(0..3), |_| true).expect("no bad row");
        assert_eq!(copied.map(|copied| (copied.rows, copied.from)), Some((2, journal)));
    }

    #[test]
    fn rows_without_an_identity_of_their_own_count_as_delivered() {
        let journal = JournalId::generate();
        let adapter = MemoryAdapter::default();
        let (theirs, ours) = (rows(journal, "a", 1..=3), rows(journal, "b", 1..=4));
        assert_eq!(land(&adapter, &theirs.batch(), |_| true).expect("it is empty"), None);
        assert_eq!(land(&adapter, &ours.batch(), |_| false).expect("all is there"), None);
        assert_eq!(adapter.len(), 4);
        let copied = land(&adapter, &ours.batch(), |at| at != 1).expect("two others");
        assert_eq!(copied.map(|copied| copied.rows), Some(2));
        assert_eq!(adapter.len(), 6);
    }

    /// An adapter that never finds an id free must not be asked for ever.
    #[derive(Debug)]
    struct Full;

    impl DatasetAdapter for Full {
        fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
            Err(AdapterError::ids_taken((0..batch.len()).collect()))
        }

        fn identity(&self) -> String {
            "full".to_owned()
        }

        fn delivery(&self) -> Delivery {
            Delivery::AtLeastOnce
        }
    }

    #[test]
    fn the_search_for_a_free_id_ends() {
        let rows = rows(JournalId::generate(), "a", 1..=3);
        let error = land(&Full, &rows.batch(), |_| true).expect_err("none is free");
        assert_eq!(error.failure, Failure::Unknown);
    }
}
