//! One rule: what it allows, and why.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use cofferdam_core::event::RuleRef;
use cofferdam_core::{Bytes, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::host::HostPattern;
use crate::pattern::PathPattern;

/// Where rules come from, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// The person's own file.
    Person,
    /// The project's file, at a content that the person trusts.
    Project,
    /// `--allow`.
    CommandLine,
    /// `--resolve`: registries that the host's client configuration names.
    Resolve,
    /// The profile of the agent that runs: what it needs to work at all.
    BuiltIn,
    /// `coffer allow`, while the run was going on.
    Live,
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LayerKind::Person => "person",
            LayerKind::Project => "project",
            LayerKind::CommandLine => "command line",
            LayerKind::Resolve => "resolve",
            LayerKind::BuiltIn => "built-in",
            LayerKind::Live => "live",
        })
    }
}

/// Which rule it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RuleId {
    /// The layer that it stands in.
    pub layer: LayerKind,
    /// Its file; none for the command line, and for a registry that no file names.
    #[serde(
        default,
        serialize_with = "bytes",
        deserialize_with = "from_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub file: Option<Arc<Path>>,
    /// The line at which it begins, 0 where there is none; on the command line which `--allow` it is, from 1.
    pub line: u32,
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl From<&RuleId> for RuleRef {
    fn from(id: &RuleId) -> RuleRef {
        let layer = match id.layer {
            LayerKind::Person => "person",
            LayerKind::Project => "project",
            LayerKind::CommandLine => "command-line",
            LayerKind::Resolve => "resolve",
            LayerKind::BuiltIn => "built-in",
            LayerKind::Live => "live",
        };
        RuleRef {
            layer: layer.to_owned(),
            file: id.file.as_deref().map(Bytes::from),
            line: id.line,
            name: id.name.clone(),
        }
    }
}

fn bytes<S: Serializer>(path: &Option<Arc<Path>>, s: S) -> Result<S::Ok, S::Error> {
    path.as_deref().map(Bytes::from).serialize(s)
}

fn from_bytes<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Arc<Path>>, D::Error> {
    Ok(Option::<Bytes>::deserialize(d)?.map(|bytes| bytes.as_path().into()))
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// HTTP over TLS.
    Https,
    /// HTTP in the clear.
    Http,
    /// Anything else over TCP.
    Tcp,
}

impl Scheme {
    /// All, with their words.
    pub const ALL: &'static [(&'static str, Scheme)] =
        &[("https", Scheme::Https), ("http", Scheme::Http), ("tcp", Scheme::Tcp)];

    /// The port that stands for it where none is given.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Scheme::Https => Some(443),
            Scheme::Http => Some(80),
            Scheme::Tcp => None,
        }
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Https => "https",
            Scheme::Http => "http",
            Scheme::Tcp => "tcp",
        }
    }
}

/// What happens to TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// It ends at the gateway, which sees requests.
    #[default]
    Intercept,
    /// It passes; only the name is seen.
    Passthrough,
}

/// How much of exchanges the evidence keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// Digests of the bodies.
    #[default]
    Digest,
    /// The beginning of the bodies.
    Head,
    /// The bodies.
    Full,
}

/// When a rule ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// The first moment at which it allows nothing any more.
    pub at: Timestamp,
    /// As it stands in the file; a date means the end of that day, UTC.
    pub written: String,
}

/// One `[[network.allow]]`. Its serialised form is what stands in a run's plan and what the gateway is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Which it is.
    pub id: RuleId,
    /// Where to.
    pub host: HostPattern,
    /// Private and other special addresses (of this machine, its networks, or its provider) that the name may lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
    /// To which port; without one to the default ports of HTTP, each with its own scheme.
    pub port: Option<u16>,
    /// What may be spoken; without one HTTP with and without TLS, and on a port that is given anything, unless methods
    /// or paths are given too.
    pub scheme: Option<Scheme>,
    /// The methods; without them all.
    pub methods: Option<Vec<String>>,
    /// The paths; without them all.
    pub paths: Option<Vec<PathPattern>>,
    /// What happens to TLS.
    pub tls: Tls,
    /// What the evidence keeps.
    pub record: Record,
    /// Why the rule exists; never empty.
    pub purpose: String,
    /// When it ends.
    pub expires: Option<Expiry>,
}

impl Rule {
    /// Whether it is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.as_ref().is_some_and(|expiry| expiry.at <= now)
    }

    /// Whether only requests can be judged by it, not connections.
    pub fn needs_request(&self) -> bool {
        self.methods.is_some() || self.paths.is_some()
    }

    /// Whether it admits this port, for what is spoken there.
    pub(crate) fn admits_port(&self, port: u16, scheme: Scheme) -> bool {
        match (self.port, self.scheme) {
            (Some(own), _) => own == port,
            (None, Some(own)) => own.default_port() == Some(port),
            (None, None) => match scheme {
                Scheme::Tcp => matches!(port, 80 | 443),
                scheme => scheme.default_port() == Some(port),
            },
        }
    }

    /// Whether it admits what is spoken.
    pub(crate) fn admits_scheme(&self, scheme: Scheme) -> bool {
        match (self.scheme, scheme) {
            (Some(own), scheme) => own == scheme,
            // Nothing but its port says what is meant; what has no requests is meant only where a port is named.
            (None, Scheme::Tcp) => self.port.is_some() && !self.needs_request(),
            (None, _) => true,
        }
    }

    /// The ports in words.
    pub fn ports(&self) -> String {
        match (self.port, self.scheme) {
            (Some(port), _) => port.to_string(),
            (None, Some(scheme)) => scheme.default_port().map_or_else(String::new, |port| port.to_string()),
            (None, None) => "443, 80".to_owned(),
        }
    }
}
