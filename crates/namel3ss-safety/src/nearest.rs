//! "did you mean": the known word nearest to an unknown one.

/// The nearest of `known` to `word`, if one is near enough to be what was meant.
///
/// ```
/// use namel3ss_safety::nearest::nearest;
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
/// use namel3ss_safety::nearest::misspelling;
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
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    known
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= limit(candidate.chars().count()))
        .map(|(_, candidate)| candidate)
}

/// How many letters are wrong, missing, too much, or swapped with their neighbour: the optimal
/// string alignment distance, two rows at a time.
fn distance(word: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    let (mut before, mut last) = (row.clone(), None);
    for (i, c) in candidate.chars().flat_map(char::to_lowercase).enumerate() {
        let mut next = vec![i + 1; row.len()];
        for (j, w) in word.iter().enumerate() {
            let substituted = row[j] + usize::from(*w != c);
            next[j + 1] = substituted.min(next[j] + 1).min(row[j + 1] + 1);
            if last == Some(*w) && j > 0 && word[j - 1] == c {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
        last = Some(c);
    }
    row[word.len()]
}
