//! Time, as a dependency: the record's wall clock and the monotonic clock of timers, both of which
//! a test can hold in its hand, so that no test of retries or flush intervals ever sleeps.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};

/// A moment in UTC, in microseconds since 1970-01-01.
///
/// ```
/// use namel3ss_safety::Timestamp;
/// let t: Timestamp = "2026-03-01T12:30:00.5Z".parse().unwrap();
/// assert_eq!(t.to_string(), "2026-03-01T12:30:00.500000Z");
/// assert_eq!("2026-03-01T13:30:00.5+01:00".parse(), Ok(t));
/// assert_eq!("2026-03-01 12:30:00.5".parse(), Ok(t)); // without an offset: UTC
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The system's wall clock.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// `None` outside the years that ISO 8601 text can name (±262,000).
    #[must_use]
    #[doc(hidden)]
    pub fn to_datetime(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }
}

impl From<SystemTime> for Timestamp {
    /// What is finer than a microsecond is cut.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(d) => Self(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)),
            Err(e) => Self(i64::try_from(e.duration().as_micros()).map_or(i64::MIN, |us| -us)),
        }
    }
}

/// What is finer than a microsecond is cut.
#[cfg(feature = "chrono")]
impl<Zone: chrono::TimeZone> From<DateTime<Zone>> for Timestamp {
    fn from(time: DateTime<Zone>) -> Self {
        Self(time.timestamp_micros())
    }
}

/// What is finer than a microsecond is cut.
#[cfg(feature = "time")]
impl From<time::OffsetDateTime> for Timestamp {
    fn from(time: time::OffsetDateTime) -> Self {
        Self::from_nanos(time.unix_timestamp_nanos())
    }
}

/// What is finer than a microsecond is cut.
#[cfg(feature = "jiff")]
impl From<jiff::Timestamp> for Timestamp {
    fn from(time: jiff::Timestamp) -> Self {
        Self::from_nanos(time.as_nanosecond())
    }
}

/// What is finer than a microsecond is cut.
#[cfg(feature = "jiff")]
impl From<jiff::ZonedDateTime> for Timestamp {
    fn from(time: jiff::ZonedDateTime) -> Self {
        time.timestamp().into()
    }
}

#[cfg(any(feature = "time", feature = "jiff"))]
impl Timestamp {
    /// Cut as chrono does it, towards the past.
    fn from_nanos(nanos: i128) -> Self {
        let limit = if nanos < 0 { i64::MIN } else { i64::MAX };
        Self(i64::try_from(nanos.div_euclid(1000)).unwrap_or(limit))
    }
}

impl fmt::Display for Timestamp {
    /// ISO 8601 with six decimals and `Z`; a moment beyond the calendar is written as its number
    /// of microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_datetime() {
            Some(t) => f.write_str(&t.to_rfc3339_opts(SecondsFormat::Micros, true)),
            None => write!(f, "{}us", self.0),
        }
    }
}

/// What was wrong with the text of a [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTimestampError;

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("read a timestamp: use ISO 8601, such as 2026-03-01T12:30:00Z")
    }
}

impl std::error::Error for ParseTimestampError {}

/// What time it is, and how to wait.
///
/// Order is by seq and timers are monotonic: a jump of the wall clock changes neither.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Monotonic time since some fixed start.
    fn monotonic(&self) -> Duration;

    /// The wall clock.
    fn wall(&self) -> Timestamp;

    /// Returns once `monotonic()` has advanced by `wait`.
    fn sleep(&self, wait: Duration);
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, wait: Duration) {
        std::thread::sleep(wait);
    }
}

/// A clock that stands still until a test moves it; sleeping moves it.
///
/// ```
/// use namel3ss_safety::internal::clock::{Clock, ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::default();
/// clock.sleep(Duration::from_secs(60));
/// assert_eq!(clock.monotonic(), Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    nanos: AtomicU64,
    wall_micros: AtomicI64,
}

impl Default for ManualClock {
    /// Starts at 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self { nanos: AtomicU64::new(0), wall_micros: AtomicI64::new(1_767_225_600_000_000) }
    }
}

impl ManualClock {
    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::SeqCst);
        self.jump_wall(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// Moves the wall clock alone, as an administrator or NTP would.
    pub fn jump_wall(&self, micros: i64) {
        self.wall_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.wall_micros.load(Ordering::SeqCst))
    }

    fn sleep(&self, wait: Duration) {
        self.advance(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_other_types_are_the_same_moments() {
        let at = UNIX_EPOCH + Duration::from_nanos(1_767_225_600_123_456_789);
        assert_eq!(Timestamp::from(at), Timestamp::from_micros(1_767_225_600_123_456));
        let before = UNIX_EPOCH - Duration::from_micros(1);
        assert_eq!(Timestamp::from(before), Timestamp::from_micros(-1));
        #[cfg(feature = "chrono")]
        assert_eq!(Timestamp::from(DateTime::<Utc>::from(at)), Timestamp::from(at));
    }

    /// Each time crate's own, also before 1970, where a cut towards zero would be a microsecond late.
    #[cfg(all(feature = "chrono", feature = "time", feature = "jiff"))]
    #[test]
    fn the_time_crates_agree() {
        for nanos in [1_767_225_600_123_456_789, 0, -1, -1_000, -1_999_999_999_001] {
            let expected = Timestamp::from(DateTime::<Utc>::from_timestamp_nanos(nanos));
            let nanos = i128::from(nanos);
            let of_time = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap();
            let of_jiff = jiff::Timestamp::from_nanosecond(nanos).unwrap();
            assert_eq!(Timestamp::from(of_time), expected, "{nanos}");
            assert_eq!(Timestamp::from(of_jiff), expected, "{nanos}");
            let zoned = of_jiff.to_zoned_datetime(jiff::tz::TimeZone::fixed(jiff::tz::offset(2)));
            assert_eq!(Timestamp::from(zoned), expected, "{nanos}");
            let there = of_time.to_offset(time::UtcOffset::from_hms(-5, 0, 0).unwrap());
            assert_eq!(Timestamp::from(there), expected, "{nanos}");
        }
    }

    #[test]
    fn timestamps_read_back_as_written() {
        for micros in [0, -1, 1, 1_767_225_600_123_456, i64::MIN, i64::MAX].into_iter().chain([
            253_402_300_800_000_000,
            -62_167_219_200_000_001,
            -8_000_000_000_000_000_000,
        ]) {
            let t = Timestamp::from_micros(micros);
            assert_eq!(t.to_string().parse(), Ok(t), "{t}");
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
