//! Rows that Python gives for a dataset, in no journal: a run of its own.

use namel3ss_safety::codec::Payload;
use namel3ss_safety::{EventId, JournalId, RowBuffer, Seq, Timestamp};
use pyo3::prelude::*;

use crate::context::Context;
use crate::draft::{Defaults, Draft};
use crate::event::SafetyEvent;
use crate::field;
use crate::foreign::Foreign;
use crate::gate::Inside;
use crate::tail;

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
    contexts: [Option<&Context>; 2],
    take: impl FnOnce(&Draft<'_, '_>) -> T,
) -> PyResult<T> {
    let py = object.py();
    let mut id = [0; 36];
    if let Ok(event) = object.cast::<SafetyEvent>() {
        let event = event.try_borrow()?;
        return Ok(take(&event.draft(py, &mut id, contexts)));
    }
    let _inside = Inside::enter(py);
    let found = Foreign::of(object)?;
    let (mut timestamp, mut event_id) = (Timestamp::from_micros(0), "");
    if !found.has(field::EVENT_ID) || !found.has(field::TIMESTAMP) {
        timestamp = Timestamp::now();
        event_id = EventId::new(timestamp, fastrand::u128(..)).write(&mut id);
    }
    let defaults = Defaults { event_id, timestamp, contexts };
    let draft = Draft::new(py, &found.slots, &defaults, &found.extras);
    let tail = tail::write(&found, &draft, py);
    Ok(take(&draft.with_tail(&tail)))
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
        let pushed = with_draft(&row?, [None, None], |draft| buffer.push_event(seq, draft));
        if let Err(error) = pushed {
            refused.push(error);
        }
    }
    Ok((buffer, refused))
}
