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

use std::collections::BTreeMap;

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
}

/// What lies in a log, from its newest checkpoint on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Its version and the names of its parts.
    pub(super) checkpoint: Option<(u64, Vec<String>)>,
    /// The version of the last commit.
    pub(super) last: u64,
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
        Self { store, prefix: prefix.to_owned() }
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
        if self.hint()?.is_none_or(|there| there < version) {
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

    /// What lies there; `None` where there is no table.
    pub(super) fn look(&self) -> Result<Option<Listing>, AdapterError> {
        if let Some(from) = self.hint()? {
            let listing = self.list(from)?;
            if listing.as_ref().is_some_and(|listing| listing.checkpoint.is_some()) {
                return Ok(listing);
            }
        }
        self.list(0)
    }

    /// What lies there from the version `from` on.
    pub(super) fn list(&self, from: u64) -> Result<Option<Listing>, AdapterError> {
        // `:` is behind every digit.
        let range = format!("{from:020}")..":".to_owned();
        let objects = self.store.objects(&self.key(FOLDER), &range)?;
        let objects = objects.ok_or_else(|| unreadable("listing it is not permitted"))?;
        let names: Vec<String> = objects.into_iter().map(|object| object.name).collect();
        read(&names, from).map_err(|version| {
            unreadable(&format!("commit {version} is missing, and no later checkpoint is there"))
        })
    }
}

pub(super) fn refuse() -> AdapterError {
    AdapterError::config(
        "write to the Delta table: the store does not create objects without overwriting them, so \
         that commits of others could be lost; name another store, or s3:// without delta+",
    )
}

/// From the names in the log, or the version of a commit that should be there.
fn read(names: &[String], from: u64) -> Result<Option<Listing>, u64> {
    let mut commits = Vec::new();
    let mut parts: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
    for name in names {
        let mut words = name.split('.');
        let Some(version) = words.next().filter(|word| word.len() == 20) else { continue };
        let Ok(version) = version.parse::<u64>() else { continue };
        let rest: Vec<&str> = words.collect();
        match rest.as_slice() {
            ["json"] => commits.push(version),
            ["checkpoint", "parquet"] => {
                parts.insert((version, 1), vec![name.clone()]);
            }
            ["checkpoint", _, of, "parquet"] => {
                if let Ok(of) = of.parse() {
                    parts.entry((version, of)).or_default().push(name.clone());
                }
            }
            _ => {}
        }
    }
    let whole = parts.into_iter().rev().find(|((_, of), names)| names.len() as u64 == *of);
    let checkpoint = whole.map(|((version, _), names)| (version, names));
    if commits.is_empty() && checkpoint.is_none() {
        return Ok(None);
    }
    let mut next = checkpoint.as_ref().map_or(from, |(version, _)| version + 1);
    for version in commits {
        if version < next {
            continue;
        }
        if version != next {
            return Err(next);
        }
        next += 1;
    }
    Ok(Some(Listing { checkpoint, last: next - 1 }))
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
            let got = read(&names, from);
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
        check(&[&commits[3..], &[part, other]].concat(), 0, Ok(Some((Some(4), 4))));
        check(&["3.json", "4.crc", "_x.json", "3.4.compacted.json"], 3, Ok(Some((None, 3))));
    }
}
