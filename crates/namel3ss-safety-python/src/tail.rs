//! The shape in which an app's own object gave its event, kept behind the event in the journal, so
//! that a Python adapter can be given the row as the object gave it.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 4 | how many of the metadata's entries are the object's own `metadata` |
//! | 2 | how many names the object had, n |
//! | n | each name: 0 to 16 a field as the event holds it, 17 the next entry of the metadata behind the object's own, 18 the next entry of the object below, 19 and 20 `timestamp` as a naive and as an aware datetime |
//! | | an object as in metadata: what the event holds in another form |

use namel3ss_safety::EventRef;
use namel3ss_safety::{
    FIELDS,
    internal::{codec, parse},
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use smallvec::SmallVec;

use crate::draft::Draft;
use crate::field;
use crate::foreign::{EXTRA, Foreign};
use crate::moment::{self, Zone};
use crate::{row, text, value};

const VERSION: u8 = 1;
const INLINE: u8 = 18;
const NAIVE: u8 = 19;
const AWARE: u8 = 20;

/// Without an allocation where all that there is to say is the names.
pub(crate) type Tail = SmallVec<[u8; 64]>;

/// The tail of an event that `found` gave and `draft` is made of, into an empty one.
pub(crate) fn write(found: &Foreign<'_>, draft: &Draft<'_, '_>, py: Python<'_>, out: &mut Tail) {
    let metadata = found.slots[field::METADATA].as_ref().map(|given| given.bind(py));
    let own = match metadata {
        None => Some(0),
        Some(given) if given.is_none() => Some(0),
        Some(given) => given.cast::<PyDict>().ok().map(|entries| entries.len()),
    };
    out.push(VERSION);
    out.extend_from_slice(&u32::try_from(own.unwrap_or(0)).unwrap_or(0).to_le_bytes());
    let names = u16::try_from(found.order.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&names.to_le_bytes());
    let order_at = out.len();
    let mut any_inline = false;
    let mut extras = found.extras.iter().enumerate();
    for code in found.order.iter().take(names.into()).copied() {
        let code = if code == EXTRA {
            let is_kept = own.is_some()
                && extras.next().is_some_and(|(i, (key, _))| {
                    !found.respelt.contains(&i) && !draft.has_entry(key)
                });
            if is_kept { EXTRA } else { INLINE }
        } else if draft.is_as_given(code.into()) {
            match (usize::from(code), draft.zone) {
                (field::TIMESTAMP, Some(Zone::Naive)) => NAIVE,
                (field::TIMESTAMP, Some(Zone::Aware)) => AWARE,
                _ => code,
            }
        } else {
            INLINE
        };
        any_inline |= code == INLINE;
        out.push(code);
    }
    if any_inline {
        let codes = &out[order_at..];
        let mut extras = found.extras.iter();
        let mut inline = Vec::new();
        codec::encode_object(
            |into| {
                for (code, as_found) in codes.iter().zip(&found.order) {
                    let extra = if *as_found == EXTRA { extras.next() } else { None };
                    if *code != INLINE {
                        continue;
                    }
                    match extra {
                        Some((key, given)) => value::entry(into, &text::of_any(key), given),
                        None => match &found.slots[usize::from(*as_found)] {
                            Some(given) => {
                                value::entry(into, FIELDS[usize::from(*as_found)], given.bind(py))
                            }
                            None => true,
                        },
                    };
                }
            },
            &mut inline,
        );
        out.extend_from_slice(&inline);
    }
}

/// What a Python adapter is given: the row as the app's object gave it, or else the 17 fields.
pub(crate) fn as_given<'py>(py: Python<'py>, event: &EventRef<'_>) -> PyResult<Bound<'py, PyDict>> {
    match read(py, event)? {
        Some(row) => Ok(row),
        None => row::of_event(py, event),
    }
}

/// The row as the object gave it; `None` if the event came from no such object.
pub(crate) fn read<'py>(
    py: Python<'py>,
    event: &EventRef<'_>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(shape) = Shape::parse(event.tail()) else { return Ok(None) };
    let row = PyDict::new(py);
    let mut extras = event.metadata().skip(shape.own);
    let mut inline = shape.inline;
    // Fields that the object gave in a spelling of its own.
    let mut respelt = 0_u32;
    for code in shape.order {
        let at = usize::from(*code);
        match *code {
            EXTRA => {
                let Some((key, given)) = extras.next() else { return Ok(None) };
                row.set_item(key, value::read(py, given)?)?;
            }
            INLINE => {
                let Some((key, given)) = inline.as_mut().and_then(Iterator::next) else {
                    return Ok(None);
                };
                respelt |= parse::field_of(key).map_or(0, |at| 1 << at);
                row.set_item(key, value::read(py, given)?)?;
            }
            NAIVE | AWARE => {
                let zone = if *code == NAIVE { Zone::Naive } else { Zone::Aware };
                let given = moment::to_datetime(py, event.timestamp, zone)?;
                row.set_item(FIELDS[field::TIMESTAMP], given)?;
            }
            _ if at == field::METADATA => {
                row.set_item(FIELDS[at], value::object(py, event.metadata().take(shape.own))?)?;
            }
            _ if at < field::COUNT => row.set_item(FIELDS[at], row::field(py, event, at)?)?,
            _ => return Ok(None),
        }
    }
    // What a bound logger or a context added.
    for (i, given) in event.texts().into_iter().enumerate() {
        let at = field::TEXTS + i;
        let name = FIELDS[at];
        if given.is_some() && respelt >> at & 1 == 0 && !row.contains(name)? {
            row.set_item(name, given)?;
        }
    }
    Ok(Some(row))
}

struct Shape<'a> {
    own: usize,
    order: &'a [u8],
    inline: Option<codec::ObjectRef<'a>>,
}

impl<'a> Shape<'a> {
    fn parse(tail: &'a [u8]) -> Option<Self> {
        let (&[VERSION, a, b, c, d, n1, n2], rest) = tail.split_first_chunk()? else {
            return None;
        };
        let own = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        let (order, rest) = rest.split_at_checked(u16::from_le_bytes([n1, n2]).into())?;
        let inline = if rest.is_empty() { None } else { Some(codec::decode_object(rest)?.0) };
        Some(Self { own, order, inline })
    }
}
