//! The functions that SQL may call: SQLite's own that only compute, and `ago`, `bucket`, `percentile`,
//! `regexp`.

use std::time::Duration;

use namel3ss_safety::Timestamp;
use regex::{Regex, RegexBuilder};
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result};

use crate::moment::{moment, shown};
use crate::run::Run;

/// All that may be called.
pub(crate) const ALLOWED: &[&str] = &[
    // Ours.
    "ago",
    "bucket",
    "percentile",
    "regexp",
    // Texts and numbers.
    "abs",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "format",
    "glob",
    "hex",
    "if",
    "ifnull",
    "iif",
    "instr",
    "length",
    "like",
    "likelihood",
    "likely",
    "lower",
    "ltrim",
    "max",
    "min",
    "nullif",
    "octet_length",
    "printf",
    "quote",
    "random",
    "randomblob",
    "replace",
    "round",
    "rtrim",
    "sign",
    "soundex",
    "substr",
    "substring",
    "trim",
    "typeof",
    "unhex",
    "unicode",
    "unistr",
    "unlikely",
    "upper",
    "zeroblob",
    // Aggregates and windows.
    "avg",
    "count",
    "cume_dist",
    "dense_rank",
    "first_value",
    "group_concat",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
    "string_agg",
    "sum",
    "total",
    // Dates.
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "julianday",
    "strftime",
    "time",
    "timediff",
    "unixepoch",
    // JSON.
    "->",
    "->>",
    "json",
    "json_array",
    "json_array_length",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_patch",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
];

/// A regular expression takes no more than this, compiled.
const REGEX_BYTES_MAX: usize = 1 << 20;

const DAY: i64 = 86_400_000_000;

/// Gives a connection our functions.
pub(crate) fn add(connection: &Connection, run: &Run) -> Result<()> {
    let pure = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let run = run.clone();
    // The same during a statement.
    connection.create_scalar_function("ago", 1, pure, move |context| {
        let Some(span) = text(context, 0)? else { return Ok(None) };
        let micros = micros(&span).map_err(|error| wrong(format!("ago('{span}'): {error}")))?;
        let now = run.state().now.micros();
        Ok(Some(shown(Timestamp::from_micros(now.saturating_sub(micros)))))
    })?;
    connection.create_scalar_function("bucket", 2, pure, |context| {
        let (Some(span), Some(at)) = (text(context, 0)?, text(context, 1)?) else {
            return Ok(None);
        };
        let width = micros(&span).and_then(|micros| match micros {
            0 => Err("a bucket has a width".to_owned()),
            micros => Ok(micros),
        });
        let width = width.map_err(|error| wrong(format!("bucket('{span}', …): {error}")))?;
        Ok(moment(&at).map(|at| shown(Timestamp::from_micros(start(at.micros(), width)))))
    })?;
    connection.create_scalar_function("regexp", 2, pure, |context| {
        let (ValueRef::Text(_), Some(searched)) = (context.get_raw(0), text(context, 1)?) else {
            return Ok(None);
        };
        let regex = context.get_or_create_aux(0, |pattern| -> Result<Regex, String> {
            let pattern = pattern.as_str().map_err(|error| error.to_string())?;
            let built = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
            built.map_err(|error| format!("regular expression '{pattern}': {error}"))
        })?;
        Ok(Some(regex.is_match(&searched)))
    })?;
    connection.create_aggregate_function("percentile", 2, pure, Percentile)
}

/// An argument as text; `None` for null.
fn text(context: &Context<'_>, at: usize) -> Result<Option<String>> {
    Ok(match context.get_raw(at) {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            Some(String::from_utf8_lossy(text).into_owned())
        }
    })
}

fn wrong(text: String) -> Error {
    Error::UserFunctionError(text.into())
}

