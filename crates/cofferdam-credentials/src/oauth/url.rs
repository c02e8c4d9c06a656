//! Token endpoints.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use cofferdam_policy::host::{HOST_SERVICES, HostPattern};
use cofferdam_policy::rule::{Record, Tls};
use cofferdam_policy::{LayerKind, Rule, RuleId, Scheme};
use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The URL of a token endpoint (RFC 6749, section 3.2): over TLS, or on this machine's loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUrl {
    /// Whether TLS protects it.
    pub tls: bool,
    /// Its host, as policy compares it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its path.
    pub path: String,
}

impl TokenUrl {
    /// The host by which programs inside reach it.
    pub fn host_inside(&self) -> &str {
        if self.is_loopback() { HOST_SERVICES } else { &self.host }
    }

    /// The rule by which it is reached outside: this host, wherever ordinary addresses have it, or this address.
    ///
    /// # Errors
    /// Where its host is none, in words.
    pub fn rule(&self) -> Result<Rule, String> {
        let (host, _) = HostPattern::parse(&self.host).or_else(|e| match self.host.parse() {
            // Of a person's own machine: no policy may name it so, and a program inside could not mean it.
            Ok(address) => Ok((HostPattern::Address(address), None)),
            Err(_) => Err(format!("`{}`: {e}", self.host)),
        })?;
        let scheme = Some(if self.tls { Scheme::Https } else { Scheme::Http });
        Ok(Rule { port: Some(self.port), scheme, ..rule(host, "refresh a sign-in") })
    }

    /// Whether it is a service of this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

/// A rule about a host; nobody wrote it.
pub(super) fn rule(host: HostPattern, purpose: &str) -> Rule {
    Rule {
        id: built_in("sign-in"),
        host,
        addresses: Vec::new(),
        port: None,
        scheme: None,
        methods: None,
        paths: None,
        tls: Tls::Intercept,
        record: Record::Digest,
        purpose: purpose.to_owned(),
        expires: None,
    }
}

/// What the program itself has, by its name.
pub(super) fn built_in(name: &str) -> RuleId {
    RuleId { layer: LayerKind::BuiltIn, file: None, line: 0, name: Some(name.to_owned()) }
}

impl FromStr for TokenUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<TokenUrl, String> {
        let uri: Uri = text.parse().map_err(|_| format!("`{text}` is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("`{text}` is no https URL")),
        };
        let host = uri.host().ok_or_else(|| format!("`{text}` names no host"))?;
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) || uri.query().is_some() {
            return Err(format!("`{text}` holds more than scheme, host, port and path"));
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let url = TokenUrl { tls, host, port, path: uri.path().to_owned() };
        if !tls && !url.is_loopback() {
            return Err(format!("`{text}` is no https URL"));
        }
        Ok(url)
    }
}

impl fmt::Display for TokenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = cofferdam_policy::host::in_authority(&self.host);
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{host}")?;
        if self.port != if self.tls { 443 } else { 80 } {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

impl Serialize for TokenUrl {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenUrl {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_loopback_are_taken() {
        for (text, inside) in [
            ("https://auth.example/oauth/token", "auth.example"),
            ("http://127.0.0.1:8080/t", HOST_SERVICES),
            ("https://[::1]:8443/t", HOST_SERVICES),
        ] {
            let url: TokenUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.host_inside()), (text, inside));
        }
        for text in
            ["http://auth.example/t", "ftp://a.example/", "https://me@a.example/t", "https://a.example/t?x=1", "/t"]
        {
            assert!(text.parse::<TokenUrl>().is_err(), "{text}");
        }
    }
}
