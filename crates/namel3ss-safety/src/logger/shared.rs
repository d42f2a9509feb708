//! What the threads of one logger share: its lanes, its counters, and what a waiting `flush` wants
//! to know.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::adopt::Adopting;
use super::branch::{Branch, Progress};
use super::config::Config;
use super::journals::Journals;
use super::lane::Lane;
use super::life::Life;
use super::report::Said;
use super::threads::Threads;
use crate::id::Seq;
use crate::journal::slug;
pub(super) use crate::locks::lock;
use crate::notice::Notices;
use crate::stats::Counters;

/// The place of a journal in the list, and the last seq in it that somebody waits for.
pub(super) type Target = (usize, Seq);

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// One for each sink; never empty.
    pub(super) branches: Box<[Branch]>,
    pub(super) counters: Arc<Counters>,
    /// The first one is opened by the first event.
    pub(super) journals: Journals,
    /// Held by whoever begins a journal, looks after the folders of those that there are, or ends one.
    pub(super) opening: Mutex<()>,
    /// Where journals lie since the process has another user; `None` is where the configuration says.
    pub(super) moved: Mutex<Option<PathBuf>>,
    /// Held by the worker that looks for orphans, for all of them.
    pub(super) adopting: Mutex<Adopting>,
    pub(super) life: Arc<Life>,
    /// Held while the logger is started or stopped: what goes with it is done as one.
    pub(super) changing: Mutex<()>,
    pub(super) closing: AtomicBool,
    /// The process is about to fork: the workers begin nothing.
    pub(super) paused: AtomicBool,
    /// What only memory has is about to be lost: it gets one more attempt, at once, and then a file.
    pub(super) hurrying: AtomicBool,
    /// Somebody waits for everything: hand over at once.
    pub(super) flushing: AtomicU64,
    /// How many wait for what was handed over already.
    pub(super) urging: AtomicU64,
    /// Counts the calls of `flush`: a worker looks for orphans, and does not wait with what it has
    /// kept, when there is a new one.
    requests: AtomicU64,
    pub(super) threads: Threads,
    /// Held by whoever maintains.
    pub(super) maintenance: Mutex<Maintenance>,
    pub(super) said: Said,
    /// How many events were last said to be in memory only.
    pub(super) said_unkept: AtomicU64,
    /// Events of an earlier run turned out to be lost.
    pub(super) lost_of_others: AtomicBool,
}

/// What maintenance remembers.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    pub(super) resume_due: Duration,
    pub(super) check_due: Duration,
    pub(super) sync_due: Duration,
    /// By the places of the journals.
    pub(super) watches: BTreeMap<usize, Watch>,
}

/// What maintenance remembers of a journal.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Since when the buffer holds something.
    pub(super) buffered_since: Option<Duration>,
    /// It was said that the journal can't be written.
    pub(super) failing: bool,
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        let sinks = config.sinks.iter().cloned().enumerate();
        Self {
            branches: sinks.map(|(index, sink)| Branch::new(index, sink, &config)).collect(),
            counters: Arc::default(),
            journals: Journals::default(),
            opening: Mutex::default(),
            moved: Mutex::default(),
            adopting: Mutex::default(),
            life: Arc::new(Life::new(config.autostart)),
            changing: Mutex::default(),
            closing: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            hurrying: AtomicBool::new(false),
            flushing: AtomicU64::new(0),
            urging: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            threads: Threads::default(),
            maintenance: Mutex::default(),
            said: Said::default(),
            said_unkept: AtomicU64::new(0),
            lost_of_others: AtomicBool::new(false),
            config,
        }
    }

    /// Starts delivering; a stop that is on its way does not end it any more.
    pub(super) fn start(self: &Arc<Self>) {
        if self.closing.load(Ordering::SeqCst) {
            return;
        }
        let changing = lock(&self.changing);
        self.life.start();
        self.open_lane();
        self.lanes().for_each(Lane::life_changed);
        if self.config.threads {
            self.start_workers();
        }
        drop(changing);
        self.wake_keeper();
    }

    /// Begins a stop; returns what [`end_stop`](Self::end_stop) takes. From now on an event starts
    /// the logger again.
    pub(super) fn begin_stop(&self) -> u64 {
        let starts = self.life.begin_stop();
        self.lanes().for_each(Lane::life_changed);
        starts
    }

    /// Ends a stop and, until the deadline, waits for the workers to end; does nothing if the
    /// logger was started since the stop began.
    pub(super) fn end_stop(&self, starts: u64, deadline: Option<Instant>) {
        let changing = lock(&self.changing);
        if !self.life.end_stop(starts) {
            return;
        }
        self.lanes().for_each(Lane::life_changed);
        self.tell_workers_to_quit();
        drop(changing);
        self.wait_for_workers(deadline);
    }

    /// The lane that events go to now, if there is one.
    #[inline]
    pub(super) fn lane(&self) -> Option<&Lane> {
        self.journals.active()
    }

    /// The lanes of all journals that are not finished, oldest first.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.journals.open()
    }

    /// Where each sink's dataset is, without secrets; empty while no adapter is registered.
    pub(super) fn destinations(&self) -> Vec<String> {
        self.branches.iter().map(|branch| branch.sink.identity()).collect()
    }

    /// The folder of this dataset's journals.
    pub(super) fn journals(&self) -> PathBuf {
        self.root().join("journal").join(slug(&self.config.dataset))
    }

    /// Asks the workers to look for orphans and to try again what they have kept; the request's
    /// number.
    pub(super) fn request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last request's number.
    pub(super) fn requested(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Says that something has happened to a branch which a waiting `flush` wants to know.
    pub(super) fn note(&self, branch: &Branch, change: impl FnOnce(&mut Progress)) {
        branch.note(change);
        self.lanes().for_each(Lane::wake_waiting);
    }

    /// Whether everything accepted up to `targets` has settled in a branch.
    pub(super) fn settled(&self, branch: &Branch, targets: &[Target]) -> bool {
        branch.settled(&self.journals, targets)
    }

    /// Everything that was accepted so far.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.lanes().map(|lane| (lane.index, lane.journal.last())).collect()
    }

    /// What a forked child's logger is made of: the same, but for locks that a thread which the
    /// child does not have may hold.
    pub(super) fn config_after_fork(&self) -> Config {
        let notices = Arc::new(Notices::default());
        let sinks = self.config.sinks.iter();
        let sinks = sinks.map(|sink| Arc::new(sink.after_fork(notices.clone()))).collect();
        Config { sinks, notices, ..self.config.clone() }
    }

    /// In a forked child: lets go of what belongs to the parent.
    pub(super) fn abandon(&self) {
        self.lanes().for_each(|lane| lane.journal.forget_lock());
    }
}
