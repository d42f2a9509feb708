//! A journal in memory that was meant for a file: once storage is there again, its events are written
//! to a folder under its own id, so that the end of the process does not take them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::lane::Lane;
use super::shared::Shared;
use crate::batch::Durability;
use crate::journal::cursor::CURSOR_PREFIX;
use crate::journal::media::{DiskFolder, Folder};
use crate::notice::Level;
use crate::process::descriptors;

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
                    self.config.notices.say(Level::Info, "resumed", text);
                }
                // Some are about to be committed: the next look finds them.
                Ok(false) => {}
                Err(error) => {
                    let text = format!(
                        "{events} events stay in memory, because they can't be written to a file: {error}"
                    );
                    self.config.notices.say_rarely(Level::Warning, "degraded", "memory", text);
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
        let parent = self.journals();
        DiskFolder::create(&self.root().join("journal"), false)?;
        DiskFolder::create(&parent, false)?;
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
