//! What the tests of every store share.

use namel3ss_safety::ReadRow;
use namel3ss_safety::conformance::{Subject, buffer, copies, plain_event, run};
use namel3ss_safety::{JournalId, RowBuffer, SafetyEvent};
use namel3ss_safety_stores::{objects, open};

/// Runs the suite on datasets that `fresh` names, each of them empty.
pub(crate) fn conforms(fresh: impl Fn() -> String) {
    conforms_as_read(fresh, all);
}

/// The same, with all rows of a dataset as `read` finds them.
pub(crate) fn conforms_as_read(fresh: impl Fn() -> String, read: fn(&str) -> Vec<ReadRow>) {
    let subject = || {
        let url = fresh();
        let (again, place) = (url.clone(), url.clone());
        Subject::new(open(&url).expect("a URL"), move || read(&place))
            .reopened_by(move || open(&again).expect("a URL"))
    };
    run(subject);
    copies(subject);
}

/// All rows of a dataset.
pub(crate) fn all(url: &str) -> Vec<ReadRow> {
    objects::read(url).expect("a dataset").map(|row| row.expect("a whole row")).collect()
}

/// The seqs in a dataset, in order.
pub(crate) fn seqs(url: &str) -> Vec<u64> {
    seqs_of(&all(url))
}

/// The seqs of `rows`, in order.
pub(crate) fn seqs_of(rows: &[ReadRow]) -> Vec<u64> {
    let mut seqs: Vec<u64> = rows.iter().filter_map(|row| Some(row.id?.1.0)).collect();
    seqs.sort_unstable();
    seqs
}

/// Rows from the seq `first` on.
pub(crate) fn rows(journal: JournalId, first: u64, count: u64) -> RowBuffer {
    let events: Vec<SafetyEvent> = (first..first + count).map(plain_event).collect();
    buffer(journal, first, &events)
}
