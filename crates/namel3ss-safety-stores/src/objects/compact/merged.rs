//! Merged objects: one large one in place of many small ones. Which rows it holds stands in its
//! footer, and in which order it was made in its name.

use crate::ids::Ids;
use crate::objects::key::MERGED;
use crate::parquet::Footer;

/// Under which key a merged object's footer says which rows it holds.
pub(super) const NOTE: &str = "namel3ss-safety.rows";

/// The rows that an object says it holds; `None` for one that says nothing.
pub(in crate::objects) fn ids(footer: &Footer) -> Option<Ids> {
    Ids::from_text(footer.note(NOTE)?)
}

/// The name of a merged object.
pub(super) fn name(generation: u64, extension: &str) -> String {
    format!("{MERGED}{generation:08}.{extension}")
}

/// The generation of a merged object, by its name.
pub(super) fn generation(name: &str, extension: &str) -> Option<u64> {
    name.strip_prefix(MERGED)?.strip_suffix(extension)?.strip_suffix('.')?.parse().ok()
}
