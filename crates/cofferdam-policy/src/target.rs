//! What a person asks about: a URL, or a host with or without a port.

use crate::host::{HostProblem, split_port};
use crate::rule::Scheme;

/// A place that a request could go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// What would be spoken there.
    pub scheme: Scheme,
    /// The host as it was given.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The path; none where no URL was given.
    pub path: Option<&'a str>,
}

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A scheme that no rule can have.
    #[error("`{0}` is not spoken through the gateway: give an http or https URL, or HOST:PORT")]
    Scheme(String),
    /// `user@host`: a name that reads like another host.
    #[error("the URL holds a user's name before the host: leave it out")]
    User,
    /// The port.
    #[error(transparent)]
    Host(#[from] HostProblem),
}

impl<'a> Target<'a> {
    /// Reads a URL, or `HOST[:PORT]`. A port alone stands for HTTP where it is one of HTTP's, otherwise for plain TCP;
    /// without one HTTPS is meant.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn parse(text: &'a str) -> Result<Target<'a>, TargetError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let (host, port) = split_port(text)?;
            let port = port.unwrap_or(443);
            let scheme = match port {
                443 => Scheme::Https,
                80 => Scheme::Http,
                _ => Scheme::Tcp,
            };
            return Ok(Target { scheme, host, port, path: None });
        };
        let (scheme, usual) = match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => (Scheme::Https, 443),
            "http" | "ws" => (Scheme::Http, 80),
            _ => return Err(TargetError::Scheme(scheme.to_owned())),
        };
        // A fragment never leaves the client.
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(TargetError::User);
        }
        let (host, port) = split_port(authority)?;
        let path = if path.is_empty() || path.starts_with('?') { "/" } else { path };
        Ok(Target { scheme, host, port: port.unwrap_or(usual), path: Some(path) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_hosts() {
        let of = |text| Target::parse(text).map(|t| (t.scheme.as_str(), t.host, t.port, t.path));
        assert_eq!(of("https://a.example/x?q#f"), Ok(("https", "a.example", 443, Some("/x?q"))));
        assert_eq!(of("HTTP://a.example:8080"), Ok(("http", "a.example", 8080, Some("/"))));
        assert_eq!(of("https://[2001:db8::1]:1/"), Ok(("https", "[2001:db8::1]", 1, Some("/"))));
        assert_eq!(of("https://a.example?q"), Ok(("https", "a.example", 443, Some("/"))));
        assert_eq!(of("a.example"), Ok(("https", "a.example", 443, None)));
        assert_eq!(of("a.example:80"), Ok(("http", "a.example", 80, None)));
        assert_eq!(of("a.example:22"), Ok(("tcp", "a.example", 22, None)));
        assert_eq!(of("ftp://a.example/"), Err(TargetError::Scheme("ftp".into())));
        assert_eq!(of("https://a.example@evil.example/"), Err(TargetError::User));
        assert!(of("a.example:0").is_err());
    }
}
