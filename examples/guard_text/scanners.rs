//! Finds what the three policies look for, by hand: each scanner gives the byte ranges of its
//! matches in one line, left to right, none overlapping.

use std::ops::Range;

/// E-mail addresses: a local part of ASCII letters, digits and `._%+-`, at most 64 bytes; a domain
/// of two labels or more whose last is letters only. **Limit:** quoted and non-ASCII local parts
/// are not looked for, and `icon@2x.png` looks like an address.
pub(crate) fn emails(line: &str) -> Vec<Range<usize>> {
    let bytes = line.as_bytes();
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in (0..bytes.len()).filter(|at| bytes[*at] == b'@') {
        let local = |b: &u8| b.is_ascii_alphanumeric() || b"._%+-".contains(b);
        let domain = |b: &u8| b.is_ascii_alphanumeric() || b".-".contains(b);
        let mut start = at - bytes[..at].iter().rev().take_while(|b| local(b)).count();
        let mut end = at + 1 + bytes[at + 1..].iter().take_while(|b| domain(b)).count();
        let joined = |i: Option<usize>| i.and_then(|i| bytes.get(i)) == Some(&b'@');
        if joined(start.checked_sub(1)) || joined(Some(end)) {
            continue;
        }
        // The punctuation of the sentence around it.
        start += bytes[start..at].iter().take_while(|b| b".-".contains(b)).count();
        end -= bytes[at + 1..end].iter().rev().take_while(|b| b".-".contains(b)).count();
        if is_local_part(&line[start..at]) && is_domain(&line[at + 1..end]) {
            found.push(start..end);
        }
    }
    found
}

fn is_local_part(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.ends_with('.') && !text.contains("..")
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let top = |top: &str| top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic());
    text.len() <= 253
        && text.split('.').all(label)
        && text.rsplit_once('.').is_some_and(|(_, last)| top(last))
}

/// Payment cards: an issuer's prefix and length, the Luhn check digit of ISO/IEC 7812-1, written
/// without separators or in the groups that are printed on cards, parted by single spaces or
/// dashes. **Limit:** one random number in ten with such a prefix and length passes the check.
pub(crate) fn cards(line: &str) -> Vec<Range<usize>> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match card_at(bytes, at) {
            Some(end) => {
                found.push(at..end);
                at = end;
            }
            None => at += 1,
        }
    }
    found
}

/// Where the card that begins at `at` ends.
fn card_at(bytes: &[u8], at: usize) -> Option<usize> {
    if !bytes[at].is_ascii_digit() || !stands_alone_before(bytes, at) {
        return None;
    }
    // Each way of writing it: the lengths of its groups.
    const WAYS: [&[usize]; 8] =
        [&[4, 4, 4, 4, 3], &[4, 4, 4, 4], &[4, 6, 5], &[4, 3, 3, 3], &[19], &[16], &[15], &[13]];
    WAYS.iter().find_map(|groups| {
        let (digits, end) = read_groups(bytes, at, groups)?;
        let good = is_issued(&digits) && luhn(&digits) && stands_alone_after(bytes, end);
        good.then_some(end)
    })
}

/// The digits of `groups` with one and the same separator between them, and where they end.
fn read_groups(bytes: &[u8], at: usize, groups: &[usize]) -> Option<(Vec<u8>, usize)> {
    let mut digits = Vec::with_capacity(19);
    let mut end = at;
    let mut separator = None;
    for (i, length) in groups.iter().enumerate() {
        if i > 0 {
            let found = *bytes.get(end).filter(|b| b" -".contains(b))?;
            if *separator.get_or_insert(found) != found {
                return None;
            }
            end += 1;
        }
        let group = bytes.get(end..end + length)?;
        if !group.iter().all(u8::is_ascii_digit) {
            return None;
        }
        digits.extend(group.iter().map(|b| b - b'0'));
        end += length;
    }
    Some((digits, end))
}

/// Not the middle of a word, of a longer number or of a decimal fraction.
fn stands_alone_before(bytes: &[u8], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map(|i| bytes[i]);
    match before(1) {
        None => true,
        Some(b'.' | b',' | b'-') => !before(2).is_some_and(|b| b.is_ascii_alphanumeric()),
        Some(b) => !(b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80),
    }
}

