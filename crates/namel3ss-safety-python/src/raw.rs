//! The one module with unsafe code: what the stable ABI gives no safe or no fast way to.
//!
//! - A `datetime` and a `timedelta` are read in place. By their attributes that is seven look-ups,
//!   170 ns, more than the rest of `log()`.
//! - `logger.log(event)`, `SafetyEvent(name=value, …)` and `await` are taken from the interpreter by
//!   its fast protocols (vectorcall, see [PEP 590](https://peps.python.org/pep-0590/), and the slots
//!   of an iterator): no tuple and no dict for the arguments. That is 40 ns a call, 300 ns a
//!   construction with six keywords, and 30 ns an `await`.
//!
//! Three layouts are read here that are no part of the stable ABI: of `datetime` objects, of
//! `timedelta` objects and of types. All are in CPython's public headers and are the same from 3.10 to
//! 3.14. Still, each is used only after it was compared with what the interpreter says about known
//! objects. Where they differ, the slower way is taken.
#![expect(unsafe_code, reason = "see above: each is measured")]

use std::ffi::{CStr, c_int, c_ulong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::call::PyCallArgs;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use pyo3::{PyTypeInfo as _, ffi};

/// What follows the object's head, as in `PyDateTime_DateTime` up to its time zone.
#[repr(C)]
struct DateTimeBody {
    hash: isize,
    has_tzinfo: u8,
    data: [u8; 10],
    fold: u8,
}

/// All of `PyDateTime_DateTime` behind its head; a naive one is allocated without the last field.
#[repr(C)]
struct AwareBody {
    body: DateTimeBody,
    tzinfo: *mut ffi::PyObject,
}

/// What follows the object's head, as in `PyDateTime_Delta`.
#[repr(C)]
struct DeltaBody {
    hash: isize,
    days: c_int,
    seconds: c_int,
    microseconds: c_int,
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

/// The time zone of a `datetime`, where [`datetime_fields`] said that it is aware.
///
/// `object` must be exactly of the type `datetime.datetime`; the caller has checked it.
pub(crate) fn datetime_zone<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if !datetime_fields(object).1 {
        return None;
    }
    // SAFETY: an aware datetime is allocated with its time zone, which it owns; see
    // `datetime_fields` for the rest. A reference of our own is taken before anything else runs.
    unsafe {
        let body = object.as_ptr().cast::<ffi::PyObject>().add(1).cast::<AwareBody>();
        Bound::from_borrowed_ptr_or_opt(object.py(), (*body).tzinfo)
    }
}

/// Days, seconds and microseconds of a `timedelta`.
///
/// `object` must be exactly of the type `datetime.timedelta`; the caller has checked it.
pub(crate) fn timedelta_fields(object: &Bound<'_, PyAny>) -> (c_int, c_int, c_int) {
    // SAFETY: a timedelta is never smaller than its head and this body. The pointer is of a live
    // object, that the reference keeps alive, and is aligned as objects are. They are immutable.
    unsafe {
        let body = object.as_ptr().cast::<ffi::PyObject>().add(1).cast::<DeltaBody>();
        ((*body).days, (*body).seconds, (*body).microseconds)
    }
}

/// The dict that an object keeps its attributes in, without a look-up of `__dict__` by its class:
/// 15 ns instead of 45.
pub(crate) fn own_attributes<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    let py = object.py();
    // SAFETY: any object may be asked, and the answer is a reference of ours.
    let own = unsafe {
        let own = ffi::PyObject_GenericGetDict(object.as_ptr(), ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, own)
    };
    own.ok()?.cast_into::<PyDict>().ok()
}

/// What a callable was called with, where the interpreter has it.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a, 'py> {
    /// The positional ones, and behind them those that have names.
    values: &'a [*mut ffi::PyObject],
    positional: usize,
    names: Option<&'a Bound<'py, PyTuple>>,
    py: Python<'py>,
}

impl<'py> Args<'_, 'py> {
    /// How many came without a name.
    #[inline]
    pub(crate) fn positional(&self) -> usize {
        self.positional
    }

    /// The names of those that follow, if any.
    #[inline]
    pub(crate) fn names(&self) -> Option<&Bound<'py, PyTuple>> {
        self.names
    }

    /// The argument at `at`: first the positional ones, then those with names.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<Bound<'py, PyAny>> {
        let object = *self.values.get(at)?;
        // SAFETY: the caller of a vectorcall function owns its arguments until it returns, and this
        // view of them lives no longer.
        Some(unsafe { Bound::from_borrowed_ptr(self.py, object) })
    }
}

