//! Which implementation of cryptography TLS takes, for all datasets: with the feature `tls-ring`, on by
//! default, ring; without it the process's default, which the application installs.
//!
//! PostgreSQL and objects name ring and leave the process's default alone. **MySQL's driver takes the
//! process's default**: with `tls-ring`, ring is installed at its first connection with TLS if there is
//! none by then. An application that wants another one installs it before.

#[cfg(any(feature = "postgres", feature = "object"))]
use std::sync::Arc;

use namel3ss_safety::AdapterError;
use rustls::crypto::CryptoProvider;

/// What TLS is to be made of.
///
/// # Errors
/// Without `tls-ring`, if the process has no default.
#[cfg(any(feature = "postgres", feature = "object"))]
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, AdapterError> {
    #[cfg(feature = "tls-ring")]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(feature = "tls-ring"))]
    CryptoProvider::get_default().cloned().ok_or_else(missing)
}

/// Sees that the process has a default, for a driver that takes it and panics where there is none.
///
/// # Errors
/// Without `tls-ring`, if it has none.
#[cfg(feature = "mysql")]
pub(crate) fn need_default() -> Result<(), AdapterError> {
    if CryptoProvider::get_default().is_some() {
        return Ok(());
    }
    #[cfg(feature = "tls-ring")]
    {
        // Another thread may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(())
    }
    #[cfg(not(feature = "tls-ring"))]
    Err(missing())
}

#[cfg(not(feature = "tls-ring"))]
fn missing() -> AdapterError {
    AdapterError::config(
        "set up TLS: the process has no CryptoProvider of rustls: have the application call \
         install_default() of one before its first connection, or build with the feature tls-ring of \
         namel3ss-safety-stores",
    )
}
