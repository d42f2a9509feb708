//! "did you mean": the known word nearest to an unknown one.

use strsim::osa_distance;

/// The nearest of `known` to `word`, if one is near enough to be what was meant.
///
/// ```
/// use namel3ss_safety::internal::nearest::nearest;
/// assert_eq!(nearest("drop_oldst", ["drop_oldest", "block"]), Some("drop_oldest"));
/// assert_eq!(nearest("xyzzy", ["drop_oldest", "block"]), None);
/// ```
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    within(word, known, |letters| (letters / 3).max(1))
}

/// The one of `known` that `word` was certainly meant to be: for words that may as well be right as
/// they are. One mistake, or two in a word of more than eight letters.
///
/// ```
/// use namel3ss_safety::internal::nearest::misspelling;
/// assert_eq!(misspelling("actoin", ["action", "direction"]), Some("action"));
/// assert_eq!(misspelling("section", ["action", "direction"]), None);
/// ```
pub fn misspelling<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    within(word, known, |letters| if letters > 8 { 2 } else { 1 })
}

/// The nearest of `known`, if it is no farther than `limit` of its number of letters.
fn within<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    limit: impl Fn(usize) -> usize,
) -> Option<&'a str> {
    let word: String = word.chars().take(64).flat_map(char::to_lowercase).collect();
    known
        .into_iter()
        // Wrong, missing and surplus letters, and two swapped neighbours, count as one mistake each.
        .map(|candidate| (osa_distance(&word, &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= limit(candidate.chars().count()))
        .map(|(_, candidate)| candidate)
}
