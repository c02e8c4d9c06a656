//! The proof of one event, in one file.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::Result;

/// A [C2SP tlog-proof](https://c2sp.org/tlog-proof) of an event, with the event's line in its `extra` line.
///
/// # Errors
/// As [`cofferdam_evidence::prove`].
pub fn proof(evidence: &Path, seq: u64) -> Result<String> {
    let (line, proof) = cofferdam_evidence::prove(evidence, seq)?;
    let text = proof.to_string();
    let extra = format!("extra {}\nindex ", BASE64_STANDARD.encode(line));
    Ok(text.replacen("index ", &extra, 1))
}
