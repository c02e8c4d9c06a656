//! Names of hosts: how a rule names them ([`HostPattern`]), and how a request's name is brought into the one form that is
//! compared.
//!
//! That form is ASCII in lower case without a final dot. A name beyond ASCII is refused rather than converted: what a
//! person reads in a policy is then what goes out, and no look-alike passes for another name.

mod pattern;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use pattern::HostPattern;

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
}
