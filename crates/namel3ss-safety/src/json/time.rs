//! Moments as text, as [`Timestamp`]'s `Display` writes them; the second is written once for all
//! the moments in it that follow one another.

use super::number::pair;
use crate::clock::Timestamp;

const DAY_SECONDS: i64 = 86_400;

/// Writes moments, and remembers the last one's second.
///
/// ```
/// use namel3ss_safety::{Timestamp, internal::json::Times};
/// let mut times = Times::default();
/// let mut out = Vec::new();
/// times.write(Timestamp::from_micros(1_500_000), &mut out);
/// assert_eq!(out, b"1970-01-01T00:00:01.500000Z");
/// ```
#[derive(Clone, Debug)]
pub struct Times {
    second: i64,
    text: [u8; 20],
}

impl Default for Times {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00." }
    }
}

impl Times {
    /// Appends ISO 8601 with six decimals and `Z`; by hand between the years 0 and 9999.
    pub fn write(&mut self, timestamp: Timestamp, out: &mut Vec<u8>) {
        use std::io::Write as _;
        match self.text(timestamp) {
            Some(text) => out.extend_from_slice(&text),
            // Writing to a Vec can't fail.
            None => drop(write!(out, "{timestamp}")),
        }
    }

    /// The same; `None` in other years.
    #[inline]
    pub(super) fn text(&mut self, timestamp: Timestamp) -> Option<[u8; 27]> {
        let second = timestamp.micros().div_euclid(1_000_000);
        if second != self.second {
            self.text = second_text(second)?;
            self.second = second;
        }
        let micros = timestamp.micros().rem_euclid(1_000_000) as u32;
        let mut text = [b'Z'; 27];
        text[..20].copy_from_slice(&self.text);
        text[20..22].copy_from_slice(&pair(micros / 10_000));
        text[22..24].copy_from_slice(&pair(micros / 100 % 100));
        text[24..26].copy_from_slice(&pair(micros % 100));
        Some(text)
    }
}

fn second_text(second: i64) -> Option<[u8; 20]> {
    let days = second.div_euclid(DAY_SECONDS);
    if !(-719_528..=2_932_896).contains(&days) {
        return None;
    }
    let (year, month, day) = civil(days);
    let of_day = second.rem_euclid(DAY_SECONDS);
    let mut text = *b"0000-00-00T00:00:00.";
    let parts = [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, of_day / 3600),
        (14, of_day / 60 % 60),
        (17, of_day % 60),
    ];
    for (at, n) in parts {
        text[at..at + 2].copy_from_slice(&pair(n as u32));
    }
    Some(text)
}

/// The year, month and day that many days after 1970-01-01, as
/// [Hinnant's `civil_from_days`](https://howardhinnant.github.io/date_algorithms.html) has it.
#[must_use]
pub fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}
