//! Text from prompts, made harmless for a terminal.
//!
//! An event's reason, ids and metadata come from whoever talks to the model. Printed as they are
//! they could move the cursor, set the clipboard (OSC 52), forge a line of output or turn the
//! reading direction around, so everything that this program prints passes through here.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal would act on `c` rather than show it, or would hide it.
///
/// C0, DEL and C1; the bidi controls of [UAX 9](https://www.unicode.org/reports/tr9/); the line
/// and paragraph separators; and the invisible tag characters, which smuggle text past a reader.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` on one line, with what [`is_hostile`] written as `\n`, `\x1b`, `\u{202e}`.
///
/// ```
/// use namel3ss_safety_cli::escape::escape;
/// assert_eq!(escape("red\u{1b}[31m"), "red\\x1b[31m");
/// assert_eq!(escape("naïve 日本"), "naïve 日本");
/// ```
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a String can't fail.
            c if is_hostile(c) && u32::from(c) < 0x100 => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if is_hostile(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The same for text that has lines of its own, such as help: newlines stay.
#[must_use]
pub fn escape_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        out.push_str(&escape(line));
    }
    out
}

/// The same for JSON text: written as JSON's own `\u` escapes, so that a parser reads back exactly
/// what was logged. Outside its strings JSON has none of these characters.
#[must_use]
pub fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_hostile) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_hostile(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// `text`, cut after `chars_max` characters with an ellipsis: for messages that quote their input.
#[must_use]
pub fn shorten(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_attacks_come_out_as_plain_text() {
        for (attack, shown) in [
            ("\u{1b}]52;c;ZXZpbA==\u{7}", "\\x1b]52;c;ZXZpbA==\\x07"),
            ("\u{9b}31m", "\\x9b31m"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
            ("x\u{e0041}", "x\\u{e0041}"),
            ("\u{7f}", "\\x7f"),
        ] {
            assert_eq!(escape(attack), shown);
        }
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(shorten("日本語", 2), "日本…");
        assert_eq!(shorten("日本語", 3), "日本語");
    }

    proptest! {
        #[test]
        fn nothing_hostile_is_left(text in any::<String>()) {
            let shown = escape(&text);
            prop_assert!(!shown.chars().any(is_hostile));
            prop_assert!(shown.bytes().all(|b| b >= 0x20 && b != 0x7f));
            prop_assert_eq!(escape(&shown), shown.clone());
            prop_assert!(!escape_lines(&text).chars().any(|c| c != '\n' && is_hostile(c)));
        }

        #[test]
        fn harmless_text_is_left_alone(text in "[ -~à-ÿ日本語]*") {
            prop_assert_eq!(escape(&text), text.as_str());
        }

        #[test]
        fn json_reads_back_as_it_was(text in any::<String>()) {
            let json = serde_json::Value::from(text.clone()).to_string();
            let shown = escape_json(&json);
            prop_assert!(!shown.chars().any(is_hostile));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
