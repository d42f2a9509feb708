//! Our columns in somebody's table: which it has, and which go to its `metadata`.

use namel3ss_safety::{AdapterError, FIELDS};

pub(crate) const EVENT_ID: usize = 0;
pub(crate) const TIMESTAMP: usize = 1;
pub(crate) const CATEGORIES: usize = 12;
pub(crate) const CONFIDENCE: usize = 14;
pub(crate) const LATENCY: usize = 15;
pub(crate) const METADATA: usize = 16;
pub(crate) const JOURNAL: usize = 17;
pub(crate) const SEQ: usize = 18;
const COLUMNS: usize = 19;

/// The name of one of our columns.
pub(crate) fn name(column: usize) -> &'static str {
    match column {
        JOURNAL => "journal_id",
        SEQ => "seq",
        field => FIELDS[field],
    }
}

/// One of our columns, as the table has it.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Which of ours.
    pub(crate) ours: usize,
    /// What it is called there, in the case that it has there.
    pub(crate) theirs: String,
    /// Its type, in the dialect's own words.
    pub(crate) sql_type: String,
}

/// Which of our columns a table has.
#[derive(Clone, Debug)]
pub(crate) struct Matching {
    /// Those that it has, in our order.
    pub(crate) columns: Vec<Column>,
    /// Those that it has not, and that go to its `metadata`.
    pub(crate) rest: Vec<usize>,
}

impl Matching {
    /// From the names and types of a table's columns; `table` is for the error.
    pub(crate) fn of(found: &[(String, String)], table: &str) -> Result<Self, AdapterError> {
        let mut columns = Vec::new();
        let mut rest = Vec::new();
        for ours in 0..COLUMNS {
            match found.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(name(ours))) {
                Some((theirs, sql_type)) => columns.push(Column {
                    ours,
                    theirs: theirs.clone(),
                    sql_type: sql_type.clone(),
                }),
                None => rest.push(ours),
            }
        }
        if rest.contains(&METADATA) {
            let missing: Vec<&str> = rest.iter().map(|column| name(*column)).collect();
            return Err(AdapterError::config(format!(
                "write to table {table}: it lacks {}; add these columns, or a metadata column to hold \
                 what has none",
                missing.join(", ")
            )));
        }
        Ok(Self { columns, rest })
    }
}

/// Of a table's unique keys, each a list of column names, the one by which a row that is sent again
/// is known: `journal_id`, `seq`, and nothing else but what is the same each time and never null, as
/// a partitioned table's key must hold.
pub(crate) fn key(keys: Vec<Vec<String>>) -> Option<Vec<String>> {
    let is = |name: &String, word: &str| name.eq_ignore_ascii_case(word);
    let mut good: Vec<Vec<String>> = keys
        .into_iter()
        .filter(|key| {
            ["journal_id", "seq"].iter().all(|word| key.iter().any(|name| is(name, word)))
                && key.iter().all(|name| {
                    ["journal_id", "seq", "timestamp", "event_id"].iter().any(|word| is(name, word))
                })
        })
        .collect();
    good.sort_by_key(Vec::len);
    good.into_iter().next()
}

/// Whether one of these unique keys says that no `journal_id` and `seq` can be there twice.
#[cfg(feature = "read")]
pub(crate) fn is_unique(keys: impl IntoIterator<Item = Vec<String>>) -> bool {
    keys.into_iter().any(|key| key.len() == 2 && self::key(vec![key]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_match_whatever_their_case_and_the_rest_needs_metadata() {
        let found = |names: &[&str]| -> Vec<(String, String)> {
            names.iter().map(|name| ((*name).to_owned(), "text".to_owned())).collect()
        };
        let matching = Matching::of(&found(&["Metadata", "team", "SEQ"]), "t").unwrap();
        let theirs: Vec<&str> = matching.columns.iter().map(|c| c.theirs.as_str()).collect();
        assert_eq!(theirs, ["Metadata", "SEQ"]);
        assert_eq!(matching.rest.len(), COLUMNS - 2);
        let error = Matching::of(&found(&["seq", "event_id"]), "\"t\"").unwrap_err().to_string();
        assert!(error.contains("\"t\": it lacks timestamp, app_name"), "{error}");
    }

    #[test]
    fn a_key_may_hold_what_a_row_keeps_and_nothing_else() {
        let keys = |keys: &[&str]| -> Option<String> {
            let split = |key: &&str| key.split(',').map(str::to_owned).collect();
            key(keys.iter().map(split).collect()).map(|key| key.join(","))
        };
        assert_eq!(keys(&["event_id", "SEQ,journal_id"]), Some("SEQ,journal_id".into()));
        assert_eq!(
            keys(&["journal_id,seq,timestamp", "seq"]),
            Some("journal_id,seq,timestamp".into())
        );
        assert_eq!(
            keys(&["journal_id,seq,timestamp", "journal_id,seq"]),
            Some("journal_id,seq".into())
        );
        assert_eq!(keys(&["journal_id,seq,tenant", "journal_id", "seq"]), None);
    }
}
