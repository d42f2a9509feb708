//! Locks that hold beside another SQLite of the same process, such as the one of Python's `sqlite3`.
//!
//! SQLite locks files by POSIX record locks, and these belong to the process: two copies of SQLite
//! in one process don't exclude each other, and whichever closes *any* descriptor of a file drops
//! the locks of both ([How To Corrupt](https://sqlite.org/howtocorrupt.html), 2.2.1). So this
//! module replaces some system calls of our copy (`xSetSystemCall` of its `unix` VFS):
//!
//! - `fcntl` takes **open-file-description locks**, which conflict with POSIX locks, also within
//!   one process. All of them are taken through one descriptor for each file, so that the
//!   connections of our copy stay one owner.
//! - `close` closes a database for real only while it holds the whole file exclusively, so that no
//!   other copy has a lock there to lose; until then the descriptor is kept, and `open` of the same
//!   file reuses it. A file that was replaced is another one (by device and inode).
//! - In a **forked child** these descriptors show nothing (`dup3` of a descriptor that can't be
//!   read, written or locked), so that the child neither keeps the parent's locks nor releases
//!   them; and `stat` gives files another device number than in the parent, so that SQLite does
//!   not take what it remembers of the parent's locks for its own.
//!
//! The replacement holds for the whole copy of SQLite. In a Rust program that is the program's own
//! `rusqlite`, too. What it had opened before keeps POSIX locks, until it is closed.
//!
//! **Limits:** Linux on x86-64 and AArch64 only; where a file system knows no such locks, POSIX
//! locks are used.
#![expect(unsafe_code, reason = "SQLite's system calls are replaced by C functions")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::IntoRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, Once, OnceLock};
use std::time::{Duration, Instant};

use namel3ss_safety::PerProcess;
use rusqlite::ffi;

/// What this process knows of the files that our copy of SQLite may lock. A forked child begins
/// with an empty table: another thread may have been changing this one.
static TABLE: OnceLock<PerProcess<Table>> = OnceLock::new();

/// The descriptors of all tables, for the handler that runs in a forked child, which may neither
/// lock nor allocate. What does not fit stays visible there.
static MARKS: [Mark; MARKS_MAX] = [const { Mark::new() }; MARKS_MAX];
const MARKS_MAX: usize = 1024;

/// What a forked child adds to the device numbers that SQLite sees. None have these bits.
static DISGUISE: AtomicU64 = AtomicU64::new(0);
const DISGUISE_SHIFT: u32 = 40;

/// Standard input, output and error, which SQLite opens and gives up again.
const STANDARD_MAX: c_int = 2;

/// Replaces the system calls of this copy of SQLite, once. Call it before a file is opened.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let had_files = is_initialized();
        // SAFETY: the name is a C string; the answer is null or lives as long as the program.
        let vfs = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
        // SAFETY: a VFS that is found is a valid struct, whose version says which fields it has.
        let set = unsafe { vfs.as_ref() }.filter(|vfs| vfs.iVersion >= 3);
        let Some(set) = set.and_then(|vfs| vfs.xSetSystemCall) else { return };
        // Our functions wait for this lock until all of them are there.
        let mut table = table();
        for (name, function) in replacements() {
            // SAFETY: SQLite calls each function by the type under which it is listed there, which
            // is that of ours. It calls `fcntl` as a variadic function; on the processors for
            // which this is compiled, integers and pointers are passed alike.
            unsafe { set(vfs, name.as_ptr(), Some(function)) };
        }
        if had_files {
            table.note_open_files();
        }
        // SAFETY: the handler makes system calls and loads atomics, nothing else. Where there is
        // no memory for it, a child shows what it inherited.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Closes a database file that was opened without SQLite, without dropping anybody's locks.
pub(super) fn close_file(file: std::fs::File) {
    let fd = file.into_raw_fd();
    table().register(fd, false);
    // SAFETY: the descriptor is ours, and is not used any more.
    unsafe { close(fd) };
}

