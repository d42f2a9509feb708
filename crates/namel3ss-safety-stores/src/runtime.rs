//! The tokio of database servers: adapters are synchronous, and drive their futures with
//! [`block_on`].
//!
//! A current-thread runtime, made at the first use: I/O is polled by the thread that waits for it,
//! so that there is no worker thread for a fork to lose and no wake-up between threads. Whoever
//! spawns tasks has them driven while somebody waits in here, and not otherwise: not what a
//! pool of connections needs, and so objects have another, in `objects/cloud/runtime.rs`.
//!
//! A forked child shares its parent's event queue with it, and must neither use nor close anything
//! of it: it has a runtime of its own.

use std::future::Future;
use std::io;
use std::sync::{Arc, LazyLock};

use namel3ss_safety::{PerProcess, internal::process};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<PerProcess<Option<Arc<Runtime>>>> =
    LazyLock::new(|| PerProcess::new(None));

/// Drives `future` to its end on this process's runtime.
///
/// # Errors
/// If the runtime can't be made: the process has no file descriptor left.
///
/// # Panics
/// When called by a thread that is in an async context of its own; see [`off_runtime`].
pub(crate) fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    Ok(ours()?.block_on(future))
}

/// This process's runtime, which several threads may wait in at once.
fn ours() -> io::Result<Arc<Runtime>> {
    let mut made = RUNTIME.lock(|| None);
    if let Some(runtime) = &*made {
        return Ok(runtime.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(made.insert(Arc::new(runtime)).clone())
}

/// Runs `work` where it may wait: here, or on a thread of its own if this one drives an async
/// runtime, in which waiting is a panic, or takes signals: the runtime starts threads to resolve
/// names, and they inherit the mask of the thread that waits.
pub(crate) fn off_runtime<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if tokio::runtime::Handle::try_current().is_ok() {
        return process::apart("n3-safety-net", work);
    }
    process::on_own_thread("n3-safety-net", work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_works_inside_an_async_context_too() {
        let host = Builder::new_current_thread().build().unwrap();
        let answer = host.block_on(async { off_runtime(|| block_on(async { 42 }).unwrap()) });
        assert_eq!(answer, 42);
    }
}
