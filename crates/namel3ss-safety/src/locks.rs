//! Taking a lock whatever became of its last holder.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock. A holder that panicked leaves what it guarded usable: everything that is locked
/// here is changed in steps that each leave it whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
