//! What the tests of Delta tables share.

use std::path::Path;

use namel3ss_safety::ReadRow;
use namel3ss_safety_stores::objects::delta;
use serde_json::Value;

use crate::objects::support::{conforms_as_read, seqs_of};

/// Runs the suite on tables that `fresh` names, none of which is there.
pub(crate) fn conforms(fresh: impl Fn() -> String) {
    conforms_as_read(fresh, all);
}

/// All rows of a table.
pub(crate) fn all(url: &str) -> Vec<ReadRow> {
    delta::read(url).expect("a table").map(|row| row.expect("a whole row")).collect()
}

/// The seqs in a table, in order.
pub(crate) fn seqs(url: &str) -> Vec<u64> {
    seqs_of(&all(url))
}

/// A table in a folder, and its URL.
pub(crate) fn with_table(check: impl Fn(&Path, &str)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events");
    check(&path, &format!("delta+file://{}", path.display()));
}

/// The actions of a commit of the table in `folder`.
pub(crate) fn commit(folder: &Path, version: u64) -> Vec<Value> {
    let path = folder.join(format!("_delta_log/{version:020}.json"));
    let text = std::fs::read_to_string(path).expect("a commit");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Those of `actions` that are of `kind`.
pub(crate) fn of<'a>(actions: &'a [Value], kind: &str) -> Vec<&'a Value> {
    actions.iter().filter_map(|action| action.get(kind)).collect()
}

/// The URL of a table in the bucket `safety` of an S3 server on this machine.
pub(crate) fn s3(port: u16, place: &str) -> String {
    let with = if place.contains('?') { '&' } else { '?' };
    format!(
        "delta+s3://safety/{place}{with}endpoint=http://127.0.0.1:{port}&access_key_id=test\
         &secret_access_key=testtest&max_retries=1&timeout=20"
    )
}
