//! A lock that a forked child does not inherit: a thread that the child does not have may hold the
//! parent's for ever.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

/// One value for each process that uses it: an adapter's files and connections, which a forked
/// child can neither wait for, nor use, nor close.
#[derive(Debug)]
pub struct PerProcess<T> {
    pid: u32,
    /// Only `drop` takes it out.
    value: Option<Box<Mutex<T>>>,
    next: OnceLock<Box<PerProcess<T>>>,
}

impl<T> PerProcess<T> {
    /// Belongs to the process that calls this.
    pub fn new(value: T) -> Self {
        let value = Some(Box::new(Mutex::new(value)));
        Self { pid: std::process::id(), value, next: OnceLock::new() }
    }

    /// This process's value; a forked child's is made by `make`.
    pub fn lock(&self, make: impl Fn() -> T) -> MutexGuard<'_, T> {
        // A panic of another thread leaves the value to the repair that a crash needs as well.
        self.value(make).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`lock`](Self::lock), but does not wait for another thread.
    pub fn try_lock(&self, make: impl Fn() -> T) -> Option<MutexGuard<'_, T>> {
        match self.value(make).try_lock() {
            Ok(value) => Some(value),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn value(&self, make: impl Fn() -> T) -> &Mutex<T> {
        let pid = std::process::id();
        let mut at = self;
        while at.pid != pid {
            at = at.next.get_or_init(|| Box::new(Self::new(make())));
        }
        at.value.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> Drop for PerProcess<T> {
    /// Leaves alone what is another process's: closing it would change what they share.
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            std::mem::forget(self.value.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn of_another_process<T>(value: T) -> PerProcess<T> {
        let mut theirs = PerProcess::new(value);
        theirs.pid += 1;
        theirs
    }

    #[test]
    fn another_process_has_a_value_of_its_own() {
        let ours = PerProcess::new(1);
        let theirs = of_another_process(2);
        let _held = theirs.value.as_ref().unwrap().lock();
        assert_eq!(*theirs.lock(|| 3), 3);
        assert_eq!(*ours.lock(|| 3), 1);
        let held = ours.try_lock(|| 3);
        assert!(held.is_some() && ours.try_lock(|| 3).is_none());
    }

    #[test]
    fn another_process_s_value_is_not_dropped() {
        let value = Arc::new(());
        let ours = PerProcess::new(value.clone());
        let theirs = of_another_process(value.clone());
        drop(theirs.lock(|| value.clone()));
        assert_eq!(Arc::strong_count(&value), 4);
        drop((ours, theirs));
        assert_eq!(Arc::strong_count(&value), 2);
    }
}
