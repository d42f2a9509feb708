//! Names that are no field's: which field one means all the same, or was probably meant to be.
//!
//! The core decides; what it decided is remembered by name, since a program uses the same names at
//! every call.

use std::cell::RefCell;

use namel3ss_safety::{FIELDS, internal::parse};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

/// What a name that is no field's very name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A name of the app's own.
    Own,
    /// The field of this number, in another spelling (`policyName`).
    Field(usize),
    /// Nearly the name of the field of this number (`actoin`).
    Misspelt(usize),
}

/// The names that were met, each with its meaning as a number.
static MET: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
/// How many are remembered; a program that makes names all the time has them forgotten.
const MET_MAX: usize = 1000;
/// No longer name is nearly a field's.
const CHARS_MAX: usize = 32;
/// What is added to a field's number where it is misspelt.
const MISSPELT: usize = 32;
const OWN: usize = 64;

/// How many of the app's own names each thread finds by where they are: 2 ns instead of 60. Names in
/// a program's text are always the same objects.
const RECENT: usize = 8;

thread_local! {
    /// Names of the app's own that were met last, and which of them is replaced next.
    static OWN_NAMES: RefCell<([Option<Py<PyAny>>; RECENT], usize)> =
        const { RefCell::new(([const { None }; RECENT], 0)) };
}

/// What `name` means.
pub(crate) fn meaning(name: &Bound<'_, PyAny>) -> Meaning {
    let is_recent =
        OWN_NAMES.with_borrow(|(names, _)| names.iter().flatten().any(|known| known.is(name)));
    if is_recent || !name.is_exact_instance_of::<PyString>() {
        return Meaning::Own;
    }
    let meaning = meaning_of_text(name);
    if meaning == Meaning::Own {
        let known = Some(name.clone().unbind());
        let former = OWN_NAMES.with_borrow_mut(|(names, next)| {
            *next = (*next + 1) % RECENT;
            std::mem::replace(&mut names[*next], known)
        });
        drop(former);
    }
    meaning
}

fn meaning_of_text(name: &Bound<'_, PyAny>) -> Meaning {
    let met = MET.get_or_init(name.py(), || PyDict::new(name.py()).unbind()).bind(name.py());
    let known = met.get_item(name).ok().flatten().and_then(|code| code.extract().ok());
    match known.unwrap_or_else(|| look_at(name, met)) {
        OWN.. => Meaning::Own,
        at @ MISSPELT.. => Meaning::Misspelt(at - MISSPELT),
        at => Meaning::Field(at),
    }
}

#[cold]
fn look_at(name: &Bound<'_, PyAny>, met: &Bound<'_, PyDict>) -> usize {
    let text = crate::text::of_any(name);
    if text.len() > CHARS_MAX {
        return OWN;
    }
    let misspelt = || {
        let field = parse::misspelt_field(&text)?;
        FIELDS.iter().position(|known| *known == field).map(|at| at + MISSPELT)
    };
    let code = parse::field_of(&text).or_else(misspelt).unwrap_or(OWN);
    if met.len() >= MET_MAX {
        met.clear();
    }
    // Without memory it is looked at again next time.
    let _ = met.set_item(name, code);
    code
}
