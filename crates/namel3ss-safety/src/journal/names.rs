//! Names of the files in a journal.

/// The beginning of a segment file's name.
pub const SEGMENT_PREFIX: &str = "seg";

/// The beginning of a cursor file's name.
pub const CURSOR_PREFIX: &str = "cursor-";

/// How a file that can't be used is renamed: set aside, never deleted.
pub const ASIDE_SUFFIX: &str = ".damaged";

/// A file name for any text: itself if it is plain, else its plain part and a hash.
#[must_use]
pub fn slug(name: &str) -> String {
    let plain: String = name
        .chars()
        .take(64)
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
        .collect();
    if plain == name && !plain.is_empty() {
        return plain;
    }
    format!("{plain}~{:08x}", crc32c::crc32c(name.as_bytes()))
}
