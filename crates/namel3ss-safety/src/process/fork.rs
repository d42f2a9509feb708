//! Descriptors that a forked child must not hold on to: a lock goes with the open file, which a
//! child shares, so that a child that never logs would keep its dead parent's journal locked.
//!
//! A `pthread_atfork` handler puts `/dev/null` over them in the child. They are not closed: whoever
//! owns one closes it later by its number, which must not be a stranger's by then.
//!
//! **A child of `vfork`, `clone` or `posix_spawn` runs no such handler.** The latter two close our
//! descriptors when they execute another program; until then such a child holds the locks.
#![cfg_attr(unix, expect(unsafe_code, reason = "pthread_atfork and dup2 have no safe form"))]

use std::fs::File;

/// How many descriptors can be kept in mind; the others are inherited.
#[cfg(unix)]
const ENTRIES: usize = 2048;

/// While it lives, a forked child finds `/dev/null` under the descriptor.
#[derive(Debug)]
#[must_use = "the descriptor is inherited once this is dropped"]
pub struct ForgottenInChild {
    #[cfg(unix)]
    entry: Option<&'static table::Entry>,
}

/// Has each forked child find `/dev/null` under the descriptor of `file`, as long as the answer
/// lives, which must be dropped before `file` is. Nothing of it allocates or locks, so that it
/// holds for a fork at any moment. **Beyond 2,048 descriptors at once, or where `pthread_atfork`
/// fails, the child inherits it.**
pub fn forget_in_child(file: &File) -> ForgottenInChild {
    #[cfg(unix)]
    return ForgottenInChild { entry: table::insert(file) };
    #[cfg(not(unix))]
    {
        let _ = file;
        ForgottenInChild {}
    }
}

/// How often the process has become another one by a fork, since [`count_forks`] was first called; a
/// child differs from its parent, whoever called `fork`. Always 0 where there are no forks.
#[inline]
#[must_use]
pub fn forks() -> u64 {
    #[cfg(unix)]
    return table::FORKS.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(unix))]
    0
}

/// Has [`forks`] count from now on.
pub fn count_forks() {
    #[cfg(unix)]
    table::handle_forks();
}

#[cfg(unix)]
impl Drop for ForgottenInChild {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            entry.clear();
        }
    }
}

#[cfg(unix)]
mod table {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::sync::Once;
    use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

    use super::ENTRIES;

    /// One descriptor, and the file that it was opened on: its number may be a stranger's by the
    /// time of the fork, if the application closes descriptors that are not its own.
    #[derive(Debug)]
    pub(super) struct Entry {
        /// The descriptor and one; zero where free, negative while it is being filled.
        state: AtomicI32,
        device: AtomicU64,
        inode: AtomicU64,
    }

    static TABLE: [Entry; ENTRIES] = [const { Entry::new() }; ENTRIES];
    static HANDLER: Once = Once::new();
    pub(super) static FORKS: AtomicU64 = AtomicU64::new(0);

    pub(super) fn handle_forks() {
        HANDLER.call_once(|| {
            // SAFETY: the handler is a function of this program that calls only what may be called
            // in a forked child of a program with threads.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
    }

    impl Entry {
        const fn new() -> Self {
            Self { state: AtomicI32::new(0), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
        }

        pub(super) fn clear(&self) {
            self.state.store(0, Ordering::Release);
        }
    }

    pub(super) fn insert(file: &File) -> Option<&'static Entry> {
        handle_forks();
        let fd = file.as_raw_fd();
        let (device, inode) = identity(fd)?;
        let claim = |entry: &&Entry| {
            entry.state.compare_exchange(0, -1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let entry = TABLE.iter().find(claim)?;
        entry.device.store(device, Ordering::Relaxed);
        entry.inode.store(inode, Ordering::Relaxed);
        entry.state.store(fd + 1, Ordering::Release);
        Some(entry)
    }

    /// Which file is open under a descriptor; async-signal-safe.
    fn identity(fd: i32) -> Option<(u64, u64)> {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: fstat fills the whole of the structure that it is given, or fails.
        let stat = unsafe {
            if libc::fstat(fd, stat.as_mut_ptr()) != 0 {
                return None;
            }
            stat.assume_init()
        };
        // Their types differ by platform.
        Some((stat.st_dev as u64, stat.st_ino as u64))
    }

    /// Runs in every forked child, before anything else of it does. Only system calls: another
    /// thread may have held any lock at the fork.
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
        let mut null = -1;
        for entry in &TABLE {
            let fd = entry.state.load(Ordering::Acquire) - 1;
            if fd < 0 {
                continue;
            }
            let file = (entry.device.load(Ordering::Relaxed), entry.inode.load(Ordering::Relaxed));
            if identity(fd) != Some(file) {
                continue;
            }
            if null < 0 {
                null = open_null();
            }
            // SAFETY: system calls on numbers. What is replaced was opened by this library, and
            // nothing else of it is read or written through the descriptor in this process.
            unsafe {
                if null >= 0 {
                    replace(null, fd);
                    continue;
                }
                // No descriptor is left: the one to be replaced makes room for its replacement.
                libc::close(fd);
                let opened = open_null();
                if opened >= 0 && opened != fd {
                    replace(opened, fd);
                    libc::close(opened);
                }
            }
        }
        if null >= 0 {
            // SAFETY: this function has opened it.
            unsafe { libc::close(null) };
        }
    }

    /// Something harmless that can be open: nothing can be read from it or written to it.
    fn open_null() -> i32 {
        // SAFETY: the path is a C string; no memory is given.
        unsafe {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            // A root folder of its own may have no devices; a socket without a peer does as well.
            if null >= 0 { null } else { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0) }
        }
    }

    /// # Safety
    /// `to` must be a descriptor that may be replaced.
    unsafe fn replace(from: i32, to: i32) {
        // SAFETY: said above.
        unsafe {
            libc::dup2(from, to);
            libc::fcntl(to, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_free_again_after_its_owner() {
        let file = tempfile::tempfile().unwrap();
        let first = forget_in_child(&file);
        let entry = first.entry.unwrap() as *const _;
        drop(first);
        // Others may use the table at this moment: of many tries one finds it.
        assert!(
            (0..1000).any(|_| forget_in_child(&file).entry.is_some_and(|e| std::ptr::eq(e, entry)))
        );
    }
}
