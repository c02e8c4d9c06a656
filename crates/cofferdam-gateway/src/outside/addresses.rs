//! Which addresses outside are special: reachable from this machine, but not what a name on the internet should lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use cofferdam_policy::Rule;
use cofferdam_policy::host::HostPattern;
use ipnet::{Ipv4Net, Ipv6Net};

/// Special addresses of IPv4 (the IANA registry of special-purpose addresses) with what they are. The documentation
/// ranges are not among them: nothing of worth listens there.
const V4: &[(Ipv4Net, &str)] = &[
    // In front of link-local, which contains it.
    (v4([169, 254, 169, 254], 32), "a cloud provider's metadata service"),
    (v4([169, 254, 170, 0], 24), "a cloud provider's metadata service"),
    (v4([100, 100, 100, 200], 32), "a cloud provider's metadata service"),
    (v4([168, 63, 129, 16], 32), "a cloud provider's metadata service"),
    (v4([192, 0, 0, 192], 32), "a cloud provider's metadata service"),
    (v4([0, 0, 0, 0], 8), "an address of this host (0.0.0.0/8)"),
    (v4([10, 0, 0, 0], 8), "a private address"),
    (v4([100, 64, 0, 0], 10), "an address of a provider's own network (100.64.0.0/10)"),
    (v4([127, 0, 0, 0], 8), "the host's loopback"),
    (v4([169, 254, 0, 0], 16), "a link-local address"),
    (v4([172, 16, 0, 0], 12), "a private address"),
    (v4([192, 0, 0, 0], 24), "a reserved address"),
    (v4([192, 88, 99, 0], 24), "a reserved address"),
    (v4([192, 168, 0, 0], 16), "a private address"),
    (v4([198, 18, 0, 0], 15), "a reserved address (198.18.0.0/15)"),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([240, 0, 0, 0], 4), "a reserved address"),
];

/// Special addresses of IPv6. Forms that hold an IPv4 address are judged by that one, see [`embedded`].
const V6: &[(Ipv6Net, &str)] = &[
    (v6(0xfd00_0ec2, 0x254, 128), "a cloud provider's metadata service"),
    (v6(0xfd20_00ce, 0x254, 128), "a cloud provider's metadata service"),
    (v6(0, 0, 128), "an unspecified address"),
    (v6(0, 1, 128), "the host's loopback"),
    (v6(0x0100_0000, 0, 64), "a reserved address"),
    (v6(0x2001_0000, 0, 32), "a reserved address (Teredo)"),
    (v6(0x2001_0002, 0, 48), "a reserved address"),
    (v6(0x2001_0010, 0, 28), "a reserved address"),
    (v6(0x2001_0020, 0, 28), "a reserved address"),
    (v6(0x5f00_0000, 0, 16), "a reserved address"),
    (v6(0xfc00_0000, 0, 7), "a private address"),
    (v6(0xfe80_0000, 0, 10), "a link-local address"),
    (v6(0xfec0_0000, 0, 10), "a private address"),
    (v6(0xff00_0000, 0, 8), "a multicast address"),
];

const fn v4(octets: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_octets(octets), length)
}

/// A network by the first 32 and the last 64 bits of its address.
const fn v6(first: u32, last: u64, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_bits(((first as u128) << 96) | last as u128), length)
}

/// Whether a rule lets its name lead to this address: an ordinary one, or one that the rule names.
pub(crate) fn admitted(address: IpAddr, rule: &Rule) -> bool {
    let canonical = address.to_canonical();
    if rule.host == HostPattern::Address(canonical) {
        return true;
    }
    let named = |address: &IpAddr| rule.addresses.iter().any(|network| network.contains(address));
    named(&address) || named(&canonical) || class(address).is_none() && !is_own(address)
}

/// What an address is, for people.
pub(crate) fn describe(address: IpAddr) -> &'static str {
    class(address).unwrap_or("an address of this machine")
}

/// What is special about an address.
fn class(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => V4.iter().find(|(network, _)| network.contains(&v4)).map(|(_, class)| *class),
        IpAddr::V6(v6) => V6
            .iter()
            .find(|(network, _)| network.contains(&v6))
            .map(|(_, class)| *class)
            .or_else(|| class(IpAddr::V4(embedded(v6)?))),
    }
}

