//! Points in time, in every form in which apps, logs and databases write them.

use chrono::{DateTime, Days, FixedOffset, NaiveDate, NaiveDateTime, Utc};
use serde_json::{Number, Value};

use crate::clock::{ParseTimestampError, Timestamp};

impl std::str::FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Without an offset a text is UTC. It reads
    ///
    /// - what `datetime.fromisoformat` of Python 3.14 reads: dates alone, without seconds, the basic
    ///   form, week dates, `.123` and `,123`, `24:00`; with the offset also behind a space, and `UTC`;
    /// - RFC 2822, and the form of Apache's logs (`01/Mar/2026:12:00:00 +0000`);
    /// - numbers of seconds, milliseconds, microseconds or nanoseconds since 1970, by their size;
    /// - what its `Display` writes for years that have more than four digits.
    ///
    /// Decimals beyond microseconds are cut. An error where there is no such moment, such as a 30th of
    /// February, or a second 60.
    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        moment_of_text(text).ok_or(ParseTimestampError)
    }
}

/// The moment that a JSON value names: a number ([`moment_of_float`]), a text ([`moment_of_text`]),
/// or MongoDB's `{"$date": …}`, whose numbers are milliseconds. `None` where there is no such
/// moment.
#[must_use]
pub fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => of_number(number),
        Value::String(text) => moment_of_text(text),
        Value::Object(fields) if fields.len() == 1 => match fields.get("$date")? {
            Value::String(text) => moment_of_text(text),
            Value::Number(millis) => of_millis(millis.as_i64()?),
            Value::Object(long) => of_millis(long.get("$numberLong")?.as_str()?.parse().ok()?),
            _ => None,
        },
        _ => None,
    }
}

fn of_number(number: &Number) -> Option<Timestamp> {
    let int = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    int.map_or_else(|| moment_of_float(number.as_f64()?), moment_of_int)
}

fn of_millis(millis: i64) -> Option<Timestamp> {
    millis.checked_mul(1_000).map(Timestamp::from_micros)
}

/// Beyond these magnitudes a number is no seconds, milliseconds, microseconds, nanoseconds any
/// more: seconds reach the year 5138, and so do the others.
const SECONDS_MAX: i128 = 100_000_000_000;
const MILLIS_MAX: i128 = SECONDS_MAX * 1_000;
const MICROS_MAX: i128 = MILLIS_MAX * 1_000;
const NANOS_MAX: i128 = MICROS_MAX * 1_000;

/// The moment so many seconds, milliseconds, microseconds or nanoseconds after 1970, whichever the
/// magnitude says; `None` where it is too large for each.
///
/// ```
/// use namel3ss_safety::internal::parse::moment_of_int;
/// let same = [1_668_535_199, 1_668_535_199_000, 1_668_535_199_000_000, 1_668_535_199_000_000_000];
/// for number in same {
///     assert_eq!(moment_of_int(number).unwrap().to_string(), "2022-11-15T17:59:59.000000Z");
/// }
/// ```
#[must_use]
pub fn moment_of_int(number: i128) -> Option<Timestamp> {
    let size = number.checked_abs()?;
    let micros = if size < SECONDS_MAX {
        number * 1_000_000
    } else if size < MILLIS_MAX {
        number * 1_000
    } else if size < MICROS_MAX {
        number
    } else if size < NANOS_MAX {
        number.div_euclid(1_000)
    } else {
        return None;
    };
    i64::try_from(micros).ok().map(Timestamp::from_micros)
}

/// As [`moment_of_int`], for a number with a fraction.
#[must_use]
pub fn moment_of_float(number: f64) -> Option<Timestamp> {
    let size = number.abs();
    let micros = if size < SECONDS_MAX as f64 {
        number * 1e6
    } else if size < MILLIS_MAX as f64 {
        number * 1e3
    } else if size < MICROS_MAX as f64 {
        number
    } else if size < NANOS_MAX as f64 {
        number / 1e3
    } else {
        // Also what is no number.
        return None;
    };
    Some(Timestamp::from_micros(micros.round() as i64))
}

/// The moment that a text names, as [`Timestamp`] reads it.
#[must_use]
pub fn moment_of_text(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // Eight digits may be a date, any other number of digits is a number: Python would take some
    // numbers of thirteen digits for dates of the 17th century.
    let is_date = text.len() == 8;
    if let Some(moment) = decimal(text).filter(|_| !is_date) {
        return Some(moment);
    }
    iso(text)
        .or_else(|| decimal(text))
        .or_else(|| beyond_the_calendar(text))
        .or_else(|| rfc_2822(text))
        .or_else(|| apache(text))
}

