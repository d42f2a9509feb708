//! How moments are shown in SQL, and how texts compare as moments.

use std::borrow::Cow;
use std::cmp::Ordering;

use namel3ss_safety::Timestamp;

/// The collation of `timestamp`.
pub(crate) const COLLATION: &str = "MOMENT";

/// The first moments of the years 0 and 10000: between them the texts sort as the moments do.
const YEARS: std::ops::Range<i64> = -62_167_219_200_000_000..253_402_300_800_000_000;

/// A moment as `timestamp` shows it: `YYYY-MM-DD HH:MM:SS.ffffff`, UTC. Beyond these years, as
/// [`Timestamp`] writes it.
pub(crate) fn shown(moment: Timestamp) -> String {
    let mut text = moment.to_string();
    if YEARS.contains(&moment.micros()) {
        text.replace_range(10..11, " ");
        text.pop();
    }
    text
}

/// The moment that a text of SQL names. A number needs nine digits: `2026` is a year.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits < 9 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.len() != 8 {
        return None;
    }
    text.parse().ok()
}

/// What a text is sorted by. A text that is no moment stands where its bytes stand among the texts of
/// moments, so that `2026-03` is before all of that month.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'t> {
    Before(i64),
    Text(Cow<'t, str>),
    After(i64),
}

fn key(text: &str) -> Key<'_> {
    if is_shown(text) {
        return Key::Text(text.into());
    }
    match moment(text) {
        Some(moment) if moment.micros() < YEARS.start => Key::Before(moment.micros()),
        Some(moment) if moment.micros() >= YEARS.end => Key::After(moment.micros()),
        Some(moment) => Key::Text(shown(moment).into()),
        None => Key::Text(text.into()),
    }
}

/// The moment that a text compares as, where it compares as one.
pub(crate) fn compared(text: &str) -> Option<Timestamp> {
    moment(text).filter(|moment| key(&shown(*moment)) == key(text))
}

/// Whether it has the form that [`shown`] gives.
fn is_shown(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 26
        && bytes.iter().zip(b"0000-00-00 00:00:00.000000").all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        })
}

/// How two texts compare.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    if is_shown(a) && is_shown(b) { a.cmp(b) } else { key(a).cmp(&key(b)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_of_one_moment_are_equal() {
        let same = [
            "2026-03-01 00:00:00.000000",
            "2026-03-01T00:00:00Z",
            "2026-03-01T02:00:00+02:00",
            "2026-03-01 00:00:00",
            "2026-03-01 00:00",
            "2026-03-01",
            "1772323200",
        ];
        for (a, b) in same.iter().flat_map(|a| same.iter().map(move |b| (a, b))) {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
        for (less, more) in [
            ("2026-03-01T00:00:00Z", "2026-03-01 00:00:00.000001"),
            ("2026-02-28 23:59:59.999999", "2026-03-01T00:00:00Z"),
            ("2026", "2026-01-01"),
            ("2026-03", "2026-03-01T00:00:00Z"),
            ("2026-03-01 00:00:00", "2026-03-01 00:00:00.5"),
            ("2026-03-01", "+12026-01-01T00:00:00Z"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{less} {more}");
        }
    }

    proptest! {
        #[test]
        fn shown_moments_sort_as_moments(a in any::<i64>(), b in any::<i64>(), near in any::<bool>()) {
            let b = if near { a.saturating_add(b % 3_000_000) } else { b };
            let [one, other] = [a, b].map(|micros| shown(Timestamp::from_micros(micros)));
            prop_assert_eq!(compare(&one, &other), a.cmp(&b));
            prop_assert_eq!(compared(&one), Some(Timestamp::from_micros(a)));
        }

        #[test]
        fn the_order_is_total(texts in prop::collection::vec(
            prop_oneof![
                "[-+0-9TZ:. ]{0,26}",
                (0..4_i64, -1..2_i64).prop_map(|(days, micros)| {
                    Timestamp::from_micros(days * 86_400_000_000 + micros).to_string()
                }),
                any::<i64>().prop_map(|micros| shown(Timestamp::from_micros(micros))),
            ], 3)) {
            let [a, b, c] = [&texts[0], &texts[1], &texts[2]];
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            if compare(a, b) != Ordering::Greater && compare(b, c) != Ordering::Greater {
                prop_assert_ne!(compare(a, c), Ordering::Greater);
            }
        }
    }
}
