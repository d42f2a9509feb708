//! What a server says, as it may stand in our errors: whoever answers on the port has chosen the words.

#[cfg(feature = "postgres")]
use super::address::Secret;

/// The most characters of it.
const CHARS_MAX: usize = 300;

/// `words` without the password, without control characters, and not longer than an error may be.
pub(crate) fn said(words: &str, password: Option<&str>) -> String {
    let words = match password.filter(|password| !password.is_empty()) {
        Some(password) => words.replace(password, "***"),
        None => words.to_owned(),
    };
    let mut text = String::with_capacity(words.len().min(CHARS_MAX));
    for (count, char) in words.chars().enumerate() {
        if count == CHARS_MAX {
            text.push('…');
            break;
        }
        // `escape_debug` knows more of what a terminal obeys than `is_control`, and quotes as well.
        match char {
            '"' | '\'' | '\\' => text.push(char),
            _ => text.extend(char.escape_debug()),
        }
    }
    text
}

/// The text of a password, for [`said`].
#[cfg(feature = "postgres")]
pub(crate) fn text(password: Option<&Secret>) -> Option<&str> {
    password.map(Secret::reveal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server on the port could write to the terminal that shows the log, and the password into it.
    #[test]
    fn a_servers_words_are_escaped_and_bounded_and_hold_no_password() {
        let words = "password was hunter2 \u{1b}[31m\r\n\u{202e}\"é\"";
        let text = said(words, Some("hunter2"));
        assert_eq!(text, "password was *** \\u{1b}[31m\\r\\n\\u{202e}\"é\"");
        assert_eq!(said(&"é".repeat(1_000_000), Some("")).chars().count(), CHARS_MAX + 1);
    }
}
