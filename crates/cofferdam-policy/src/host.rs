//! Names of hosts: how a rule names them, and how a request's name is brought into the one form that is compared.
//!
//! That form is ASCII in lower case without a final dot. A name beyond ASCII is refused rather than converted: what a
//! person reads in a policy is then what goes out, and no look-alike passes for another name.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name under which services on the host's own loopback are reached.
pub const HOST_SERVICES: &str = "host.cofferdam";

/// Longest name in octets, without the final dot (RFC 1035, section 2.3.4, less length octets and root).
const LONGEST: usize = 253;
/// Longest label in octets (RFC 1035, section 2.3.4).
const LONGEST_LABEL: usize = 63;

/// Why a text names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostProblem {
    /// Nothing there.
    #[error("the name is empty")]
    Empty,
    /// Beyond ASCII.
    #[error("the name is not ASCII{}", ascii.as_ref().map(|a| format!("; its ASCII form is `{a}`")).unwrap_or_default())]
    NotAscii {
        /// The punycode form (RFC 3492), where the name has one.
        ascii: Option<String>,
    },
    /// A character that no name has.
    #[error("a host's name has no `{}`", .0.escape_debug())]
    Character(char),
    /// Two dots with nothing between them, or one at the beginning.
    #[error("a label of the name is empty")]
    EmptyLabel,
    /// RFC 952: a label neither begins nor ends with a hyphen.
    #[error("the label `{0}` begins or ends with a hyphen")]
    Hyphen(String),
    /// Too long to be looked up.
    #[error("the name is too long: at most {LONGEST} characters, {LONGEST_LABEL} between dots")]
    TooLong,
    /// Programs read it as an address, each in its own way.
    #[error("`{0}` is read as an address by some programs: write IPv4 as four decimal numbers")]
    NumberLike(String),
    /// A port that is none.
    #[error("`{0}` is no port: 1 to 65535")]
    Port(String),
    /// Brackets or colons that make no IPv6 address.
    #[error("`{0}` is no IPv6 address")]
    Ipv6(String),
    /// A star that is not the whole first label.
    #[error("a `*` stands only for whole labels at the beginning, as in `*.example.com`")]
    Wildcard,
    /// A star over too much.
    #[error("`{0}` would allow a whole top-level domain: name at least two labels after the `*`")]
    TopLevel(String),
    /// Inside, this is the enclosure's own.
    #[error("`{0}` means the enclosure itself: services of this machine are `{HOST_SERVICES}:PORT`")]
    OwnLoopback(String),
    /// A name in the domain that we keep.
    #[error("`{0}` does not exist: the only name under `cofferdam` is `{HOST_SERVICES}`")]
    Reserved(String),
}

/// A host that a request names, in the form that is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name: ASCII, lower case, no final dot.
    Name(Cow<'a, str>),
    /// An address; an IPv4 address mapped into IPv6 is IPv4.
    Address(IpAddr),
}

impl<'a> Host<'a> {
    /// Reads a name or an address; IPv6 with or without brackets.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn parse(text: &'a str) -> Result<Host<'a>, HostProblem> {
        if let Some(address) = address(text)? {
            return Ok(Host::Address(address));
        }
        name(text.strip_suffix('.').unwrap_or(text)).map(Host::Name)
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(address) => address.fmt(f),
        }
    }
}

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

/// A host as it stands before a port: IPv6 in brackets (RFC 3986, section 3.2.2).
pub fn in_authority(host: &str) -> Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}

/// `HOST`, `HOST:PORT`, `[IPV6]:PORT` or a bare IPv6 address as host and port.
///
/// # Errors
/// Where the port is none, or brackets hold no IPv6 address.
pub fn split_port(text: &str) -> Result<(&str, Option<u16>), HostProblem> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(port)),
        _ => Err(HostProblem::Port(text.to_owned())),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let end = rest.find(']').ok_or_else(|| HostProblem::Ipv6(text.to_owned()))?;
        let (host, after) = (&text[..end + 2], &rest[end + 1..]);
        return match after.strip_prefix(':') {
            Some(digits) => Ok((host, port(digits)?)),
            None if after.is_empty() => Ok((host, None)),
            None => Err(HostProblem::Ipv6(text.to_owned())),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, digits)) => Ok((host, port(digits)?)),
    }
}

/// An address in its usual spelling; `None` for a name.
fn address(text: &str) -> Result<Option<IpAddr>, HostProblem> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if bare.is_some() || text.contains(':') {
        let address: Ipv6Addr = bare.unwrap_or(text).parse().map_err(|_| HostProblem::Ipv6(text.to_owned()))?;
        return Ok(Some(IpAddr::V6(address).to_canonical()));
    }
    let undotted = text.strip_suffix('.').unwrap_or(text);
    if let Ok(address) = undotted.parse::<Ipv4Addr>() {
        return Ok(Some(IpAddr::V4(address)));
    }
    // What ends in a number is an IPv4 address to browsers and to inet_aton(3): 127.1, 0x7f.1, 017700000001 (WHATWG URL
    // Standard, "ends in a number checker").
    let last = undotted.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(HostProblem::NumberLike(text.to_owned()));
    }
    Ok(None)
}

/// A name in the form that is compared.
fn name(text: &str) -> Result<Cow<'_, str>, HostProblem> {
    if text.is_empty() {
        return Err(HostProblem::Empty);
    }
    if !text.is_ascii() {
        return Err(HostProblem::NotAscii { ascii: to_ascii(text) });
    }
    if text.len() > LONGEST {
        return Err(HostProblem::TooLong);
    }
    for label in text.split('.') {
        let bytes = label.as_bytes();
        match (bytes.first(), bytes.last()) {
            (Some(b'-'), _) | (_, Some(b'-')) => return Err(HostProblem::Hyphen(label.to_owned())),
            (None, _) => return Err(HostProblem::EmptyLabel),
            _ if label.len() > LONGEST_LABEL => return Err(HostProblem::TooLong),
            _ => {}
        }
        // No host name has an underscore, but names of services that are looked up do (RFC 8552).
        if let Some(odd) = label.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')) {
            return Err(HostProblem::Character(odd));
        }
    }
    Ok(if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    })
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

/// The ASCII form of a name in lower case, as a hint in a message; `None` where it would not name a host.
fn to_ascii(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let mut out = Vec::new();
    for label in lower.split('.') {
        if !label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '*')) {
            return None;
        }
        out.push(match label.is_ascii() {
            true => label.to_owned(),
            false => format!("xn--{}", punycode::encode(label).ok()?),
        });
    }
    Some(out.join("."))
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
    fn odd_spellings_of_addresses_are_no_names() {
        for odd in ["127.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.256", "1.2.3.4.5", "a.0x"]
        {
            assert!(matches!(Host::parse(odd), Err(HostProblem::NumberLike(_))), "{odd}");
        }
        for odd in ["::1%eth0", "[::1", "1:2", "[127.0.0.1]"] {
            assert!(Host::parse(odd).is_err(), "{odd}");
        }
        assert_eq!(Host::parse("127.0.0.1."), Ok(Host::Address(Ipv4Addr::LOCALHOST.into())));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(64);
        let longer = ["a"; 128].join(".");
        for bad in
            ["", ".", "a..b", ".a", "-a.com", "a-.com", "a b.com", "a/b", "a@b", "a\0b", "a:b", "a..", &long, &longer]
        {
            assert!(Host::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Host::parse("_dmarc.example.com").is_ok());
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
