//! Lone surrogates, as Python's `json.dumps` writes them: `\ud83d` without its other half.

/// The bytes with each lone `\uD800`–`\uDFFF` escape replaced by U+FFFD; `None` if there was none.
pub(super) fn repair(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut repaired = false;
    let mut at = 0;
    while at < bytes.len() {
        match (unit(&bytes[at..]), bytes[at], bytes.get(at + 1)) {
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
                out.push(byte);
                at += 1;
            }
        }
    }
    repaired.then_some(out)
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
    fn only_lone_ones_are_replaced() {
        for (text, expected) in [
            (r#""\ud83d""#, Some(r#""\ufffd""#)),
            (r#""\ude00x""#, Some(r#""\ufffdx""#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud83d""#, None),
            (r"\ud8", None),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(repair(text.as_bytes()), expected, "{text}");
        }
    }
}
