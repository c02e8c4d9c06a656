//! One event with its proof, in one file.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cofferdam_core::event::Event;

use crate::proof::HEADER;
use crate::{Checkpoint, Error, Proof, Result, VerifierKey, prove, verify_proof};

const EXTRA: &str = "extra ";
/// Most bytes of a bundle's text: a line of the longest, in base64, and a note.
pub const MAX_BUNDLE: u64 = 24 << 20;

/// A [C2SP tlog-proof](https://c2sp.org/tlog-proof) whose `extra` line carries the event: any program that reads such
/// proofs verifies it. Its text form is `Display` and `FromStr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The event's line: the leaf.
    pub line: Vec<u8>,
    /// Its proof.
    pub proof: Proof,
}

impl Bundle {
    /// The bundle of an event of an evidence directory.
    ///
    /// # Errors
    /// As [`prove`].
    pub fn of(dir: &Path, seq: u64) -> Result<Bundle> {
        let (line, proof) = prove(dir, seq)?;
        Ok(Bundle { line, proof })
    }

    /// Verifies the proof with a key, and reads the event.
    ///
    /// # Errors
    /// [`Error::Proof`] says what does not hold.
    pub fn verify(&self, key: &VerifierKey) -> Result<(Checkpoint, Option<Event>)> {
        let checkpoint = verify_proof(&self.line, &self.proof, key)?;
        // A kind that this version does not know is proven all the same.
        Ok((checkpoint, serde_json::from_slice(&self.line).ok()))
    }
}

impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proof = self.proof.to_string();
        let rest = proof.strip_prefix(HEADER).unwrap_or(&proof);
        write!(f, "{HEADER}\n{EXTRA}{}{rest}", BASE64_STANDARD.encode(&self.line))
    }
}

impl FromStr for Bundle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let proof: Proof = text.parse()?;
        let line = text
            .lines()
            .nth(1)
            .and_then(|line| line.strip_prefix(EXTRA))
            .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok())
            .ok_or_else(|| Error::Proof("its second line is not `extra` and the event in base64".into()))?;
        Ok(Bundle { line, proof })
    }
}
