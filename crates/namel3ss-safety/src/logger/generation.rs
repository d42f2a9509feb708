//! The logger of one process, and its end: by `drop`, or left alone in a forked child.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::config::Config;
use super::live;
use super::shared::Shared;
use crate::journal::media::ForkGuard;

/// The logger of one process. A forked child finds, by the guard, that it is not its own, and goes
/// on to the next, which it makes; so no lock that was held at the fork is ever waited for.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) guard: ForkGuard,
    pub(super) shared: Option<Arc<Shared>>,
    pub(super) next: OnceLock<Box<Generation>>,
}

impl Generation {
    pub(super) fn new(config: Config) -> Self {
        let shared = Arc::new(Shared::new(config));
        live::enter(&shared);
        Self { guard: ForkGuard::new(), shared: Some(shared), next: OnceLock::new() }
    }

    #[cold]
    pub(super) fn after_fork(&self) -> &Self {
        self.next.get_or_init(|| {
            // As in `shared`.
            let parent = self.shared.as_ref().expect("only drop takes it out");
            parent.abandon();
            let child = Self::new(parent.config_after_fork());
            if parent.life.is_started()
                && let Some(shared) = &child.shared
            {
                shared.start();
            }
            Box::new(child)
        })
    }
}

/// How long dropping a logger waits for its threads.
pub(super) const DROP_WAIT: Duration = Duration::from_millis(100);

impl Drop for Generation {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        if !self.guard.is_ours() {
            // A forked child: the parent's locks may be held for ever, and its journal is its own.
            std::mem::forget(shared);
            return;
        }
        // Who was told to quit before was waited for then.
        let told = shared.closing.load(Ordering::SeqCst);
        let until = Instant::now() + if told { Duration::ZERO } else { DROP_WAIT };
        shared.quit(until);
        let (notices, given) = (shared.config.notices.clone(), shared.config.notices_are_given);
        close(shared, until);
        if given { notices.forward() } else { notices.leave() }
    }
}

/// Ends what its threads leave, once they have let go of it; not after `until`.
fn close(mut shared: Arc<Shared>, until: Instant) {
    // The keeper holds a share until it has seen `closing`.
    loop {
        shared.unpark_keeper();
        match Arc::try_unwrap(shared) {
            Ok(alone) => {
                alone.close();
                return;
            }
            Err(still) if Instant::now() < until => {
                shared = still;
                std::thread::sleep(Duration::from_millis(1));
            }
            // Somebody hangs in an adapter. A journal in a file has everything.
            Err(still) => {
                still.save_dropped();
                still.lose_unkept();
                return;
            }
        }
    }
}
