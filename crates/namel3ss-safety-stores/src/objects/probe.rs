//! Asking a store whether it creates objects without overwriting them.

use namel3ss_safety::{AdapterError, Durability};

use super::store::{Body, Created, Store};

/// The object by which a store is asked; readers of partitioned datasets skip names that begin with
/// a dot.
const PROBE: &str = ".namel3ss-safety-create-only";

/// One small object under `prefix`, made twice: whether the second time it was said to exist.
pub(super) fn creates_only(
    store: &dyn Store,
    prefix: &str,
    durability: Durability,
) -> Result<bool, AdapterError> {
    let slash = if prefix.is_empty() { "" } else { "/" };
    let key = format!("{prefix}{slash}{PROBE}");
    let text = "This object shows that the store creates objects without overwriting them.\n";
    let body = Body::from(text.as_bytes().to_vec());
    for _ in 0..2 {
        match store.create(&key, &body, durability)? {
            Created::Exists => return Ok(true),
            Created::New => {}
            Created::Unsupported => return Ok(false),
        }
    }
    Ok(false)
}