fn decimal(text: &str) -> Option<Timestamp> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match text.parse() {
        Ok(int) => moment_of_int(int),
        Err(_) => moment_of_float(text.parse().ok()?),
    }
}

/// What a year of more than four digits, or a negative one, is written as.
fn beyond_the_calendar(text: &str) -> Option<Timestamp> {
    if let Some(micros) = text.strip_suffix("us") {
        return micros.parse().ok().map(Timestamp::from_micros);
    }
    if !text.starts_with(['+', '-']) {
        return None;
    }
    text.parse::<DateTime<Utc>>().ok().map(|t| Timestamp::from_micros(t.timestamp_micros()))
}

fn rfc_2822(text: &str) -> Option<Timestamp> {
    // The day of the week may be wrong, in Python's reader as well.
    let text = text.split_once(',').map_or(text, |(_, rest)| rest.trim_start());
    of_chrono(DateTime::parse_from_rfc2822(text).ok()?)
}

fn apache(text: &str) -> Option<Timestamp> {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match DateTime::parse_from_str(text, "%d/%b/%Y:%H:%M:%S %z") {
        Ok(moment) => of_chrono(moment),
        Err(_) => {
            let naive = NaiveDateTime::parse_from_str(text, "%d/%b/%Y:%H:%M:%S").ok()?;
            of_chrono(naive.and_utc().fixed_offset())
        }
    }
}

/// Chrono reads a second 60, which no other clock here knows.
fn of_chrono(moment: DateTime<FixedOffset>) -> Option<Timestamp> {
    let leap = moment.timestamp_subsec_nanos() >= 1_000_000_000;
    (!leap).then(|| Timestamp::from_micros(moment.timestamp_micros()))
}

/// ISO 8601 as Python's `datetime.fromisoformat` understands it, and a little more.
fn iso(text: &str) -> Option<Timestamp> {
    let mut rest = Cursor(text.as_bytes());
    let mut date = date(&mut rest)?;
    let mut micros = 0;
    if !rest.0.is_empty() {
        // One character of any kind stands between date and time.
        let separator = text[text.len() - rest.0.len()..].chars().next()?;
        rest.0 = &rest.0[separator.len_utf8()..];
        let (hours, after) = time(&mut rest)?;
        (micros, date) = match hours {
            24 if after == 0 => (0, date.checked_add_days(Days::new(1))?),
            0..=23 => (i64::from(hours) * 3_600_000_000 + after, date),
            _ => return None,
        };
        micros -= offset(&mut rest)?;
    }
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    Some(Timestamp::from_micros(days * 86_400_000_000 + micros))
}

/// The date at the beginning: `YYYY-MM-DD`, `YYYYMMDD`, `YYYY-Www-D`, `YYYYWwwD`, the last two also
/// without their day, which is Monday then.
fn date(rest: &mut Cursor<'_>) -> Option<NaiveDate> {
    let year = i32::try_from(rest.digits(4)?).ok()?;
    let extended = rest.skip(b'-');
    if !rest.skip(b'W') {
        let month = rest.digits(2)?;
        if extended != rest.skip(b'-') {
            return None;
        }
        return NaiveDate::from_ymd_opt(year, month, rest.digits(2)?);
    }
    let week = rest.digits(2)?;
    // What follows may be the day, or what separates the date from the time.
    let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let has_day = match rest.0 {
        [b'-', after @ ..] => extended && digits(after) == 1,
        // As Python decides it: an odd number of digits begins with the day.
        bytes => !extended && digits(bytes) % 2 == 1,
    };
    let day = if has_day {
        let _ = rest.skip(b'-');
        rest.digits(1)?
    } else {
        1
    };
    let day = u8::try_from(day).ok().filter(|day| (1..=7).contains(day))?;
    NaiveDate::from_isoywd_opt(year, week, chrono::Weekday::try_from(day - 1).ok()?)
}

