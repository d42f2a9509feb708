//! The schemes of URLs, and what this build opens.

/// Schemes, each with the feature that opens it and whether this build has that.
pub(super) const SCHEMES: [(&str, &str, bool); 12] = [
    ("sqlite", "sqlite", cfg!(feature = "sqlite")),
    ("postgresql", "postgres", cfg!(feature = "postgres")),
    ("postgres", "postgres", cfg!(feature = "postgres")),
    ("mysql", "mysql", cfg!(feature = "mysql")),
    ("mariadb", "mysql", cfg!(feature = "mysql")),
    ("file", "", true),
    ("s3", "object", cfg!(feature = "object")),
    ("gs", "object", cfg!(feature = "object")),
    ("az", "object", cfg!(feature = "object")),
    ("abfs", "object", cfg!(feature = "object")),
    ("abfss", "object", cfg!(feature = "object")),
    // Before the scheme of a store.
    ("delta", "delta", cfg!(feature = "delta")),
];

/// What this build opens.
pub(super) fn schemes() -> impl Iterator<Item = &'static str> {
    SCHEMES.into_iter().filter(|(.., opens)| *opens).map(|(scheme, ..)| scheme)
}

/// The scheme as it stands in the table, and what opens it.
pub(super) fn known(scheme: &str) -> Option<(&'static str, &'static str)> {
    let (scheme, feature, _) = SCHEMES.into_iter().find(|(its, ..)| *its == scheme)?;
    Some((scheme, feature))
}
