//! The logger's two threads: starting, waking, calling and ending them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::keeper;
use super::shared::{Shared, lock};
use super::worker::Worker;
use crate::notice::Level;

/// How the threads are reached.
#[derive(Debug, Default)]
pub(super) struct Threads {
    call: Mutex<Call>,
    called: Condvar,
    keeper: OnceLock<Thread>,
    keeper_sleeps: AtomicBool,
}

/// What the worker's thread is called for.
#[derive(Debug, Default)]
struct Call {
    work: bool,
    quit: bool,
    running: bool,
}

thread_local! {
    /// The loggers for which this thread is delivering, by their addresses.
    static DELIVERING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Says that this thread delivers, as long as it lives.
struct DeliveringHere;

impl DeliveringHere {
    fn new(shared: &Shared) -> Self {
        DELIVERING.with_borrow_mut(|stack| stack.push(std::ptr::from_ref(shared).addr()));
        Self
    }
}

impl Drop for DeliveringHere {
    fn drop(&mut self) {
        DELIVERING.with_borrow_mut(Vec::pop);
    }
}

/// How often a worker that was paused looks whether it still is.
const PAUSE_POLL: Duration = Duration::from_millis(1);
/// How long the worker rests after a panic.
const PANIC_WAIT: Duration = Duration::from_secs(1);

impl Shared {
    pub(super) fn start_keeper(self: &Arc<Self>) {
        if self.threads.keeper.get().is_some() {
            return;
        }
        let shared = self.clone();
        let thread = std::thread::Builder::new()
            .name("n3-safety-keeper".into())
            .stack_size(256 << 10)
            .spawn(move || keeper::run(&shared));
        match thread {
            Ok(handle) => {
                let _ = self.threads.keeper.set(handle.thread().clone());
            }
            Err(error) => {
                let text = format!(
                    "no thread for the journal: {error}; events are moved by those who log them"
                );
                self.config.notices.say(Level::Warning, "threads", text);
            }
        }
    }

    /// Wakes the keeper, if it sleeps deeply.
    #[inline]
    pub(super) fn wake_keeper(&self) {
        if self.threads.keeper_sleeps.load(Ordering::SeqCst)
            && self.threads.keeper_sleeps.swap(false, Ordering::SeqCst)
            && let Some(keeper) = self.threads.keeper.get()
        {
            keeper.unpark();
        } else if !self.has_keeper() && self.config.threads {
            // No thread was to be had for it: the worker does its work.
            self.call_worker();
        }
    }

    /// Whether somebody else than the worker moves frames and hands buffers over.
    pub(super) fn has_keeper(&self) -> bool {
        self.threads.keeper.get().is_some()
    }

    /// Wakes the keeper, however it sleeps.
    pub(super) fn unpark_keeper(&self) {
        if let Some(keeper) = self.threads.keeper.get() {
            keeper.unpark();
        }
    }

    /// Sleeps, as the keeper, for up to `wait`, unless there is something to do already.
    pub(super) fn keeper_sleep(&self, wait: Duration, deep: bool, work: impl Fn() -> bool) {
        if deep {
            self.threads.keeper_sleeps.store(true, Ordering::SeqCst);
            if work() || self.closing.load(Ordering::SeqCst) {
                self.threads.keeper_sleeps.store(false, Ordering::SeqCst);
                return;
            }
        }
        std::thread::park_timeout(wait);
        self.threads.keeper_sleeps.store(false, Ordering::SeqCst);
    }

    /// Calls the worker's thread.
    pub(super) fn call_worker(&self) {
        lock(&self.threads.call).work = true;
        self.threads.called.notify_all();
    }

    /// One step of the worker's work, on this thread.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Duration> {
        if self.is_delivering_here() {
            return None;
        }
        self.turn_of(&mut lock(&self.worker))
    }

    /// As `turn`, by somebody who holds the worker. A panic in it costs what it was doing, never
    /// the thread: its batch is in the journal, for the next run.
    pub(super) fn turn_of(self: &Arc<Self>, worker: &mut Worker) -> Option<Duration> {
        if self.paused.load(Ordering::SeqCst) {
            return Some(PAUSE_POLL);
        }
        let _here = DeliveringHere::new(self);
        catch_unwind(AssertUnwindSafe(|| worker.turn(self))).unwrap_or_else(|_| {
            let text = "the worker panicked; what it was doing stays in the journal";
            self.config.notices.say(Level::Critical, "panic", text);
            let request = self.requested();
            self.note(|progress| progress.kept = request);
            Some(PANIC_WAIT)
        })
    }

    /// The worker, unless somebody else has it until the deadline.
    pub(super) fn worker_until(&self, deadline: Option<Instant>) -> Option<MutexGuard<'_, Worker>> {
        let Some(deadline) = deadline else { return Some(lock(&self.worker)) };
        loop {
            match self.worker.try_lock() {
                Ok(worker) => return Some(worker),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Whether this thread is in the middle of a delivery of this logger: an adapter that calls
    /// its own logger back must not wait for itself.
    pub(super) fn is_delivering_here(&self) -> bool {
        let here = std::ptr::from_ref(self).addr();
        DELIVERING.with_borrow(|delivering| delivering.contains(&here))
    }

    /// The worker's loop, until it is told to quit: for a thread of ours, or of somebody else.
    pub(super) fn work(self: &Arc<Self>) {
        loop {
            let wait = self.turn();
            let mut call = lock(&self.threads.call);
            let until = wait.map(|wait| Instant::now() + wait);
            while !call.work && !call.quit {
                let left = match until {
                    None => Duration::MAX,
                    Some(until) => until.saturating_duration_since(Instant::now()),
                };
                if left.is_zero() {
                    break;
                }
                call = if left == Duration::MAX {
                    self.threads.called.wait(call).unwrap_or_else(PoisonError::into_inner)
                } else {
                    let waited = self.threads.called.wait_timeout(call, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                };
            }
            call.work = false;
            if call.quit {
                call.quit = false;
                call.running = false;
                self.threads.called.notify_all();
                drop(call);
                // Who waits for what it would have done does that now.
                self.note(|_| {});
                return;
            }
        }
    }

    /// Starts the worker's thread. False where no thread is to be had.
    pub(super) fn start_worker(self: &Arc<Self>) -> bool {
        let mut call = lock(&self.threads.call);
        if call.running {
            call.quit = false;
            return true;
        }
        let shared = self.clone();
        let thread = std::thread::Builder::new()
            .name("n3-safety-worker".into())
            .stack_size(1 << 20)
            .spawn(move || shared.work());
        call.running = thread.is_ok();
        if let Err(error) = thread {
            let text = format!("no thread to deliver with: {error}; call flush or stop");
            self.config.notices.say(Level::Warning, "threads", text);
        }
        call.running
    }

    /// Tells both threads to end, and waits for the worker until the deadline.
    pub(super) fn quit(&self, deadline: Instant) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake_keeper();
        self.quit_worker(Some(deadline));
    }

    /// Tells the worker's thread to end, and waits until it has, or until the deadline.
    pub(super) fn quit_worker(&self, deadline: Option<Instant>) {
        let mut call = lock(&self.threads.call);
        if !call.running {
            return;
        }
        call.quit = true;
        self.threads.called.notify_all();
        if self.is_delivering_here() {
            return;
        }
        while call.running && call.quit {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            match left {
                Some(Duration::ZERO) => return,
                Some(left) => {
                    let waited = self.threads.called.wait_timeout(call, left);
                    call = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    call = self.threads.called.wait(call).unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }

    pub(super) fn is_running(&self) -> bool {
        lock(&self.threads.call).running
    }
}
