//! Credentials in the evidence: that they were fetched and used, never what they are.

use serde::{Deserialize, Serialize};

/// Data of `credential.fetched` and `credential.failed`: a value was asked for outside, at the first request that needed it
/// or after its lifetime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialFetch {
    /// The credential's name.
    pub name: String,
    /// The kind of its source: `env`, `file`, `command` or `sign-in`.
    pub source: String,
    /// Why there is no value, in words; what a command said besides is cut. Absent where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether a sign-in was refreshed for it, and the person's file written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refreshed: bool,
}

/// Data of `credential.used`: a request goes out with the value in its head. Its `http.exchange` follows, with the head as
/// the program sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialUsed {
    /// The credential's name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// The connection that the request came on.
    pub connection: u64,
    /// To which host the request goes.
    pub host: String,
    /// To which port.
    pub port: u16,
    /// The field of the head that carries it, in lower case.
    pub header: String,
    /// Whether the program sent the placeholder; otherwise it sent no such field, and it was added.
    pub placeholder: bool,
}
