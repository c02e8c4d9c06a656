//! Certificates of hosts, made when a program first asks for one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ServerSessionMemoryCache;
use time::{Duration, OffsetDateTime};

use crate::Authority;
use crate::authority::AuthorityError;

/// Most hosts whose configurations are kept.
const MOST: usize = 1_024;
/// Sessions that a host's programs can resume; more would only hold memory.
const SESSIONS: usize = 32;
/// How long before its making a leaf is valid: clients round.
const BEFORE: Duration = Duration::hours(1);
/// How long a leaf is valid; some clients refuse more than 398 days, none so short a time.
const LIFETIME: Duration = Duration::days(90);

/// What TLS with programs needs: signs a host's certificate once and keeps it, the least recently used go first.
pub(crate) struct Leaves {
    issuer: Issuer<'static, KeyPair>,
    /// One key for all leaves of the gateway: making one costs as much as signing.
    key: KeyPair,
    made: RefCell<HashMap<String, (Arc<ServerConfig>, u64)>>,
    uses: Cell<u64>,
}

/// No certificate for a host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeavesError {
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The leaf, or its key.
    #[error("no certificate can be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// What rustls makes of it.
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

impl Leaves {
    /// Of a run's authority.
    ///
    /// # Errors
    /// Where its key is none, or the system gives no random bytes.
    pub(crate) fn new(authority: &Authority) -> Result<Leaves, LeavesError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Leaves { issuer: authority.issuer()?, key, made: RefCell::default(), uses: Cell::new(0) })
    }

    /// The configuration by which the gateway is this host: a name, or an address.
    ///
    /// # Errors
    /// Where no certificate can bear the name.
    pub(crate) fn of(&self, host: &str) -> Result<Arc<ServerConfig>, LeavesError> {
        let now = self.uses.get() + 1;
        self.uses.set(now);
        let mut made = self.made.borrow_mut();
        if let Some((config, used)) = made.get_mut(host) {
            *used = now;
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.make(host)?);
        if made.len() >= MOST {
            let oldest = made.iter().min_by_key(|(_, (_, used))| *used).map(|(host, _)| host.clone());
            if let Some(oldest) = oldest {
                made.remove(&oldest);
            }
        }
        made.insert(host.to_owned(), (Arc::clone(&config), now));
        Ok(config)
    }

    fn make(&self, host: &str) -> Result<ServerConfig, LeavesError> {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into()?),
        }];
        // A common name has at most 64 characters (RFC 5280, appendix A.1); no client of today reads it.
        if host.len() <= 64 {
            parameters.distinguished_name.push(DnType::CommonName, host);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::now_utc();
        parameters.not_before = now - BEFORE;
        parameters.not_after = now + LIFETIME;
        let certificate: CertificateDer<'static> = parameters.signed_by(&self.key, &self.issuer)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_configuration_and_the_least_recently_used_goes() {
        let leaves = Leaves::new(&Authority::generate().unwrap()).unwrap();
        let first = leaves.of("a.example").unwrap();
        assert!(Arc::ptr_eq(&first, &leaves.of("a.example").unwrap()));
        let second = leaves.of("b.example").unwrap();
        for n in 0..MOST - 1 {
            leaves.of("a.example").unwrap();
            leaves.of(&format!("h{n}.example")).unwrap();
        }
        assert_eq!(leaves.made.borrow().len(), MOST);
        assert!(Arc::ptr_eq(&first, &leaves.of("a.example").unwrap()), "was used all the time");
        assert!(!Arc::ptr_eq(&second, &leaves.of("b.example").unwrap()), "was not");
    }

    #[test]
    fn addresses_and_long_names_have_certificates_and_what_is_no_name_has_none() {
        let leaves = Leaves::new(&Authority::generate().unwrap()).unwrap();
        let long = format!("{}.{}.example", "a".repeat(63), "b".repeat(63));
        for host in ["192.0.2.1", "2001:db8::1", long.as_str()] {
            leaves.of(host).unwrap();
        }
        assert!(matches!(leaves.of("ä.example"), Err(LeavesError::Certificate(_))));
    }
}
