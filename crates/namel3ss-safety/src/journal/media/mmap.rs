//! Mapped memory, as a slice of atomics.
//!
//! Everything is read and written through `&[AtomicU64]`, so that no use of a mapping can be a
//! data race, whatever the ring, a forked child or another process does with the same pages; on
//! x86-64 and AArch64 a relaxed atomic word costs what a plain one does.
#![expect(unsafe_code, reason = "mmap has no safe form; this module gives it one")]

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[cfg(unix)]
use super::sigbus::{self, Watched};

/// Zeroed memory that is shared with a file, or with nothing.
///
/// The file may be shorter than the mapping, or become so. Whoever touches a word beyond its end
/// finds a page of zeros there that is shared with nothing, and the mapping is
/// [damaged](Self::is_damaged) from then on.
#[derive(Debug)]
pub struct Mapping {
    /// Of [`words`](Self::words), whoever owns them: `log()` asks for them several times.
    address: NonNull<AtomicU64>,
    count: usize,
    owner: Owner,
    damaged: &'static AtomicBool,
    #[cfg(unix)]
    watched: Option<Watched>,
}

/// Of memory that is shared with no file.
static NEVER: AtomicBool = AtomicBool::new(false);

/// Whose the memory is.
#[derive(Debug)]
enum Owner {
    /// This value's: a mapping.
    #[cfg(unix)]
    Mapped,
    /// This value's: a leaked box.
    Heap,
    Another(Arc<Mapping>),
}

// SAFETY: the mapping is plain memory that this value owns until it is dropped; access goes
// through `&[AtomicU64]` only, which any thread may do at any time.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes (a multiple of 4096) of `file` from its start.
    ///
    /// # Errors
    /// Where the file system or the limits of the process won't have it, or too many are mapped.
    #[cfg(unix)]
    pub fn of_file(file: &std::fs::File, bytes: usize) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        // SAFETY: a null address lets the kernel choose a free range, so no existing memory is
        // touched; the length is not zero; the descriptor is open for reading and writing.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let mut mapping = Self::own(address, bytes)?;
        let watched = sigbus::watch(address.addr(), bytes)
            .ok_or_else(|| io::Error::other("too many files are mapped already"))?;
        mapping.damaged = watched.damaged();
        mapping.watched = Some(watched);
        Ok(mapping)
    }

    /// Memory of its own, zero until written. Pages are only taken when touched.
    ///
    /// # Errors
    /// Where the limits of the process won't have it.
    #[cfg(unix)]
    pub fn anonymous(bytes: usize) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        // SAFETY: as in `of_file`, without a file.
        let address = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        Self::own(address, bytes)
    }

    #[cfg(unix)]
    fn own(address: *mut core::ffi::c_void, bytes: usize) -> io::Result<Self> {
        let address =
            NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap gave no address"))?;
        Ok(Self { address, count: bytes / 8, owner: Owner::Mapped, damaged: &NEVER, watched: None })
    }

    /// Memory of its own, zero until written.
    ///
    /// # Errors
    /// Never here.
    #[cfg(not(unix))]
    pub fn anonymous(bytes: usize) -> io::Result<Self> {
        Ok(Self::heap(bytes))
    }

    /// A little memory of its own, zero until written, where none can be mapped.
    #[must_use]
    pub fn heap(bytes: usize) -> Self {
        let words: Box<[AtomicU64]> = (0..bytes / 8).map(|_| AtomicU64::new(0)).collect();
        let words = NonNull::from(Box::leak(words));
        Self {
            address: words.cast(),
            count: words.len(),
            owner: Owner::Heap,
            damaged: &NEVER,
            #[cfg(unix)]
            watched: None,
        }
    }

    /// The same memory under another owner.
    #[must_use]
    pub fn shared(mapping: Arc<Self>) -> Self {
        Self {
            address: mapping.address,
            count: mapping.count,
            owner: Owner::Another(mapping),
            damaged: &NEVER,
            #[cfg(unix)]
            watched: None,
        }
    }

    /// Whether a page of it was found to be gone, or [`mark_damaged`](Self::mark_damaged) was called.
    #[inline]
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Says that its file does not hold what was written. Of memory that is shared with no file
    /// nothing is said.
    pub fn mark_damaged(&self) {
        #[cfg(unix)]
        if self.watched.is_some() {
            self.damaged.store(true, Ordering::Release);
        }
    }

    /// Lets go of its file and of the memory that it takes; its words are zeros from then on, which
    /// are shared with nothing. Only its addresses are kept, so that who still looks finds something.
    pub fn let_go(&self) {
        #[cfg(unix)]
        {
            use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
            match &self.owner {
                Owner::Mapped => {}
                Owner::Another(mapping) => return mapping.let_go(),
                Owner::Heap => return,
            }
            // SAFETY: the range is exactly that of the live mapping which this value owns. What is
            // mapped in its place is as long, and may be read and written in the same ways, so that
            // each borrow of its words stays good; they are atomics, which may change at any time.
            let _ = unsafe {
                mmap_anonymous(
                    self.address.as_ptr().cast(),
                    self.bytes(),
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                )
            };
            if let Some(watched) = &self.watched {
                watched.end();
            }
        }
        #[cfg(not(unix))]
        if let Owner::Another(mapping) = &self.owner {
            mapping.let_go();
        }
    }

    /// All of it, as words. Byte order in a word is little-endian by convention of the callers.
    #[inline]
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the address is that of `count` words, aligned for them, which are mapped or leaked
        // by this value or by the one that it keeps; they go in `drop` alone, after this borrow.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.count) }
    }

    fn bytes(&self) -> usize {
        8 * self.count
    }

    /// Takes the pages of `bytes` bytes from byte `from` now, so that no later write faults.
    /// Only a hint: what the kernel won't do costs a fault at the first touch.
    pub fn populate(&self, from: usize, bytes: usize) {
        #[cfg(target_os = "linux")]
        {
            use rustix::mm::{Advice, madvise};
            let mapped = matches!(self.owner, Owner::Mapped);
            if mapped && from.is_multiple_of(4096) && from + bytes <= self.bytes() {
                // SAFETY: the range lies inside the live mapping; populating changes no byte.
                let _ = unsafe {
                    madvise(
                        self.address.as_ptr().byte_add(from).cast(),
                        bytes,
                        Advice::LinuxPopulateWrite,
                    )
                };
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (from, bytes);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        match self.owner {
            #[cfg(unix)]
            Owner::Mapped => {
                // Before the addresses can be somebody else's.
                self.watched = None;
                // SAFETY: this value owns the mapping, and no borrow of it can be alive here.
                let _ = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.bytes()) };
            }
            Owner::Heap => {
                let words = NonNull::slice_from_raw_parts(self.address, self.count);
                // SAFETY: `heap` has leaked a box of so many words there, which this value owns.
                drop(unsafe { Box::from_raw(words.as_ptr()) });
            }
            Owner::Another(_) => {}
        }
    }
}

