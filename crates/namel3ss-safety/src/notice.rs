//! What the library says about itself: degraded, retrying, dropped.
//!
//! Notices are pulled by the host, never pushed from a worker thread into the host's logging: a
//! logging handler that logs safety events can then neither recurse nor deadlock. They never carry
//! the content of an event, nor a secret.
//!
//! With the feature `tracing-notices`, on by default, a logger's maintenance thread also gives them to
//! the subscriber of `tracing`, if there is one, under the target `namel3ss_safety`. **Where nobody
//! reads them, neither by a subscriber nor by pulling, the critical ones go to stderr.**
//!
//! What a logger that is dropped had still to say outlives it: see [`take_left`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::enums::words;
use crate::locks::lock;

/// The most notices that wait to be pulled; older ones give way, and are counted.
pub const NOTICES_MAX: usize = 256;

/// The most notices of one kind that wait to be pulled; further ones take the place of the last,
/// and raise its count.
pub const NOTICES_OF_KIND_MAX: usize = 16;

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Good to know: recovered, replayed, resumed.
    Info,
    /// Something is wrong, and nothing is lost: retrying.
    Warning,
    /// Events were not delivered where they should be: fallback.
    Error,
    /// Events were lost, or would be if nobody acted.
    Critical,
}

impl Level {
    /// Its word, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

words! {
    /// What a notice is about, by the words of the table in docs/operations.md.
    NoticeKind:
    /// A dataset refused a batch, which is tried again.
    Retrying = "retrying",
    /// A dataset takes rows again.
    Recovered = "recovered",
    /// No adapter is registered for a dataset.
    NoAdapter = "no_adapter",
    /// A call of an adapter has not returned in time, or has returned since.
    AdapterTimeout = "adapter_timeout",
    /// A batch, or a row, is in a fallback file.
    Fallback = "fallback",
    /// The fallback folder can't be used.
    FallbackFolder = "fallback_folder",
    /// Neither a dataset nor a fallback file took a batch: it stays in the journal.
    Kept = "kept",
    /// Rows of a fallback file have landed.
    Replayed = "replayed",
    /// A fallback file could not be replayed, or some of its rows were refused.
    Replay = "replay",
    /// A folder can't be entered in the home's register.
    Register = "register",
    /// The home's accounts can't be written.
    Accounts = "accounts",
    /// A file dataset ended in the middle of a row.
    TornRow = "torn_row",
    /// A checkpoint of a Delta table can't be read or made.
    DeltaCheckpoint = "delta_checkpoint",
    /// A bucket is in another region than is set.
    Region = "region",
    /// A field of an event could not be read as it stands.
    Misread = "misread",
    /// Events of earlier runs are delivered.
    Recovering = "recovering",
    /// A journal of an earlier run can't be read, or not be removed.
    Recovery = "recovery",
    /// The journal can't be read or written.
    Journal = "journal",
    /// The journal can't take more.
    JournalFull = "journal_full",
    /// The backlog is at its limit.
    Backlog = "backlog",
    /// A sync failed.
    Sync = "sync",
    /// The journal is in memory.
    Degraded = "degraded",
    /// The journal is in a file, or can be written, again.
    Resumed = "resumed",
    /// A new journal was begun, because the process may be a copy.
    Restored = "restored",
    /// The process has another user, who may not use the journal.
    AnotherUser = "another_user",
    /// No thread could be started.
    Threads = "threads",
    /// Bytes of a journal are damaged, and were stepped over.
    Damage = "damage",
    /// Events are lost: their bytes are damaged.
    Damaged = "damaged",
    /// The ring's file was cut, overwritten or removed.
    Ring = "ring",
    /// Events were cut to fit.
    Cut = "cut",
    /// What was logged was no event.
    Invalid = "invalid",
    /// A thread of the library panicked.
    Panic = "panic",
    /// Events were given up.
    Dropped = "dropped",
    /// Events were lost.
    Lost = "lost",
    /// This process is a copy of another one.
    Copied = "copied",
    /// Older notices were not pulled in time.
    Notices = "notices",
    /// What an adapter of the application's own says.
    Adapter = "adapter",
}

/// One thing that the library says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When it was first said.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// What it is about.
    pub kind: NoticeKind,
    /// What happened, and what to do.
    pub text: String,
    /// How often it was said, or one of its kind in its place.
    pub times: u64,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level.as_str(), self.text)?;
        if self.times > 1 { write!(f, " ({} times)", self.times) } else { Ok(()) }
    }
}

/// Where notices wait for the host; bounded, and one entry for what repeats.
#[derive(Debug, Default)]
pub struct Notices {
    waiting: Mutex<Waiting>,
    /// Somebody pulls them.
    pulled: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Notice>,
    forgotten: u64,
    /// Not yet forwarded.
    new: VecDeque<Notice>,
    last_error: Option<String>,
    rare: Vec<Rare>,
}

