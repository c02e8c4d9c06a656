//! Signatures over documents of other formats: the envelope of
//! [DSSE](https://github.com/secure-systems-lab/dsse/blob/master/protocol.md), version 1.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::{RecorderKey, Result};

/// A signed document as in DSSE's `envelope.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The document, in base64.
    pub payload: String,
    /// Its media type.
    pub payload_type: String,
    /// One signature.
    pub signatures: [Signature; 1],
}

/// A signature of an [`Envelope`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// The key's name and id as in its note verifier key (`<name>+<key id>`); a hint, which nothing signs.
    pub keyid: String,
    /// Ed25519 over [`pae`], in base64.
    pub sig: String,
}

impl RecorderKey {
    /// Signs a document of some media type.
    ///
    /// # Errors
    /// [`crate::Error::Sign`].
    pub fn seal(&self, payload_type: &str, payload: &[u8]) -> Result<Envelope> {
        // A checkpoint's text begins with its origin, `cofferdam.dev/run/`, and this with `DSSEv1`: neither can pass
        // for the other.
        let sig = BASE64_STANDARD.encode(self.sign_bytes(&pae(payload_type, payload))?);
        let keyid = self.vkey().splitn(3, '+').take(2).collect::<Vec<_>>().join("+");
        Ok(Envelope {
            payload: BASE64_STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: [Signature { keyid, sig }],
        })
    }
}

/// DSSE's pre-authentication encoding: what is signed.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature as Ed25519, Verifier, VerifyingKey};

    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_protocol() {
        // The example of protocol.md.
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pae("t", "\u{e9}".as_bytes()), "DSSEv1 1 t 2 \u{e9}".as_bytes(), "lengths are of bytes");
    }

    #[test]
    fn the_signature_is_the_recorders() {
        let key = RecorderKey::generate().unwrap();
        let envelope = key.seal("application/x", b"{}").unwrap();
        let raw = BASE64_STANDARD.decode(key.vkey().splitn(3, '+').nth(2).unwrap()).unwrap();
        let public = VerifyingKey::from_bytes(raw[1..].try_into().unwrap()).unwrap();
        let sig = BASE64_STANDARD.decode(&envelope.signatures[0].sig).unwrap();
        let sig = Ed25519::from_slice(&sig).unwrap();
        assert!(public.verify(b"DSSEv1 13 application/x 2 {}", &sig).is_ok());
        assert!(public.verify(b"DSSEv1 13 application/x 2 {1", &sig).is_err());
        assert!(key.vkey().starts_with(&envelope.signatures[0].keyid));
    }
}
