//! Text of Python's as text of Rust's: borrowed where it can be, and always something.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::gate::Inside;
use crate::own_code;

/// The most characters of a text that are looked at: far more than an event can keep.
const CHARS_MAX: usize = 512 << 10;

/// The text of a `str`. A lone surrogate, which UTF-8 has no place for, becomes U+FFFD.
#[inline]
pub(crate) fn of_str<'a>(text: &'a Bound<'_, PyString>) -> Cow<'a, str> {
    match text.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(with_lone_surrogates(text)),
    }
}

/// The text of a `str` that has no lone surrogate; `None` of anything else.
#[inline]
pub(crate) fn plain<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    object.cast::<PyString>().ok()?.to_str().ok()
}

#[cold]
fn with_lone_surrogates(text: &Bound<'_, PyString>) -> String {
    let units = || -> PyResult<Vec<u8>> {
        let cut = if text.len()? > CHARS_MAX {
            text.get_item(pyo3::types::PySlice::new(text.py(), 0, CHARS_MAX as isize, 1))?
        } else {
            text.clone().into_any()
        };
        cut.call_method1("encode", ("utf-16-le", "surrogatepass"))?.extract()
    };
    let Ok(bytes) = units() else { return String::from(char::REPLACEMENT_CHARACTER) };
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// The text of anything: a `str` as it is, an enum's value, else what `str()` says. What can't even
/// say that is named by its type.
pub(crate) fn of_any<'a>(object: &'a Bound<'_, PyAny>) -> Cow<'a, str> {
    match object.cast::<PyString>() {
        Ok(text) => of_str(text),
        Err(_) => Cow::Owned(shown(object)),
    }
}

#[cold]
fn shown(object: &Bound<'_, PyAny>) -> String {
    let _inside = Inside::enter(object.py());
    if let Some(value) = enum_value(object)
        && let Ok(text) = value.cast::<PyString>()
    {
        return of_str(text).into_owned();
    }
    match own_code::run(object.py(), || object.str()) {
        Ok(text) => of_str(&text).into_owned(),
        Err(_) => {
            let name = object.get_type().qualname().map(|name| of_str(&name).into_owned());
            format!("<{} that has no text>", name.unwrap_or_else(|_| "object".to_owned()))
        }
    }
}

/// The value of an `enum.Enum` member.
pub(crate) fn enum_value<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = object.py();
    let is_member = object.get_type().hasattr(pyo3::intern!(py, "__members__")).unwrap_or(false);
    if is_member { object.getattr(pyo3::intern!(py, "value")).ok() } else { None }
}

/// The name of an `enum.Enum` member.
pub(crate) fn enum_name(object: &Bound<'_, PyAny>) -> Option<String> {
    let py = object.py();
    let is_member = object.get_type().hasattr(pyo3::intern!(py, "__members__")).unwrap_or(false);
    let name =
        if is_member { object.getattr(pyo3::intern!(py, "name")).ok()? } else { return None };
    name.cast::<PyString>().ok().map(|name| of_str(name).into_owned())
}
