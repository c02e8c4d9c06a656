//! A port of an enclosure, published on the host: `[HOSTADDR:][HOSTPORT:]PORT`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is to be published, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Publish {
    /// The host's address; absent: its loopback, 127.0.0.1 and `::1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The host's port; absent: the same number where it is free, else a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// The port of the enclosure's loopback.
    pub port: u16,
}

impl Publish {
    /// Most ports of a run that are published at once: they pass in one message, each with its sockets (`SCM_MAX_FD` of
    /// `unix(7)` is 253).
    pub const MOST: usize = 32;

    /// Whether others than this machine reach it.
    pub fn is_wide(&self) -> bool {
        self.address.is_some_and(|address| !address.to_canonical().is_loopback())
    }
}

/// What is no `[HOSTADDR:][HOSTPORT:]PORT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A port that is none.
    #[error("`{0}` is no port: a number from 1 to 65535 is")]
    Port(String),
    /// An address that is none.
    #[error("`{0}` is no address: one of IPv4, or of IPv6 in brackets, is, as in 127.0.0.1:8080:80 or [::1]:80")]
    Address(String),
}

impl FromStr for Publish {
    type Err = PublishError;

    fn from_str(text: &str) -> Result<Publish, PublishError> {
        // Digits alone: `parse` takes a sign as well.
        let number = |port: &str| match port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse::<u16>()) {
            Some(Ok(number)) => Ok(number),
            _ => Err(PublishError::Port(port.to_owned())),
        };
        let inside = |port: &str| match number(port)? {
            0 => Err(PublishError::Port(port.to_owned())),
            port => Ok(port),
        };
        let Some((before, port)) = text.rsplit_once(':') else {
            return Ok(Publish { address: None, host_port: None, port: inside(text)? });
        };
        let port = inside(port)?;
        let (address, host_port) = match before.rsplit_once(':') {
            // The last colon of `[::1]` is no separator.
            Some((address, host_port)) if !host_port.ends_with(']') => (Some(address), Some(number(host_port)?)),
            _ if before.bytes().all(|b| b.is_ascii_digit()) => (None, Some(number(before)?)),
            _ => (Some(before), None),
        };
        let address = address
            .map(|text| {
                let wrong = || PublishError::Address(text.to_owned());
                match text.strip_prefix('[') {
                    Some(rest) => rest.strip_suffix(']').and_then(|v6| v6.parse().ok()).map(IpAddr::V6),
                    None => text.parse().ok().map(IpAddr::V4),
                }
                .ok_or_else(wrong)
            })
            .transpose()?;
        // 0 asks for any, as to bind(2).
        Ok(Publish { address, host_port: host_port.filter(|port| *port != 0), port })
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        if let Some(port) = self.host_port {
            write!(f, "{port}:")?;
        }
        write!(f, "{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, address, host_port, port) in [
            ("5173", None, None, 5173),
            ("8080:80", None, Some(8080), 80),
            ("0:80", None, None, 80),
            ("127.0.0.2:80", Some("127.0.0.2"), None, 80),
            ("0.0.0.0:8080:80", Some("0.0.0.0"), Some(8080), 80),
            ("[::1]:80", Some("::1"), None, 80),
            ("[::1]:8080:80", Some("::1"), Some(8080), 80),
            ("[::]:0:80", Some("::"), None, 80),
        ] {
            let wanted = Publish { address: address.map(|a| a.parse().unwrap()), host_port, port };
            assert_eq!(text.parse(), Ok(wanted.clone()), "{text}");
            assert_eq!(wanted.to_string().parse(), Ok(wanted), "{text}");
        }
        for wrong in
            ["", "0", "8080:0", "65536", "+80", "localhost:80", "::1:80", "[127.0.0.1]:80", "1:2:3", "a", "80:"]
        {
            assert!(wrong.parse::<Publish>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_other_addresses_than_loopback_are_wide() {
        for (text, wide) in [
            ("80", false),
            ("127.9.9.9:80", false),
            ("[::1]:80", false),
            ("0.0.0.0:80", true),
            ("[::]:80", true),
            ("10.0.0.1:80", true),
            ("[::ffff:127.0.0.1]:80", false),
        ] {
            assert_eq!(text.parse::<Publish>().unwrap().is_wide(), wide, "{text}");
        }
    }
}