fn stands_alone_after(bytes: &[u8], end: usize) -> bool {
    match bytes.get(end) {
        None => true,
        Some(b'.' | b',' | b'-') => !bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric),
        Some(b) => !(b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80),
    }
}

/// Visa, Mastercard, American Express or Discover, by prefix and length.
fn is_issued(digits: &[u8]) -> bool {
    let prefix = |n: usize| digits[..n].iter().fold(0_u32, |sum, d| sum * 10 + u32::from(*d));
    match digits.len() {
        13 | 19 => digits[0] == 4,
        15 => matches!(prefix(2), 34 | 37),
        16 => {
            digits[0] == 4
                || matches!(prefix(2), 51..=55 | 65)
                || matches!(prefix(3), 644..=649)
                || matches!(prefix(4), 2221..=2720 | 6011)
        }
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            let d = u32::from(*d) * if i % 2 == 1 { 2 } else { 1 };
            if d > 9 { d - 9 } else { d }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// IPv4 addresses: four parts of 0 to 255 without leading zeros, not within a longer dotted number
/// or a version such as `v1.2.3.4`, `1.2.3.4-5` or `1.2.3.4+dfsg`; ranges of two are taken.
/// **Limit:** a bare version of four small parts looks like an address.
pub(crate) fn ipv4s(line: &str) -> Vec<Range<usize>> {
    let bytes = line.as_bytes();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let second_of_range = found.last().is_some_and(|last| last.end + 1 == at);
        let alone = match at.checked_sub(1).map(|i| bytes[i]) {
            None => true,
            Some(b'-') => second_of_range,
            Some(b) => !(b.is_ascii_alphanumeric() || b"._+~".contains(&b) || b >= 0x80),
        };
        match quad_at(bytes, at).filter(|_| alone) {
            Some(end) => {
                found.push(at..end);
                at = end;
            }
            None => at += 1,
        }
    }
    found
}

/// Where the address that begins at `at` ends.
fn quad_at(bytes: &[u8], at: usize) -> Option<usize> {
    let end = four_parts(bytes, at)?;
    let next = |n: usize| bytes.get(end + n).copied();
    let alone = match next(0) {
        None => true,
        Some(b'.') => !next(1).is_some_and(|b| b.is_ascii_alphanumeric()),
        Some(b'-') => next(1).is_none_or(|b| !b.is_ascii_alphanumeric()) || range(bytes, end),
        Some(b) => !(b.is_ascii_alphanumeric() || b"_+~".contains(&b) || b >= 0x80),
    };
    alone.then_some(end)
}

/// Whether a whole second address follows the dash at `end`.
fn range(bytes: &[u8], end: usize) -> bool {
    four_parts(bytes, end + 1).is_some_and(|end| {
        bytes.get(end).is_none_or(|b| !(b.is_ascii_alphanumeric() || b"._+~-".contains(b)))
    })
}

fn four_parts(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    for part in 0..4 {
        if part > 0 {
            bytes.get(end).filter(|b| **b == b'.')?;
            end += 1;
        }
        let digits = bytes.get(end..)?.iter().take_while(|b| b.is_ascii_digit()).count();
        let text = std::str::from_utf8(&bytes[end..end + digits]).ok()?;
        if digits == 0 || digits > 1 && text.starts_with('0') || text.parse::<u8>().is_err() {
            return None;
        }
        end += digits;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(find: fn(&str) -> Vec<Range<usize>>, line: &str, expected: &[&str]) {
        let found: Vec<&str> = find(line).into_iter().map(|range| &line[range]).collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn addresses_of_people_are_found() {
        check(
            emails,
            "Ann <ann@example.org>, b.c+d@x-y.co.uk.",
            &["ann@example.org", "b.c+d@x-y.co.uk"],
        );
        check(emails, "mailto:a_b%c@sub.example.museum?x", &["a_b%c@sub.example.museum"]);
        check(emails, "日本ann@example.org日本", &["ann@example.org"]);
        check(emails, "...ann@example.org...", &["ann@example.org"]);
        check(
            emails,
            &format!("{}@example.org", "a".repeat(64)),
            &[&format!("{}@example.org", "a".repeat(64))],
        );
        check(emails, &format!("{}@example.org", "a".repeat(65)), &[]);
        check(emails, &format!("ann@{}.org", "a".repeat(64)), &[]);
        for none in [
            "",
            "@",
            "a@",
            "@b.org",
            "a@b",
            "a@b.c",
            "a..b@example.org",
            "a@b..org",
            "a@-b.org",
            "a@b-.org",
            "a@b.o1g",
            "a@b.org@c.org",
            "foo @ bar.org",
            "a@10.0.0.1",
            "é@b.org",
        ] {
            check(emails, none, &[]);
        }
    }

    #[test]
    fn cards_need_prefix_length_and_check_digit() {
        // The issuers' published test numbers.
        for card in [
            "4111111111111111",
            "4012 8888 8888 1881",
            "4222222222222",
            "4000-0000-0000-0000-006",
            "5555555555554444",
            "5105-1051-0510-5100",
            "2223003122003222",
            "2720 9999 9999 9996",
            "378282246310005",
            "3714 496353 98431",
            "6011111111111117",
            "6500-0000-0000-0002",
        ] {
            check(cards, card, &[card]);
            check(cards, &format!("card {card}, thanks."), &[card]);
            check(cards, &format!("({card}) 12 2027"), &[card]);
            check(cards, &format!("no{card}"), &[]);
            check(cards, &format!("{card}7"), &[]);
            check(cards, &format!("7{card}"), &[]);
            check(cards, &format!("7-{card}"), &[]);
            check(cards, &format!("0.{card}"), &[]);
            check(cards, &format!("{card}-7"), &[]);
        }
        check(
            cards,
            "4111111111111111 5555 5555 5555 4444",
            &["4111111111111111", "5555 5555 5555 4444"],
        );
        for none in [
            "",
            "4111111111111112",
            "411111111111111",
            "41111111111111111",
            "4111 1111-1111 1111",
            "4111  1111 1111 1111",
            "41 11 11 11 11 11 11 11",
            "1111111111111117",
            "2220999999999991",
            "2721000000000004",
            "3582822463100053",
            "5655555555554440",
            "4111_1111_1111_1111",
            "4111 1111 1111 111",
        ] {
            check(cards, none, &[]);
        }
    }

    #[test]
    fn luhn_counts_from_the_right() {
        assert!(luhn(&[7, 9, 9, 2, 7, 3, 9, 8, 7, 1, 3]));
        assert!(!luhn(&[7, 9, 9, 2, 7, 3, 9, 8, 7, 1, 4]));
    }

    #[test]
    fn network_addresses_are_told_from_versions() {
        check(ipv4s, "10.0.0.1", &["10.0.0.1"]);
        check(ipv4s, "from 0.0.0.0/0 to [255.255.255.255]:80.", &["0.0.0.0", "255.255.255.255"]);
        check(ipv4s, "is 192.168.1.20.", &["192.168.1.20"]);
        check(ipv4s, "10.0.0.1-10.0.0.9", &["10.0.0.1", "10.0.0.9"]);
        check(ipv4s, "http://127.0.0.1:8080/", &["127.0.0.1"]);
        for none in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "256.1.1.1",
            "01.2.3.4",
            "1.2.3.04",
            "v1.2.3.4",
            "1.2.3.4-5",
            "1.2.3.4+dfsg",
            "1.2.3.4~rc1",
            "1.2.3.4a",
            "1..2.3.4",
            "x-1.2.3.4",
            "1.2.3.4-1.2.3.4.5",
            ".1.2.3.4",
            "1.2.3.4.x",
            "1.2.3.4_5",
            "1.2.3.1000",
        ] {
            check(ipv4s, none, &[]);
        }
    }

    #[test]
    fn no_line_makes_a_scanner_panic() {
        let alphabet = ["1", "4", "111", "4111", ".", "-", " ", "@", "a", "é", "255", "\u{fffd}"];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut line = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                line.push_str(alphabet[(state >> 33) as usize % alphabet.len()]);
            }
            for find in [emails, cards, ipv4s] {
                let mut end = 0;
                for range in find(&line) {
                    assert!(range.start >= end && !line[range.clone()].is_empty(), "{line}");
                    end = range.end;
                }
            }
        }
    }
}
