//! Run identifiers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 12;

/// The name of one run: twelve characters of Crockford's base 32 in lower case, 60 random bits.
///
/// People type a unique prefix; four characters usually do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// Text that is not a run identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a run id: {LENGTH} characters of 0-9 and a-z without i, l, o and u")]
pub struct RunIdError(pub String);

impl RunId {
    /// The identifier of these random bytes.
    pub fn from_random(raw: [u8; LENGTH]) -> Self {
        RunId(raw.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect())
    }

    /// The identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first four characters, as shown where the whole is not needed.
    pub fn short(&self) -> &str {
        &self.0[..4]
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = RunIdError;
    fn from_str(text: &str) -> Result<Self, RunIdError> {
        if text.len() == LENGTH && text.bytes().all(|b| ALPHABET.contains(&b)) {
            Ok(RunId(text.to_owned()))
        } else {
            Err(RunIdError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;
    fn try_from(text: String) -> Result<Self, RunIdError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_gives_a_valid_character() {
        for byte in 0..=255 {
            let id = RunId::from_random([byte; LENGTH]);
            assert_eq!(id.as_str().parse::<RunId>().unwrap(), id);
        }
    }

    #[test]
    fn a_path_is_not_an_id() {
        for bad in ["", "../../../etc", "abcd", "ABCDEFGHJKMN", "abcdefghijkl", "abcdefghjkmn0"] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
