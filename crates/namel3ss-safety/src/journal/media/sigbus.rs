//! SIGBUS in a mapping of ours: its file was cut, or a page of it can't be read. The page is replaced
//! by one of zeros, and the mapping is marked as damaged; the application lives on.
//!
//! **The handler is the process's:** an application that sets one of its own later takes ours away.
//! A SIGBUS anywhere else goes to the handler that stood before.
#![expect(unsafe_code, reason = "signal handlers and MAP_FIXED have no safe form")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many mappings can be watched at once; further ones are refused.
const ENTRIES: usize = 1024;

static TABLE: [Entry; ENTRIES] = [const { Entry::new() }; ENTRIES];
/// Whether the handler was set.
static HANDLER: OnceLock<bool> = OnceLock::new();
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
/// The handler that stood before, and whether it takes three arguments.
static BEFORE: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static BEFORE_IS_LONG: AtomicBool = AtomicBool::new(false);

/// One mapping; read by the handler, so nothing but atomics.
#[derive(Debug)]
struct Entry {
    taken: AtomicBool,
    /// Zero where there is none.
    start: AtomicUsize,
    end: AtomicUsize,
    damaged: AtomicBool,
}

/// A mapping is watched while this lives, which must be dropped before the mapping goes.
#[derive(Debug)]
pub(super) struct Watched(&'static Entry);

impl Watched {
    /// Set once a page of the mapping was replaced.
    pub(super) fn damaged(&self) -> &'static AtomicBool {
        &self.0.damaged
    }

    /// Watches nothing any more; its place in the table is kept until it is dropped, because others
    /// may look at [`damaged`](Self::damaged).
    pub(super) fn end(&self) {
        self.0.start.store(0, Ordering::SeqCst);
        self.0.end.store(0, Ordering::SeqCst);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.end();
        self.0.taken.store(false, Ordering::Release);
    }
}

impl Entry {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            damaged: AtomicBool::new(false),
        }
    }

    fn holds(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::SeqCst);
        let end = self.end.load(Ordering::SeqCst);
        // Looked at twice, so that both are of one mapping.
        start > 0 && (start..end).contains(&address) && self.start.load(Ordering::SeqCst) == start
    }
}

/// Watches the mapping of `bytes` bytes at `start`; `None` where the table is full, or no handler
/// can be set.
pub(super) fn watch(start: usize, bytes: usize) -> Option<Watched> {
    if !*HANDLER.get_or_init(set_handler) {
        return None;
    }
    let take = |entry: &&Entry| {
        entry.taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let entry = TABLE.iter().find(take)?;
    entry.damaged.store(false, Ordering::SeqCst);
    entry.end.store(start + bytes, Ordering::SeqCst);
    entry.start.store(start, Ordering::SeqCst);
    Some(Watched(entry))
}

/// Whether SIGBUS comes here, as far as can be told; true where nothing was ever watched.
pub(super) fn is_in_place() -> bool {
    HANDLER.get().is_none() || current().is_some_and(|now| now.sa_sigaction == ours())
}

fn ours() -> libc::sighandler_t {
    on_sigbus as extern "C" fn(_, _, _) as *const () as libc::sighandler_t
}

/// What SIGBUS does now.
fn current() -> Option<libc::sigaction> {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is changed; the structure is filled where the call succeeds.
    unsafe {
        let known = libc::sigaction(libc::SIGBUS, std::ptr::null(), now.as_mut_ptr()) == 0;
        known.then(|| now.assume_init())
    }
}

fn set_handler() -> bool {
    // SAFETY: only asks.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Some(before) = current() else { return false };
    PAGE_BYTES.store(usize::try_from(page).unwrap_or(4096), Ordering::SeqCst);
    BEFORE.store(before.sa_sigaction, Ordering::SeqCst);
    BEFORE_IS_LONG.store(before.sa_flags & libc::SA_SIGINFO != 0, Ordering::SeqCst);
    // SAFETY: the structure is plain data, of which zero is a value. The handler is a function of
    // this program that does nothing but what a handler may: atomics and system calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ours();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) == 0
    }
}

extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel gives a whole structure to a handler that was set with SA_SIGINFO.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // Below zero somebody has sent it, and there is no address.
    if code > 0
        && let Some(entry) = TABLE.iter().find(|entry| entry.holds(address))
    {
        // Before the page is there: whoever finds it writable must find this set as well.
        entry.damaged.store(true, Ordering::SeqCst);
        if replace_page(address) {
            return;
        }
    }
    // SAFETY: what the kernel gave is passed on as it is.
    unsafe { pass_on(signal, code, info, context) };
}

/// Puts a page of zeros where `address` is, which lies in a mapping of ours.
fn replace_page(address: usize) -> bool {
    let bytes = PAGE_BYTES.load(Ordering::SeqCst);
    let page = address & !(bytes - 1);
    // SAFETY: the page belongs to a live mapping that is read and written through atomics only, so
    // that another content is no worse than another thread's writing.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::without_provenance_mut(page),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

/// Does what would be done without us.
///
/// # Safety
/// The arguments are those of a handler.
unsafe fn pass_on(
    signal: libc::c_int,
    code: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let before = BEFORE.load(Ordering::SeqCst);
    let sent = code <= 0;
    if before == libc::SIG_IGN && sent {
        return;
    }
    // SAFETY: the number is that of a function which was set as a handler of this kind; the rest are
    // system calls that a handler may do.
    unsafe {
        if before == libc::SIG_DFL || before == libc::SIG_IGN {
            // The fault comes again when this returns, and finds no handler.
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
            if sent {
                libc::raise(signal);
            }
        } else if BEFORE_IS_LONG.load(Ordering::SeqCst) {
            type Long = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            std::mem::transmute::<usize, Long>(before)(signal, info, context);
        } else {
            std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(before)(signal);
        }
    }
}