/// What [`Notices::say_rarely`] has said.
#[derive(Debug)]
struct Rare {
    kind: NoticeKind,
    about: String,
    last: Instant,
    /// How often it was not said since then.
    withheld: u64,
}

/// The most that is remembered of it; the oldest gives way.
const RARE_MAX: usize = 256;

/// How often one kind is repeated that goes on for as long as its cause does.
pub(crate) const REPEAT_EVERY: Duration = Duration::from_secs(60);

impl Notices {
    /// Says something. A notice of the kind and text of one of the last only raises its count, and
    /// so does one of a kind that many wait of already.
    pub fn say(&self, level: Level, kind: NoticeKind, text: impl Into<String>) {
        self.add(level, kind, text.into(), 1);
    }

    fn add(&self, level: Level, kind: NoticeKind, text: String, times: u64) {
        let mut waiting = lock(&self.waiting);
        if level >= Level::Warning {
            waiting.last_error = Some(text.clone());
        }
        if let Some(last) = waiting.queue.iter_mut().rev().take(8).find(|n| n.kind == kind)
            && last.text == text
        {
            last.times += times;
            return;
        }
        let of_kind = waiting.queue.iter().filter(|n| n.kind == kind).count();
        if of_kind >= NOTICES_OF_KIND_MAX
            && let Some(last) = waiting.queue.iter_mut().rev().find(|n| n.kind == kind)
        {
            last.times += times;
            last.level = last.level.max(level);
            last.text = text;
            return;
        }
        if waiting.queue.len() >= NOTICES_MAX {
            waiting.queue.pop_front();
            waiting.forgotten += 1;
        }
        let notice = Notice { at: Timestamp::now(), level, kind, text, times };
        if waiting.new.len() < NOTICES_MAX {
            waiting.new.push_back(notice.clone());
        }
        waiting.queue.push_back(notice);
    }

    /// Gives what is new to `tracing`, or, where nobody reads it, what is critical to stderr. Runs the
    /// application's subscriber: **not to be called with a lock held**.
    pub(crate) fn forward(&self) {
        let new = std::mem::take(&mut lock(&self.waiting).new);
        for notice in new {
            let is_read = forward_to_tracing(&notice) || self.pulled.load(Ordering::Relaxed);
            if !is_read && notice.level == Level::Critical {
                to_stderr(&notice);
            }
        }
    }

    /// As [`say`](Self::say), of something that would repeat itself for as long as an outage lasts:
    /// the first of its kind is said at once, further ones once a minute, with how many there were.
    /// `about` says what it is about where one kind has several causes, such as a sink's name.
    pub fn say_rarely(&self, level: Level, kind: NoticeKind, about: &str, text: impl Into<String>) {
        let now = Instant::now();
        let withheld = {
            let mut waiting = lock(&self.waiting);
            let known =
                waiting.rare.iter_mut().find(|rare| rare.kind == kind && rare.about == about);
            match known {
                Some(rare) if now.duration_since(rare.last) < REPEAT_EVERY => {
                    rare.withheld += 1;
                    return;
                }
                Some(rare) => {
                    rare.last = now;
                    std::mem::take(&mut rare.withheld)
                }
                None => {
                    if waiting.rare.len() >= RARE_MAX {
                        waiting.rare.remove(0);
                    }
                    let about = about.to_owned();
                    waiting.rare.push(Rare { kind, about, last: now, withheld: 0 });
                    0
                }
            }
        };
        self.add(level, kind, text.into(), 1 + withheld);
    }

    /// Says that somebody will pull them: none goes to stderr.
    pub(crate) fn will_be_pulled(&self) {
        self.pulled.store(true, Ordering::Relaxed);
    }

    /// Takes what waits, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<Notice> {
        self.will_be_pulled();
        let mut waiting = lock(&self.waiting);
        let forgotten = std::mem::take(&mut waiting.forgotten);
        let mut taken: Vec<Notice> = waiting.queue.drain(..).collect();
        if forgotten > 0 {
            taken.push(Notice {
                at: Timestamp::now(),
                level: Level::Warning,
                kind: NoticeKind::Notices,
                text: format!("{forgotten} older notices were not pulled in time"),
                times: 1,
            });
        }
        taken
    }

    /// The text of the last notice that was a warning or worse.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        lock(&self.waiting).last_error.clone()
    }
}

/// What loggers that are gone had still to say; bounded as [`Notices`] are.
static LEFT: Mutex<VecDeque<Notice>> = Mutex::new(VecDeque::new());
/// Somebody will take them.
static LEFT_IS_TAKEN: AtomicBool = AtomicBool::new(false);
/// How often a logger that is dropped tries to get at them, a millisecond each: in a forked child a
/// thread that is not there may hold the lock for ever.
const LEFT_TRIES: u32 = 20;

