//! The accounts of journals that are finished and gone: one line each in `accounts.jsonl`, beside
//! the journals of their dataset. With them, logged = flushed + fallback + dropped + pending can
//! be added up across all restarts, and what was dropped stays on record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::cursor::CursorState;
use super::gap::DropReason;
use crate::clock::Timestamp;
use crate::id::JournalId;

/// The file's name.
pub const ACCOUNTS_NAME: &str = "accounts.jsonl";
/// From this size on the lines are added up into one.
const BYTES_MAX: u64 = 256 << 10;

/// The largest count in a line.
const COUNT_MAX: u64 = 1 << 48;

/// The most destinations that are told apart in a sum.
const DESTINATIONS_MAX: usize = 256;
/// Under which the rest is added up.
const OTHERS: &str = "(others)";

/// What became of the events of one journal, or of several: of each as the destination has it that did
/// worst by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How many journals.
    pub journals: u64,
    /// Events in their dataset.
    pub flushed: u64,
    /// Events in fallback files.
    pub fallback: u64,
    /// Events given up, by reason, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// How each of their sinks fared, by its destination.
    pub sinks: BTreeMap<String, SinkAccount>,
}

/// What became of events at one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkAccount {
    /// Events in its dataset.
    pub flushed: u64,
    /// Events in its fallback files.
    pub fallback: u64,
    /// Events that it will never have.
    pub dropped: u64,
}

impl Account {
    /// Of one journal, all of whose events have settled, by what the cursor of each destination has
    /// counted. A cursor does not say which events: where destinations lack different ones, fewer are in
    /// all datasets than it says here, and more were dropped for one of them.
    #[must_use]
    pub fn of_cursors<'a>(states: impl Iterator<Item = (&'a str, CursorState)>) -> Self {
        let states: Vec<(&str, CursorState)> = states.collect();
        let dropped = |state: &CursorState| state.dropped.iter().sum::<u64>();
        let Some(worst) = states.iter().map(|(_, state)| state).max_by_key(|state| dropped(state))
        else {
            return Self::default();
        };
        let least = states.iter().map(|(_, state)| state.flushed).min();
        let flushed = least.unwrap_or_default();
        let fallback = worst.flushed + worst.fallback - flushed;
        let sinks = states.iter().map(|(destination, state)| {
            let CursorState { flushed, fallback, .. } = *state;
            let sink = SinkAccount { flushed, fallback, dropped: dropped(state) };
            ((*destination).to_owned(), sink)
        });
        Self { journals: 1, flushed, fallback, dropped: worst.dropped, sinks: sinks.collect() }
    }

    /// Events that were logged: every one of them has settled.
    #[must_use]
    pub fn logged(&self) -> u64 {
        self.flushed + self.fallback + self.dropped.iter().sum::<u64>()
    }

    fn add(&mut self, other: &Self) {
        self.journals += other.journals;
        self.flushed += other.flushed;
        self.fallback += other.fallback;
        for (sum, n) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += n;
        }
        for (destination, account) in &other.sinks {
            let full =
                self.sinks.len() >= DESTINATIONS_MAX && !self.sinks.contains_key(destination);
            let name = if full { OTHERS } else { destination };
            let sum = self.sinks.entry(name.to_owned()).or_default();
            sum.flushed += account.flushed;
            sum.fallback += account.fallback;
            sum.dropped += account.dropped;
        }
    }

    fn to_line(&self, journal: Option<JournalId>) -> String {
        let dropped: Map<String, Value> = DropReason::ALL
            .iter()
            .zip(self.dropped)
            .filter(|(_, n)| *n > 0)
            .map(|(reason, n)| (reason.as_str().to_owned(), n.into()))
            .collect();
        let mut line = json!({
            "at": Timestamp::now().to_string(),
            "journal_id": journal.map(|id| id.to_string()),
            "journals": self.journals,
            "logged": self.logged(),
            "flushed": self.flushed,
            "fallback": self.fallback,
            "dropped": dropped,
        });
        if !self.sinks.is_empty() {
            let one = |(destination, sink): (&String, &SinkAccount)| {
                let SinkAccount { flushed, fallback, dropped } = sink;
                let one = json!({"flushed": flushed, "fallback": fallback, "dropped": dropped});
                (destination.clone(), one)
            };
            line["sinks"] = self.sinks.iter().map(one).collect::<Map<String, Value>>().into();
        }
        format!("{line}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            journals: number(&line["journals"])?,
            flushed: number(&line["flushed"])?,
            fallback: number(&line["fallback"])?,
            dropped: DropReason::ALL.map(|r| number(&line["dropped"][r.as_str()]).unwrap_or(0)),
            sinks: line["sinks"].as_object().into_iter().flatten().map(parse_sink).collect(),
        })
    }
}

