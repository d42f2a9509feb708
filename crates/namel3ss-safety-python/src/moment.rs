//! Moments: a `datetime` of Python's, or what else names one, as microseconds since 1970 in UTC.

use namel3ss_safety::{Timestamp, internal::parse};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType};

use crate::gate::Inside;
use crate::{own_code, raw, text};

/// What a datetime said of its time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Nothing: it is taken for UTC.
    Naive,
    /// Something, which was brought to UTC.
    Aware,
}

struct Datetimes {
    class: Py<PyType>,
    delta: Py<PyType>,
    fixed: Py<PyType>,
    utc: Py<PyAny>,
    /// Whether the fields can be read in place.
    readable: bool,
}

static DATETIMES: PyOnceLock<Datetimes> = PyOnceLock::new();

fn datetimes(py: Python<'_>) -> PyResult<&'static Datetimes> {
    DATETIMES.get_or_try_init(py, || {
        let module = py.import("datetime")?;
        let class = module.getattr("datetime")?.cast_into::<PyType>()?;
        let delta = module.getattr("timedelta")?.cast_into::<PyType>()?;
        let fixed = module.getattr("timezone")?.cast_into::<PyType>()?;
        let utc = fixed.getattr("utc")?;
        // Each field differs from every other, in each of its bytes.
        let probe = class.call1((0x0703, 4, 5, 6, 7, 8, 0x09_0a_0b))?;
        let expected = ([0x07, 0x03, 4, 5, 6, 7, 8, 0x09, 0x0a, 0x0b], false);
        let aware = class.call1((0x0703, 4, 5, 6, 7, 8, 0x09_0a_0b, &utc))?;
        let span = delta.call1((-0x0102_0304, 0x0001_0203, 0x000a_0b0c))?;
        let readable = probe.is_exact_instance(&class)
            && span.is_exact_instance(&delta)
            && raw::datetime_fields(&probe) == expected
            && raw::datetime_fields(&aware) == (expected.0, true)
            && raw::datetime_zone(&aware).is_some_and(|zone| zone.is(&utc))
            && raw::timedelta_fields(&span) == (-0x0102_0304, 0x0001_0203, 0x000a_0b0c);
        Ok(Datetimes {
            class: class.unbind(),
            delta: delta.unbind(),
            fixed: fixed.unbind(),
            utc: utc.unbind(),
            readable,
        })
    })
}

/// Whether it is exactly a `datetime`, which can always be read but for what its time zone does.
#[inline]
pub(crate) fn is_datetime(object: &Bound<'_, PyAny>) -> bool {
    let py = object.py();
    DATETIMES.get(py).is_some_and(|known| object.is_exact_instance(known.class.bind(py)))
}

/// The moment that `object` names: a datetime, a number since 1970 in the unit that its magnitude
/// says, or a text of either; `None` where there is no such moment.
#[inline]
pub(crate) fn of_any(object: &Bound<'_, PyAny>) -> Option<(Timestamp, Option<Zone>)> {
    let py = object.py();
    if let Some(known) = DATETIMES.get(py)
        && known.readable
        && object.get_type().is(known.class.bind(py))
    {
        let (fields, _) = raw::datetime_fields(object);
        let Some(zone) = raw::datetime_zone(object) else {
            return Some((Timestamp::from_micros(local_micros(fields)), Some(Zone::Naive)));
        };
        let offset = if zone.is(known.utc.bind(py)) {
            Some(0)
        } else {
            offset_micros(object, &zone, known).ok()?
        };
        let named = offset.map_or(Zone::Naive, |_| Zone::Aware);
        let micros = local_micros(fields) - offset.unwrap_or(0);
        return Some((Timestamp::from_micros(micros), Some(named)));
    }
    slowly(object)
}

/// Microseconds since 1970 of a datetime's fields as CPython packs them, without its time zone.
#[inline]
fn local_micros([y1, y2, month, day, hour, minute, second, u1, u2, u3]: [u8; 10]) -> i64 {
    let days = days_since_1970(i64::from(y1) << 8 | i64::from(y2), month.into(), day.into());
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    let micros = i64::from(u1) << 16 | i64::from(u2) << 8 | i64::from(u3);
    (days * 86_400 + seconds) * 1_000_000 + micros
}

/// How far the time zone of `moment` is from UTC then; `None` where it does not say.
///
/// # Errors
/// What the zone raises, or if it names no offset of less than a day.
fn offset_micros(
    moment: &Bound<'_, PyAny>,
    zone: &Bound<'_, PyAny>,
    known: &Datetimes,
) -> PyResult<Option<i64>> {
    let py = moment.py();
    // All but `datetime.timezone` may be classes of the app's own.
    let is_fixed = zone.get_type().is(known.fixed.bind(py));
    let _inside = (!is_fixed).then(|| Inside::enter(py));
    let offset =
        own_code::run(py, || zone.call_method1(pyo3::intern!(py, "utcoffset"), (moment,)))?;
    if offset.is_none() {
        return Ok(None);
    }
    let (days, seconds, micros) = if known.readable && offset.get_type().is(known.delta.bind(py)) {
        let (days, seconds, micros) = raw::timedelta_fields(&offset);
        (i64::from(days), i64::from(seconds), i64::from(micros))
    } else {
        let field = |name: &str| offset.getattr(name)?.extract::<i64>();
        (field("days")?, field("seconds")?, field("microseconds")?)
    };
    if !(-1..=0).contains(&days) {
        return Err(PyValueError::new_err("an offset from UTC is less than a day"));
    }
    Ok(Some((days * 86_400 + seconds) * 1_000_000 + micros))
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar: see
/// [days_from_civil](https://howardhinnant.github.io/date_algorithms.html#days_from_civil).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cold]
fn slowly(object: &Bound<'_, PyAny>) -> Option<(Timestamp, Option<Zone>)> {
    let py = object.py();
    let _inside = Inside::enter(py);
    let known = datetimes(py).ok()?;
    if object.is_instance(known.class.bind(py)).unwrap_or(false) {
        return of_datetime(object, known).ok();
    }
    let at = if object.is_instance_of::<PyBool>() {
        None
    } else if let Ok(number) = object.cast::<PyFloat>() {
        parse::moment_of_float(number.value())
    } else if let Ok(number) = object.cast::<PyInt>() {
        parse::moment_of_int(number.extract().ok()?)
    } else if let Ok(entries) = object.cast::<PyDict>() {
        // As MongoDB exports one.
        let inner = entries.get_item("$date").ok().flatten().filter(|_| entries.len() == 1)?;
        if inner.is_instance_of::<PyDict>() { None } else { Some(of_any(&inner)?.0) }
    } else {
        // Dates, and moments and numbers of other libraries, have such a text.
        parse::moment_of_text(&text::of_any(object))
    };
    Some((at?, None))
}

/// The moment of a subclass of `datetime`, or of any where its fields can't be read in place.
fn of_datetime(
    object: &Bound<'_, PyAny>,
    known: &Datetimes,
) -> PyResult<(Timestamp, Option<Zone>)> {
    let zone = object.getattr("tzinfo")?;
    let offset = if zone.is_none() { None } else { offset_micros(object, &zone, known)? };
    let field = |name: &str| object.getattr(name)?.extract::<i64>();
    let days = days_since_1970(field("year")?, field("month")?, field("day")?);
    let seconds = field("hour")? * 3600 + field("minute")? * 60 + field("second")?;
    let micros = (days * 86_400 + seconds) * 1_000_000 + field("microsecond")?;
    let named = offset.map_or(Zone::Naive, |_| Zone::Aware);
    Ok((Timestamp::from_micros(micros - offset.unwrap_or(0)), Some(named)))
}

/// The datetime at `at`, in UTC, or naive and meaning that; its text where Python has no such year.
pub(crate) fn to_datetime(py: Python<'_>, at: Timestamp, zone: Zone) -> PyResult<Py<PyAny>> {
    let known = datetimes(py)?;
    let micros = at.micros();
    let made = || -> PyResult<Py<PyAny>> {
        let epoch = known.class.bind(py).call1((1970, 1, 1))?;
        let step = py.import("datetime")?.getattr("timedelta")?;
        let days = micros.div_euclid(86_400_000_000);
        let rest = micros.rem_euclid(86_400_000_000);
        let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
        let naive = epoch.add(step.call1((days, seconds, micros))?)?;
        if zone == Zone::Naive {
            return Ok(naive.unbind());
        }
        let named = PyDict::new(py);
        named.set_item("tzinfo", known.utc.bind(py))?;
        Ok(naive.call_method("replace", (), Some(&named))?.unbind())
    };
    made().or_else(|_| Ok(PyString::new(py, &at.to_string()).into_any().unbind()))
}
