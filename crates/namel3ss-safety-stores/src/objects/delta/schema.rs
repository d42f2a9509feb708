//! The table's schema: that of the tables we make, and whether somebody else's takes our rows.

use namel3ss_safety::{AdapterError, FIELDS, JournalId};
use serde_json::{Map, Value, json};

/// The partition column of our tables: the event's own UTC date.
pub(super) const DATE: &str = "date";
/// Columns that hold null where an event has none; all others always have a value.
const OPTIONAL: std::ops::Range<usize> = 2..10;
/// Of writer features (writer version 7), those that ask nothing of us.
const HARMLESS: [&str; 2] = ["appendOnly", "invariants"];

/// Our columns, each with the protocol's word for its type.
pub(super) fn columns() -> impl Iterator<Item = (&'static str, Value)> {
    let of = |name: &'static str| match name {
        "timestamp" => json!("timestamp"),
        "categories" => json!({"type": "array", "elementType": "string", "containsNull": true}),
        "confidence" | "latency_ms" => json!("double"),
        _ => json!("string"),
    };
    let fields = FIELDS.into_iter().map(move |name| (name, of(name)));
    fields.chain([("journal_id", json!("string")), ("seq", json!("long"))])
}

/// The actions that begin a table of ours.
pub(super) fn begin(now_millis: i64) -> [Value; 2] {
    let field =
        |name: &str, of: Value| json!({"name": name, "type": of, "nullable": true, "metadata": {}});
    let mut fields: Vec<Value> = columns().map(|(name, of)| field(name, of)).collect();
    fields.push(field(DATE, json!("date")));
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    let id = JournalId::generate().to_string();
    let id = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-");
    [
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        json!({"metaData": {
            "id": id,
            "name": "safety_events",
            "description": "guardrail decisions, written by namel3ss-safety",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema,
            "partitionColumns": [DATE],
            "configuration": {},
            "createdTime": now_millis,
        }}),
    ]
}

/// What a writer has to know about a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Whether it is partitioned by [`DATE`]; otherwise it is not partitioned.
    pub(super) by_date: bool,
    /// Whether a checkpoint of ours would hold all that readers of this table look for.
    pub(super) checkpoints: bool,
    /// Whether files that were removed are remembered for as long as the protocol says, and not for
    /// as long as the table does.
    pub(super) forgets: bool,
}

fn refused(what: impl std::fmt::Display) -> AdapterError {
    AdapterError::config(format!("write to the Delta table: {what}"))
}

pub(super) fn version(protocol: &Value, name: &str) -> i64 {
    protocol.get(name).and_then(Value::as_i64).unwrap_or(i64::MAX)
}

/// The words that an action lists under `name`.
pub(super) fn names<'a>(action: &'a Value, name: &str) -> Vec<&'a str> {
    let listed = action.get(name).and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether we may write to a table of this `protocol` at all.
///
/// # Errors
/// `Config`, naming the version or the feature that is too much.
pub(super) fn check_protocol(protocol: &Value) -> Result<(), AdapterError> {
    let (reader, writer) =
        (version(protocol, "minReaderVersion"), version(protocol, "minWriterVersion"));
    let mut wanted = names(protocol, "readerFeatures");
    wanted.extend(
        names(protocol, "writerFeatures").into_iter().filter(|name| !HARMLESS.contains(name)),
    );
    if let Some(feature) = wanted.first() {
        return Err(refused(format_args!(
            "it needs the feature {feature}, which is not supported here; drop it or name another table"
        )));
    }
    let known = (reader <= 1 || reader == 3) && (writer <= 2 || writer == 7);
    if known {
        return Ok(());
    }
    Err(refused(format_args!(
        "it needs reader version {reader} and writer version {writer}, and 1 and 2 are supported here; \
         name another table"
    )))
}

/// What `metadata`, the table's own description, asks of its writers.
///
/// # Errors
/// `Config`: a column is missing or of another type, or something else can't be honoured.
pub(super) fn layout(metadata: &Value) -> Result<Layout, AdapterError> {
    let unreadable = || refused("its metadata can't be read, see whether another tool can");
    let schema = metadata.get("schemaString").and_then(Value::as_str).ok_or_else(unreadable)?;
    let schema: Value = serde_json::from_str(schema).map_err(|_| unreadable())?;
    let fields = schema.get("fields").and_then(Value::as_array).ok_or_else(unreadable)?;
    let named = |name: &str| {
        fields.iter().find(|field| field.get("name").and_then(Value::as_str) == Some(name))
    };

    let missing: Vec<&str> =
        columns().map(|(name, _)| name).filter(|name| named(name).is_none()).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(refused(format_args!(
            "it has no column {missing}; add it or name another table"
        )));
    }
    for (at, (name, ours)) in columns().enumerate() {
        let theirs = named(name).and_then(|field| field.get("type")).unwrap_or(&Value::Null);
        if !same(theirs, &ours) {
            let (theirs, ours) = (word(theirs), word(&ours));
            let what = format_args!("its column {name} is {theirs} and should be {ours}");
            return Err(refused(what));
        }
        if OPTIONAL.contains(&at) && named(name).is_some_and(|field| !nullable(field)) {
            return Err(refused(format_args!(
                "its column {name} takes no null, and events have none"
            )));
        }
    }
    let by_date = by_date(metadata, named(DATE))?;
    for field in fields {
        let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
        let ours = columns().any(|(ours, _)| ours == name) || (by_date && name == DATE);
        if !ours && !nullable(field) {
            return Err(refused(format_args!("its column {name} takes no null, and is not ours")));
        }
        let rules = field.get("metadata").and_then(Value::as_object);
        for rule in ["delta.invariants", "delta.generationExpression", "delta.identity.start"] {
            if rules.is_some_and(|rules| rules.contains_key(rule)) {
                return Err(refused(format_args!(
                    "its column {name} has {rule}, not supported here"
                )));
            }
        }
    }

    let none = Map::new();
    let settings = metadata.get("configuration").and_then(Value::as_object).unwrap_or(&none);
    let constraint = settings.keys().find(|key| key.starts_with("delta.constraints."));
    if let Some(constraint) = constraint {
        return Err(refused(format_args!("it has {constraint}, and can't be checked here")));
    }
    let is = |key: &str, value: &str| settings.get(key).and_then(Value::as_str) == Some(value);
    Ok(Layout {
        by_date,
        checkpoints: !is("delta.checkpoint.writeStatsAsJson", "false"),
        forgets: !settings.contains_key("delta.deletedFileRetentionDuration"),
    })
}

