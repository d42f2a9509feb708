//! A change of user under a running logger: the kernel then refuses what it asks of its journal's
//! folder. A new journal is begun where the new user may write, and the old one is left, with all that
//! is undelivered in it, to whoever starts as the user before.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};

use super::branch::Branch;
use super::lane::{Ground, Lane};
use super::open::Renewal;
use super::shared::{Shared, lock};
use super::worker::{Worker, save_all_dropped};
use crate::home::homes_of_user;
use crate::journal::media::DiskFolder;
use crate::notice::Level;
use crate::process::{effective_user, user_name};

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
        if let Some(active) = self.lane().filter(|active| is_refused(active)) {
            self.begin_journal(Renewal::AnotherUser(active.index));
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
        self.config.notices.say(Level::Critical, "another_user", text);
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
                    save_all_dropped(self, branch, lane);
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
