//! Where journals lie: opening one where and as it can be had, going back to a file when there is one
//! again, leaving it after a change of user, and removing it when nothing in it waits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::config::JournalKind;
use super::delivery::{save_dropped, settle_dropped};
use super::journals::{Ground, Lane, Reader};
use super::state::{Branch, Shared, Worker};
use super::stats::Saying;
use crate::batch::Durability;
use crate::home::homes_of_user;
use crate::id::JournalId;
use crate::journal;
use crate::journal::account::{Account, SinkAccount};
use crate::journal::cursor::{CURSOR_PREFIX, Cursor};
use crate::journal::media::{DiskFolder, Folder, FolderLock, MemoryFolder, MovableFolder};
use crate::journal::{Journal, account, inspect, slug};
use crate::locks::lock;
use crate::notice::{Level, NoticeKind};
use crate::process::{descriptors, effective_user, user_name};
use crate::stats::Sums;

impl Shared {
    /// The lane that events go to now; opens the journal where that was not done yet. It can't
    /// fail: where no file is to be had, it is in memory, and a notice says so.
    pub(super) fn open_lane(self: &Arc<Self>) -> &Lane {
        if let Some(lane) = self.lane() {
            return lane;
        }
        let opening = lock(&self.opening);
        if self.lane().is_none() {
            self.push(self.new_lane());
        }
        drop(opening);
        self.enter_register();
        if self.config.threads {
            self.start_keeper();
        }
        // An empty list takes what is pushed.
        self.lane().expect("the first journal is there")
    }

    /// A lane on a file, or else in memory.
    fn new_lane(&self) -> Lane {
        self.open_file_lane().unwrap_or_else(|error| {
            if let Some(error) = error {
                self.say_degraded(&error);
            }
            self.memory_lane()
        })
    }

    /// Says that the journal is in memory, and why.
    fn say_degraded(&self, error: &io::Error) {
        let is_crowded = error.get_ref().is_some_and(|error| error.is::<descriptors::NoRoom>());
        let loggers = if is_crowded { descriptors::report() } else { Some(1) };
        let Some(loggers) = loggers else { return };
        let of = if loggers > 1 { format!(" (of {loggers} loggers)") } else { String::new() };
        let text = format!(
            "events do not survive this process: the journal{of} is in memory, because no file was to be \
             had: {error}; it is tried again each second"
        );
        self.config.notices.say(Level::Critical, NoticeKind::Degraded, text);
    }

    /// Makes `lane` the active one, and closes the one before; by whoever holds `opening`.
    pub(super) fn push(&self, lane: Lane) -> bool {
        let before = self.lane();
        if !self.journals.push(lane) {
            return false;
        }
        if let Some(lane) = self.lane() {
            // The logger may have been started or stopped since it was made.
            lane.life_changed();
        }
        if let Some(before) = before {
            before.close();
        }
        true
    }

    /// Begins the next journal: events go there from now on, with new seqs. What the one before holds
    /// is delivered first. False where nothing was begun: there is no journal yet, or the active one is
    /// none that `leaves` means.
    pub(super) fn begin_journal(self: &Arc<Self>, leaves: impl FnOnce(&Lane) -> bool) -> bool {
        let opening = lock(&self.opening);
        let begun = self.lane().is_some_and(leaves) && self.push(self.new_lane());
        drop(opening);
        if begun {
            self.wake_keeper();
            self.call_workers();
        }
        begun
    }

    /// Begins the next journal, and new random numbers, where another copy of this process goes on with
    /// those of this one.
    pub(super) fn part_from_copy(self: &Arc<Self>, journal: JournalId) {
        crate::id::reseed();
        self.begin_journal(|active| active.journal.id() == journal);
    }

    /// Ends the journals in which everything has settled, but for the active one; whether there was
    /// one.
    pub(super) fn finish_journals(&self) -> bool {
        if !self.lanes().any(Lane::is_done) {
            return false;
        }
        let Ok(_opening) = self.opening.try_lock() else { return false };
        for lane in self.lanes().filter(|lane| lane.is_done()) {
            if lane.finish() && self.config.medium.is_none() {
                self.remove(lane);
                lane.let_go();
            }
        }
        self.journals.pass_over();
        // They let go of the files that they read.
        self.call_workers();
        true
    }

