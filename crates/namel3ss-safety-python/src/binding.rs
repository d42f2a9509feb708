//! Reads what an app binds, names and values, into a context.

use namel3ss_safety::internal::codec::{self, Payload};
use namel3ss_safety::{SafetyAction, Timestamp};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::context::{Context, Values};
use crate::draft::{Defaults, Draft, NO_OTHERS, Others};
use crate::{field, text};

#[pymethods]
impl Context {
    /// From names and values, over those of `base`; `defaults` go before its defaults.
    #[new]
    #[pyo3(signature = (values, base=None, defaults=None))]
    fn new(
        values: &Bound<'_, PyDict>,
        base: Option<&Self>,
        defaults: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let defaults = defaults.map(read).transpose()?.unwrap_or_default();
        Ok(Self::over(base, read(values)?, defaults))
    }
}

/// Reads names and values.
///
/// # Errors
/// For a field that belongs to one event.
fn read(given: &Bound<'_, PyDict>) -> PyResult<Values> {
    let mut slots = field::Slots::new();
    let mut extras = Vec::new();
    for (key, value) in given.iter() {
        match field::index_of(&key) {
            Some(at) if (field::TEXTS..field::DIRECTION).contains(&at) => {
                slots[at] = Some(value.unbind());
            }
            Some(_) => {
                let name = text::of_any(&key).into_owned();
                let wrong = format!(
                    "{name} belongs to one event: a context takes app_name, chain_name, \
                     agent_name, policy_name, reason, trace_id, session_id, user_id and names \
                     of your own, which go to metadata"
                );
                return Err(PyTypeError::new_err(wrong));
            }
            None => extras.push((key, value)),
        }
    }
    let defaults = Defaults {
        event_id: "",
        timestamp: Timestamp::from_micros(0),
        action: Some(SafetyAction::Allow),
        contexts: [None; 3],
    };
    // Through the codec, so that a context's values are cut and read as an event's are.
    let others = Others { extras: &extras, ..NO_OTHERS };
    let payload = Payload::of(&Draft::new(given.py(), &slots, &defaults, others));
    let event = codec::decode(payload.bytes());
    let event = event.map_err(|error| PyTypeError::new_err(error.to_string()))?;
    Ok(Values::of(&event))
}
