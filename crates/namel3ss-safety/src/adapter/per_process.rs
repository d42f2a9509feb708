//! A lock that a forked child does not inherit: a thread that the child does not have may hold the
//! parent's for ever.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// One value for each process that uses it.
#[derive(Debug)]
pub(super) struct PerProcess<T> {
    pid: u32,
    value: Mutex<T>,
    next: OnceLock<Box<PerProcess<T>>>,
}

impl<T> PerProcess<T> {
    /// Belongs to the process that calls this.
    pub(super) fn new(value: T) -> Self {
        Self { pid: std::process::id(), value: Mutex::new(value), next: OnceLock::new() }
    }

    /// This process's value; a forked child's is made by `make`.
    pub(super) fn lock(&self, make: impl Fn() -> T) -> MutexGuard<'_, T> {
        let pid = std::process::id();
        let mut at = self;
        while at.pid != pid {
            at = at.next.get_or_init(|| Box::new(Self::new(make())));
        }
        // A panic of another thread leaves the value to the repair that a crash needs as well.
        at.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_has_a_value_of_its_own() {
        let ours = PerProcess::new(1);
        let theirs = PerProcess { pid: ours.pid + 1, ..PerProcess::new(2) };
        let _held = theirs.value.lock();
        assert_eq!(*theirs.lock(|| 3), 3);
        assert_eq!(*ours.lock(|| 3), 1);
    }
}