    /// Removes a journal in which everything has settled.
    fn remove(&self, lane: &Lane) {
        if lane.ground() != Ground::Memory {
            self.keep_account(lane.journal.id(), &self.account_of(lane));
        }
        if let Err(error) = lane.journal.remove() {
            let place = lane.journal.folder().describe();
            let text = format!("{place} can't be removed: {error}");
            self.config.notices.say(Level::Warning, NoticeKind::Journal, text);
        }
    }

    /// Whether the journal at this place is written or delivered.
    pub(super) fn is_open(&self, index: usize) -> bool {
        self.journals.get(index).is_some_and(Lane::is_open)
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
            let parent = self.make_parent()?;
            let after = self.lane().map(|lane| lane.journal.id());
            // One that is adopted finds room all the same.
            let most = descriptors::of_journal(self.branches.len());
            let reserved =
                descriptors::reserve(most, descriptors::OF_ORPHAN).map_err(io::Error::other)?;
            let (id, folder, lock) = own_folder(&parent, mapped, after)?;
            let lock = lock.with(Some(reserved));
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

    /// Makes the folder of this dataset's journals: each part of the path that is ours is checked, not
    /// only the last.
    fn make_parent(&self) -> io::Result<PathBuf> {
        let parent = self.journals();
        DiskFolder::create(&self.root().join("journal"), false)?;
        DiskFolder::create(&parent, false)?;
        Ok(parent)
    }

    pub(super) fn memory_lane(&self) -> Lane {
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
        let movable = Arc::new(MovableFolder::new(folder.clone()));
        let journal = Journal::create(movable.clone(), lock, id, names, options)?;
        let reader = |branch: &Branch| {
            let name = journal.header().cursor_at(branch.index, config.sink().dataset_name());
            Ok(Reader::new(Cursor::open(&*folder, &name)?))
        };
        let readers = self.branches.iter().map(reader).collect::<io::Result<_>>()?;
        let ground = match (in_memory, journal.is_mapped()) {
            (true, _) => Ground::Memory,
            (false, true) => Ground::Mapped,
            (false, false) => Ground::File,
        };
        let (index, life) = (self.journals.len(), self.life.clone());
        Ok(Lane::new(index, (journal, movable), readers, ground, config, life))
    }

    /// Whether the journal is in memory, though a file was asked for.
    pub(super) fn is_degraded(&self) -> bool {
        self.wants_file() && self.lane().is_some_and(|lane| lane.ground() == Ground::Memory)
    }

    /// Whether events are in memory, or the next one will be, though a file was asked for.
    pub(super) fn has_events_in_memory(&self) -> bool {
        self.is_degraded() || (self.wants_file() && self.unkept() > 0)
    }

    pub(super) fn wants_file(&self) -> bool {
        self.config.journal != JournalKind::Memory
    }

    /// Goes back to a file, where the journal is in memory because none was to be had.
    pub(super) fn try_resume(self: &Arc<Self>) -> bool {
        if !self.is_degraded() {
            return false;
        }
        let Ok(_opening) = self.opening.try_lock() else { return false };
        if !self.is_degraded() {
            return false;
        }
        let Ok(lane) = self.open_file_lane() else { return false };
        let resumed = self.push(lane);
        if resumed {
            let text = "the journal is in a file again";
            self.config.notices.say(Level::Info, NoticeKind::Resumed, text);
        }
        resumed
    }

    /// After a journal's folder was made anew.
    fn renew(&self, lane: &Lane) {
        let (folder, header) = (lane.journal.folder(), lane.journal.header());
        for branch in &self.branches {
            let name = header.cursor_at(branch.index, self.config.sink().dataset_name());
            if let Err(error) = branch.reader(lane).cursor.renew(&**folder, &name) {
                let text = format!("the cursor can't be written: {error}");
                self.config.notices.say(Level::Warning, NoticeKind::Journal, text);
            }
        }
        let text = format!(
            "{} was removed while it was in use, and is made anew: undelivered events whose files \
             were removed are lost",
            folder.describe()
        );
        self.config.notices.say(Level::Critical, NoticeKind::Ring, text);
    }

    /// Says what is wrong with the journals' rings, and makes folders anew that were removed.
    pub(super) fn check_journals(&self) {
        // A folder that is removed because its journal has ended must not be made anew.
        let Ok(_opening) = self.opening.try_lock() else { return };
        for lane in self.lanes() {
            match lane.journal.restore() {
                Ok(false) => {}
                Ok(true) => self.renew(lane),
                Err(error) => {
                    let place = lane.journal.folder().describe();
                    let text = format!("{place} was removed, and can't be made anew: {error}");
                    self.config.notices.say(Level::Warning, NoticeKind::Journal, text);
                }
            }
            if let Some(text) = lane.journal.check() {
                let place = lane.journal.folder().describe();
                self.config.notices.say(
                    Level::Critical,
                    NoticeKind::Ring,
                    format!("{place}: {text}"),
                );
            }
        }
    }

    /// Says what was not said yet, because its process may end now: how many more rows are in fallback
    /// files, and how many events nothing but memory has.
    pub(super) fn say_rest(&self) {
        self.say_dropped(Saying::All);
        self.branches.iter().for_each(|branch| branch.sink.say_rest());
        let events = self.unkept();
        if self.said_unkept.swap(events, Ordering::Relaxed) != events && events > 0 {
            let text = format!(
                "{events} events are in memory only, and are lost when this process ends: no dataset, \
                 no fallback file and no journal takes them"
            );
            self.config.notices.say(Level::Critical, NoticeKind::Lost, text);
        }
    }

    /// Ends what can be ended at once: removes journals that hold nothing undelivered.
    pub(super) fn close(&self) {
        self.say_dropped(Saying::All);
        self.save_dropped();
        let is_idle = |branch: &&Branch| branch.worker.try_lock().is_ok_and(|w| w.flight.is_none());
        let idle: Vec<&Branch> = self.branches.iter().filter(is_idle).collect();
        for lane in self.lanes() {
            for branch in &idle {
                // What was dropped stays dropped: without a word of it the next run delivers it.
                settle_dropped(self, branch, lane);
            }
            if !idle.is_empty() {
                let _ = lane.journal.drain(lane.acked().next());
            }
            if lane.unsettled() == 0 && self.config.medium.is_none() {
                self.remove(lane);
            }
        }
        self.lose_unkept();
    }

    /// How many events nothing but memory has.
    pub(super) fn unkept(&self) -> u64 {
        self.lanes().map(Lane::unkept).sum()
    }

    /// Counts what nothing but memory has as lost, because the logger goes, and says so.
    pub(super) fn lose_unkept(&self) {
        self.keep_at_end();
        let events: u64 = self.lanes().map(Lane::lose).sum();
        if events == 0 {
            return;
        }
        let calls = self.branches.iter().filter(|branch| branch.sink.longest_call().is_some());
        let hangs = match calls.count() {
            0 => "",
            _ => "; its adapter has not returned: what it was given may still arrive",
        };
        let were = if events == 1 { "event was" } else { "events were" };
        let text = format!("{events} {were} in memory only, and lost with their logger{hangs}");
        self.config.notices.say(Level::Critical, NoticeKind::Lost, text);
    }

    /// Writes down what was dropped behind the batches that are on their way.
    pub(super) fn save_dropped(&self) {
        for (lane, branch) in self.lanes().flat_map(|l| self.branches.iter().map(move |b| (l, b))) {
            save_dropped(self, branch, lane, true);
        }
    }

    /// What became of the events of a lane in which nothing is pending.
    fn account_of(&self, lane: &Lane) -> Account {
        let refused = lane.refused();
        let readers = lane.journal.header().destinations().zip(&lane.readers);
        let sinks = readers.map(|(destination, reader)| {
            let sums = reader.counters.sums() + refused;
            let Sums { flushed, fallback, .. } = sums;
            let sink = SinkAccount { flushed, fallback, dropped: sums.total_dropped() };
            (destination.to_owned(), sink)
        });
        let sinks = sinks.collect();
        let Sums { flushed, fallback, dropped } = lane.fates() + refused;
        Account { journals: 1, flushed, fallback, dropped, sinks }
    }

    /// Writes down what became of a journal's events before its folder goes.
    pub(super) fn keep_account(&self, journal: JournalId, account: &Account) {
        if account.logged() == 0 {
            return;
        }
        if let Err(error) = account::append(&self.journals(), journal, account) {
            let text = format!("the account of journal {journal} can't be written: {error}");
            self.config.notices.say(Level::Warning, NoticeKind::Accounts, text);
        }
    }
}

/// A segment is no smaller than this, however small the limit of the backlog is.
const SEGMENT_LEAST: u64 = 64 << 10;

/// A new id that sorts behind `before`, so that whoever adopts both goes by their order: ids begin
/// with their millisecond. Where the clock was set back that is not waited for.
fn id_after(before: Option<JournalId>) -> JournalId {
    let mut id = JournalId::generate();
    for _ in 0..20 {
        if before.is_none_or(|before| before < id) {
            break;
        }
        std::thread::sleep(Duration::from_micros(100));
        id = JournalId::generate();
    }
    id
}

/// How often a new folder may be taken from under us before that is an error.
const FOLDER_TRIES_MAX: u32 = 16;

/// Makes a journal's folder and takes its lock. Somebody who looks for orphans at this very moment
/// may find the folder before it is locked, take it for one that was abandoned, and remove it;
/// then there is another. **A journal without its lock would be adopted while it is written.**
fn own_folder(
    parent: &Path,
    mapped: bool,
    after: Option<JournalId>,
) -> io::Result<(JournalId, DiskFolder, FolderLock)> {
    let mut error = io::Error::other("each new folder is taken by somebody else");
    for _ in 0..FOLDER_TRIES_MAX {
        let id = id_after(after);
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

impl Shared {
    /// Where orphans are looked for: under this logger's own root and, because a version before kept
    /// the journals of a logger with a fallback path under that path, there as well.
    ///
    /// After a change of user it is the new user's root alone: the others are refused.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        if let Some(moved) = lock(&self.moved).clone() {
            return vec![moved];
        }
        let root = &self.config.root;
        let former = self.config.sink().fallback_path().filter(|path| path != root);
        std::iter::once(root.clone()).chain(former.map(Path::to_owned)).collect()
    }

    /// Enters the folders that are in use outside the home in its register, so that `n3-safety`
    /// finds what is left in them.
    pub(super) fn enter_register(&self) {
        let config = &self.config;
        if config.medium.is_some() {
            return;
        }
        let journals = match &config.journal {
            JournalKind::Folder(path) => Some(&**path),
            _ => None,
        };
        let sink = config.sink();
        for folder in journals.into_iter().chain(sink.fallback_path()) {
            sink.enter_register(&config.home, folder);
        }
    }

    /// Takes over the fallback files that a version before wrote to the folder in which it kept this
    /// dataset's journals: it named no destination there, and each file was for that of the journals.
    /// Where several datasets or destinations had the folder, the files wait for a person.
    pub(super) fn take_over_files(&self) {
        let sink = self.config.sink();
        let Some(former) = sink.fallback_path().filter(|path| *path != self.config.root) else {
            return;
        };
        if !sink.has_unnamed_files() {
            return;
        }
        let ours = slug(&self.config.dataset);
        let Ok(datasets) = std::fs::read_dir(former.join("journal")) else { return };
        let datasets: Vec<_> = datasets.flatten().map(|dataset| dataset.file_name()).collect();
        if datasets != [std::ffi::OsStr::new(&ours)] {
            return;
        }
        let destination = sink.identity();
        let mut journals = inspect::list(former).unwrap_or_default().into_iter();
        let is_same = |found: inspect::Found| {
            found.journal.is_ok_and(|info| info.header.place_of(&destination) == Some(0))
        };
        if journals.all(is_same) {
            sink.take_over_files();
        }
    }
}

/// How much of a file is copied at once.
const COPY_BYTES: usize = 256 << 10;
/// How often a logger that goes tries to write what only memory has to a file, and how long it waits in
/// between: its maintenance thread may be looking at its journals.
const END_TRIES: u32 = 10;
/// More than this is not written then: dropping a logger must not take long.
const END_BYTES_MAX: u64 = 32 << 20;
const END_WAIT: Duration = Duration::from_millis(1);

impl Shared {
    /// Writes what earlier journals hold in memory to files, where the one of now is in a file.
    pub(super) fn keep_memory(&self) {
        let is_kept = |lane: &Lane| !lane.journal.is_closed() || lane.unkept() == 0;
        if !self.wants_file() || self.config.medium.is_some() || self.lanes().all(is_kept) {
            return;
        }
        let Ok(_opening) = self.opening.try_lock() else { return };
        for lane in self.lanes().filter(|lane| !is_kept(lane)) {
            let events = lane.unkept();
            match self.keep_lane(lane) {
                Ok(true) => {
                    let text =
                        format!("{events} events that were in memory only are in a file too");
                    self.config.notices.say(Level::Info, NoticeKind::Resumed, text);
                }
                // Some are about to be committed: the next look finds them.
                Ok(false) => {}
                Err(error) => {
                    let text = format!(
                        "{events} events stay in memory, because they can't be written to a file: {error}"
                    );
                    self.config.notices.say_rarely(
                        Level::Warning,
                        NoticeKind::Degraded,
                        "memory",
                        text,
                    );
                }
            }
        }
    }

