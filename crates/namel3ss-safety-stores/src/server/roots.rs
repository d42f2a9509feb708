//! The root certificates that a connection to a database server trusts.

use std::path::Path;

use namel3ss_safety::AdapterError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The certificates that are trusted: those in the file that the URL names and no others, or else
/// the system's.
pub(crate) fn roots(path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, AdapterError> {
    let certificates = match path {
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| {
                let path = path.display();
                AdapterError::config(format!("read the root certificates in {path}: {error}"))
            };
            let read = CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))?;
            read.collect::<Result<Vec<_>, _>>().map_err(|e| wrong(&e))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    if certificates.is_empty() {
        return Err(AdapterError::config(
            "find a root certificate: name a PEM file with sslrootcert=/path",
        ));
    }
    Ok(certificates)
}