/// A count, unless it is one that nobody comes to: sums of those would overflow.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().filter(|n| *n <= COUNT_MAX)
}

fn parse_sink((destination, sink): (&String, &Value)) -> (String, SinkAccount) {
    let number = |name: &str| number(&sink[name]).unwrap_or(0);
    let (flushed, fallback) = (number("flushed"), number("fallback"));
    (destination.clone(), SinkAccount { flushed, fallback, dropped: number("dropped") })
}

/// How long an account waits for the file's lock. Nobody holds it for longer than a write takes, but
/// for a process that was stopped.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Adds the account of `journal` to the file in `journals`.
///
/// # Errors
/// The file system's own, or because another process does not let go of the file.
pub fn append(journals: &Path, journal: JournalId, account: &Account) -> io::Result<()> {
    let path = journals.join(ACCOUNTS_NAME);
    let mut file = open_locked(&path)?;
    let length = file.metadata()?.len();
    crate::limits::check_file_size(length + 4096)?;
    let mut line = account.to_line(Some(journal));
    if length > BYTES_MAX {
        let (sum, _) = add_up(&file)?;
        return replace(&path, &(sum.to_line(None) + &line));
    }
    // A line that a crash cut short must not swallow this one.
    if length > 0 && !ends_with_newline(&file)? {
        line.insert(0, '\n');
    }
    file.write_all(line.as_bytes())
}

fn options() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
        options.mode(0o600).custom_flags(nofollow.cast_signed());
    }
    options
}

/// Opens the file and takes its lock; again where another file has its name by then.
fn open_locked(path: &Path) -> io::Result<File> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        let file = options().open(path)?;
        match file.try_lock() {
            Ok(()) if is_named(&file, path)? => return Ok(file),
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        if Instant::now() >= until {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has its lock"));
        }
    }
}

#[cfg(unix)]
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let open = file.metadata()?;
    let named = path.symlink_metadata().ok();
    Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}

#[cfg(not(unix))]
fn is_named(_file: &File, _path: &Path) -> io::Result<bool> {
    // An open file can't be replaced here.
    Ok(true)
}

/// Puts a new file in the place of the one whose lock is held, so that a crash leaves one of them whole.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let hidden = path.with_file_name(format!(".{ACCOUNTS_NAME}.tmp"));
    let _ = std::fs::remove_file(&hidden);
    let mut file = options().open(&hidden)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.and_then(|()| std::fs::rename(&hidden, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&hidden);
    }
    written
}