    /// Before the logger goes: writes what only memory has to a file, where that was wanted and can be
    /// done now. Whoever has the folder's lock next delivers it.
    pub(super) fn keep_at_end(&self) {
        let bytes = |lane: &Lane| lane.journal.bytes_from(lane.acked().next());
        let holds = |lane: &Lane| lane.unkept() > 0 && bytes(lane) <= END_BYTES_MAX;
        for _ in 0..END_TRIES {
            if !self.wants_file() || self.config.medium.is_some() || !self.lanes().any(holds) {
                return;
            }
            if let Ok(_opening) = self.opening.try_lock()
                && self.lane().is_some_and(holds)
            {
                // What is written is closed, and an event that comes even now needs a place.
                self.push(self.memory_lane());
            }
            self.keep_memory();
            std::thread::sleep(END_WAIT);
        }
    }

    fn keep_lane(&self, lane: &Lane) -> io::Result<bool> {
        if !lane.journal.drain_to_end(lane.acked().next())? {
            return Ok(false);
        }
        let parent = self.make_parent()?;
        let most = descriptors::of_journal(self.branches.len());
        let reserved = match descriptors::reserve(most, descriptors::OF_ORPHAN) {
            // Else its events are lost, and they are closed again in a moment.
            Err(_) if self.closing.load(Ordering::SeqCst) => None,
            reserved => Some(reserved.map_err(io::Error::other)?),
        };
        let folder = DiskFolder::create(&parent.join(lane.journal.id().to_string()), false)?;
        let Some(held) = folder.lock()? else { return Err(io::ErrorKind::WouldBlock.into()) };
        let held = held.with(reserved);
        let copied = self.copy(lane, &folder);
        if copied.is_err() {
            let _ = folder.remove_all();
        }
        copied?;
        lane.journal.hold(held);
        lane.folder.move_to(Arc::new(folder));
        lane.is_in_file();
        Ok(true)
    }

