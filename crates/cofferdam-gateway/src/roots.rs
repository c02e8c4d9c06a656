//! The certificates by which servers outside are verified.

use cofferdam_core::Bytes;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::error::GatewayError;

/// Reads files of PEM certificates. A certificate that no verification could use (an old, malformed root among many) is
/// left out; a file that cannot be read, or that is no PEM, is an error.
pub(crate) fn read(files: &[Bytes]) -> Result<RootCertStore, GatewayError> {
    let mut store = RootCertStore::empty();
    for file in files {
        let path = file.as_path();
        let failed = |problem: String| GatewayError::Roots { path: path.to_owned(), problem };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?;
        let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(|e| failed(e.to_string()))?;
        store.add_parsable_certificates(certificates);
    }
    Ok(store)
}