fn by_date(metadata: &Value, date: Option<&Value>) -> Result<bool, AdapterError> {
    match names(metadata, "partitionColumns").as_slice() {
        [] => Ok(false),
        [DATE] => {
            let of = date.and_then(|field| field.get("type"));
            if of.and_then(Value::as_str) == Some("date") && date.is_some_and(nullable) {
                return Ok(true);
            }
            Err(refused("its partition column date should be of type date, and take null"))
        }
        others => Err(refused(format_args!(
            "it is partitioned by {}; by date, or by nothing, is supported here",
            others.join(", ")
        ))),
    }
}

fn nullable(field: &Value) -> bool {
    field.get("nullable").and_then(Value::as_bool) != Some(false)
}

pub(super) fn same(theirs: &Value, ours: &Value) -> bool {
    let part = |of: &Value, name: &str| of.get(name).cloned();
    theirs == ours
        || (ours.is_object()
            && ["type", "elementType"].iter().all(|name| part(theirs, name) == part(ours, name)))
}

pub(super) fn word(of: &Value) -> String {
    match of {
        Value::String(word) => word.clone(),
        Value::Object(parts) => {
            let part = |name: &str| parts.get(name).and_then(Value::as_str).unwrap_or("…");
            format!("{}<{}>", part("type"), part("elementType"))
        }
        _ => "of no type".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_ours_takes_our_rows_and_others_are_told_why_not() {
        let [protocol, metadata] = begin(0);
        check_protocol(&protocol["protocol"]).expect("our own protocol");
        let ours = &metadata["metaData"];
        assert_eq!(
            layout(ours).expect("ours"),
            Layout { by_date: true, checkpoints: true, forgets: true }
        );
        assert_eq!(ours["id"].as_str().map(str::len), Some(36));

        let schema = ours["schemaString"].as_str().expect("a schema");
        let check = |from: &str, to: &str, part: &str| {
            assert!(schema.contains(from), "{from}");
            let mut other = ours.clone();
            other["schemaString"] = json!(schema.replace(from, to));
            let error = layout(&other).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        };
        check("\"name\":\"reason\"", "\"name\":\"why\"", "no column reason");
        check("\"long\"", "\"integer\"", "its column seq is integer and should be long");
        check("\"array\"", "\"map\"", "should be array<string>");
        check("\"type\":\"date\"", "\"type\":\"string\"", "should be of type date");
        check("\"metadata\":{}", "\"metadata\":{\"delta.invariants\":\"x\"}", "delta.invariants");
        let mut other = ours.clone();
        other["partitionColumns"] = json!(["action"]);
        assert!(layout(&other).expect_err("why").to_string().contains("partitioned by action"));
        other = ours.clone();
        other["configuration"] = json!({"delta.constraints.late": "seq > 7"});
        assert!(layout(&other).expect_err("why").to_string().contains("delta.constraints.late"));

        let check = |protocol: Value, part: Option<&str>| match (check_protocol(&protocol), part) {
            (Ok(()), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, part) => panic!("{protocol}: {got:?}, expected {part:?}"),
        };
        check(json!({"minReaderVersion": 1, "minWriterVersion": 2}), None);
        check(json!({"minReaderVersion": 2, "minWriterVersion": 5}), Some("reader version 2"));
        check(json!({"minReaderVersion": 1, "minWriterVersion": 4}), Some("writer version 4"));
        let features = |reader: &[&str], writer: &[&str]| {
            json!({"minReaderVersion": 3, "minWriterVersion": 7,
                   "readerFeatures": reader, "writerFeatures": writer})
        };
        check(features(&[], &["appendOnly", "invariants"]), None);
        check(
            features(&["deletionVectors"], &["deletionVectors"]),
            Some("feature deletionVectors"),
        );
        check(features(&[], &["rowTracking"]), Some("feature rowTracking"));
    }
}
