//! The one module with unsafe code: reads a `datetime` where it lies.
//!
//! The stable ABI has no way to a datetime's fields but its attributes: seven look-ups, 170 ns,
//! more than the rest of `log()`. The layout read here stands in CPython's public header
//! `Include/datetime.h` and is the same from 3.10 to 3.14; all the same it is believed only after
//! [`super::moment`] has compared it with the attributes of a known datetime.
#![expect(unsafe_code, reason = "see above: 170 ns an event")]

use pyo3::ffi;
use pyo3::prelude::*;

/// What lies behind the object's head, as in `PyDateTime_DateTime`.
#[repr(C)]
struct DateTimeBody {
    hash: isize,
    has_tzinfo: u8,
    data: [u8; 10],
    fold: u8,
}

/// Year, month, day, hour, minute, second and microsecond of a naive or aware datetime, packed as
/// CPython packs them, and whether it is aware.
///
/// `object` must be exactly of the type `datetime.datetime`; the caller has checked it.
pub(crate) fn datetime_fields(object: &Bound<'_, PyAny>) -> ([u8; 10], bool) {
    // SAFETY: a datetime object is never smaller than its head and this body: the smallest of its
    // kind, without a time zone, ends with `fold`. The pointer is of a live object, that the
    // reference keeps alive, and is aligned as objects are. Datetimes are immutable.
    unsafe {
        let body = object.as_ptr().cast::<ffi::PyObject>().add(1).cast::<DateTimeBody>();
        ((*body).data, (*body).has_tzinfo != 0)
    }
}
