//! Merged objects: one large one in place of many small ones, made by `compact`. Which rows it holds
//! stands in its footer. See `docs/design/compact.md`.

use super::ids::Ids;
use crate::parquet::Footer;

/// Under which key a merged object's footer says which rows it holds.
pub(super) const NOTE: &str = "namel3ss-safety.rows";

/// The rows that an object says it holds; `None` for one that says nothing.
pub(super) fn ids(footer: &Footer) -> Option<Ids> {
    Ids::from_text(footer.note(NOTE)?)
}
