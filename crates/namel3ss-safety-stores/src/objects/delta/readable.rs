//! Whether a table, ours or somebody else's, can be read here. Less is asked of it than for writing:
//! constraints, generated columns and the like are about what is written.

use namel3ss_safety::AdapterError;
use serde_json::Value;

use super::schema::{columns, names, same, version, word};

/// Of reader features (reader version 3), those without which every file can be read, or that a file
/// says of itself that it needs.
const HARMLESS: [&str; 5] =
    ["columnMapping", "deletionVectors", "timestampNtz", "vacuumProtocolCheck", "variantType"];
/// The setting by which columns have other names in the files.
const MAPPING: &str = "delta.columnMapping.mode";

fn refused(what: impl std::fmt::Display) -> AdapterError {
    AdapterError::config(format!("read the Delta table: {what}; use deltalake or Spark"))
}

/// Whether a table of this `protocol` can be read at all.
///
/// # Errors
/// `Config`, naming the version or the feature that is too much.
pub(super) fn check_protocol(protocol: &Value) -> Result<(), AdapterError> {
    let needed = names(protocol, "readerFeatures").into_iter().find(|f| !HARMLESS.contains(f));
    if let Some(feature) = needed {
        return Err(refused(format_args!(
            "it needs the feature {feature}, which is not supported here"
        )));
    }
    match version(protocol, "minReaderVersion") {
        ..=3 => Ok(()),
        reader => Err(refused(format_args!(
            "it needs reader version {reader}, and up to 3 is supported here"
        ))),
    }
}

/// Whether the columns that `metadata` describes can be read.
///
/// # Errors
/// `Config`: one is missing or of another type, has another name in the files, or is not in them.
pub(super) fn check_columns(metadata: &Value) -> Result<(), AdapterError> {
    let unreadable = || refused("its metadata can't be read");
    let mapping = metadata.get("configuration").and_then(|settings| settings.get(MAPPING));
    if let Some(mode) = mapping.and_then(Value::as_str).filter(|mode| *mode != "none") {
        return Err(refused(format_args!(
            "its columns have other names in its files ({MAPPING}={mode}), not supported here"
        )));
    }
    let schema = metadata.get("schemaString").and_then(Value::as_str).ok_or_else(unreadable)?;
    let schema: Value = serde_json::from_str(schema).map_err(|_| unreadable())?;
    let fields = schema.get("fields").and_then(Value::as_array).ok_or_else(unreadable)?;
    let partitions = names(metadata, "partitionColumns");
    for (name, ours) in columns() {
        let named = |field: &&Value| field.get("name").and_then(Value::as_str) == Some(name);
        let theirs = fields.iter().find(named);
        let theirs = theirs.ok_or_else(|| refused(format_args!("it has no column {name}")))?;
        let theirs = theirs.get("type").unwrap_or(&Value::Null);
        if !same(theirs, &ours) {
            let (theirs, ours) = (word(theirs), word(&ours));
            return Err(refused(format_args!(
                "its column {name} is {theirs} and should be {ours}"
            )));
        }
        if partitions.contains(&name) {
            return Err(refused(format_args!(
                "it is partitioned by {name}, so that its files have no such column"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema::begin;
    use super::*;

    #[test]
    fn tables_are_read_or_refused_with_the_reason() {
        let [protocol, metadata] = begin(0);
        let (protocol, metadata) = (&protocol["protocol"], &metadata["metaData"]);
        let check = |protocol: &Value, metadata: &Value, part: Option<&str>| match (
            check_protocol(protocol).and_then(|()| check_columns(metadata)),
            part,
        ) {
            (Ok(()), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, part) => panic!("{protocol}: {got:?}, expected {part:?}"),
        };
        check(protocol, metadata, None);
        let reader = |version: u32, features: &[&str]| json!({"minReaderVersion": version, "minWriterVersion": 7, "readerFeatures": features});
        check(&reader(1, &[]), metadata, None);
        check(&reader(2, &[]), metadata, None);
        check(&reader(3, &["deletionVectors", "columnMapping"]), metadata, None);
        check(&reader(3, &["v2Checkpoint"]), metadata, Some("the feature v2Checkpoint"));
        check(&reader(4, &[]), metadata, Some("reader version 4"));
        let with = |name: &str, value: Value| {
            let mut other = metadata.clone();
            other[name] = value;
            other
        };
        let settings = |mode: &str| with("configuration", json!({MAPPING: mode}));
        check(protocol, &settings("none"), None);
        check(protocol, &settings("name"), Some("columnMapping.mode=name"));
        check(protocol, &with("partitionColumns", json!(["region"])), None);
        let by_action = with("partitionColumns", json!(["date", "action"]));
        check(protocol, &by_action, Some("partitioned by action"));
        let schema = metadata["schemaString"].as_str().expect("a schema");
        let renamed = |from: &str, to: &str| with("schemaString", json!(schema.replace(from, to)));
        let other = renamed("\"name\":\"reason\"", "\"name\":\"why\"");
        check(protocol, &other, Some("no column reason"));
        check(protocol, &renamed("\"long\"", "\"integer\""), Some("seq is integer and should be"));
    }
}
