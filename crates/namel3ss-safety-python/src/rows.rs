//! Rows that Python gives for a dataset, in no journal: a run of its own.

use namel3ss_safety::internal::codec::Payload;
use namel3ss_safety::{EventId, JournalId, RowBuffer, Seq, Timestamp};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::context::Contexts;
use crate::draft::{Defaults, Draft, Others};
use crate::event::SafetyEvent;
use crate::field;
use crate::foreign::Foreign;
use crate::gate::Inside;
use crate::tail::{self, Tail};

/// An event that was encoded, to be logged later.
#[pyclass(frozen, module = "namel3ss.safety._core")]
#[derive(Debug)]
pub(crate) struct Encoded(pub(crate) Payload);

/// Has `take` read the event that `object` is.
///
/// # Errors
/// If it is none.
#[inline]
pub(crate) fn with_draft<T>(
    object: &Bound<'_, PyAny>,
    contexts: Contexts<'_>,
    take: impl FnOnce(&Draft<'_, '_>) -> T,
) -> PyResult<T> {
    match object.cast::<SafetyEvent>() {
        Ok(event) => {
            let event = event.try_borrow()?;
            Ok(take(&event.draft(object.py(), &mut [0; 36], contexts)))
        }
        Err(_) => with_foreign(object, contexts, take),
    }
}

/// The same for an object of the app's own. What it fills is large and stays where it is: a copy of
/// fields that were just written waits for them to arrive (70 ns an event).
#[inline(never)]
fn with_foreign<T>(
    object: &Bound<'_, PyAny>,
    contexts: Contexts<'_>,
    take: impl FnOnce(&Draft<'_, '_>) -> T,
) -> PyResult<T> {
    let py = object.py();
    // A plain dict is read without anybody's code; what it holds is looked at with the gate in mind.
    let is_plain = object.is_exact_instance_of::<PyDict>();
    let _inside = (!is_plain).then(|| Inside::enter(py));
    let mut found = Foreign::new();
    found.read(object)?;
    let mut id = [0; 36];
    let (mut timestamp, mut event_id) = (Timestamp::from_micros(0), "");
    if !found.has(field::EVENT_ID) || !found.has(field::TIMESTAMP) {
        timestamp = Timestamp::now();
        event_id = EventId::new(timestamp, fastrand::u128(..)).write(&mut id);
    }
    let defaults = Defaults { event_id, timestamp, action: None, contexts };
    let others =
        Others { extras: &found.extras, respelt: &found.respelt, misspelt: &found.misspelt };
    let mut tail = Tail::new();
    let mut draft = Draft::new(py, &found.slots, &defaults, others);
    tail::write(&found, &draft, py, &mut tail);
    draft.set_tail(&tail);
    Ok(take(&draft))
}

/// The rows of an iterable of events, and how many of its items were none.
///
/// # Errors
/// What iterating raises.
pub(crate) fn of_iterable(rows: &Bound<'_, PyAny>) -> PyResult<(RowBuffer, Vec<PyErr>)> {
    let mut buffer = RowBuffer::new(JournalId::generate());
    let mut refused = Vec::new();
    let _inside = Inside::enter(rows.py());
    let mut seq = Seq(0);
    for row in rows.try_iter()? {
        seq = seq.next();
        let pushed = with_draft(&row?, [None; 3], |draft| buffer.push_event(seq, draft));
        if let Err(error) = pushed {
            refused.push(error);
        }
    }
    Ok((buffer, refused))
}