/// `HH`, `HH:MM`, `HH:MM:SS` with decimals, or the same without colons: the hours, and the
/// microseconds after them.
fn time(rest: &mut Cursor<'_>) -> Option<(u32, i64)> {
    let hours = rest.digits(2)?;
    let mut micros = 0;
    let colons = rest.0.first() == Some(&b':');
    for unit in [60_000_000, 1_000_000] {
        let more =
            if colons { rest.skip(b':') } else { rest.0.first().is_some_and(u8::is_ascii_digit) };
        if !more {
            return Some((hours, micros));
        }
        let part = rest.digits(2).filter(|part| *part < 60)?;
        micros += i64::from(part) * unit;
    }
    if rest.skip(b'.') || rest.skip(b',') {
        let digits = rest.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (decimals, behind) = rest.0.split_at(digits);
        let mut unit = 100_000;
        for digit in decimals {
            micros += i64::from(digit - b'0') * unit;
            unit /= 10;
        }
        rest.0 = behind;
        if digits == 0 {
            return None;
        }
    }
    Some((hours, micros))
}

/// What is left: nothing, `Z`, `UTC`, or an offset, in microseconds.
fn offset(rest: &mut Cursor<'_>) -> Option<i64> {
    rest.0 = rest.0.trim_ascii_start();
    let sign = match rest.0.first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ if is_utc(rest.0) => return Some(0),
        _ => return None,
    };
    rest.0 = &rest.0[1..];
    let (hours, after) = time(rest)?;
    // Go writes the zone's name behind its offset.
    let ends = is_utc(rest.0.trim_ascii_start());
    (ends && hours < 24).then(|| sign * (i64::from(hours) * 3_600_000_000 + after))
}

fn is_utc(word: &[u8]) -> bool {
    word.is_empty() || [&b"Z"[..], b"UTC", b"GMT"].iter().any(|utc| word.eq_ignore_ascii_case(utc))
}

/// Bytes that are still to be read.
struct Cursor<'t>(&'t [u8]);