    /// Copies a journal to which nobody writes any more. The cursors come first, and go on there: what
    /// a kill leaves of the copy then never counts what was delivered as undelivered.
    fn copy(&self, lane: &Lane, folder: &DiskFolder) -> io::Result<()> {
        let header = lane.journal.header();
        for branch in &self.branches {
            let name = header.cursor_at(branch.index, self.config.sink().dataset_name());
            branch.reader(lane).cursor.renew(folder, &name)?;
        }
        let memory = lane.folder.now();
        let power = self.config.options.durability == Durability::Power;
        for name in memory.list()? {
            if name.starts_with(CURSOR_PREFIX) {
                continue;
            }
            match copy_file(&*memory, folder, &name, power) {
                // It was delivered, and removed, meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => copied?,
            }
        }
        if power {
            folder.sync()?;
        }
        Ok(())
    }
}

fn copy_file(from: &dyn Folder, to: &dyn Folder, name: &str, power: bool) -> io::Result<()> {
    let from = from.open(name)?;
    let length = from.size()?;
    let copy = to.create(name, length)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < length {
        let read = from.read_at(&mut buffer, at)?;
        if read == 0 {
            break;
        }
        copy.write_at(&buffer[..read], at)?;
        at += read as u64;
    }
    if power { copy.sync() } else { Ok(()) }
}

impl Shared {
    /// Where the process has another user than the one who began the journal, and `error` says that
    /// this is refused: goes on in a new journal, and leaves those of the user before; true then.
    pub(super) fn leave_refused(self: &Arc<Self>, error: &io::Error) -> bool {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return false;
        }
        let user = effective_user();
        let is_refused = |lane: &Lane| lane.ground() != Ground::Memory && lane.user() != user;
        if self.config.medium.is_some() || !self.lanes().any(is_refused) {
            return false;
        }
        let former = self.root();
        if self.lane().is_some_and(is_refused) {
            self.begin_journal(|active| {
                let leaves = is_refused(active);
                if leaves {
                    self.move_root();
                }
                leaves
            });
        }
        let (mut events, mut last) = (0, None);
        for lane in self.lanes().filter(|lane| is_refused(lane)) {
            if lane.journal.is_closed() && lane.leave() {
                events += lane.unsettled();
                last = Some((lane.user(), lane.journal.folder().describe()));
            }
        }
        // Otherwise somebody else is at it.
        let Some((before, folder)) = last else { return true };
        let now = match self.lane() {
            Some(lane) if lane.ground() != Ground::Memory => lane.journal.folder().describe(),
            _ => "memory, because this user may write to none of its folders".to_owned(),
        };
        let (before, user) = (user_name(before), user_name(user));
        let text = format!(
            "the process is {user} now, who may not use {folder}, which {before} began: {events} events \
             wait there until {before} starts this application again, or runs n3-safety recover {}; \
             what is logged from now on goes to {now}; begin to log after the change of user",
            former.display()
        );
        self.config.notices.say(Level::Critical, NoticeKind::AnotherUser, text);
        self.call_workers();
        true
    }

