//! A data file as its table's log tells of it: where it lies, and what its rows can be, so that it
//! need not be opened to know that.

use namel3ss_safety::ReadError;
use namel3ss_safety::Timestamp;
use serde_json::Value;

use super::schema::DATE;
use crate::objects::key::Day;
use crate::url::percent::percent_decoded;

/// What statistics may leave out of a moment: Spark cuts milliseconds off.
const CUT_MICROS: i64 = 999;

/// A file that a commit has added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Added {
    /// From the table's root.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// How many rows it has, where statistics say so.
    pub(super) rows: Option<u64>,
    /// The day of its partition, or else of its first row, where that is known.
    day: Option<Day>,
    /// No row is later, where that is known.
    last: Option<Timestamp>,
    stored: Timestamp,
    /// Some of its rows are deleted by a file beside it.
    has_deleted: bool,
}

impl Added {
    /// From the value of an `add` action; `None` for one without a path.
    pub(super) fn of(add: &Value) -> Option<Self> {
        let path = add.get("path")?.as_str()?;
        let stats = add.get("stats").and_then(Value::as_str);
        let stats: Value =
            stats.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let moment = |bounds: &str| -> Option<Timestamp> {
            stats.get(bounds)?.get("timestamp")?.as_str()?.parse().ok()
        };
        let first = moment("minValues").map(Day::of);
        let number = |name: &str| add.get(name).and_then(Value::as_i64).unwrap_or(0);
        Some(Self {
            path: percent_decoded(path).unwrap_or_else(|_| path.to_owned()),
            bytes: number("size").try_into().unwrap_or(0),
            rows: stats.get("numRecords").and_then(Value::as_u64),
            day: add.get("partitionValues").and_then(day).or(first),
            last: moment("maxValues")
                .map(|at| Timestamp::from_micros(at.micros().saturating_add(CUT_MICROS))),
            stored: Timestamp::from_micros(number("modificationTime").saturating_mul(1000)),
            has_deleted: add.get("deletionVector").is_some_and(|vector| !vector.is_null()),
        })
    }

    /// Whether it may hold rows of `since` or later: by its statistics, or else by its day. What
    /// somebody else calls a day may be another than in UTC.
    pub(super) fn reaches(&self, since: Option<Timestamp>) -> bool {
        since.is_none_or(|since| match (self.last, self.day) {
            (Some(last), _) => last >= since,
            (None, Some(day)) => day.next() >= Day::of(since),
            (None, None) => true,
        })
    }

    /// What files are read by: their days, and in a day the moments of their last rows.
    pub(super) fn order(&self) -> (Option<Day>, Timestamp, &str) {
        (self.day, self.last.unwrap_or(self.stored), &self.path)
    }

    /// Whether what it holds can be read from it alone.
    ///
    /// # Errors
    /// Says why not.
    pub(super) fn check(&self) -> Result<(), ReadError> {
        let text = if self.has_deleted {
            "some of its rows are deleted by a deletion vector, which is not supported here: have it \
             written anew (REORG TABLE … APPLY (PURGE), or OPTIMIZE), or use deltalake or Spark"
        } else if self.path.contains("://")
            || self.path.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            "it lies outside of the table's folder, which is not supported here; use deltalake or Spark"
        } else {
            return Ok(());
        };
        Err(ReadError::Dataset(text.to_owned()))
    }
}

/// The day that the values of a file's partition name.
fn day(values: &Value) -> Option<Day> {
    let midnight = format!("{}T00:00:00Z", values.get(DATE)?.as_str()?);
    midnight.parse().ok().map(Day::of)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statistics_and_days_say_what_need_not_be_read() {
        let file = |date: Value, last: Option<&str>| {
            let stats = last.map(|last| json!({"maxValues": {"timestamp": last}}).to_string());
            let add = json!({"path": "a%20b", "size": 1, "partitionValues": {"date": date}, "stats": stats});
            Added::of(&add).expect("it has a path")
        };
        let check = |date: Value, last: Option<&str>, since: &str, reaches: bool| {
            let since = Some(since.parse().expect("a time"));
            assert_eq!(file(date, last).reaches(since), reaches, "{last:?} {since:?}");
        };
        let day = || json!("2026-03-01");
        check(day(), Some("2026-03-01T12:00:00.500Z"), "2026-03-01T12:00:00.500900Z", true);
        check(day(), Some("2026-03-01T12:00:00.500Z"), "2026-03-01T12:00:00.501Z", false);
        check(day(), Some("2026-03-01T14:00:00.500+02:00"), "2026-03-01T12:00:00.501Z", false);
        check(day(), None, "2026-03-02T23:59:59Z", true);
        check(day(), None, "2026-03-03T00:00:00Z", false);
        check(day(), Some("no time"), "2026-03-03T00:00:00Z", false);
        check(Value::Null, None, "2026-03-03T00:00:00Z", true);
        check(json!("nonsense"), None, "2026-03-03T00:00:00Z", true);
        assert!(file(day(), None).reaches(None));
        assert_eq!(file(day(), None).path, "a b");
        for (path, part) in [("../x", "outside"), ("s3://b/x", "outside"), ("/x", "outside")] {
            let error = Added::of(&json!({"path": path})).expect("a path").check();
            assert!(error.expect_err(path).to_string().contains(part), "{path}");
        }
        let deleted = json!({"path": "x", "deletionVector": {"storageType": "u"}});
        let error = Added::of(&deleted).expect("a path").check().expect_err("deleted rows");
        assert!(error.to_string().contains("deletion vector"), "{error}");
    }
}