/// The IPv4 address that a router or the kernel would take out of an IPv6 address.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let last = Some(Ipv4Addr::from_bits(bits as u32));
    match bits >> 32 {
        // Mapped ::ffff:0:0/96 (RFC 4291), translated ::ffff:0:0:0/96 (RFC 2765), compatible ::/96, NAT64 64:ff9b::/96
        // (RFC 6052).
        0xffff | 0xffff_0000 | 0 | 0x0064_ff9b_0000_0000_0000_0000 => return last,
        _ => {}
    }
    // NAT64 of local use 64:ff9b:1::/48 (RFC 8215): where in it the address stands is the network's choice, most have it
    // at the end.
    if bits >> 80 == 0x0064_ff9b_0001 {
        return last;
    }
    // 6to4, 2002::/16 (RFC 3056).
    (bits >> 112 == 0x2002).then(|| Ipv4Addr::from_bits((bits >> 80) as u32))
}

/// Whether this machine has the address itself, now: then the kernel would send to it from that very address. Nothing
/// is sent to find out.
fn is_own(address: IpAddr) -> bool {
    let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    // The port plays no part. Where there is no route there will be no connection either.
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(SocketAddr::new(address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip().to_canonical() == address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rule;

    #[test]
    fn special_addresses() {
        for (address, word) in [
            ("0.0.0.0", "0.0.0.0/8"),
            ("0.1.2.3", "0.0.0.0/8"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("10.1.2.3", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("169.254.1.1", "link-local"),
            ("169.254.169.254", "metadata"),
            ("169.254.170.2", "metadata"),
            ("100.100.100.200", "metadata"),
            ("168.63.129.16", "metadata"),
            ("192.0.0.192", "metadata"),
            ("100.64.0.1", "provider"),
            ("100.127.255.255", "provider"),
            ("198.18.0.1", "reserved"),
            ("198.19.255.255", "reserved"),
            ("192.0.0.8", "reserved"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "private"),
            ("fc00::1", "private"),
            ("fd00:c0ff:ee00::1", "private"),
            ("fd00:ec2::254", "metadata"),
            ("fd20:ce::254", "metadata"),
            ("ff02::1", "multicast"),
            ("100::1", "reserved"),
            ("2001::1", "Teredo"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("::ffff:0:10.0.0.1", "private"),
            ("::10.0.0.1", "private"),
            ("64:ff9b::169.254.169.254", "metadata"),
            ("64:ff9b:1::10.0.0.1", "private"),
            ("64:ff9b::c0a8:101", "private"),
            ("2002:7f00:1::", "loopback"),
            ("2002:c0a8:101::1", "private"),
        ] {
            let found = class(address.parse().unwrap());
            assert!(found.is_some_and(|class| class.contains(word)), "{address}: {found:?}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.7",
            "223.255.255.255",
            "2001:db8::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert_eq!(class(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn this_machines_addresses_are_found_without_a_list() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(is_own("::ffff:127.0.0.1".parse().unwrap()) || UdpSocket::bind("[::]:0").is_err());
        assert!(!is_own("203.0.113.7".parse().unwrap()));
        // The address that this machine would use on its way out, where it has one.
        let way = UdpSocket::bind("0.0.0.0:0").unwrap();
        if way.connect("203.0.113.7:9").is_ok() {
            assert!(is_own(way.local_addr().unwrap().ip()));
        }
    }

    #[test]
    fn a_rule_may_name_special_addresses() {
        let plain = rule("a.example", "");
        let named = rule("a.example", "addresses = [\"10.1.0.0/16\", \"fd12::/64\"]");
        let address = rule("192.168.7.7", "");
        for (own, ip, expected) in [
            (&plain, "10.1.2.3", false),
            (&plain, "203.0.113.7", true),
            (&plain, "::ffff:10.1.2.3", false),
            (&named, "10.1.2.3", true),
            (&named, "::ffff:10.1.2.3", true),
            (&named, "10.2.0.1", false),
            (&named, "fd12::5", true),
            (&named, "fd13::5", false),
            (&named, "127.0.0.1", false),
            (&address, "192.168.7.7", true),
            (&address, "192.168.7.8", false),
        ] {
            assert_eq!(admitted(ip.parse().unwrap(), own), expected, "{ip} by {own:?}");
        }
    }
}