/// How objects of a kind are called.
pub(crate) trait Call {
    /// Called with `args`.
    ///
    /// # Errors
    /// What the caller of `callable` is to see raised.
    fn call<'py>(callable: &Bound<'py, PyAny>, args: &Args<'_, 'py>) -> PyResult<Py<PyAny>>;
}

/// The entry from the interpreter.
///
/// # Safety
/// By the protocol: `args` holds as many objects as `count` (but for its highest bit) and `names`
/// say together, `names` is null or a tuple of texts, and the thread is attached.
unsafe extern "C" fn called<C: Call>(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let run = |py: Python<'_>| {
        let positional = count & !ARGUMENTS_OFFSET;
        // SAFETY: both are live objects while the call lasts.
        let (callable, names) = unsafe {
            let names = Bound::from_borrowed_ptr_or_opt(py, names);
            (Bound::from_borrowed_ptr(py, callable), names)
        };
        let names = names.as_ref().and_then(|names| names.cast::<PyTuple>().ok());
        let total = positional + names.map_or(0, PyTupleMethods::len);
        let values = if total == 0 {
            &[]
        } else {
            // SAFETY: see the protocol, above; they are the caller's until this returns.
            unsafe { std::slice::from_raw_parts(args, total) }
        };
        let args = Args { values, positional, names, py };
        match catch_unwind(AssertUnwindSafe(|| C::call(&callable, &args))) {
            Ok(Ok(answer)) => answer.into_ptr(),
            Ok(Err(error)) => {
                error.restore(py);
                ptr::null_mut()
            }
            Err(_) => {
                PyRuntimeError::new_err("a panic in native code; please report it").restore(py);
                ptr::null_mut()
            }
        }
    };
    // SAFETY: by the protocol the thread is attached. `Python::attach` asserts once a process that the
    // interpreter is initialized, which it is not any more while it runs the last finalizers: a first
    // event logged by one of them would abort the process.
    unsafe { Python::attach_unchecked(run) }
}

/// In every version from 3.8; declared stable with 3.12, as is the next.
const HAVE_VECTORCALL: c_ulong = 1 << 11;
/// The bit of a count of arguments that says something else.
const ARGUMENTS_OFFSET: usize = 1 << (usize::BITS - 1);

/// A class whose instances the interpreter calls without a tuple or a dict: a subclass of one of
/// ours, a pointer longer.
#[derive(Debug)]
pub(crate) struct CallableClass {
    class: Py<PyType>,
    /// Where in an instance the pointer lies.
    at: usize,
}

impl CallableClass {
    /// Derives it.
    ///
    /// # Errors
    /// What the interpreter raises.
    pub(crate) fn derive(base: &Bound<'_, PyType>, name: &'static CStr) -> PyResult<Self> {
        let at: usize = base.getattr("__basicsize__")?.extract()?;
        let offset = ffi::PyMemberDef {
            name: c"__vectorcalloffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: at.cast_signed(),
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        };
        let mut members = [offset, ffi::PyMemberDef::default()];
        let slots = [(ffi::Py_tp_members, members.as_mut_ptr().cast())];
        let class = subclass(base, name, at + size_of::<usize>(), HAVE_VECTORCALL, &slots)?;
        Ok(Self { class: class.unbind(), at })
    }

    /// Makes an instance, which `C` is to answer for.
    ///
    /// # Errors
    /// What the class raises.
    pub(crate) fn instance<'py, C: Call>(
        &self,
        args: impl PyCallArgs<'py>,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let class = self.class.bind(py);
        let made = class.call1(args)?;
        if !made.is_exact_instance(class) {
            return Err(PyRuntimeError::new_err("the class made an object of another"));
        }
        // SAFETY: instances of this very class are a pointer longer than those of its base, from
        // `at` on, which is aligned as the end of a base's objects is; it was null until now, and
        // nobody else knows this one yet.
        unsafe {
            let place = made.as_ptr().cast::<u8>().add(self.at);
            place.cast::<Option<ffi::vectorcallfunc>>().write_unaligned(Some(called::<C>));
        }
        Ok(made)
    }
}

/// An iterator that has ended, and is its own iterator and what an `await` of it waits for.
///
/// # Errors
/// What the interpreter raises.
pub(crate) fn ended_class<'py>(
    base: &Bound<'py, PyType>,
    name: &'static CStr,
) -> PyResult<Bound<'py, PyType>> {
    unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
        // SAFETY: it was called with a live object, by a thread that is attached.
        unsafe { ffi::Py_INCREF(object) };
        object
    }
    unsafe extern "C" fn ended(_object: *mut ffi::PyObject) -> *mut ffi::PyObject {
        ptr::null_mut()
    }
    let itself: ffi::unaryfunc = itself;
    let ended: ffi::iternextfunc = ended;
    let slots = [
        (ffi::Py_am_await, itself as *mut c_void),
        (ffi::Py_tp_iter, itself as *mut c_void),
        (ffi::Py_tp_iternext, ended as *mut c_void),
    ];
    let size: usize = base.getattr("__basicsize__")?.extract()?;
    subclass(base, name, size, 0, &slots)
}