/// Whether no thread that a forked child lacks holds one of SQLite's own locks, so that the child
/// can use SQLite. Waits for threads of this process.
pub(super) fn is_usable_in_child() -> bool {
    const WAIT_MAX: Duration = Duration::from_secs(1);
    // Those that SQLite takes when it opens and uses a database: MAIN, MEM, OPEN, PRNG, LRU, PMEM
    // and VFS1.
    const STATIC_MUTEXES: [c_int; 7] = [2, 3, 4, 5, 6, 7, 11];
    let until = Instant::now() + WAIT_MAX;
    STATIC_MUTEXES.into_iter().all(|id| {
        // SAFETY: SQLite has these mutexes from its initialization on, which comes first, and
        // leaving follows only where entering succeeded. A null mutex can always be entered.
        let try_enter = || unsafe {
            let mutex = ffi::sqlite3_mutex_alloc(id);
            let entered = ffi::sqlite3_mutex_try(mutex) == ffi::SQLITE_OK;
            if entered {
                ffi::sqlite3_mutex_leave(mutex);
            }
            entered
        };
        while !try_enter() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    })
}

/// Whether something has used this copy of SQLite already, and may have files open.
fn is_initialized() -> bool {
    let mut methods = MaybeUninit::<ffi::sqlite3_mem_methods>::uninit();
    // SAFETY: this reads the table of memory functions into a struct of its type; SQLite refuses
    // it once it is initialized.
    let answer = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, methods.as_mut_ptr()) };
    answer == ffi::SQLITE_MISUSE
}

type SystemCall = unsafe extern "C" fn();

fn replacements() -> [(&'static CStr, SystemCall); 6] {
    type Open = unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int;
    type Close = unsafe extern "C" fn(c_int) -> c_int;
    type Fcntl = unsafe extern "C" fn(c_int, c_int, *mut c_void) -> c_int;
    type Stat = unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int;
    type Fstat = unsafe extern "C" fn(c_int, *mut libc::stat) -> c_int;
    // SAFETY: function pointers have one size; SQLite casts each back before it calls it.
    unsafe {
        [
            (c"open", std::mem::transmute::<Open, SystemCall>(open)),
            (c"close", std::mem::transmute::<Close, SystemCall>(close)),
            (c"fcntl", std::mem::transmute::<Fcntl, SystemCall>(fcntl)),
            (c"stat", std::mem::transmute::<Stat, SystemCall>(stat)),
            (c"lstat", std::mem::transmute::<Stat, SystemCall>(lstat)),
            (c"fstat", std::mem::transmute::<Fstat, SystemCall>(fstat)),
        ]
    }
}

fn table() -> MutexGuard<'static, Table> {
    TABLE.get_or_init(|| PerProcess::new(Table::default())).lock(Table::default)
}

unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    const NEW: c_int = libc::O_EXCL | libc::O_TRUNC | libc::O_DIRECTORY;
    // SAFETY: SQLite gives a C string.
    let name = unsafe { CStr::from_ptr(path) };
    let is_lockable = flags & NEW == 0 && !is_never_locked(name);
    if is_lockable && let Some(fd) = table().reuse(name, flags) {
        return fd;
    }
    // SAFETY: as SQLite asks for it.
    let mut fd = unsafe { libc::open(path, flags, mode) };
    if fd < 0 && matches!(errno(), libc::EMFILE | libc::ENFILE) {
        table().close_idle();
        // SAFETY: as above.
        fd = unsafe { libc::open(path, flags, mode) };
    }
    if fd >= 0 {
        let mut table = table();
        // Somebody closed the one that had this number.
        table.forget(fd);
        if is_lockable {
            table.register(fd, false);
        }
    }
    fd
}

/// Logs and journals come and go with each transaction; nobody locks them.
fn is_never_locked(path: &CStr) -> bool {
    let path = path.to_bytes();
    path.ends_with(b"-wal") || path.ends_with(b"-journal")
}

