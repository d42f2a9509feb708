//! Where an object lies: partitions by the events' own UTC date, as Hive names them, and a name
//! that is made of what is in it. The same rows have the same key, whoever sends them.
//!
//! ```text
//! {prefix}/year=2026/month=03/day=01/events_{journal id}_{first seq}-{last seq}.parquet
//! ```
//!
//! Seqs have 20 digits, so that names sort as the seqs do: the objects that may hold a run of seqs
//! lie side by side, and are found by one short listing.

use std::ops::Range;

use namel3ss_safety::internal::json::civil;
use namel3ss_safety::{BatchId, JournalId, Seq, Timestamp};

const DAY_MICROS: i64 = 86_400_000_000;

/// A day in UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(i64);

impl Day {
    pub(super) fn of(timestamp: Timestamp) -> Self {
        Self(timestamp.micros().div_euclid(DAY_MICROS))
    }

    /// As ISO 8601 writes it; `None` for years that it has no four digits for.
    #[cfg(feature = "delta")]
    pub(super) fn date(self) -> Option<String> {
        let (year, month, day) = civil(self.0);
        (1..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
    }

    /// The day of a partition's folder; `None` for one that is named otherwise.
    pub(super) fn of_folder(folder: &str) -> Option<Self> {
        let mut parts = folder.rsplit('/');
        let day = parts.next()?.strip_prefix("day=")?;
        let month = parts.next()?.strip_prefix("month=")?;
        let year = parts.next()?.strip_prefix("year=")?;
        let midnight: Timestamp = format!("{year}-{month}-{day}T00:00:00Z").parse().ok()?;
        Some(Self::of(midnight))
    }

    /// Its first moment.
    #[cfg(any(test, feature = "parquet"))]
    pub(super) fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(DAY_MICROS))
    }

    /// The day after it.
    #[cfg(feature = "parquet")]
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Its year, month and day.
    pub(super) fn date_numbers(self) -> [i64; 3] {
        let (year, month, day) = civil(self.0);
        [year, month, day]
    }

    /// Its partition under `prefix`.
    pub(super) fn folder(self, prefix: &str) -> String {
        let (year, month, day) = civil(self.0);
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{prefix}{slash}year={year:04}/month={month:02}/day={day:02}")
    }
}

/// The most seqs that lie between the first and the last row of one object.
pub(super) const SPAN: u64 = 1_000_000;

/// The name of the object that holds `rows`, with its extension.
pub(super) fn name(rows: &BatchId, extension: &str) -> String {
    format!("{}-{:020}.{extension}", stem(rows.journal, rows.first.0), rows.last.0)
}

fn stem(journal: JournalId, first: u64) -> String {
    format!("events_{journal}_{first:020}")
}

/// Between which names all objects lie that can hold any of `rows`.
pub(super) fn neighbours(rows: &BatchId) -> Range<String> {
    let from = rows.first.0.saturating_sub(SPAN);
    stem(rows.journal, from)..stem(rows.journal, rows.last.0.saturating_add(1))
}

/// Between which names the objects of all journals lie.
pub(super) fn all() -> Range<String> {
    // `~` is behind every hexadecimal digit.
    "events_".to_owned().."events_~".to_owned()
}

/// What the names of merged objects begin with. They lie behind all others, so that a listing that
/// goes on while objects are merged and removed shows the merged one, if it shows a removed one no more.
pub(super) const MERGED: &str = "merged_";

/// Between which names merged objects lie.
pub(super) fn merged() -> Range<String> {
    MERGED.to_owned()..format!("{MERGED}~")
}

/// The first and the last seq in an object, by its name; `None` for a name that is none of
/// `journal`'s, or has another extension.
pub(super) fn seqs(name: &str, journal: JournalId, extension: &str) -> Option<(Seq, Seq)> {
    let id = batch(name, extension).filter(|id| id.journal == journal)?;
    Some((id.first, id.last))
}

/// The batch that an object's name tells; `None` where it tells none.
pub(super) fn batch(name: &str, extension: &str) -> Option<BatchId> {
    let rest = name.strip_prefix("events_")?.strip_suffix(extension)?.strip_suffix('.')?;
    let (journal, run) = rest.split_once('_')?;
    let (first, last) = run.split_once('-')?;
    Some(BatchId {
        journal: journal.parse().ok()?,
        first: Seq(first.parse().ok()?),
        last: Seq(last.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_the_events_own_in_utc() {
        let check = |text: &str, folder: &str| {
            let at: Timestamp = text.parse().expect("a timestamp");
            assert_eq!(Day::of(at).folder("p/q"), format!("p/q/{folder}"), "{text}");
        };
        check("2026-03-01T23:59:59.999999Z", "year=2026/month=03/day=01");
        check("2026-03-02T00:30:00+01:00", "year=2026/month=03/day=01");
        check("1969-12-31T23:59:59Z", "year=1969/month=12/day=31");
        check("0007-01-01T00:00:00Z", "year=0007/month=01/day=01");
        assert!(Day::of(Timestamp::from_micros(i64::MIN)).folder("").starts_with("year=-"));
        let day = Day::of_folder("p/year=2026/month=03/day=01").expect("a day");
        assert_eq!(day.start().to_string(), "2026-03-01T00:00:00.000000Z");
        assert_eq!(day.folder("p"), "p/year=2026/month=03/day=01");
        assert_eq!(Day::of_folder("p/year=2026/month=03/day=40"), None);
    }

    #[test]
    fn names_read_back() {
        let journal = JournalId::generate();
        let id = BatchId { journal, first: Seq(7), last: Seq(1_000) };
        let name = name(&id, "jsonl.gz");
        let seqs_of = "00000000000000000007-00000000000000001000";
        assert_eq!(name, format!("events_{journal}_{seqs_of}.jsonl.gz"));
        assert!(neighbours(&id).contains(&name) && all().contains(&name));
        let later = BatchId { first: Seq(1_001), last: Seq(2_000), ..id };
        assert!(neighbours(&later).contains(&name));
        assert!(!neighbours(&id).contains(&self::name(&later, "jsonl.gz")));
        assert_eq!(seqs(&name, journal, "jsonl.gz"), Some((Seq(7), Seq(1_000))));
        assert_eq!(seqs(&name, journal, "gz"), None);
        assert_eq!(seqs(&name, JournalId::generate(), "jsonl.gz"), None);
    }
}
