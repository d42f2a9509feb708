//! Opening a logger's journal, where and as it can be had, and removing it when nothing in it waits.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::branch::Branch;
use super::choices::JournalKind;
use super::lane::{Ground, Lane};
use super::reader::Reader;
use super::report::Saying;
use super::shared::{Shared, lock};
use crate::id::JournalId;
use crate::journal::account::{self, Account};
use crate::journal::cursor::Cursor;
use crate::journal::media::{DiskFolder, Folder, FolderLock, MemoryFolder};
use crate::journal::{self, Journal};
use crate::notice::Level;

impl Shared {
    /// The lane that events go to now; opens the journal where that was not done yet. It can't
    /// fail: where no file is to be had, it is in memory, and a notice says so.
    pub(super) fn open_lane(self: &Arc<Self>) -> &Lane {
        if let Some(lane) = self.lane() {
            return lane;
        }
        let _opening = lock(&self.opening);
        let lane = self.first.get_or_init(|| {
            self.open_file_lane().unwrap_or_else(|error| {
                if let Some(error) = error {
                    let text = format!(
                        "the journal is in memory, because no file was to be had: {error}; events \
                         do not survive the process until that is mended"
                    );
                    self.config.notices.say(Level::Warning, "degraded", text);
                }
                self.memory_lane()
            })
        });
        self.enter_register();
        if self.config.threads {
            self.start_keeper();
        }
        lane
    }

    /// A lane on a file; `Err(None)` where none is wanted.
    fn open_file_lane(&self) -> Result<Lane, Option<io::Error>> {
        let config = &self.config;
        if let Some(folder) = &config.medium {
            let lane = self.lane_on(folder.clone(), None, JournalId::generate(), false);
            return lane.map_err(|error| {
                // What was made of it must not stand in the way of the next try; what stood there
                // before is somebody's journal.
                if error.kind() != io::ErrorKind::AlreadyExists {
                    let _ = folder.remove_all();
                }
                Some(error)
            });
        }
        let mapped = match config.journal {
            JournalKind::Memory => return Err(None),
            JournalKind::Unmapped => false,
            JournalKind::File | JournalKind::Folder(_) => true,
        };
        let open = || -> io::Result<Lane> {
            let parent = self.journals();
            // Each part of the path that is ours is checked, not only the last.
            DiskFolder::create(&config.root.join("journal"), false)?;
            DiskFolder::create(&parent, false)?;
            let (id, folder, lock) = own_folder(&parent, mapped)?;
            let folder: Arc<dyn Folder> = Arc::new(folder);
            match self.lane_on(folder.clone(), Some(lock), id, false) {
                Ok(lane) => Ok(lane),
                Err(error) => {
                    let _ = folder.remove_all();
                    Err(error)
                }
            }
        };
        open().map_err(Some)
    }

    fn memory_lane(&self) -> Lane {
        let folder = Arc::new(MemoryFolder::default());
        let lane = self.lane_on(folder, None, JournalId::generate(), true);
        // Memory that can't be mapped any more ends the process sooner than this does; a ring
        // without capacity still spills to the heap.
        lane.expect("a journal in memory opens")
    }

    fn lane_on(
        &self,
        folder: Arc<dyn Folder>,
        lock: Option<FolderLock>,
        id: JournalId,
        in_memory: bool,
    ) -> io::Result<Lane> {
        let config = &self.config;
        let destinations = self.destinations();
        let names = (config.dataset.as_str(), &*destinations);
        // What was dropped leaves the disk by whole segments.
        let most =
            config.options.segment_bytes_max.min((config.backlog_bytes_max / 8).max(SEGMENT_LEAST));
        let options = journal::Options { segment_bytes_max: most, ..config.options.clone() };
        let journal = Journal::create(folder.clone(), lock, id, names, options)?;
        let reader = |branch: &Branch| {
            let name = journal.header().cursor_at(branch.index, config.sink().dataset_name());
            Ok(Reader::new(Cursor::open(&*folder, &name)?, branch.counters.clone()))
        };
        let readers = self.branches.iter().map(reader).collect::<io::Result<_>>()?;
        let ground = match (in_memory, journal.is_mapped()) {
            (true, _) => Ground::Memory,
            (false, true) => Ground::Mapped,
            (false, false) => Ground::File,
        };
        let counters = self.counters.clone();
        let lane = Lane::new(journal, readers, ground, counters, config, self.life.clone());
        lane.life_changed();
        Ok(lane)
    }

    /// Whether the journal is in memory, though a file was asked for.
    pub(super) fn is_degraded(&self) -> bool {
        self.wants_file() && self.lane().is_some_and(|lane| lane.ground == Ground::Memory)
    }

    /// Whether events are in memory, or the next one will be, though a file was asked for.
    pub(super) fn has_events_in_memory(&self) -> bool {
        let waits =
            |lane: &Lane| lane.ground == Ground::Memory && lane.acked() < lane.journal.last();
        self.is_degraded() || (self.wants_file() && self.lanes().any(waits))
    }

    fn wants_file(&self) -> bool {
        self.config.journal != JournalKind::Memory
    }

    /// Goes back to a file, where the journal is in memory because none was to be had.
    pub(super) fn try_resume(self: &Arc<Self>) -> bool {
        if !self.is_degraded() {
            return false;
        }
        let Ok(_opening) = self.opening.try_lock() else { return false };
        if self.resumed.get().is_some() {
            return false;
        }
        let Ok(lane) = self.open_file_lane() else { return false };
        if self.resumed.set(lane).is_ok() {
            let text = "the journal is in a file again";
            self.config.notices.say(Level::Info, "resumed", text);
        }
        true
    }

