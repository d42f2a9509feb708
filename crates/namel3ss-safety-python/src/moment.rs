//! Moments: a `datetime` of Python's, or what else names one, as microseconds since 1970 in UTC.

use namel3ss_safety::Timestamp;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use crate::gate::Inside;
use crate::raw;

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
    utc: Py<PyAny>,
    /// Whether the fields can be read where they lie.
    readable: bool,
}

static DATETIMES: PyOnceLock<Datetimes> = PyOnceLock::new();

fn datetimes(py: Python<'_>) -> PyResult<&'static Datetimes> {
    DATETIMES.get_or_try_init(py, || {
        let module = py.import("datetime")?;
        let class = module.getattr("datetime")?.cast_into::<PyType>()?;
        let utc = module.getattr("timezone")?.getattr("utc")?;
        // Each field differs from every other, in each of its bytes.
        let probe = class.call1((0x0703, 4, 5, 6, 7, 8, 0x09_0a_0b))?;
        let expected = ([0x07, 0x03, 4, 5, 6, 7, 8, 0x09, 0x0a, 0x0b], false);
        let aware = class.call1((0x0703, 4, 5, 6, 7, 8, 0x09_0a_0b, &utc))?;
        let readable = probe.is_exact_instance(&class)
            && raw::datetime_fields(&probe) == expected
            && raw::datetime_fields(&aware) == (expected.0, true);
        Ok(Datetimes { class: class.unbind(), utc: utc.unbind(), readable })
    })
}

/// The moment that `object` names: a datetime, ISO 8601 text, or seconds since 1970.
#[inline]
pub(crate) fn of_any(object: &Bound<'_, PyAny>) -> Option<(Timestamp, Option<Zone>)> {
    if let Some(known) = DATETIMES.get(object.py())
        && known.readable
        && object.get_type().is(known.class.bind(object.py()))
        && let ([y1, y2, month, day, hour, minute, second, u1, u2, u3], false) =
            raw::datetime_fields(object)
    {
        let days = days_since_1970(i64::from(y1) << 8 | i64::from(y2), month.into(), day.into());
        let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        let micros = i64::from(u1) << 16 | i64::from(u2) << 8 | i64::from(u3);
        let micros = (days * 86_400 + seconds) * 1_000_000 + micros;
        return Some((Timestamp::from_micros(micros), Some(Zone::Naive)));
    }
    slowly(object)
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
    if let Ok(text) = object.cast::<PyString>() {
        let at = crate::text::of_str(text).trim().parse().ok()?;
        return Some((at, None));
    }
    let known = datetimes(py).ok()?;
    if object.is_instance(known.class.bind(py)).unwrap_or(false) {
        return of_datetime(object, known).ok();
    }
    let seconds: f64 = object.extract().ok()?;
    if !seconds.is_finite() {
        return None;
    }
    // Saturates at the ends of i64, which is what a nonsense number deserves.
    #[expect(clippy::cast_possible_truncation, reason = "saturates by intent")]
    Some((Timestamp::from_micros((seconds * 1e6).round() as i64), None))
}

fn of_datetime(
    object: &Bound<'_, PyAny>,
    known: &Datetimes,
) -> PyResult<(Timestamp, Option<Zone>)> {
    let py = object.py();
    let aware = !object.call_method0("utcoffset")?.is_none();
    let moved = if aware {
        object.call_method1("astimezone", (known.utc.bind(py),))?
    } else {
        object.clone()
    };
    let field = |name: &str| moved.getattr(name)?.extract::<i64>();
    let days = days_since_1970(field("year")?, field("month")?, field("day")?);
    let seconds = field("hour")? * 3600 + field("minute")? * 60 + field("second")?;
    let micros = (days * 86_400 + seconds) * 1_000_000 + field("microsecond")?;
    let zone = if aware { Zone::Aware } else { Zone::Naive };
    Ok((Timestamp::from_micros(micros), Some(zone)))
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
