//! How many descriptors the journals of this process hold: together at most a quarter of what the
//! process may have open (the soft `RLIMIT_NOFILE`), so that an application with many loggers can
//! still open its own files and sockets.
//!
//! What counts is what a journal may come to hold, reserved before it is opened. The first one is
//! always let in, whatever the limit is.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What all journals have reserved.
static RESERVED: AtomicU64 = AtomicU64::new(0);

/// What a journal that is written holds: its folder, its lock, its ring, a segment and a spill file
/// that are written, and a spill file that is read; for each sink its cursor and a segment.
pub(crate) fn of_journal(sinks: usize) -> u64 {
    6 + 2 * sinks as u64
}

/// What a journal that is adopted holds, of one destination or two: those of more are few.
pub(crate) const OF_ORPHAN: u64 = 6;

/// So many descriptors may be opened while it lives.
#[derive(Debug)]
#[must_use = "they are free again once this is dropped"]
pub(crate) struct Reserved(u64);

impl Drop for Reserved {
    fn drop(&mut self) {
        RESERVED.fetch_sub(self.0, Ordering::AcqRel);
    }
}

/// There is no room for a journal's descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoRoom {
    limit: u64,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the journals of this process hold a quarter of the descriptors that it may have open \
             ({}): raise that limit (ulimit -n), or use fewer loggers",
            self.limit
        )
    }
}

impl std::error::Error for NoRoom {}

/// Reserves `descriptors`, where as many as `spare` are left then. The first reservation always
/// succeeds.
///
/// # Errors
/// If there is no room.
pub(crate) fn reserve(descriptors: u64, spare: u64) -> Result<Reserved, NoRoom> {
    let limit = limit();
    let take = |reserved: u64| {
        let taken = reserved + descriptors;
        (reserved == 0 || taken + spare <= limit / 4).then_some(taken)
    };
    match RESERVED.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
        Ok(_) => Ok(Reserved(descriptors)),
        Err(_) => Err(NoRoom { limit }),
    }
}

/// Whether `descriptors` could be reserved now.
pub(crate) fn has_room(descriptors: u64) -> bool {
    RESERVED.load(Ordering::Acquire) + descriptors <= limit() / 4
}

fn limit() -> u64 {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    }
    #[cfg(not(unix))]
    u64::MAX
}

/// How often a lack of room is reported, for all loggers of the process together: it is one fact.
const REPORT_EVERY: Duration = Duration::from_secs(60);

static REPORTS: Mutex<(Option<Instant>, u64)> = Mutex::new((None, 0));

/// Counts a logger whose journal found no room; how many have since that was last reported, where it
/// is time to.
pub(crate) fn report() -> Option<u64> {
    // In a forked child nobody may ever let go of the lock; each logger reports it then.
    let Ok(mut reports) = REPORTS.try_lock() else { return Some(1) };
    reports.1 += 1;
    if reports.0.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
        return None;
    }
    reports.0 = Some(Instant::now());
    Some(std::mem::take(&mut reports.1))
}
