//! How a rule names hosts.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{HOST_SERVICES, Host, HostProblem, address, name, split_port};

/// The hosts that a rule means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name only.
    Name(Box<str>),
    /// Names of one label or more before this suffix, never the suffix itself.
    Suffix(Box<str>),
    /// This address, asked for as an address.
    Address(IpAddr),
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        match HostPattern::parse(&String::deserialize(d)?).map_err(D::Error::custom)? {
            (host, None) => Ok(host),
            (host, Some(port)) => Err(D::Error::custom(format!("port {port} beside the host {host}"))),
        }
    }
}

impl HostPattern {
    /// Reads a rule's `host`, with the port where it gives one.
    ///
    /// # Errors
    /// Where no rule can be about such a host.
    pub fn parse(text: &str) -> Result<(HostPattern, Option<u16>), HostProblem> {
        let (host, port) = split_port(text)?;
        if let Some(suffix) = host.strip_prefix("*.") {
            let suffix = suffix.strip_suffix('.').unwrap_or(suffix);
            if suffix.contains('*') {
                return Err(HostProblem::Wildcard);
            }
            if address(suffix)?.is_some() {
                return Err(HostProblem::Wildcard);
            }
            let suffix = name(suffix)?;
            if !suffix.contains('.') {
                return Err(HostProblem::TopLevel(host.to_owned()));
            }
            available(&suffix)?;
            if suffix == HOST_SERVICES {
                return Err(HostProblem::Reserved(host.to_owned()));
            }
            return Ok((HostPattern::Suffix(suffix.into()), port));
        }
        if host.contains('*') {
            return Err(HostProblem::Wildcard);
        }
        let pattern = match Host::parse(host)? {
            Host::Address(address) if address.is_loopback() || address.is_unspecified() => {
                return Err(HostProblem::OwnLoopback(host.to_owned()));
            }
            Host::Address(address) => HostPattern::Address(address),
            Host::Name(name) => {
                available(&name)?;
                HostPattern::Name(name.into())
            }
        };
        Ok((pattern, port))
    }

    /// Whether it means this host.
    pub fn matches(&self, host: &Host<'_>) -> bool {
        match (self, host) {
            (HostPattern::Name(own), Host::Name(name)) => **own == **name,
            (HostPattern::Suffix(suffix), Host::Name(name)) => {
                name.strip_suffix(&**suffix).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
            (HostPattern::Address(own), Host::Address(address)) => own == address,
            _ => false,
        }
    }

    /// Whether it means the host's own services.
    pub fn is_host_services(&self) -> bool {
        matches!(self, HostPattern::Name(name) if **name == *HOST_SERVICES)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Name(name) => f.write_str(name),
            HostPattern::Suffix(suffix) => write!(f, "*.{suffix}"),
            HostPattern::Address(address) => address.fmt(f),
        }
    }
}

/// Refuses what a rule cannot open: the enclosure's own loopback, and names in our own domain that do not exist.
fn available(name: &str) -> Result<(), HostProblem> {
    if name == "localhost" || name.ends_with(".localhost") {
        return Err(HostProblem::OwnLoopback(name.to_owned()));
    }
    if name == "cofferdam" || name.ends_with(".cofferdam") && name != HOST_SERVICES {
        return Err(HostProblem::Reserved(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap().0
    }

    fn matches(rule: &str, host: &str) -> bool {
        Host::parse(host).is_ok_and(|host| pattern(rule).matches(&host))
    }

    #[test]
    fn one_form_is_compared() {
        assert!(matches("API.GitHub.com", "api.github.com"));
        assert!(matches("api.github.com.", "API.github.COM."));
        assert!(matches("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(matches("[2001:db8::1]", "2001:DB8:0:0:0:0:0:1"));
        assert!(!matches("example.com", "example.com.evil.org"));
        assert!(!matches("example.com", "evil-example.com"));
        assert!(!matches("example.com", "www.example.com"));
        assert!(!matches("192.0.2.1", "192.0.2.1.example.com"));
    }

    #[test]
    fn a_star_is_one_label_or_more_and_never_none() {
        for host in ["a.example.com", "b.a.example.com", "A.EXAMPLE.com."] {
            assert!(matches("*.example.com", host), "{host}");
        }
        for host in ["example.com", "evil-example.com", "example.com.evil.org", "aexample.com", ".example.com"] {
            assert!(!matches("*.example.com", host), "{host}");
        }
    }

    #[test]
    fn a_name_beyond_ascii_is_refused_with_its_ascii_form() {
        let error = HostPattern::parse("B\u{fc}cher.example").unwrap_err();
        assert_eq!(error.to_string(), "the name is not ASCII; its ASCII form is `xn--bcher-kva.example`");
        let error = HostPattern::parse("*.b\u{fc}cher.example").unwrap_err();
        assert_eq!(error, HostProblem::NotAscii { ascii: Some("xn--bcher-kva.example".into()) });
        assert!(HostPattern::parse("a\u{202e}b.example").unwrap_err().to_string().ends_with("is not ASCII"));
    }

    #[test]
    fn rules_cannot_name_everything_or_the_enclosure_itself() {
        for bad in ["*", "*.com", "*.", "a.*.com", "*a.example.com", "*.*.example.com", "*.0.0.1", "*.127.0.0.1"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
        for own in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9:80", "[::1]:80", "0.0.0.0", "::"]
        {
            assert!(matches!(HostPattern::parse(own), Err(HostProblem::OwnLoopback(_))), "{own}");
        }
        assert_eq!(HostPattern::parse("host.cofferdam:5432").unwrap().1, Some(5432));
        for bad in ["other.cofferdam", "cofferdam", "*.host.cofferdam"] {
            assert!(matches!(HostPattern::parse(bad), Err(HostProblem::Reserved(_))), "{bad}");
        }
    }

    #[test]
    fn a_port_may_follow() {
        for (text, port) in [
            ("a.example:443", Some(443)),
            ("*.a.example:1", Some(1)),
            ("[2001:db8::1]:65535", Some(65535)),
            ("2001:db8::1", None),
            ("192.0.2.1:22", Some(22)),
            ("a.example", None),
        ] {
            assert_eq!(HostPattern::parse(text).unwrap().1, port, "{text}");
        }
        for bad in [
            "a.example:0",
            "a.example:65536",
            "a.example:",
            "a.example:+1",
            "a.example:http",
            "[2001:db8::1]443",
            "[]:1",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
