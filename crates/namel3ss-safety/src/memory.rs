//! Memory that may not be there: large buffers are asked for, and what would need them is put off
//! where they can't be had, instead of ending the application's process.
//!
//! Nothing here helps small allocations, the stacks of threads, or what other libraries allocate: so
//! a large buffer is only taken while [`SPARE_BYTES`] are left for them.

use std::hint::black_box;
use std::io;

#[cfg(unix)]
use crate::journal::media::Mapping;

/// What is left to small allocations wherever a large buffer is taken.
pub const SPARE_BYTES: usize = 1 << 20;
#[cfg(unix)]
const PAGE_BYTES: usize = 4096;
/// From here on a buffer is large.
const LARGE_BYTES: usize = 64 << 10;

/// Makes room in `out` for so many more items, if that leaves [`SPARE_BYTES`].
///
/// # Errors
/// `OutOfMemory`; `out` is as it was then.
#[inline]
pub fn reserve<T>(out: &mut Vec<T>, more: usize) -> io::Result<()> {
    if out.capacity() - out.len() >= more { Ok(()) } else { grow(out, more) }
}

#[cold]
fn grow<T>(out: &mut Vec<T>, more: usize) -> io::Result<()> {
    #[cfg(test)]
    if starving::refuses() {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let bytes = out.len().saturating_add(more).saturating_mul(size_of::<T>());
    // It may become twice as large, and is copied: the old one is there meanwhile.
    if bytes < LARGE_BYTES || has(bytes.saturating_mul(2)) {
        out.try_reserve(more)?;
    } else if has(bytes) {
        out.try_reserve_exact(more)?;
    } else {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    Ok(())
}

/// Makes `out` so long, with `value` in what is new.
///
/// # Errors
/// As [`reserve`].
#[inline]
pub fn resize<T: Clone>(out: &mut Vec<T>, length: usize, value: T) -> io::Result<()> {
    reserve(out, length.saturating_sub(out.len()))?;
    out.resize(length, value);
    Ok(())
}

/// Appends `items`.
///
/// # Errors
/// As [`reserve`].
#[inline]
pub fn extend<T: Copy>(out: &mut Vec<T>, items: &[T]) -> io::Result<()> {
    reserve(out, items.len())?;
    out.extend_from_slice(items);
    Ok(())
}

/// Whether so many bytes could be had now, beside [`SPARE_BYTES`]: they are reserved, and freed again.
/// Another thread may take them in the next moment.
#[must_use]
pub fn has(bytes: usize) -> bool {
    #[cfg(test)]
    if starving::refuses() {
        return false;
    }
    let bytes = bytes.saturating_add(SPARE_BYTES);
    // Not by the allocator at first: to free what is so large would teach it to keep as much from then
    // on, in the whole process.
    #[cfg(unix)]
    if bytes <= isize::MAX as usize
        && Mapping::anonymous(bytes.next_multiple_of(PAGE_BYTES)).is_ok()
    {
        return true;
    }
    let mut probe: Vec<u8> = Vec::new();
    let had = probe.try_reserve_exact(bytes).is_ok();
    // Else the compiler leaves both out.
    black_box(&mut probe);
    had
}

/// Refuses memory to the thread of a test.
#[cfg(test)]
pub(crate) mod starving {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Refuses it after so many more times; never, for `None`.
    pub(crate) fn after(times: Option<u32>) {
        LEFT.set(times);
    }

    pub(super) fn refuses() -> bool {
        match LEFT.get() {
            None => false,
            Some(0) => true,
            Some(left) => {
                LEFT.set(Some(left - 1));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_had_is_an_error_and_changes_nothing() {
        let mut out = vec![1_u8, 2];
        let error = extend(&mut out, &[3]).and_then(|()| reserve(&mut out, usize::MAX / 4));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(out, [1, 2, 3]);
        resize(&mut out, 200_000, 7).unwrap();
        assert_eq!((out.len(), out[2], out[199_999]), (200_000, 3, 7));
        assert!(has(1 << 20) && !has(usize::MAX / 4));
    }
}