/// A span in microseconds. Months and years have no fixed length.
fn micros(span: &str) -> Result<i64, String> {
    let usage = || "a span is a number and ms, s, m, h, d or w, such as 1h or '15 min'".to_owned();
    let has_no_length = |word: &str| {
        word == "M" || word.to_ascii_lowercase().starts_with("mon") || word.starts_with(['y', 'Y'])
    };
    if span.split(|c: char| !c.is_ascii_alphabetic()).any(has_no_length) {
        return Err(usage());
    }
    let span: Duration = humantime::parse_duration(span).map_err(|_| usage())?;
    i64::try_from(span.as_micros()).map_err(|_| usage())
}

/// The beginning of the bucket of a moment. Buckets are counted from 1970; those of whole weeks begin on
/// Mondays.
fn start(at: i64, width: i64) -> i64 {
    // The first Monday.
    let origin = if width % (7 * DAY) == 0 { 4 * DAY } else { 0 };
    let within = i128::from(at) - i128::from(origin);
    let start = within.div_euclid(width.into()) * i128::from(width) + i128::from(origin);
    i64::try_from(start).unwrap_or(i64::MIN)
}

/// `percentile(Y, P)` as SQLite's extension has it: of the numbers that are not null the one at P percent,
/// between two of them in proportion.
struct Percentile;

impl Aggregate<(Vec<f64>, Option<f64>), Option<f64>> for Percentile {
    fn init(&self, _: &mut Context<'_>) -> Result<(Vec<f64>, Option<f64>)> {
        Ok((Vec::new(), None))
    }

    fn step(
        &self,
        context: &mut Context<'_>,
        (all, at): &mut (Vec<f64>, Option<f64>),
    ) -> Result<()> {
        let percent = number(context.get_raw(1)).filter(|percent| (0.0..=100.0).contains(percent));
        let Some(percent) = percent else {
            return Err(wrong(
                "percentile(number, percent): the percent is from 0 to 100".to_owned(),
            ));
        };
        if *at.get_or_insert(percent) != percent {
            return Err(wrong(
                "percentile(number, percent): the percent is one for all rows".to_owned(),
            ));
        }
        let value = match context.get_raw(0) {
            ValueRef::Null => return Ok(()),
            value => number(value).filter(|value| value.is_finite()),
        };
        let Some(value) = value else {
            return Err(wrong("percentile(number, percent): a value is no number".to_owned()));
        };
        all.try_reserve(1).map_err(|error| wrong(format!("percentile: {error}")))?;
        all.push(value);
        Ok(())
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        all: Option<(Vec<f64>, Option<f64>)>,
    ) -> Result<Option<f64>> {
        let Some((mut all, Some(percent))) = all else { return Ok(None) };
        if all.is_empty() {
            return Ok(None);
        }
        all.sort_unstable_by(f64::total_cmp);
        let at = percent / 100.0 * (all.len() - 1) as f64;
        let (low, high) = (all[at.floor() as usize], all[at.ceil() as usize]);
        Ok(Some(low + (high - low) * at.fract()))
    }
}

fn number(value: ValueRef<'_>) -> Option<f64> {
    match value {
        ValueRef::Integer(number) => Some(number as f64),
        ValueRef::Real(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_their_moments_and_weeks_begin_on_mondays() {
        let hour = micros("1 hour").unwrap();
        let week = micros("1w").unwrap();
        for (at, width, expected) in [
            ("2026-03-01T12:34:56.789Z", hour, "2026-03-01 12:00:00.000000"),
            ("2026-03-01T12:00:00Z", hour, "2026-03-01 12:00:00.000000"),
            ("1969-12-31T23:59:59Z", hour, "1969-12-31 23:00:00.000000"),
            ("2026-03-01T12:34:56Z", DAY, "2026-03-01 00:00:00.000000"),
            // A Sunday, and the Monday behind it.
            ("2026-03-01T12:34:56Z", week, "2026-02-23 00:00:00.000000"),
            ("2026-03-02T00:00:00Z", week, "2026-03-02 00:00:00.000000"),
        ] {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(shown(Timestamp::from_micros(start(at.micros(), width))), expected);
        }
        for span in ["1 month", "2M", "1y", "1 year", "", "1", "5 apples"] {
            assert!(micros(span).is_err(), "{span}");
        }
        assert_eq!(micros("15min"), Ok(900_000_000));
    }
}
