//! Where packets go: TCP and questions of the DNS arrive at this namespace's own sockets, whatever their address; for the
//! rest there is no route, which is what a machine without that network says.
//!
//! The two families alike (`ip-address(8)`, `ip-rule(8)`, `ip-route(8)`):
//! ```text
//! 127.0.0.2 (fe80::1) dev lo
//! local default dev lo table local
//!  9  to 127.0.0.0/8 (::1)   lookup local
//! 10  ipproto tcp            lookup local
//! 11  ipproto udp dport 53   lookup local
//! 12  ipproto udp sport 53   lookup local      the answers
//! 20                         unreachable       and the kernel's own rule 0, which looks everything up, goes
//! ```
//! The addresses are there to be seen: `AI_ADDRCONFIG` of getaddrinfo(3) finds names of one family alone only where an address of
//! it is configured that is neither 127.0.0.1 nor ::1 (Boost.Asio asks so, `getent ahostsv4` too). Of both families or of none: with
//! one of IPv4 alone `localhost` would be 127.0.0.1 to clients and ::1 to servers. These two are of this machine alone for every
//! program, and none tells others to reach it there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeader, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};

use super::netlink::{ACKNOWLEDGE, Batch};

/// `RT_TABLE_LOCAL` of linux/rtnetlink.h.
const LOCAL: u8 = 255;
/// `lo` is the first interface of a namespace.
const LOOPBACK: u32 = 1;
const DNS: RulePortRange = RulePortRange { start: 53, end: 53 };

/// Sets them up, in one datagram.
///
/// # Errors
/// Which message failed, in words, and the kernel's error: `EOPNOTSUPP` where it was built without rules
/// (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES).
pub(super) fn set_up(ipv6: bool) -> Result<(), (String, io::Error)> {
    let families: &[AddressFamily] = match ipv6 {
        true => &[AddressFamily::Inet, AddressFamily::Inet6],
        false => &[AddressFamily::Inet],
    };
    let messages: Vec<RouteNetlinkMessage> = families.iter().flat_map(|family| family_of(*family)).collect();
    let mut batch = Batch::default();
    let last = messages.len() - 1;
    for (place, message) in messages.iter().enumerate() {
        let new = if matches!(message, RouteNetlinkMessage::DelRule(_)) { 0 } else { NLM_F_CREATE | NLM_F_EXCL };
        let acknowledge = if place == last { ACKNOWLEDGE } else { 0 };
        batch.push(NetlinkMessage::from(message.clone()), NLM_F_REQUEST | new | acknowledge);
    }
    // NETLINK_ROUTE is the protocol 0.
    batch.exchange(None).map_err(|(place, error)| (name(&messages, place), error))
}

/// The messages of one family, the removal of rule 0 last: until then everything is found.
fn family_of(family: AddressFamily) -> Vec<RouteNetlinkMessage> {
    let (loopback, prefix): (IpAddr, u8) = match family {
        AddressFamily::Inet6 => (Ipv6Addr::LOCALHOST.into(), 128),
        _ => (Ipv4Addr::new(127, 0, 0, 0).into(), 8),
    };
    let (seen, length, scope): (IpAddr, u8, _) = match family {
        AddressFamily::Inet6 => (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(), 128, AddressScope::Link),
        _ => (Ipv4Addr::new(127, 0, 0, 2).into(), 32, AddressScope::Host),
    };
    let mut address = AddressMessage::default();
    // Nobody else could have it: to ask would only take time (RFC 4862, section 5.4).
    let flags = AddressHeaderFlags::Nodad;
    address.header = AddressHeader { family, prefix_len: length, flags, scope, index: LOOPBACK };
    address.attributes = vec![AddressAttribute::Local(seen), AddressAttribute::Address(seen)];
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family,
        table: LOCAL,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Oif(LOOPBACK)];
    let rule = |priority: u32, action: RuleAction, prefix: u8, attributes: Vec<RuleAttribute>| {
        let mut rule = RuleMessage::default();
        let table = if action == RuleAction::ToTable { LOCAL } else { 0 };
        rule.header = RuleHeader { family, dst_len: prefix, table, action, ..RuleHeader::default() };
        rule.attributes = attributes;
        rule.attributes.push(RuleAttribute::Priority(priority));
        rule
    };
    let (tcp, udp) = (RuleAttribute::IpProtocol(IpProtocol::Tcp), RuleAttribute::IpProtocol(IpProtocol::Udp));
    let find = RuleAction::ToTable;
    vec![
        RouteNetlinkMessage::NewAddress(address),
        RouteNetlinkMessage::NewRoute(route),
        RouteNetlinkMessage::NewRule(rule(9, find, prefix, vec![RuleAttribute::Destination(loopback)])),
        RouteNetlinkMessage::NewRule(rule(10, find, 0, vec![tcp])),
        RouteNetlinkMessage::NewRule(rule(11, find, 0, vec![udp.clone(), RuleAttribute::DestinationPortRange(DNS)])),
        RouteNetlinkMessage::NewRule(rule(12, find, 0, vec![udp, RuleAttribute::SourcePortRange(DNS)])),
        RouteNetlinkMessage::NewRule(rule(20, RuleAction::Unreachable, 0, Vec::new())),
        RouteNetlinkMessage::DelRule(rule(0, find, 0, Vec::new())),
    ]
}

/// A message in words.
fn name(messages: &[RouteNetlinkMessage], place: u32) -> String {
    let family = |f: AddressFamily| if f == AddressFamily::Inet6 { "IPv6" } else { "IPv4" };
    let priority = |rule: &RuleMessage| {
        rule.attributes.iter().find_map(|a| if let RuleAttribute::Priority(p) = a { Some(*p) } else { None })
    };
    let index = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
    match index.and_then(|index| messages.get(index)) {
        Some(RouteNetlinkMessage::NewAddress(address)) => format!("an {} address", family(address.header.family)),
        Some(RouteNetlinkMessage::NewRoute(route)) => {
            format!("the {} route to everywhere", family(route.header.address_family))
        }
        Some(RouteNetlinkMessage::NewRule(rule) | RouteNetlinkMessage::DelRule(rule)) => {
            format!("{} routing rule {}", family(rule.header.family), priority(rule).unwrap_or_default())
        }
        _ => "routing rules".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_message() {
        let messages: Vec<_> = [AddressFamily::Inet, AddressFamily::Inet6].into_iter().flat_map(family_of).collect();
        assert_eq!(name(&messages, 1), "an IPv4 address");
        assert_eq!(name(&messages, 2), "the IPv4 route to everywhere");
        assert_eq!(name(&messages, 4), "IPv4 routing rule 10");
        assert_eq!(name(&messages, 16), "IPv6 routing rule 0");
        assert_eq!(name(&messages, 0), "routing rules");
        assert_eq!(name(&messages, 17), "routing rules");
    }
}