unsafe extern "C" fn close(fd: c_int) -> c_int {
    let mut table = table();
    if table.set_idle(fd) {
        table.close_idle();
        return 0;
    }
    table.forget(fd);
    drop(table);
    // SAFETY: SQLite does not use it any more.
    unsafe { libc::close(fd) }
}

unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    let command = match command {
        libc::F_GETLK => libc::F_OFD_GETLK,
        libc::F_SETLK => libc::F_OFD_SETLK,
        libc::F_SETLKW => libc::F_OFD_SETLKW,
        // SAFETY: as SQLite asks for it.
        other => return unsafe { libc::fcntl(fd, other, argument) },
    };
    let asked = argument.cast::<libc::flock>();
    // SAFETY: these commands come with a lock.
    let mut lock = unsafe { *asked };
    let kind = c_int::from(lock.l_type);
    let owner = table().owner(fd, &lock);
    let on = match owner {
        Owner::Descriptor(on) => on,
        // SAFETY: as SQLite asks for it.
        Owner::Process => return unsafe { posix_lock(fd, command, asked) },
        // What was asked for stands there as if somebody else held it.
        Owner::Parent if command == libc::F_OFD_GETLK || kind == libc::F_UNLCK => return 0,
        Owner::Parent => return fail(libc::EIO),
        Owner::Reader => return fail(libc::EAGAIN),
    };
    // The kernel refuses another number.
    lock.l_pid = 0;
    // SAFETY: the lock is a valid struct.
    let done = unsafe { libc::fcntl(on, command, &raw mut lock) };
    if done < 0 && errno() == libc::EINVAL {
        // A file system without such locks.
        table().share(fd);
        // SAFETY: as SQLite asks for it.
        return unsafe { posix_lock(fd, command, asked) };
    }
    if command == libc::F_OFD_GETLK {
        // SAFETY: SQLite waits for the answer there.
        unsafe { *asked = lock };
    }
    done
}

/// # Safety
/// `lock` points to a lock.
unsafe fn posix_lock(fd: c_int, command: c_int, lock: *mut libc::flock) -> c_int {
    let command = match command {
        libc::F_OFD_GETLK => libc::F_GETLK,
        libc::F_OFD_SETLK => libc::F_SETLK,
        _ => libc::F_SETLKW,
    };
    // SAFETY: the caller's.
    unsafe { libc::fcntl(fd, command, lock) }
}

unsafe extern "C" fn stat(path: *const c_char, into: *mut libc::stat) -> c_int {
    // SAFETY: as SQLite asks for it.
    unsafe { disguised(libc::stat(path, into), into) }
}

unsafe extern "C" fn lstat(path: *const c_char, into: *mut libc::stat) -> c_int {
    // SAFETY: as SQLite asks for it.
    unsafe { disguised(libc::lstat(path, into), into) }
}

unsafe extern "C" fn fstat(fd: c_int, into: *mut libc::stat) -> c_int {
    // SAFETY: as SQLite asks for it.
    unsafe { disguised(libc::fstat(fd, into), into) }
}

/// # Safety
/// `status` is filled where `done` is 0.
unsafe fn disguised(done: c_int, status: *mut libc::stat) -> c_int {
    if done == 0 {
        // SAFETY: the caller's.
        unsafe { (*status).st_dev ^= DISGUISE.load(Ordering::Relaxed) };
    }
    done
}

