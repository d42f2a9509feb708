//! The root certificates that a connection to a database server trusts.

use namel3ss_safety::AdapterError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::address::{Server, SslMode};

/// The certificates that the server's must lead to: those in the file that its URL names and no
/// others, or else the system's; none where its certificate is not checked.
pub(crate) fn roots(server: &Server) -> Result<Option<Vec<CertificateDer<'static>>>, AdapterError> {
    let is_checked = match server.ssl_mode {
        SslMode::Disable | SslMode::Prefer => false,
        // As in libpq: whoever names a root wants it checked.
        SslMode::Require => server.ssl_root_cert.is_some(),
        SslMode::VerifyCa | SslMode::VerifyFull => true,
    };
    if !is_checked {
        return Ok(None);
    }
    let certificates = match &server.ssl_root_cert {
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
    Ok(Some(certificates))
}