/// Says that somebody will call [`take_left`] now and then: a host that pulls the notices of its
/// loggers while they live. Otherwise what is critical goes to stderr when the logger is dropped.
pub fn keep_left() {
    LEFT_IS_TAKEN.store(true, Ordering::Relaxed);
}

/// Takes what loggers that are gone had still to say, oldest first: the last 256.
#[must_use]
pub fn take_left() -> Vec<Notice> {
    try_left().map_or_else(Vec::new, |mut left| left.drain(..).collect())
}

fn try_left() -> Option<MutexGuard<'static, VecDeque<Notice>>> {
    match LEFT.try_lock() {
        Ok(left) => Some(left),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Notices {
    /// Has what waits here outlive the logger that says so. Runs the application's subscriber, as
    /// [`forward`](Self::forward).
    pub(crate) fn leave(&self) {
        self.forward();
        if !self.pulled.load(Ordering::Relaxed) {
            return;
        }
        // Nobody can pull them from the logger any more.
        let waiting = self.take();
        if !LEFT_IS_TAKEN.load(Ordering::Relaxed) && !is_heard() {
            waiting.iter().filter(|notice| notice.level == Level::Critical).for_each(to_stderr);
        }
        for _ in 0..LEFT_TRIES {
            if let Some(mut left) = try_left() {
                left.extend(waiting);
                let over = left.len().saturating_sub(NOTICES_MAX);
                left.drain(..over);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a loss that nobody would hear of otherwise")]
fn to_stderr(notice: &Notice) {
    eprintln!("namel3ss-safety: {notice}");
}

/// Gives a notice to the subscriber; whether there is one.
#[cfg(feature = "tracing-notices")]
fn forward_to_tracing(notice: &Notice) -> bool {
    const TARGET: &str = "namel3ss_safety";
    let Notice { level, text, times, .. } = notice;
    let kind = notice.kind.as_str();
    match level {
        Level::Info => tracing::info!(target: TARGET, kind, times, "{text}"),
        Level::Warning => tracing::warn!(target: TARGET, kind, times, "{text}"),
        Level::Error => tracing::error!(target: TARGET, kind, times, "{text}"),
        Level::Critical => {
            tracing::error!(target: TARGET, kind, times, critical = true, "{text}");
        }
    }
    is_heard()
}

/// Whether there is a subscriber.
#[cfg(feature = "tracing-notices")]
fn is_heard() -> bool {
    tracing::dispatcher::has_been_set()
}

#[cfg(not(feature = "tracing-notices"))]
fn is_heard() -> bool {
    false
}

#[cfg(not(feature = "tracing-notices"))]
fn forward_to_tracing(_: &Notice) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_counted_and_what_overflows_is_said() {
        let notices = Notices::default();
        notices.say(Level::Warning, NoticeKind::Retrying, "again");
        notices.say(Level::Warning, NoticeKind::Retrying, "again");
        assert_eq!(notices.take()[0].to_string(), "warning: again (2 times)");
        for i in 0..NOTICES_MAX + 3 {
            let kind = NoticeKind::ALL[i / NOTICES_OF_KIND_MAX];
            notices.say(Level::Info, kind, i.to_string());
        }
        let taken = notices.take();
        assert_eq!(taken.len(), NOTICES_MAX + 1);
        assert!(taken.last().is_some_and(|n| n.text.starts_with("3 older")));
        assert_eq!(notices.last_error().as_deref(), Some("again"));
    }

    #[test]
    fn an_outage_is_said_once() {
        let notices = Notices::default();
        for i in 0..100 {
            notices.say_rarely(
                Level::Error,
                NoticeKind::JournalFull,
                "",
                format!("{i} bytes are missing"),
            );
            notices.say_rarely(Level::Warning, NoticeKind::Kept, "one", "one keeps it");
            notices.say_rarely(Level::Warning, NoticeKind::Kept, "two", "two keeps it");
        }
        let taken = notices.take();
        assert_eq!(taken.iter().map(|n| n.times).collect::<Vec<_>>(), [1, 1, 1]);
        notices.say_rarely(Level::Error, NoticeKind::JournalFull, "", "again");
        assert!(notices.take().is_empty());
    }

    #[test]
    fn one_kind_leaves_room_for_the_others() {
        let notices = Notices::default();
        for i in 0..10_000 {
            notices.say(Level::Info, NoticeKind::Dropped, format!("{i} events were dropped"));
        }
        notices.say(Level::Critical, NoticeKind::Degraded, "the journal is in memory");
        let taken = notices.take();
        assert_eq!(taken.len(), NOTICES_OF_KIND_MAX + 1);
        assert_eq!(taken.iter().map(|n| n.times).sum::<u64>(), 10_001);
        assert_eq!(taken[NOTICES_OF_KIND_MAX - 1].text, "9999 events were dropped");
    }
}
