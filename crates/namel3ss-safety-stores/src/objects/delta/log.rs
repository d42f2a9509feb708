//! A table's log, as [the protocol](https://github.com/delta-io/delta/blob/master/PROTOCOL.md) lays
//! it out, all of it under `_delta_log/`:
//!
//! ```text
//! 00000000000000000007.json                               a commit: one action of JSON a line
//! 00000000000000000100.checkpoint.parquet                 all that holds after commit 100
//! 00000000000000000100.checkpoint.0000000001.0000000002.parquet   the same in parts
//! _last_checkpoint                                        where to begin; a hint
//! ```
//!
//! A commit is made by creating its file: whoever comes second finds it there. Nothing is removed.
//!
//! A checkpoint is a shortcut. One that can't be read is noted and passed over: the log is read from
//! the checkpoint before it, or else from the first commit, as long as all commits from there are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use namel3ss_safety::{AdapterError, Durability};
use serde_json::{Value, json};

use crate::objects::store::{Body, Created, Store};

/// Where the log lies in its table's folder.
pub(super) const FOLDER: &str = "_delta_log";
const HINT: &str = "_last_checkpoint";

/// The log of one table.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) store: Box<dyn Store>,
    prefix: String,
    /// The checkpoints that were passed over.
    damaged: Mutex<BTreeSet<String>>,
}

/// A log as it is read: from a checkpoint on, or from its first commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Its version and the names of its parts.
    pub(super) checkpoint: Option<(u64, Vec<String>)>,
    /// The version of the last commit.
    pub(super) last: u64,
    /// The newest version of a checkpoint that can't be read.
    pub(super) passed: Option<u64>,
}

/// Why a log could not be read from a checkpoint on.
#[derive(Debug)]
pub(super) enum Unread {
    /// The file of this name is torn, or no checkpoint.
    Torn(String),
    /// It is not about the checkpoint.
    Failed(AdapterError),
}

impl From<AdapterError> for Unread {
    fn from(error: AdapterError) -> Self {
        Self::Failed(error)
    }
}

/// One commit.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) actions: Vec<Value>,
    /// CRC-32C of its bytes: tells it from the one of the same version in a table that was made anew.
    pub(super) mark: u32,
}

impl Listing {
    /// The version of the first commit that the checkpoint does not hold.
    pub(super) fn first(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |(version, _)| version + 1)
    }
}

pub(super) fn unreadable(what: &str) -> AdapterError {
    AdapterError::config(format!("read the Delta table's log: {what}"))
}

impl Log {
    pub(super) fn new(store: Box<dyn Store>, prefix: &str) -> Self {
        Self { store, prefix: prefix.to_owned(), damaged: Mutex::default() }
    }

    /// The files of checkpoints that could not be read so far, from the table's root.
    pub(super) fn damaged(&self) -> Vec<String> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The files of the newest checkpoints, up to so many.
    pub(super) fn checkpoints(&self, most: usize) -> Result<Vec<String>, AdapterError> {
        let names = self.names(0)?;
        let parts = names.whole().take(most).flat_map(|(_, parts)| parts);
        Ok(parts.map(|part| format!("{FOLDER}/{part}")).collect())
    }

