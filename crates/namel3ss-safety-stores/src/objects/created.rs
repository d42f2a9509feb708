//! What became of an object that was to be created.

/// What became of an object that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    /// It is there, and was not before.
    New,
    /// One of that key was there, and stays as it is.
    Exists,
    /// The store can't create without overwriting; nothing was written.
    #[cfg_attr(not(feature = "object"), expect(dead_code, reason = "a folder always can"))]
    Unsupported,
}
