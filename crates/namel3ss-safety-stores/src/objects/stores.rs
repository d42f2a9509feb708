//! The store that a URL names.

use namel3ss_safety::AdapterError;

#[cfg(feature = "object")]
use super::cloud;
#[cfg(unix)]
use super::folder;
use super::place::{Place, Root};
use super::store::Store;

pub(super) fn open_store(place: &Place) -> Result<Box<dyn Store>, AdapterError> {
    match &place.root {
        #[cfg(unix)]
        Root::Folder(root) => Ok(Box::new(folder::Folder::new(root.clone()))),
        #[cfg(not(unix))]
        Root::Folder(_) => Err(AdapterError::config("open the folder: only on Unix so far")),
        #[cfg(feature = "object")]
        _ => Ok(Box::new(cloud::Cloud::new(place)?)),
        #[cfg(not(feature = "object"))]
        _ => Err(AdapterError::config("open the object store: it is not in this build")),
    }
}