    fn note_damaged(&self, name: &str) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.insert(format!("{FOLDER}/{name}"));
    }

    /// The key of what lies at `path` from the table's root.
    pub(super) fn key(&self, path: &str) -> String {
        if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) }
    }

    fn file(&self, name: &str) -> String {
        self.key(&format!("{FOLDER}/{name}"))
    }

    fn commit_key(&self, version: u64) -> String {
        self.file(&format!("{version:020}.json"))
    }

    /// Makes the commit of `version`, unless there is one; gives its mark if it was made.
    pub(super) fn create(
        &self,
        version: u64,
        actions: &[Value],
    ) -> Result<Option<u32>, AdapterError> {
        let mut text = String::with_capacity(1024);
        for action in actions {
            text.push_str(&action.to_string());
            text.push('\n');
        }
        // Synced always: after a power cut, a commit that is there and whose rows are not would
        // make the whole table unreadable.
        let key = self.commit_key(version);
        let mark = crc32c::crc32c(text.as_bytes());
        match self.store.create(&key, &Body::from(text.into_bytes()), Durability::Power)? {
            Created::New => Ok(Some(mark)),
            Created::Exists => Ok(None),
            Created::Unsupported => Err(refuse()),
        }
    }

    /// A commit; `None` where there is none of `version`.
    pub(super) fn commit(&self, version: u64) -> Result<Option<Commit>, AdapterError> {
        let Some(bytes) = self.store.get(&self.commit_key(version))? else { return Ok(None) };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let actions: Result<_, _> = lines.map(serde_json::from_slice).collect();
        let actions = actions.map_err(|_| unreadable(&format!("commit {version} is no JSON")))?;
        Ok(Some(Commit { actions, mark: crc32c::crc32c(&bytes) }))
    }

    /// The mark of a commit; `None` where there is none of `version`.
    pub(super) fn mark(&self, version: u64) -> Result<Option<u32>, AdapterError> {
        let bytes = self.store.get(&self.commit_key(version))?;
        Ok(bytes.map(|bytes| crc32c::crc32c(&bytes)))
    }

    /// The bytes of a checkpoint's part.
    pub(super) fn part(&self, name: &str) -> Result<Vec<u8>, AdapterError> {
        self.store.get(&self.file(name))?.ok_or_else(|| {
            AdapterError::transient("read the Delta table's log: a checkpoint has been removed")
        })
    }

    /// Makes the checkpoint of `version`, which holds `actions` actions, and points to it.
    pub(super) fn put_checkpoint(
        &self,
        version: u64,
        bytes: Vec<u8>,
        actions: u64,
    ) -> Result<(), AdapterError> {
        let key = self.file(&format!("{version:020}.checkpoint.parquet"));
        let size = bytes.len();
        // Somebody else's of the same version holds the same.
        self.store.create(&key, &Body::from(bytes), Durability::Power)?;
        // A later one stays, unless it names a checkpoint that is not there.
        let is_later = match self.hint()?.filter(|there| *there > version) {
            Some(there) => self.names(there)?.whole().next().is_some(),
            None => false,
        };
        if !is_later {
            let hint = json!({"version": version, "size": actions, "sizeInBytes": size});
            self.store.overwrite(&self.file(HINT), &Body::from(hint.to_string().into_bytes()))?;
        }
        Ok(())
    }

    /// The checkpoint from which to begin, if somebody has left a note of one.
    fn hint(&self) -> Result<Option<u64>, AdapterError> {
        let Some(bytes) = self.store.get(&self.file(HINT))? else { return Ok(None) };
        let hint: Option<Value> = serde_json::from_slice(&bytes).ok();
        Ok(hint.and_then(|hint| hint.get("version")?.as_u64()))
    }

    /// Reads the log by `with`, from its newest checkpoint that can be read. `None` where there is no
    /// table.
    ///
    /// # Errors
    /// What `with` says, or which commit is missing.
    pub(super) fn newest<T>(
        &self,
        mut with: impl FnMut(&Listing) -> Result<T, Unread>,
    ) -> Result<Option<T>, AdapterError> {
        let hint = self.hint()?;
        let mut names = self.names(hint.unwrap_or(0))?;
        if names.from > 0 && names.whole().next().is_none() {
            names = self.names(0)?;
        }
        let mut torn = Vec::new();
        loop {
            let incomplete = names.incomplete();
            let listing = names.listing().map_err(|version| {
                let damaged: Vec<&str> =
                    torn.iter().chain(&incomplete).map(String::as_str).collect();
                missing(version, &damaged)
            })?;
            let Some(listing) = listing else { return Ok(None) };
            // One that nobody has pointed to may still be being written.
            let newest = listing.checkpoint.as_ref().map(|(version, _)| *version);
            let is_done = |name: &&String| {
                version_of(name).is_some_and(|v| newest < Some(v) && Some(v) <= hint)
            };
            incomplete.iter().filter(is_done).for_each(|name| self.note_damaged(name));
            match with(&listing) {
                Ok(done) => return Ok(Some(done)),
                Err(Unread::Failed(error)) => return Err(error),
                Err(Unread::Torn(name)) => {
                    self.note_damaged(&name);
                    // Those before it were not listed.
                    if names.from > 0 {
                        names = self.names(0)?;
                    }
                    torn.push(name);
                    names.pass_over(&torn);
                }
            }
        }
    }

    /// What lies there from the version `from` on.
    fn names(&self, from: u64) -> Result<Names, AdapterError> {
        // `:` is behind every digit.
        let range = format!("{from:020}")..":".to_owned();
        let objects = self.store.objects(&self.key(FOLDER), &range)?;
        let objects = objects.ok_or_else(|| unreadable("listing it is not permitted"))?;
        Ok(Names::of(objects.into_iter().map(|object| object.name), from))
    }
}

fn missing(version: u64, damaged: &[&str]) -> AdapterError {
    if damaged.is_empty() {
        return unreadable(&format!(
            "commit {version} is missing, and no later checkpoint is there"
        ));
    }
    unreadable(&format!(
        "the checkpoint {FOLDER}/{} can't be read, and commit {version}, which is needed without it, \
         is gone; restore one of them from a copy of the table",
        damaged.join(", ")
    ))
}

pub(super) fn refuse() -> AdapterError {
    AdapterError::config(
        "write to the Delta table: the store does not create objects without overwriting them, so \
         that commits of others could be lost; name another store, or s3:// without delta+",
    )
}

/// The version that a file's name begins with.
fn version_of(name: &str) -> Option<u64> {
    name.split('.').next().filter(|word| word.len() == 20)?.parse().ok()
}