    /// Lets go of the journals that were left, once no worker is at a batch of theirs: whoever takes
    /// their locks then delivers what is in them.
    pub(super) fn let_go_of_left(&self) {
        let is_free = |branch: &Branch| {
            let leave = |worker: &mut MutexGuard<'_, Worker>| worker.leave_flight(self);
            branch.worker.try_lock().as_mut().map(leave).is_ok()
        };
        let mut over = false;
        for lane in self.journals.leaving() {
            if self.branches.iter().all(is_free) && lane.journal.is_committed() {
                for branch in &self.branches {
                    save_dropped(self, branch, lane, true);
                }
                lane.let_go();
                lane.left();
                over = true;
            }
        }
        if over {
            self.journals.pass_over();
        }
    }

    /// Events that wait under another user's home.
    pub(super) fn left_behind(&self) -> u64 {
        let left = self.journals.all().filter(|lane| lane.is_left());
        left.map(Lane::unsettled).sum()
    }

    /// The folder that holds `journal/`: the one that was configured, or after a change of user the
    /// first one that the new user may write.
    pub(super) fn root(&self) -> PathBuf {
        lock(&self.moved).clone().unwrap_or_else(|| self.config.root.clone())
    }

    /// Finds the folder for the journals of the present user.
    pub(super) fn move_root(&self) {
        let places = homes_of_user(effective_user());
        let may_write =
            |place: &&PathBuf| DiskFolder::create(&place.join("journal"), false).is_ok();
        let place = places.iter().find(may_write).or(places.last()).cloned();
        *lock(&self.moved) = place;
    }
}
