//! Times on the command line: how long ago, or since when.

use std::time::Duration;

use namel3ss_safety::Timestamp;

/// A moment: `90s`, `1h30m`, `2d` ago, or ISO 8601.
pub(crate) fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(span) = span(text) {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_micros(Timestamp::now().micros().saturating_sub(micros)));
    }
    let midnight = format!("{text}T00:00:00Z");
    text.parse().or_else(|_| midnight.parse()).map_err(|_| {
        "read the time: use a span such as 90s, 15m, 1h or 2d, or ISO 8601 such as \
         2026-03-01T12:30:00Z"
            .to_owned()
    })
}

/// A length of time: numbers with `ms`, `s`, `m`, `h`, `d`, `w` and longer words for them.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        "read the span: use numbers with ms, s, m, h, d or w, such as 1h30m".to_owned()
    })
}

/// A length of time for a person: its two largest units, such as `2 m 45 s`.
pub(crate) fn shown(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400, u64::MAX), ("h", 3_600, 24), ("m", 60, 60), ("s", 1, 60)];
    let parts = units.map(|(unit, size, most)| (seconds / size % most, unit));
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(parts.len() - 1);
    let shown = parts[first..].iter().take(2).filter(|(n, unit)| *n > 0 || *unit == "s");
    shown.map(|(n, unit)| format!("{n} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_shown_by_their_largest_units() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (165, "2 m 45 s"), (3600, "1 h"), (266_400, "3 d 2 h")]
        {
            assert_eq!(shown(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn spans_add_up() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("2d", 172_800_000),
            ("1 hour 5min", 3_900_000),
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "1", "h", "-1h", "5 apples", "99999999999999999999s", "18446744073709551615w"]
        {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(since("2026-03-01").is_ok());
        assert!(since("1h").is_ok_and(|t| t < Timestamp::now()));
        assert!(since("soon").is_err());
    }
}