impl Cursor<'_> {
    /// Exactly `n` digits.
    fn digits(&mut self, n: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(n)?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        self.0 = rest;
        Some(number)
    }

    /// Passes `byte`, if it is next.
    fn skip(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        let expected = (!expected.is_empty()).then(|| format!("{expected}Z"));
        assert_eq!(moment(&value).map(|at| at.to_string()), expected, "{value}");
    }

    /// `1668535199945` became the year 54843, and nanoseconds a text that no one can parse.
    #[test]
    fn numbers_are_read_by_their_magnitude() {
        check(json!(1_668_535_199), "2022-11-15T17:59:59.000000");
        check(json!(1_668_535_199.5), "2022-11-15T17:59:59.500000");
        check(json!(1_668_535_199_945_i64), "2022-11-15T17:59:59.945000");
        check(json!(1_668_535_199_945_123_i64), "2022-11-15T17:59:59.945123");
        check(json!(1_668_535_199_945_123_456_i64), "2022-11-15T17:59:59.945123");
        check(json!("1668535199945"), "2022-11-15T17:59:59.945000");
        check(json!("1668535199"), "2022-11-15T17:59:59.000000");
        check(json!("1668535199.25"), "2022-11-15T17:59:59.250000");
        check(json!("1612110512230"), "2021-01-31T16:28:32.230000");
        check(json!(0), "1970-01-01T00:00:00.000000");
        check(json!(-1.5), "1969-12-31T23:59:58.500000");
        check(json!(1e300), "");
        check(json!(u64::MAX), "2554-07-21T23:34:33.709551");
        check(json!("NaN"), "");
        check(json!("Infinity"), "");
        check(json!(true), "");
        check(json!([1]), "");
    }

    #[test]
    fn every_form_of_iso_8601_that_python_reads_is_read() {
        for (text, expected) in [
            ("2026-03-01", "2026-03-01T00:00:00.000000"),
            ("20260301", "2026-03-01T00:00:00.000000"),
            ("2026-W10", "2026-03-02T00:00:00.000000"),
            ("2026W10", "2026-03-02T00:00:00.000000"),
            ("2026-W10-7", "2026-03-08T00:00:00.000000"),
            ("2026W107", "2026-03-08T00:00:00.000000"),
            ("2026-W10-7T12", "2026-03-08T12:00:00.000000"),
            ("2026-W10T12:30", "2026-03-02T12:30:00.000000"),
            ("2026W107T1230", "2026-03-08T12:30:00.000000"),
            ("2026-03-01T12", "2026-03-01T12:00:00.000000"),
            ("2026-03-01T12:00Z", "2026-03-01T12:00:00.000000"),
            ("2026-03-01 12:30", "2026-03-01T12:30:00.000000"),
            ("2026-03-01t12:30:15z", "2026-03-01T12:30:15.000000"),
            ("20260301T120000Z", "2026-03-01T12:00:00.000000"),
            ("20260301T120000.5+0530", "2026-03-01T06:30:00.500000"),
            ("2026-03-01T12:00:00,123Z", "2026-03-01T12:00:00.123000"),
            ("2026-03-01T12:00:00.1", "2026-03-01T12:00:00.100000"),
            ("2026-03-01T12:00:00.123456789+05:30", "2026-03-01T06:30:00.123456"),
            ("2026-03-01T12:00:00+0000", "2026-03-01T12:00:00.000000"),
            ("2026-03-01T12:00:00+05", "2026-03-01T07:00:00.000000"),
            ("2026-03-01T12:00:00-01:02:03.5", "2026-03-01T13:02:03.500000"),
            ("2026-03-01T24:00", "2026-03-02T00:00:00.000000"),
            ("2026-12-31T24:00:00Z", "2027-01-01T00:00:00.000000"),
            ("2026-03-01 12:00:00 UTC", "2026-03-01T12:00:00.000000"),
            ("2026-03-01 12:00:00 +0100 UTC", "2026-03-01T11:00:00.000000"),
            ("2022-11-15T17:59:59+0200", "2022-11-15T15:59:59.000000"),
            ("2024-02-29", "2024-02-29T00:00:00.000000"),
            ("0001-01-01", "0001-01-01T00:00:00.000000"),
        ] {
            check(json!(text), expected);
            check(json!(format!("  {text}\n")), expected);
        }
    }

    #[test]
    fn the_forms_of_mail_web_servers_and_mongodb_are_read() {
        let noon = "2026-03-01T12:00:00.000000";
        for text in [
            "Sun, 01 Mar 2026 12:00:00 GMT",
            "Sun, 1 Mar 2026 12:00 +0000",
            "Mon, 01 Mar 2026 12:00:00 GMT",
            "01 Mar 2026 14:00:00 +0200",
            "01/Mar/2026:12:00:00 +0000",
            "[01/Mar/2026:12:00:00 +0000]",
            "01/Mar/2026:12:00:00",
        ] {
            check(json!(text), noon);
        }
        check(json!({"$date": "2026-03-01T12:00:00Z"}), noon);
        check(json!({"$date": 1_772_366_400_000_i64}), noon);
        check(json!({"$date": {"$numberLong": "1772366400000"}}), noon);
        check(json!({"$date": 5000}), "1970-01-01T00:00:05.000000");
        check(json!({"$date": true}), "");
        check(json!({"date": 5000}), "");
    }

    #[test]
    fn what_never_was_is_no_moment() {
        for text in [
            "",
            " ",
            "yesterday",
            "15/11/2022 17:59",
            "2026-06-30T23:59:60Z",
            "2026-02-30",
            "2025-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-W54",
            "2026-W10-8",
            "2026-W10-0",
            "2026-03-01T25:00",
            "2026-03-01T24:00:01",
            "2026-03-01T12:60",
            "2026-03-01T",
            "2026-03-01T1",
            "2026-03-01T12:3",
            "2026-03-01T12:00:00.",
            "2026-03-01T12:0000",
            "2026-03-01T12:00:00+24:00",
            "2026-03-01T12:00:00+",
            "2026-03-01T12:00:00 EST5",
            "2026-03",
            "2026-0301",
            "202603-01",
            "Sun, 30 Feb 2026 12:00:00 GMT",
            "Tue, 30 Jun 2026 23:59:60 GMT",
            "30/Jun/2026:23:59:60 +0000",
            "2026-03-01T12:00:00é",
            "２０２６-03-01",
            "1.2.3",
            "1e400",
            "--5",
            "us",
            "100000000000000000000",
        ] {
            check(json!(text), "");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in "\\PC{0,40}|[0-9TWZ:.,+ -]{0,30}") {
            let _ = moment_of_text(&text);
        }

        #[test]
        fn what_is_written_reads_back(micros in any::<i64>()) {
            let at = Timestamp::from_micros(micros);
            prop_assert_eq!(moment_of_text(&at.to_string()), Some(at));
        }
    }
}