/// Hides the parent's descriptors from a forked child. SQLite closes them later by number, which
/// must not be a stranger's by then: they stay, and show nothing.
extern "C" fn in_child() {
    DISGUISE.store(u64::from(std::process::id()) << DISGUISE_SHIFT, Ordering::Relaxed);
    let mut nothing = -1;
    for mark in &MARKS {
        let Some((_, fd, file)) = mark.get() else { continue };
        if FileId::of(fd) != Some(file) {
            // Hidden already, in the parent, or closed by somebody.
            continue;
        }
        // SAFETY: these system calls take plain numbers and a C string.
        unsafe {
            if nothing < 0 {
                nothing = libc::open(c"/dev/null".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            }
            libc::dup3(nothing, fd, libc::O_CLOEXEC);
        }
    }
    if nothing >= 0 {
        // SAFETY: it was opened above.
        unsafe { libc::close(nothing) };
    }
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn fail(errno: c_int) -> c_int {
    // SAFETY: it is this thread's.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// `None` unless it is a regular file.
    fn of(fd: c_int) -> Option<Self> {
        let mut status = MaybeUninit::uninit();
        // SAFETY: the struct is large enough, and is read only where it was filled.
        let status = unsafe {
            if libc::fstat(fd, status.as_mut_ptr()) != 0 {
                return None;
            }
            status.assume_init()
        };
        Self::from(&status)
    }

    /// The file that `open` would open.
    fn at(path: &CStr, flags: c_int) -> Option<Self> {
        let mut status = MaybeUninit::uninit();
        // SAFETY: as above.
        let status = unsafe {
            let done = if flags & libc::O_NOFOLLOW == 0 {
                libc::stat(path.as_ptr(), status.as_mut_ptr())
            } else {
                libc::lstat(path.as_ptr(), status.as_mut_ptr())
            };
            if done != 0 {
                return None;
            }
            status.assume_init()
        };
        Self::from(&status)
    }

    fn from(status: &libc::stat) -> Option<Self> {
        (status.st_mode & libc::S_IFMT == libc::S_IFREG)
            .then_some(Self { device: status.st_dev, inode: status.st_ino })
    }
}

/// A descriptor that a forked child must not see, with its file and its process.
struct Mark {
    /// The process above, the descriptor below; 0 where there is none.
    owner: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
}

impl Mark {
    const fn new() -> Self {
        Self { owner: AtomicU64::new(0), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
    }

    fn get(&self) -> Option<(u32, c_int, FileId)> {
        let owner = self.owner.load(Ordering::Acquire);
        // The process stands above, and the descriptor below.
        let (pid, fd) = ((owner >> 32) as u32, owner as c_int);
        let file = FileId {
            device: self.device.load(Ordering::Relaxed),
            inode: self.inode.load(Ordering::Relaxed),
        };
        (owner != 0).then_some((pid, fd, file))
    }

    /// Only while the table is locked.
    fn set(&self, fd: c_int, file: FileId) {
        self.device.store(file.device, Ordering::Relaxed);
        self.inode.store(file.inode, Ordering::Relaxed);
        // A descriptor is not negative.
        let owner = u64::from(std::process::id()) << 32 | fd as u64;
        self.owner.store(owner, Ordering::Release);
    }

    fn clear(&self) {
        self.owner.store(0, Ordering::Release);
    }
}

/// Through what a lock is taken.
enum Owner {
    /// This descriptor, whatever the one that SQLite names.
    Descriptor(c_int),
    /// As POSIX has it, by the process.
    Process,
    /// Nothing: the connection is the parent's.
    Parent,
    /// Nothing yet: locks of this process are held through a descriptor that can only read.
    Reader,
}

/// The files that this copy of SQLite may lock, with its descriptors of each.
#[derive(Debug, Default)]
struct Table {
    files: Vec<LockFile>,
}

#[derive(Debug)]
struct LockFile {
    id: FileId,
    /// Its locks belong to the process: it was open already, or can have no others.
    shared: bool,
    /// The descriptor of all locks.
    lock: Option<c_int>,
    /// Something may be locked.
    held: bool,
    descriptors: Vec<Descriptor>,
}

#[derive(Debug)]
struct Descriptor {
    fd: c_int,
    /// `O_RDONLY` or `O_RDWR`.
    access: c_int,
    /// SQLite uses it. Otherwise it is kept.
    in_use: bool,
}

impl Table {
    /// Everything that is open belongs to whoever locks by the process.
    fn note_open_files(&mut self) {
        let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for fd in numbers {
            self.register(fd, true);
        }
    }

    fn find(&mut self, fd: c_int) -> Option<(&mut LockFile, usize)> {
        self.files.iter_mut().find_map(|file| {
            let at = file.descriptors.iter().position(|descriptor| descriptor.fd == fd)?;
            Some((file, at))
        })
    }

    /// Takes up a descriptor that is in use, unless it is of no regular file.
    fn register(&mut self, fd: c_int, shared: bool) {
        let Some(id) = (fd > STANDARD_MAX).then(|| FileId::of(fd)).flatten() else { return };
        // What was open already is closed without our hearing of it, and its number is used again.
        for file in self.files.iter_mut().filter(|file| file.shared && file.id == id) {
            file.descriptors.retain(|one| FileId::of(one.fd) == Some(id));
        }
        self.files.retain(|file| !file.descriptors.is_empty());
        let at = self.files.iter().position(|file| file.id == id).unwrap_or_else(|| {
            let descriptors = Vec::new();
            self.files.push(LockFile { id, shared, lock: None, held: false, descriptors });
            self.files.len() - 1
        });
        self.files[at].add(fd, true);
    }

    /// Locks of the file belong to the process from now on.
    fn share(&mut self, fd: c_int) {
        if let Some((file, _)) = self.find(fd) {
            file.shared = true;
            file.descriptors.iter().for_each(|one| unmark(one.fd));
        }
    }

    /// A kept descriptor of the file at `path`.
    fn reuse(&mut self, path: &CStr, flags: c_int) -> Option<c_int> {
        if self.files.is_empty() {
            return None;
        }
        let id = FileId::at(path, flags)?;
        let file = self.files.iter_mut().find(|file| file.id == id)?;
        let access = flags & libc::O_ACCMODE;
        let kept = |one: &&mut Descriptor| !one.in_use && one.access == access;
        let one = file.descriptors.iter_mut().find(kept)?;
        // Unless somebody closed it.
        (FileId::of(one.fd)? == id).then(|| {
            one.in_use = true;
            one.fd
        })
    }

    /// Takes a descriptor out, which is closed or will be.
    fn forget(&mut self, fd: c_int) {
        unmark(fd);
        if let Some((file, at)) = self.find(fd) {
            file.descriptors.swap_remove(at);
            file.lock = file.lock.filter(|lock| *lock != fd);
        }
        self.files.retain(|file| !file.descriptors.is_empty());
    }

    /// Keeps a descriptor that SQLite does not use any more; false where it can be closed at once.
    fn set_idle(&mut self, fd: c_int) -> bool {
        match self.find(fd) {
            Some((file, at)) if !file.shared => {
                file.descriptors[at].in_use = false;
                true
            }
            _ => false,
        }
    }

    /// Closes what nobody uses, where nobody else's locks depend on it.
    fn close_idle(&mut self) {
        self.files.retain_mut(|file| !file.is_idle() || !file.close());
    }

    /// Through what to take or ask for `lock`.
    fn owner(&mut self, fd: c_int, lock: &libc::flock) -> Owner {
        if self.find(fd).is_none() {
            let pid = std::process::id();
            let is_parents =
                |mark: &Mark| mark.get().is_some_and(|(of, its, _)| its == fd && of != pid);
            if MARKS.iter().any(is_parents) {
                return Owner::Parent;
            }
            // It was opened under a name that is not locked as a rule.
            self.register(fd, false);
        }
        match self.find(fd) {
            Some((file, _)) if !file.shared => file.owner(lock),
            _ => Owner::Process,
        }
    }
}

impl LockFile {
    fn add(&mut self, fd: c_int, in_use: bool) {
        // SAFETY: this reads the flags of an open file.
        let access = unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_ACCMODE;
        self.descriptors.push(Descriptor { fd, access, in_use });
        if !self.shared
            && let Some(mark) = MARKS.iter().find(|mark| mark.get().is_none())
        {
            mark.set(fd, self.id);
        }
    }

    fn owner(&mut self, lock: &libc::flock) -> Owner {
        let Some(on) = self.lock_descriptor() else { return Owner::Process };
        let kind = c_int::from(lock.l_type);
        if kind == libc::F_WRLCK && !self.can_write(on) {
            match self.descriptors.iter().find(|one| one.access == libc::O_RDWR) {
                Some(_) if self.held => return Owner::Reader,
                Some(other) => self.lock = Some(other.fd),
                None => {}
            }
        }
        if kind != libc::F_UNLCK {
            self.held = true;
        } else if lock.l_start == 0 && lock.l_len == 0 {
            self.held = false;
        }
        Owner::Descriptor(self.lock.unwrap_or(on))
    }

    fn can_write(&self, fd: c_int) -> bool {
        self.descriptors.iter().any(|one| one.fd == fd && one.access == libc::O_RDWR)
    }

    /// The descriptor of all locks; one that can write where that may be, so that whoever only
    /// reads is no owner beside those that write.
    fn lock_descriptor(&mut self) -> Option<c_int> {
        if self.lock.is_none() {
            let first = self.descriptors.first()?.fd;
            if !self.descriptors.iter().any(|one| one.access == libc::O_RDWR) {
                self.reopen(first);
            }
            let writing = self.descriptors.iter().find(|one| one.access == libc::O_RDWR);
            self.lock = Some(writing.map_or(first, |one| one.fd));
        }
        self.lock
    }

    /// Opens the file once more, to write, and keeps that.
    fn reopen(&mut self, fd: c_int) {
        let Ok(path) = CString::new(format!("/proc/self/fd/{fd}")) else { return };
        // SAFETY: the path is a C string.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd >= 0 {
            self.add(fd, false);
        }
    }

    fn is_idle(&self) -> bool {
        !self.shared && self.descriptors.iter().all(|one| !one.in_use)
    }

    /// Closes all of an idle file's descriptors, or releases its locks and keeps them: another copy
    /// of SQLite would lose its own. It has none while the whole file is locked here, and gets none
    /// before the last descriptor is closed, with which that lock ends.
    fn close(&mut self) -> bool {
        let Some(lock) = self.lock_descriptor() else { return true };
        if !(set_lock(lock, libc::F_WRLCK) || is_deleted(lock)) {
            set_lock(lock, libc::F_UNLCK);
            self.held = false;
            // Who may not write can't lock it; others who can't write don't need to.
            if self.can_write(lock) || is_locked(lock) {
                return false;
            }
        }
        self.descriptors.sort_by_key(|one| one.fd == lock);
        for one in self.descriptors.drain(..) {
            unmark(one.fd);
            // Unless somebody closed it, and the number is another file's.
            if FileId::of(one.fd) == Some(self.id) {
                // SAFETY: SQLite does not use it any more, and it is in no table from here on.
                unsafe { libc::close(one.fd) };
            }
        }
        true
    }
}

fn unmark(fd: c_int) {
    let of_it = |mark: &&Mark| mark.get().is_some_and(|(_, its, _)| its == fd);
    MARKS.iter().filter(of_it).for_each(Mark::clear);
}

/// A lock of the whole file.
fn whole_file(kind: c_int) -> libc::flock {
    // SAFETY: a lock is plain numbers; the process must be 0, and a length of 0 is all.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    // The kinds of locks are small numbers.
    lock.l_type = kind as libc::c_short;
    lock
}

/// Locks or unlocks the whole file; says whether that was possible.
fn set_lock(on: c_int, kind: c_int) -> bool {
    let lock = whole_file(kind);
    // SAFETY: the lock is a valid struct.
    unsafe { libc::fcntl(on, libc::F_OFD_SETLK, &raw const lock) == 0 }
}

/// Whether anybody else has a lock on the file.
fn is_locked(fd: c_int) -> bool {
    let mut lock = whole_file(libc::F_WRLCK);
    // SAFETY: the lock is a valid struct.
    let asked = unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &raw mut lock) };
    asked != 0 || c_int::from(lock.l_type) != libc::F_UNLCK
}

/// Whether no name leads to the file any more.
fn is_deleted(fd: c_int) -> bool {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the struct is large enough, and is read only where it was filled.
    unsafe { libc::fstat(fd, status.as_mut_ptr()) == 0 && status.assume_init().st_nlink == 0 }
}