/// Tells a forked child from the process that made it, without a system call: a page that the
/// kernel empties in the child (`MADV_WIPEONFORK`, Linux 4.14). Elsewhere it asks for the pid.
#[derive(Debug)]
pub struct ForkGuard {
    page: Option<Mapping>,
    pid: u32,
}

impl Default for ForkGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl ForkGuard {
    /// Belongs to the process that calls this.
    #[must_use]
    pub fn new() -> Self {
        Self { page: Self::wiped_page(), pid: std::process::id() }
    }

    #[cfg(target_os = "linux")]
    fn wiped_page() -> Option<Mapping> {
        use rustix::mm::{Advice, madvise};
        let page = Mapping::anonymous(4096).ok()?;
        // SAFETY: the range is exactly the private anonymous page that was just mapped; only the
        // child's copy of it is ever emptied.
        unsafe { madvise(page.address.as_ptr().cast(), page.bytes(), Advice::LinuxWipeOnFork) }
            .ok()?;
        page.words()[0].store(1, Ordering::Relaxed);
        Some(page)
    }

    #[cfg(not(target_os = "linux"))]
    fn wiped_page() -> Option<Mapping> {
        None
    }

    /// Whether this is still the process that made it.
    #[inline]
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match &self.page {
            Some(page) => page.words()[0].load(Ordering::Relaxed) == 1,
            None => std::process::id() == self.pid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let mapping = Mapping::of_file(&file, 8192).unwrap();
        mapping.populate(4096, 4096);
        mapping.words()[513].store(u64::from_le_bytes(*b"frame..."), Ordering::Release);
        let mut bytes = [0; 8];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 513 * 8).unwrap();
        assert_eq!(&bytes, b"frame...");
    }

    #[test]
    fn a_mapping_survives_that_its_file_is_cut() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let (mapping, other) = (Mapping::of_file(&file, 8192), Mapping::anonymous(4096));
        let (mapping, other) = (mapping.unwrap(), other.unwrap());
        mapping.words()[1].store(7, Ordering::Release);
        assert!(!mapping.is_damaged());
        file.set_len(4096).unwrap();
        assert_eq!(mapping.words()[513].load(Ordering::Acquire), 0);
        assert!(mapping.is_damaged() && !other.is_damaged());
        mapping.words()[513].store(8, Ordering::Release);
        let words = [1, 513].map(|at| mapping.words()[at].load(Ordering::Acquire));
        assert_eq!(words, [7, 8]);
        drop(mapping);
        let again = Mapping::of_file(&file, 4096).unwrap();
        assert!(!again.is_damaged() && super::sigbus::is_in_place());
    }

    #[test]
    fn a_mapping_that_was_let_go_holds_no_file_and_reads_as_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        let file =
            std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(8192).unwrap();
        let mapping = Mapping::of_file(&file, 8192).unwrap();
        let words = mapping.words();
        words[1].store(7, Ordering::Release);
        let is_mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
            maps.contains(path.to_str().unwrap())
        };
        assert!(is_mapped() || !cfg!(target_os = "linux"));
        mapping.let_go();
        assert!(!is_mapped());
        words[513].store(8, Ordering::Release);
        assert_eq!([1, 513].map(|at| words[at].load(Ordering::Acquire)), [0, 8]);
        drop(mapping);
    }

    #[test]
    fn the_guard_knows_its_own_process() {
        assert!(ForkGuard::new().is_ours());
    }
}