fn ends_with_newline(mut file: &File) -> io::Result<bool> {
    use std::io::Read as _;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The sum of all accounts in `journals`, and how many lines of the file could not be read.
///
/// # Errors
/// The file system's own; a missing file is an empty sum.
pub fn sum(journals: &Path) -> io::Result<(Account, u64)> {
    match File::open(journals.join(ACCOUNTS_NAME)) {
        Ok(file) => {
            // Without it the last line may be read in the middle of being written: it counts as unreadable.
            let _ = file.try_lock_shared();
            add_up(&file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Default::default()),
        Err(error) => Err(error),
    }
}

fn add_up(mut file: &File) -> io::Result<(Account, u64)> {
    file.seek(SeekFrom::Start(0))?;
    let (mut sum, mut unreadable) = (Account::default(), 0);
    for line in BufReader::new(file).lines() {
        match Account::parse(&line?) {
            Some(account) => sum.add(&account),
            None => unreadable += 1,
        }
    }
    Ok((sum, unreadable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_add_up_also_when_the_file_was_compacted() {
        let folder = tempfile::tempdir().unwrap();
        let sink = SinkAccount { flushed: 8, fallback: 5, dropped: 0 };
        let sinks = BTreeMap::from([("sqlite:////a b.db".to_owned(), sink)]);
        let dropped = [1, 0, 0, 0, 0, 3];
        let one = Account { journals: 1, flushed: 7, fallback: 2, dropped, sinks };
        assert_eq!(one.logged(), 13);
        let n = 2000;
        for _ in 0..n {
            append(folder.path(), JournalId([1; 16]), &one).unwrap();
        }
        let (sum, unreadable) = sum(folder.path()).unwrap();
        assert_eq!((sum.journals, sum.logged(), unreadable), (n, 13 * n, 0));
        assert_eq!(sum.sinks["sqlite:////a b.db"].flushed, 8 * n);
        let length = std::fs::metadata(folder.path().join(ACCOUNTS_NAME)).unwrap().len();
        assert!(length < BYTES_MAX + 1024, "{length}");
    }

    /// Adding up emptied the file first: a process that was killed then took all accounts with it. And
    /// one that was stopped with the lock held up whoever ended a journal.
    #[test]
    fn accounts_are_never_gone_and_nobody_waits_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ACCOUNTS_NAME);
        let one = Account { journals: 1, flushed: 1, ..Account::default() };
        append(folder.path(), JournalId([1; 16]), &one).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = usize::try_from(BYTES_MAX).unwrap() / text.len() + 1;
        std::fs::write(&path, text.repeat(lines)).unwrap();
        // What a reader has open stays as it was: a new file takes its place.
        let open = File::open(&path).unwrap();
        append(folder.path(), JournalId([2; 16]), &one).unwrap();
        assert_eq!(add_up(&open).unwrap().0.flushed, lines as u64);
        assert_eq!(sum(folder.path()).unwrap().0.flushed, lines as u64 + 1);
        assert!(std::fs::metadata(&path).unwrap().len() < 2000);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let stopped = File::open(&path).unwrap();
        stopped.lock().unwrap();
        let error = append(folder.path(), JournalId([3; 16]), &one).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    /// Those of the destination with the fewest events in its dataset said that nothing was dropped.
    #[test]
    fn what_one_destination_dropped_and_another_filed_are_both_in_the_account() {
        let dropped = [2, 0, 0, 0, 0, 0];
        let one = CursorState { flushed: 8, dropped, ..CursorState::default() };
        let other = CursorState { flushed: 7, fallback: 3, ..CursorState::default() };
        let account = Account::of_cursors([("one", one), ("other", other)].into_iter());
        assert_eq!((account.flushed, account.fallback, account.dropped), (7, 1, dropped));
        assert_eq!((account.logged(), account.sinks["other"].fallback), (10, 3));
    }

    #[test]
    fn a_torn_line_costs_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let one = Account { journals: 1, flushed: 1, ..Account::default() };
        append(folder.path(), JournalId([1; 16]), &one).unwrap();
        let path = folder.path().join(ACCOUNTS_NAME);
        let mut text = std::fs::read_to_string(&path).unwrap();
        let absurd = Account { journals: 1, flushed: u64::MAX, ..Account::default() };
        text.push_str(&absurd.to_line(None).repeat(2));
        text.push_str("{\"at\": \"2026");
        std::fs::write(&path, text).unwrap();
        append(folder.path(), JournalId([2; 16]), &one).unwrap();
        let (total, unreadable) = sum(folder.path()).unwrap();
        assert_eq!((total.flushed, unreadable), (2, 3));
    }
}
