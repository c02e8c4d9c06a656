//! The certificate authority of one run: what the enclosure's programs trust, and the key that never leaves memory.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// How long before its making a certificate is valid: clocks inside are the host's, but clients round.
const BEFORE: Duration = Duration::hours(1);
/// How long a run may last before its programs stop trusting the gateway.
const LIFETIME: Duration = Duration::days(90);

/// A run's authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authority {
    /// Its certificate, PEM.
    certificate: String,
    /// Its key, PKCS #8 DER.
    key: Zeroizing<Vec<u8>>,
}

/// No authority could be made or used.
#[derive(Debug, thiserror::Error)]
#[error("the run's certificate authority cannot be made: {0}")]
pub struct AuthorityError(#[from] rcgen::Error);

impl Authority {
    /// Makes a new one. It bears no run's name: it is made while that is still being decided.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn generate() -> Result<Authority, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = parameters(&key).self_signed(&key)?;
        let key = Zeroizing::new(key.serialize_der());
        Ok(Authority { certificate: certificate.pem(), key })
    }

    /// The certificate, PEM (RFC 7468).
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// What signs the certificates of hosts.
    ///
    /// # Errors
    /// Where the key is none.
    pub fn issuer(&self) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
        let key = KeyPair::try_from(self.key.as_slice())?;
        Ok(Issuer::new(parameters(&key), key))
    }
}

/// The same each time for one key; no two authorities have one name.
fn parameters(key: &KeyPair) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let public = key.public_key_raw();
    let name = cofferdam_core::bytes::hex(&public[public.len().saturating_sub(8)..]);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.distinguished_name.push(DnType::OrganizationName, "Cofferdam");
    parameters.distinguished_name.push(DnType::CommonName, format!("Cofferdam authority {name}"));
    let now = OffsetDateTime::now_utc();
    parameters.not_before = now - BEFORE;
    parameters.not_after = now + LIFETIME;
    parameters
}
