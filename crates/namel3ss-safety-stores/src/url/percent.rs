//! Percent signs in URLs.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::error::OpenError;

/// What a URL's path may hold as it is; everything else is written as `%XX`.
pub(crate) const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// `text` without its `%XX`, as [RFC 8089](https://www.rfc-editor.org/rfc/rfc8089) writes paths. A
/// percent sign that begins no `%XX` is refused: it would be another name than the one meant.
pub(crate) fn percent_decoded(text: &str) -> Result<String, OpenError> {
    let is_escape = |rest: &str| matches!(rest.as_bytes(), [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_escape) {
        return Err(OpenError::Malformed("write a percent sign as %25"));
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err(OpenError::Malformed("write the URL in UTF-8, without NUL")),
    }
}

/// `text` with what has a meaning in URLs written as `%XX`.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}
