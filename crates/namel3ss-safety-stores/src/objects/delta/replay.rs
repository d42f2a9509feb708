//! What a log adds up to: of each kind and name, the last action.

use std::collections::BTreeMap;

use namel3ss_safety::AdapterError;
use serde_json::Value;

use super::checkpoint;
use super::log::{Listing, Log, Unread};

/// What an action is about: a later one of the same takes its place. `None` for what does not last,
/// such as who made a commit.
fn about(action: &Value) -> Option<(&'static str, String)> {
    let text = |kind: &str, name: &str| {
        action.get(kind)?.get(name).and_then(Value::as_str).map(str::to_owned)
    };
    for kind in ["add", "remove"] {
        if let Some(path) = text(kind, "path") {
            return Some(("file", path + &deleted(&action[kind])));
        }
    }
    if let Some(app_id) = text("txn", "appId") {
        return Some(("txn", app_id));
    }
    let kind = ["protocol", "metaData"].into_iter().find(|kind| action.get(kind).is_some())?;
    Some((kind, String::new()))
}

/// What tells a file with some of its rows deleted from the same one before: one commit removes the
/// one and adds the other.
fn deleted(file: &Value) -> String {
    let Some(vector) = file.get("deletionVector").filter(|vector| !vector.is_null()) else {
        return String::new();
    };
    let part = |name: &str| vector.get(name).map(Value::to_string).unwrap_or_default();
    ["storageType", "pathOrInlineDv", "offset"].map(|name| format!("\0{}", part(name))).concat()
}

/// Hands what holds after the last commit of `listing` to `each`: the checkpoint streams past, the
/// commits behind it are in memory.
pub(super) fn replay(
    log: &Log,
    listing: &Listing,
    mut each: impl FnMut(Value) -> Result<(), AdapterError>,
) -> Result<(), Unread> {
    let mut since: BTreeMap<(&str, String), Value> = BTreeMap::new();
    for version in listing.first()..=listing.last {
        let gone = || AdapterError::transient("read the Delta table's log: it was cleaned up");
        for action in log.commit(version)?.ok_or_else(gone)?.actions {
            if let Some(about) = about(&action) {
                since.insert(about, action);
            }
        }
    }
    if let Some((_, parts)) = &listing.checkpoint {
        checkpoint::read(log, parts, &[], |action| match about(&action) {
            Some(about) if !since.contains_key(&about) => each(action),
            _ => Ok(()),
        })?;
    }
    since.into_values().try_for_each(each)?;
    Ok(())
}
