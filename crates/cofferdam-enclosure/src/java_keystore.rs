//! Java's store of trusted certificates, `cacerts`: those of the host, and one more.
//!
//! The format is that of `sun.security.provider.JavaKeyStore`, "JKS", which distributions ship, and which every JVM reads
//! whatever it takes for the default (`keystore.type.compat` of `java.security`). Numbers are big-endian; a text is its
//! length in two bytes, then UTF-8:
//!
//! ```text
//! u32 0xfeedfeed   u32 version   u32 number of entries
//! for each         u32 kind   text alias   u64 milliseconds since 1970   text "X.509"   u32 length   DER
//! 20 bytes         SHA-1 of the password in UTF-16, "Mighty Aphrodite", and all that is before
//! ```
//!
//! Nothing of a host's store is interpreted but lengths: its entries are taken over as they stand.

use std::io;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha1::{Digest, Sha1};

/// What the format is, and version 2, the first in which an entry names its certificate's type.
const HEAD: &[u8] = &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
/// The kind of an entry that is a certificate to trust; others hold a key.
const TRUSTED: &[u8] = &[0, 0, 0, 2];
const DIGEST: usize = 20;
/// What every `cacerts` is locked with (`keytool(1)`). A JVM does not ask for it, programs that read the file do.
const PASSWORD: &str = "changeit";
const SALT: &[u8] = b"Mighty Aphrodite";

/// A store that grows.
#[derive(Debug)]
pub struct JavaKeystore {
    count: u32,
    store: Vec<u8>,
}

impl JavaKeystore {
    /// An empty one.
    pub(crate) fn new() -> JavaKeystore {
        JavaKeystore { count: 0, store: [HEAD, &[0; size_of::<u32>()]].concat() }
    }

    /// A store of what a file of the host's holds, a JKS or PEM.
    ///
    /// # Errors
    /// Where it is neither ([`io::ErrorKind::InvalidData`]).
    pub(crate) fn of_host(content: Vec<u8>) -> io::Result<JavaKeystore> {
        if content.starts_with(HEAD) {
            return JavaKeystore::read(content);
        }
        let mut store = JavaKeystore::new();
        store.trust("system", &content)?;
        Ok(store)
    }

    /// Reads a store of the host's in which all entries are certificates to trust.
    ///
    /// # Errors
    /// Where it is something else ([`io::ErrorKind::InvalidData`]), and says what.
    pub fn read(mut store: Vec<u8>) -> io::Result<JavaKeystore> {
        let (count, end) = measure(&store)?;
        store.truncate(end);
        Ok(JavaKeystore { count, store })
    }

    /// Adds the certificates of a text (PEM, RFC 7468), each under `name` and a number that no other has.
    ///
    /// # Errors
    /// Where the text is no PEM, or beyond what the format can say ([`io::ErrorKind::InvalidData`]).
    pub(crate) fn trust(&mut self, name: &str, pem: &[u8]) -> io::Result<()> {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            let beyond = || invalid("too many certificates for a JKS, or too large ones");
            let length = u32::try_from(certificate.len()).map_err(|_| beyond())?;
            self.count = self.count.checked_add(1).ok_or_else(beyond)?;
            self.store.extend_from_slice(TRUSTED);
            self.text(&format!("{name}-{}", self.count))?;
            self.store.extend_from_slice(&[0; size_of::<u64>()]); // when it came, which nothing depends on
            self.text("X.509")?;
            self.store.extend_from_slice(&length.to_be_bytes());
            self.store.extend_from_slice(&certificate);
        }
        Ok(())
    }

    /// The file.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let count = HEAD.len()..HEAD.len() + size_of::<u32>();
        self.store.splice(count, self.count.to_be_bytes());
        let mut digest = Sha1::new();
        for unit in PASSWORD.encode_utf16() {
            digest.update(unit.to_be_bytes());
        }
        digest.update(SALT);
        digest.update(&self.store);
        self.store.extend_from_slice(&digest.finalize());
        self.store
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let length = u16::try_from(text.len()).map_err(|_| invalid("too long a name for a JKS"))?;
        self.store.extend_from_slice(&length.to_be_bytes());
        self.store.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// How many entries a store has, and where they end.
fn measure(store: &[u8]) -> io::Result<(u32, usize)> {
    let broken = || invalid("it is cut short or out of order");
    let rest = store.strip_prefix(HEAD).ok_or_else(|| invalid("it is no JKS of version 2"))?;
    let (count, rest) = rest.split_first_chunk().ok_or_else(broken)?;
    let count = u32::from_be_bytes(*count);
    let mut at = rest;
    for _ in 0..count {
        at = match at.strip_prefix(TRUSTED) {
            Some(entry) => after_certificate(entry).ok_or_else(broken)?,
            None if at.len() <= DIGEST => return Err(broken()),
            None => return Err(invalid("it holds what is no certificate to trust")),
        };
    }
    if at.len() != DIGEST {
        return Err(broken());
    }
    Ok((count, store.len() - DIGEST))
}

/// What follows on an entry, from its alias on.
fn after_certificate(entry: &[u8]) -> Option<&[u8]> {
    let rest = after_text(entry)?.get(size_of::<u64>()..)?;
    let (length, rest) = after_text(rest)?.split_first_chunk()?;
    rest.get(usize::try_from(u32::from_be_bytes(*length)).ok()?..)
}

fn after_text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(usize::from(u16::from_be_bytes(*length))..)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two of what PEM allows; that they are no certificates is nothing that the format looks at.
    const TWO: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n\
                         -----BEGIN CERTIFICATE-----\nAwQ=\n-----END CERTIFICATE-----\n";

    fn host() -> Vec<u8> {
        let mut store = JavaKeystore::new();
        store.trust("host", TWO).unwrap();
        store.finish()
    }

    #[test]
    fn what_is_added_stands_after_what_the_host_has() {
        let host = host();
        let mut store = JavaKeystore::read(host.clone()).unwrap();
        store.trust("cofferdam", TWO).unwrap();
        let both = store.finish();
        assert_eq!(measure(&both).unwrap().0, 4);
        let entries = HEAD.len() + 4..host.len() - DIGEST;
        assert_eq!(both[entries.clone()], host[entries]);
        assert!(memchr::memmem::find(&both, b"\0\x0bcofferdam-4").is_some());
        assert_ne!(both[both.len() - DIGEST..], host[host.len() - DIGEST..]);
    }

    #[test]
    fn a_store_that_is_cut_short_or_lies_about_a_length_is_none() {
        let host = host();
        for end in 0..host.len() {
            assert!(JavaKeystore::read(host[..end].to_vec()).is_err(), "{end}");
        }
        assert!(JavaKeystore::read([&host[..], b"x"].concat()).is_err());
        for (at, value) in [(8, 0xff), (11, 1), (11, 3), (16, 0xff), (17, 0xff), (0, 0), (7, 1)] {
            let mut store = host.clone();
            store[at] = value;
            assert!(JavaKeystore::read(store).is_err(), "{at}");
        }
    }

    #[test]
    fn a_store_with_a_key_is_not_taken_over() {
        let mut store = host();
        store[15] = 1;
        assert_eq!(JavaKeystore::read(store).unwrap_err().to_string(), "it holds what is no certificate to trust");
    }
}
