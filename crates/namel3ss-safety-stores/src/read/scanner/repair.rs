//! What Python's `json.dumps` writes and JSON has not: a lone surrogate as `\ud83d`, and the numbers
//! `NaN`, `Infinity` and `-Infinity`.

/// The bytes with each lone `\uD800`–`\uDFFF` escape replaced by U+FFFD, and each of the numbers by
/// its name as text; `None` if there was none of them.
pub(super) fn repair(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let mut repaired = false;
    let mut in_string = false;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if !in_string && let Some(name) = number(rest) {
            out.push(b'"');
            out.extend_from_slice(name);
            out.push(b'"');
            repaired = true;
            at += name.len();
            continue;
        }
        match (unit(rest), bytes[at], bytes.get(at + 1)) {
            (Some(0xd800..=0xdbff), ..)
                if matches!(unit(&bytes[at + 6..]), Some(0xdc00..=0xdfff)) =>
            {
                out.extend_from_slice(&bytes[at..at + 12]);
                at += 12;
            }
            (Some(0xd800..=0xdfff), ..) => {
                out.extend_from_slice(b"\\ufffd");
                repaired = true;
                at += 6;
            }
            // Another escape: its second byte begins nothing.
            (_, b'\\', Some(&next)) => {
                out.extend_from_slice(&[b'\\', next]);
                at += 2;
            }
            (_, byte, _) => {
                in_string ^= byte == b'"';
                out.push(byte);
                at += 1;
            }
        }
    }
    repaired.then_some(out)
}

/// The number that JSON has not and that stands at the beginning.
fn number(bytes: &[u8]) -> Option<&'static [u8]> {
    let names: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let goes_on = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    names
        .into_iter()
        .find(|name| bytes.starts_with(name) && !bytes.get(name.len()).is_some_and(goes_on))
}

/// The code unit of a `\uXXXX` that stands at the beginning.
fn unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_json_has_not_is_replaced() {
        for (text, expected) in [
            (r#""\ud83d""#, Some(r#""\ufffd""#)),
            (r#""\ude00x""#, Some(r#""\ufffdx""#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud83d""#, None),
            (r"\ud8", None),
            (r#"[NaN,-Infinity, Infinity]"#, Some(r#"["NaN","-Infinity", "Infinity"]"#)),
            (r#"{"NaN":"a \" NaN"}"#, None),
            (r#"{"a":NaNs}"#, None),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(repair(text.as_bytes()), expected, "{text}");
        }
    }
}