/// The commits and checkpoints whose names are in a log.
#[derive(Debug)]
struct Names {
    /// Those before this version were not looked for.
    from: u64,
    commits: Vec<u64>,
    /// The parts of a checkpoint, by its version and the number of its parts.
    checkpoints: BTreeMap<(u64, u64), Vec<String>>,
    /// The newest version of a checkpoint that was passed over.
    passed: Option<u64>,
}

impl Names {
    fn of(names: impl Iterator<Item = String>, from: u64) -> Self {
        let mut commits = Vec::new();
        let mut checkpoints: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for name in names {
            let Some(version) = version_of(&name) else { continue };
            let rest: Vec<&str> = name.split('.').skip(1).collect();
            let of = match rest.as_slice() {
                ["json"] => {
                    commits.push(version);
                    continue;
                }
                ["checkpoint", "parquet"] => 1,
                ["checkpoint", _, of, "parquet"] => match of.parse::<u64>() {
                    Ok(of) => of,
                    Err(_) => continue,
                },
                _ => continue,
            };
            checkpoints.entry((version, of)).or_default().push(name);
        }
        Self { from, commits, checkpoints, passed: None }
    }

    /// The checkpoints that have all of their parts, newest first.
    fn whole(&self) -> impl Iterator<Item = (u64, &Vec<String>)> {
        let whole = self.checkpoints.iter().rev().filter(|((_, of), p)| p.len() as u64 == *of);
        whole.map(|((version, _), parts)| (*version, parts))
    }

    /// A part of each checkpoint that lacks another.
    fn incomplete(&self) -> Vec<String> {
        let lacking = self.checkpoints.iter().filter(|((_, of), p)| p.len() as u64 != *of);
        lacking.filter_map(|(_, parts)| parts.first().cloned()).collect()
    }

    /// Forgets the checkpoints that these files are parts of.
    fn pass_over(&mut self, torn: &[String]) {
        let is_torn = |parts: &[String]| parts.iter().any(|part| torn.contains(part));
        for (version, _) in
            self.checkpoints.extract_if(.., |_, parts| is_torn(parts)).map(|(of, _)| of)
        {
            self.passed = self.passed.max(Some(version));
        }
    }

    /// How the log is read; `None` where there is none.
    ///
    /// # Errors
    /// The version of a commit that should be there.
    fn listing(&self) -> Result<Option<Listing>, u64> {
        if self.commits.is_empty() && self.checkpoints.is_empty() && self.passed.is_none() {
            return Ok(None);
        }
        let checkpoint = self.whole().next().map(|(version, parts)| (version, parts.clone()));
        let mut next = checkpoint.as_ref().map_or(self.from, |(version, _)| version + 1);
        for version in &self.commits {
            if *version == next {
                next += 1;
            } else if *version > next {
                return Err(next);
            }
        }
        // What a checkpoint holds was committed, whether that can be read or not: a table that ends
        // before it would get that commit a second time.
        let known = self.checkpoints.keys().map(|(version, _)| *version).max().max(self.passed);
        if known.is_some_and(|version| version >= next) {
            return Err(next);
        }
        Ok(Some(Listing { checkpoint, last: next - 1, passed: self.passed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_from_its_newest_whole_checkpoint() {
        let check = |names: &[&str],
                     from: u64,
                     expected: Result<Option<(Option<u64>, u64)>, u64>| {
            let mut names: Vec<String> = names
                .iter()
                .map(|name| {
                    let (version, rest) = name.split_once('.').expect("a dot");
                    format!("{version:0>20}.{rest}")
                })
                .collect();
            names.sort_unstable();
            let got = Names::of(names.iter().cloned(), from).listing();
            let got = got.map(|l| l.map(|l| (l.checkpoint.map(|(version, _)| version), l.last)));
            assert_eq!(got, expected, "{names:?}");
        };
        check(&[], 0, Ok(None));
        check(&["0.json", "1.json", "2.json"], 0, Ok(Some((None, 2))));
        check(&["1.json"], 0, Err(0));
        check(&["0.json", "2.json"], 0, Err(1));
        check(&["5.json", "6.json", "5.checkpoint.parquet"], 0, Ok(Some((Some(5), 6))));
        check(&["5.checkpoint.parquet"], 5, Ok(Some((Some(5), 5))));
        check(&["5.checkpoint.parquet", "7.json"], 5, Err(6));
        let part = "4.checkpoint.0000000001.0000000002.parquet";
        let other = "4.checkpoint.0000000002.0000000002.parquet";
        let commits = ["0.json", "1.json", "2.json", "3.json", "4.json"];
        check(&[&commits[..], &[part]].concat(), 0, Ok(Some((None, 4))));
        check(&[&commits[..4], &[part]].concat(), 0, Err(4));
        check(&[part], 0, Err(0));
        check(&[&commits[3..], &[part, other]].concat(), 0, Ok(Some((Some(4), 4))));
        check(&["3.json", "4.crc", "_x.json", "3.4.compacted.json"], 3, Ok(Some((None, 3))));
    }
}