    /// After a journal's folder was made anew.
    fn renew(&self, lane: &Lane) {
        let (folder, header) = (lane.journal.folder(), lane.journal.header());
        for branch in &self.branches {
            let name = header.cursor_at(branch.index, self.config.sink().dataset_name());
            if let Err(error) = branch.reader(lane).cursor.renew(&**folder, &name) {
                let text = format!("the cursor can't be written: {error}");
                self.config.notices.say(Level::Warning, "journal", text);
            }
        }
        let text = format!(
            "{} was removed while it was in use, and is made anew: undelivered events whose files \
             were removed are lost",
            folder.describe()
        );
        self.config.notices.say(Level::Critical, "ring", text);
    }

    /// Says what is wrong with the journals' rings, and makes folders anew that were removed.
    pub(super) fn check_journals(&self) {
        for lane in self.lanes() {
            match lane.journal.restore() {
                Ok(false) => {}
                Ok(true) => self.renew(lane),
                Err(error) => {
                    let place = lane.journal.folder().describe();
                    let text = format!("{place} was removed, and can't be made anew: {error}");
                    self.config.notices.say(Level::Warning, "journal", text);
                }
            }
            if let Some(text) = lane.journal.check() {
                let place = lane.journal.folder().describe();
                self.config.notices.say(Level::Critical, "ring", format!("{place}: {text}"));
            }
        }
    }

    /// Says what was not said yet, because its process may end now: how many more rows are in fallback
    /// files, and how many events nothing but memory has.
    pub(super) fn say_rest(&self) {
        self.say_dropped(Saying::All);
        self.branches.iter().for_each(|branch| branch.sink.say_rest());
        let in_memory = self.lanes().filter(|lane| lane.ground == Ground::Memory);
        let pending = |lane: &Lane| lane.journal.last().0.saturating_sub(lane.acked().0);
        let events: u64 = in_memory.map(pending).sum();
        if self.said_unkept.swap(events, Ordering::Relaxed) != events && events > 0 {
            let text = format!(
                "{events} events are in memory only, and are lost when this process ends: no dataset, \
                 no fallback file and no journal takes them"
            );
            self.config.notices.say(Level::Critical, "lost", text);
        }
    }

    /// Ends what can be ended at once: removes journals that hold nothing undelivered.
    pub(super) fn close(&self) {
        self.say_dropped(Saying::All);
        self.save_dropped();
        let is_idle = |branch: &&Branch| branch.worker.try_lock().is_ok_and(|w| !w.is_flying());
        let idle: Vec<&Branch> = self.branches.iter().filter(is_idle).collect();
        for lane in self.lanes() {
            for branch in &idle {
                // What was dropped stays dropped: without a word of it the next run delivers it.
                super::worker::settle_dropped(self, branch, lane);
            }
            if !idle.is_empty() {
                let _ = lane.journal.drain(lane.acked().next());
            }
            let pending = lane.journal.last().0.saturating_sub(lane.acked().0);
            if pending == 0 && self.config.medium.is_none() {
                if lane.ground != Ground::Memory {
                    self.keep_account(lane.journal.id(), &self.account_of(lane));
                }
                let _ = lane.journal.remove();
            } else if lane.ground == Ground::Memory && pending > 0 {
                let text = format!("{pending} events were in memory only, and are lost");
                self.config.notices.say(Level::Critical, "lost", text);
            }
        }
    }

    /// Writes down what was dropped behind the batches that are on their way.
    pub(super) fn save_dropped(&self) {
        for (lane, branch) in self.lanes().flat_map(|l| self.branches.iter().map(move |b| (l, b))) {
            super::worker::save_all_dropped(self, branch, lane);
        }
    }

    /// What became of the events of a lane in which nothing is pending.
    fn account_of(&self, lane: &Lane) -> Account {
        let named = lane.journal.header().destinations();
        let states = self.branches.iter().zip(named).map(|(branch, destination)| {
            let mut state = branch.reader(lane).cursor.state();
            let dropped = self.counters.dropped().into_iter().zip(branch.counters.dropped());
            state.dropped = std::array::from_fn(|_| 0);
            for (sum, (refused, given_up)) in state.dropped.iter_mut().zip(dropped) {
                *sum = refused + given_up;
            }
            (destination, state)
        });
        Account::of_sinks(states)
    }

    /// Writes down what became of a journal's events before its folder goes.
    pub(super) fn keep_account(&self, journal: JournalId, account: &Account) {
        if account.logged() == 0 {
            return;
        }
        if let Err(error) = account::append(&self.journals(), journal, account) {
            let text = format!("the account of journal {journal} can't be written: {error}");
            self.config.notices.say(Level::Warning, "accounts", text);
        }
    }
}

/// A segment is no smaller than this, however small the limit of the backlog is.
const SEGMENT_LEAST: u64 = 64 << 10;

/// How often a new folder may be taken from under us before that is an error.
const FOLDER_TRIES_MAX: u32 = 16;

/// Makes a journal's folder and takes its lock. Somebody who looks for orphans at this very moment
/// may find the folder before it is locked, take it for one that was abandoned, and remove it;
/// then there is another. **A journal without its lock would be adopted while it is written.**
fn own_folder(parent: &Path, mapped: bool) -> io::Result<(JournalId, DiskFolder, FolderLock)> {
    let mut error = io::Error::other("each new folder is taken by somebody else");
    for _ in 0..FOLDER_TRIES_MAX {
        let id = JournalId::generate();
        let made = DiskFolder::create(&parent.join(id.to_string()), mapped)
            .and_then(|folder| folder.lock().map(|lock| (folder, lock)));
        match made {
            Ok((folder, Some(lock))) => return Ok((id, folder, lock)),
            Ok((_, None)) => {}
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => error = gone,
            Err(error) => return Err(error),
        }
    }
    Err(error)
}
