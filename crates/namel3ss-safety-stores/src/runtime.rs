//! The one tokio of this crate: adapters are synchronous, and drive their futures with [`block_on`].
//!
//! A current-thread runtime, made at the first use: I/O is polled by the thread that waits for it,
//! so that there is no worker thread for a fork to lose and no wake-up between threads. Whoever
//! spawns tasks has them driven while somebody waits in here, and not otherwise.
//!
//! A forked child shares its parent's event queue with it: it must neither use nor close anything
//! of it. [`PerProcess`] gives it values of its own, and never drops its parent's.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

static RUNTIME: PerProcess<Runtime> = PerProcess::new();

/// Drives `future` to its end on this process's runtime.
///
/// # Errors
/// If the runtime can't be made: the process has no file descriptor left.
///
/// # Panics
/// When called by a thread that is in an async context of its own; see [`off_runtime`].
pub(crate) fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let runtime = RUNTIME.get_or_try(|| Builder::new_current_thread().enable_all().build())?;
    Ok(runtime.block_on(future))
}

/// Runs `work` where it may wait: here, or on a thread of its own if this one drives an async
/// runtime, in which waiting is a panic.
pub(crate) fn off_runtime<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if tokio::runtime::Handle::try_current().is_err() {
        return work();
    }
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A value that each process makes for itself: a child's list grows past its parent's value, which
/// it leaves alone.
#[derive(Debug)]
pub(crate) struct PerProcess<T> {
    first: OnceLock<Box<Node<T>>>,
}

#[derive(Debug)]
struct Node<T> {
    pid: u32,
    value: Option<T>,
    next: PerProcess<T>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self { first: OnceLock::new() }
    }

    /// This process's value; made first where it has none.
    pub(crate) fn get_or_try<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let pid = std::process::id();
        let mut made = None;
        let mut make = Some(make);
        let mut at = self;
        loop {
            if let Some(node) = at.first.get() {
                match &node.value {
                    Some(value) if node.pid == pid => return Ok(value),
                    _ => at = &node.next,
                }
                continue;
            }
            // Made before the cell is touched: a fork meanwhile finds it empty, not half-filled.
            if let Some(make) = make.take() {
                made = Some(make()?);
            }
            let node = Node { pid, value: made.take(), next: PerProcess::new() };
            if let Err(lost) = at.first.set(Box::new(node)) {
                // Another thread was faster; look at what it has put there.
                let mut lost = lost;
                made = lost.value.take();
            }
        }
    }

    /// The same, with a value that can always be made.
    pub(crate) fn get_or(&self, make: impl FnOnce() -> T) -> &T {
        match self.get_or_try(|| Ok::<T, std::convert::Infallible>(make())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}

impl<T> Drop for Node<T> {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            std::mem::forget(self.value.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_has_a_value_of_its_own() {
        struct Loud;
        impl Drop for Loud {
            fn drop(&mut self) {
                panic!("a parent's value was dropped");
            }
        }
        let values: PerProcess<Option<Loud>> = PerProcess::new();
        let theirs =
            Node { pid: std::process::id() + 1, value: Some(Some(Loud)), next: PerProcess::new() };
        assert!(values.first.set(Box::new(theirs)).is_ok());
        assert!(values.get_or(|| None).is_none());
        assert!(values.get_or(|| unreachable!("it is there now")).is_none());
    }

    #[test]
    fn threads_agree_on_one_value() {
        let values: PerProcess<u64> = PerProcess::new();
        let found: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    scope.spawn({
                        let values = &values;
                        move || *values.get_or(|| n)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(found.iter().all(|value| *value == found[0]), "{found:?}");
    }

    #[test]
    fn waiting_works_inside_an_async_context_too() {
        let host = Builder::new_current_thread().build().unwrap();
        let answer = host.block_on(async { off_runtime(|| block_on(async { 42 }).unwrap()) });
        assert_eq!(answer, 42);
    }
}
