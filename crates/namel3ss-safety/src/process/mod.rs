//! Living in somebody's process: threads that take none of its signals, descriptors that a forked
//! child must not hold on to and how many there may be, and the user that it is.
//!
//! Every thread of this workspace is started here. `scripts/check-structure` refuses any other way.

mod signals;
mod fork;
mod user;
pub(crate) mod descriptors;

use std::io;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};
use std::time::Duration;

pub use self::fork::{ForgottenInChild, count_forks, forget_in_child, forks};
pub use self::user::{User, effective_user, user, user_name};

use crate::memory;

/// What a thread's stack takes by default.
const STACK_BYTES: usize = 2 << 20;

/// Starts a thread in which all asynchronous signals are blocked, from its first instruction on: a
/// signal that the application masks, waits for or handles must not go to a thread of ours.
/// SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGSYS are never blocked. A process that the thread
/// starts inherits the mask.
///
/// `stack_bytes` is its stack; `None` takes Rust's default, 2 MiB or `RUST_MIN_STACK`.
///
/// # Errors
/// The operating system's own: no thread is to be had.
pub fn spawn<T: Send + 'static>(
    name: &str,
    stack_bytes: Option<usize>,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut builder = Builder::new().name(name.to_owned());
    if let Some(bytes) = stack_bytes {
        builder = builder.stack_size(bytes);
    }
    has_memory(stack_bytes)?;
    without_signals(|| builder.spawn(run))
}

/// Whether there is memory for a thread. Rust's own beginning of a thread ends the process where there
/// is enough for its stack, and none for the stack of its signal handler.
fn has_memory(stack_bytes: Option<usize>) -> io::Result<()> {
    match memory::has(stack_bytes.unwrap_or(STACK_BYTES)) {
        true => Ok(()),
        false => Err(io::ErrorKind::OutOfMemory.into()),
    }
}

/// As [`spawn`], of a thread that ends within `scope`.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_scoped<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    let builder = Builder::new().name(name.to_owned());
    has_memory(None)?;
    without_signals(|| builder.spawn_scoped(scope, run))
}

/// Runs `make` with all asynchronous signals blocked in this thread, and restores its mask: around
/// whatever starts threads by itself, such as the making of an async runtime.
pub fn without_signals<R>(make: impl FnOnce() -> R) -> R {
    let _blocked = signals::Blocked::new();
    make()
}

/// Runs `work` in a thread whose asynchronous signals are blocked: in this one, if it is so here,
/// or in one of its own, for which this one waits. For work that starts threads at moments of its
/// own choosing, as an async runtime does that resolves a name.
///
/// Where no thread is to be had, `work` is done here.
///
/// # Panics
/// With the panic of `work`.
pub fn on_own_thread<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    if signals::are_blocked() {
        return work();
    }
    apart(name, work)
}

/// Runs `work` in a thread of its own, and waits for it. Where no thread is to be had, `work` is
/// done here.
///
/// # Panics
/// With the panic of `work`.
pub fn apart<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    // Taken by whoever does it: a thread that could not be started has dropped its closure.
    let work = std::sync::Mutex::new(Some(work));
    let take = || crate::locks::lock(&work).take();
    let done = std::thread::scope(|scope| {
        let spawned = spawn_scoped(scope, name, || take().map(|work| work())).ok()?;
        match spawned.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    match done {
        Some(value) => value,
        None => {
            // No thread took it.
            let work = take().expect("the work is taken once");
            work()
        }
    }
}

/// How long [`drop_apart`] waits.
const DROP_WAIT: Duration = Duration::from_millis(100);

/// Drops `value` in a thread of its own, for values that end an async runtime: that panics on a thread
/// that drives one. Waits for it, but no longer than 100 ms: it may need what this thread drives.
/// Where no thread is to be had, it is dropped here.
pub fn drop_apart<T: Send + 'static>(value: T) {
    let (say, hear) = sync_channel::<()>(1);
    let started = spawn("n3-safety-drop", None, move || {
        // Also where dropping the value panics.
        let _say = say;
        drop(value);
    });
    if started.is_ok() {
        // The thread says nothing: it has ended.
        let _ = hear.recv_timeout(DROP_WAIT);
    }
}