/// A subclass of `base` with slots of its own.
fn subclass<'py>(
    base: &Bound<'py, PyType>,
    name: &'static CStr,
    size: usize,
    flags: c_ulong,
    slots: &[(c_int, *mut c_void)],
) -> PyResult<Bound<'py, PyType>> {
    let py = base.py();
    let mut slots: Vec<_> =
        slots.iter().map(|&(slot, pfunc)| ffi::PyType_Slot { slot, pfunc }).collect();
    slots.push(ffi::PyType_Slot::default());
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size.try_into()?,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | flags).try_into()?,
        slots: slots.as_mut_ptr(),
    };
    let bases = PyTuple::new(py, [base])?;
    // SAFETY: the name lives for ever, the slots end with an empty one, and both are read, with what
    // they point at, before this returns.
    let class = unsafe {
        let class = ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr());
        Bound::from_owned_ptr_or_err(py, class)?
    };
    Ok(class.cast_into::<PyType>()?)
}

/// Where a type object keeps what, in pointers from its beginning: see `PyTypeObject` in
/// `Include/cpython/object.h`.
mod of_type {
    pub(super) const BASIC_SIZE: usize = 4;
    pub(super) const WEAK_LIST_OFFSET: usize = 26;
    pub(super) const BASE: usize = 32;
    pub(super) const DICT_OFFSET: usize = 36;
    pub(super) const ALLOC: usize = 38;
    pub(super) const NEW: usize = 39;
    pub(super) const FREE: usize = 40;
    pub(super) const FINALIZE: usize = 49;
    pub(super) const VECTOR_CALL: usize = 50;
}

/// Has `C` make the instances of `class` itself (not of its subclasses), in place of its `__new__`,
/// which must do the same. False where types are not laid out as they are known to be.
pub(crate) fn construct_by<C: Call>(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let py = class.py();
    let generator = py.import("types")?.getattr("GeneratorType")?.cast_into::<PyType>()?;
    let list = PyList::type_object(py);
    for known in [class, &generator, &list] {
        if !is_laid_out_as_known(known)? {
            return Ok(false);
        }
    }
    // The last of those compared and the one that is wanted are neighbours; and the place of the
    // latter is taken in a class that is known for it, and free in ours.
    if word(&generator, of_type::FINALIZE) == 0
        || word(&list, of_type::VECTOR_CALL) == 0
        || word(class, of_type::VECTOR_CALL) != 0
    {
        return Ok(false);
    }
    // SAFETY: that is the place, compared above; the class is ours, and nobody is calling it now,
    // since this thread holds the interpreter.
    unsafe {
        let place = class.as_ptr().cast::<Option<ffi::vectorcallfunc>>();
        place.add(of_type::VECTOR_CALL).write(Some(called::<C>));
    }
    Ok(true)
}

/// One word of a type object, of the first 51.
fn word(class: &Bound<'_, PyType>, at: usize) -> usize {
    debug_assert!(at <= of_type::VECTOR_CALL);
    // SAFETY: the object of a type has been 51 pointers long or longer since 3.8.
    unsafe { class.as_ptr().cast::<usize>().add(at).read() }
}

fn is_laid_out_as_known(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let size = |name: &str| -> PyResult<usize> {
        Ok(class.getattr(name)?.extract::<isize>()?.cast_unsigned())
    };
    let slots = [
        (of_type::ALLOC, ffi::Py_tp_alloc),
        (of_type::NEW, ffi::Py_tp_new),
        (of_type::FREE, ffi::Py_tp_free),
        (of_type::FINALIZE, ffi::Py_tp_finalize),
    ];
    let same_slots = slots.into_iter().all(|(at, slot)| {
        // SAFETY: the class is a live type object, and the slot one that every version knows.
        let known = unsafe { ffi::PyType_GetSlot(class.as_type_ptr(), slot) };
        word(class, at) == known.addr()
    });
    Ok(same_slots
        && word(class, of_type::BASIC_SIZE) == size("__basicsize__")?
        && word(class, of_type::WEAK_LIST_OFFSET) == size("__weakrefoffset__")?
        && word(class, of_type::DICT_OFFSET) == size("__dictoffset__")?
        && word(class, of_type::BASE) == class.getattr("__base__")?.as_ptr().addr())
}
