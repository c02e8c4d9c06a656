//! The network: what was looked up, connected to, exchanged and refused.

use serde::{Deserialize, Serialize};

use super::BlobRef;
use crate::Bytes;
use crate::change::Digest;

/// Which rule of policy decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RuleRef {
    /// The layer that it stands in (`person`, `project`, `command-line`).
    pub layer: String,
    /// Its file; absent for the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Bytes>,
    /// The line at which it begins; on the command line which `--allow` it is, from 1.
    pub line: u32,
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Data of `net.lookup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetLookup {
    /// The name, in lower case without a final dot.
    pub name: String,
    /// Whether some rule could allow a connection to it. What none could allow gets addresses that refuse, so that the
    /// program learns why; nothing is asked outside for either.
    pub allowed: bool,
    /// The purposes of the rules about the name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<String>,
}

/// What the gateway did with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mediation {
    /// TLS ended at the gateway, or there was none: each request was judged, and has an `http.exchange`.
    Http,
    /// Bytes were passed on unread.
    Relay,
    /// TLS was passed on unread; only the name in the ClientHello was seen.
    Passthrough,
}

/// Data of `net.connect`: a connection that was let out. Written when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetConnect {
    /// Its number within the run, from 1.
    pub connection: u64,
    /// The host, as the program named it: a name, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What was done with it.
    pub mediation: Mediation,
    /// The address outside that was connected to; absent where nothing was (no request was allowed, or the name did not
    /// resolve).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The rule that let it out; of a connection whose requests are judged one by one the rule of its last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// The rule's purpose.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub purpose: String,
    /// Bytes that the program sent.
    pub sent: u64,
    /// Bytes that it received.
    pub received: u64,
    /// From the program's connect to the end, in milliseconds of the monotonic clock.
    pub milliseconds: u64,
    /// Requests on it.
    #[serde(default)]
    pub exchanges: u64,
    /// What ended it, where that was an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Data of `net.denied`: something did not leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDenied {
    /// The host, as the program named it: a name, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What was spoken: `http`, `https`, `tcp` or `udp`.
    pub scheme: String,
    /// The method, where there was a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path without its query, where there was a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why, as a word: a reason of policy (`no-rule`, `port`, `method`, …), or `direct-address` (no look-up gave it),
    /// `forbidden-address` (the name leads to an address that the rule does not name), `mismatch` (Host, SNI or
    /// :authority disagree with the destination), `secret`, `tripwire`, `credential-shaped`,
    /// `placeholder` (that of a credential, elsewhere than in its field), `not-http`, `udp` (a datagram socket was
    /// connected to an address that no look-up gave).
    pub reason: String,
    /// Why, in a sentence for people.
    pub detail: String,
    /// The rule that came nearest, or that was broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// What the person could type to allow it; absent where nothing could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// The connection, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
}

/// Data of `http.exchange`: a request that was let out, and its answer. Written when the answer has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpExchange {
    /// The connection that it came on.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// The whole URL; known secrets are struck out.
    pub url: String,
    /// The version that the program spoke (`HTTP/1.1`, `HTTP/2`).
    pub version: String,
    /// The status of the answer; absent where none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The rule that allowed it.
    pub rule: RuleRef,
    /// The rule's purpose.
    pub purpose: String,
    /// The fields of the request's head as the program sent them, names in lower case.
    pub request: Vec<(String, String)>,
    /// What the program sent.
    pub sent: Body,
    /// The fields of the answer's head.
    pub response: Vec<(String, String)>,
    /// What it received.
    pub received: Body,
    /// From the request's head to the answer's, in microseconds of the monotonic clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
    /// From the request's head to the end of the answer, in microseconds.
    pub microseconds: u64,
    /// The protocol that the connection went on with (`websocket`), where it was upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<String>,
    /// The interceptors that changed the request or the answer, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// What ended it, where that was an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A body of an exchange, as it was on the wire (content encodings are not undone).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of it, where all of it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What is kept of it, from its beginning; struck of secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<BlobRef>,
}

/// What the network of a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkTotals {
    /// `http.exchange`s.
    pub requests: u64,
    /// `net.connect`s.
    pub connections: u64,
    /// `net.denied`s.
    pub denied: u64,
    /// Datagrams that programs tried to send and that found no way out, as the enclosure's network namespace counted them;
    /// absent where its counters could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<u64>,
}
