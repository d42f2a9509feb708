//! The signal mask of a thread, by libc's call: the raw system call would also block the signals
//! that glibc keeps for itself, and `setuid` would then wait for our threads for ever.
#![cfg_attr(unix, expect(unsafe_code, reason = "the signal mask has no safe form"))]

/// Signals that a fault of the thread itself raises: a thread that blocks one of them and meets it
/// is killed, whatever handler stands. The journal's own handler needs SIGBUS.
#[cfg(unix)]
const SYNCHRONOUS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// All asynchronous signals are blocked in this thread while it lives; then its mask is as before.
#[derive(Debug)]
pub(super) struct Blocked {
    #[cfg(unix)]
    before: Option<libc::sigset_t>,
    /// The mask is the thread's.
    _of_this_thread: std::marker::PhantomData<*const ()>,
}

impl Blocked {
    #[cfg(unix)]
    pub(super) fn new() -> Self {
        let mut all = empty();
        let mut before = empty();
        // SAFETY: both sets are live and initialized; the numbers are signals. The mask is only
        // this thread's, and is restored when this value is dropped.
        let changed = unsafe {
            libc::sigfillset(&raw mut all);
            for signal in SYNCHRONOUS {
                libc::sigdelset(&raw mut all, signal);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) == 0
        };
        Self { before: changed.then_some(before), _of_this_thread: std::marker::PhantomData }
    }

    #[cfg(not(unix))]
    pub(super) fn new() -> Self {
        Self { _of_this_thread: std::marker::PhantomData }
    }
}

#[cfg(unix)]
impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: the set is the one that the same call has given; no old one is asked for.
            unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut());
            }
        }
    }
}

/// Whether all asynchronous signals are blocked in this thread.
#[cfg(unix)]
pub(super) fn are_blocked() -> bool {
    let mut now = empty();
    // SAFETY: no new mask is given, so that nothing changes; the set that is filled is live.
    let known = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut now) };
    let never = |signal: &libc::c_int| {
        SYNCHRONOUS.contains(signal) || [libc::SIGKILL, libc::SIGSTOP].contains(signal)
    };
    // The classic ones stand for all.
    let mut asynchronous = (1..32).filter(|signal| !never(signal));
    known == 0
        && asynchronous.all(|signal| {
            // SAFETY: the set is live and initialized, the number is a signal's.
            unsafe { libc::sigismember(&raw const now, signal) == 1 }
        })
}

/// No thread has a mask here.
#[cfg(not(unix))]
pub(super) fn are_blocked() -> bool {
    true
}

#[cfg(unix)]
fn empty() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initializes the whole set that it is given.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_restored() {
        // In a thread of its own: the test's may be anybody's.
        let thread = std::thread::spawn(|| {
            assert!(!are_blocked());
            let blocked = Blocked::new();
            assert!(are_blocked());
            drop(blocked);
            assert!(!are_blocked());
        });
        thread.join().unwrap();
    }
}
