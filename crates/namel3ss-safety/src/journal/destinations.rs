//! The destinations of a journal, as its files' headers name them: one for each sink that delivers it,
//! each in its place, the first one's first.

/// The most destinations that a journal has.
pub const DESTINATIONS_MAX: usize = 16;

/// Room for all of them in a header.
pub(super) const BYTES_MAX: usize = 1464;

/// What separates them; none that stands beside others holds it.
pub(super) const SEPARATOR: char = '\n';

/// A destination as a header names it beside others, `of` in all: itself where it is short, else its
/// first part and a hash.
#[must_use]
pub fn named(destination: &str, of: usize) -> String {
    if of <= 1 {
        return cut(destination, BYTES_MAX).to_owned();
    }
    let room = (BYTES_MAX - (of - 1)) / of;
    if destination.len() <= room && !destination.contains(SEPARATOR) {
        return destination.to_owned();
    }
    let plain = destination.replace(SEPARATOR, " ");
    format!("{}~{}", cut(&plain, room.saturating_sub(9)), number(destination))
}

/// A number for a destination, for names of what belongs to it.
#[must_use]
pub fn number(destination: &str) -> String {
    format!("{:08x}", crc32c::crc32c(destination.as_bytes()))
}

/// The cursor of the sink whose destination is `named` so in a header, and is not its first one:
/// that one's is called as its sink is.
#[must_use]
pub fn cursor_of_further(dataset: &str, named: &str) -> String {
    format!("{dataset}-{}", number(named))
}

pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_and_long_ones_fit_and_stay_different() {
        for of in 1..=DESTINATIONS_MAX {
            let long = |n: usize| format!("file:///{}/{n}\n.jsonl", "é".repeat(2000));
            let names: Vec<_> = (0..of).map(|n| named(&long(n), of)).collect();
            let joined = names.join("\n");
            assert!(joined.len() <= BYTES_MAX, "{of}: {}", joined.len());
            if of > 1 {
                assert_eq!(joined.lines().count(), of);
                assert_ne!(names[0], names[1]);
            }
            assert_eq!(named("sqlite:///a", of), "sqlite:///a");
        }
    }
}
