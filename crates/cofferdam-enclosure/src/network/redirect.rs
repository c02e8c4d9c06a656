//! All TCP but loopback's to the listeners, by a rule of nftables (`nft(8)`):
//! ```text
//! table inet coffer { chain output { type nat hook output priority dstnat;
//!     ip daddr != 127.0.0.0/8 meta l4proto tcp redirect to :61053
//!     ip6 daddr != ::1        meta l4proto tcp redirect to :61053 } }
//! ```

use std::io;
use std::net::Ipv6Addr;

use cofferdam_core::plan::NetworkPlan;
use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook, Immediate,
    InetHookNumber, ListAttribute, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute,
    RuleMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::netlink::{ACKNOWLEDGE, Batch};

const TABLE: &str = "coffer";
const CHAIN: &str = "output";

// linux/netfilter.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const NF_IP_PRI_NAT_DST: i32 = -100;
const NFT_META_NFPROTO: u32 = 15;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_REG_1: u32 = 1;
const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
const NFTA_REDIR_FLAGS: u16 = 3;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;

/// Sets it up, in one datagram.
///
/// # Errors
/// The kernel's. Without nf_tables or without NAT for it: `EPROTONOSUPPORT`, `EOPNOTSUPP`, `ENOENT`, `EPERM`.
pub(super) fn set_up(ipv6: bool) -> io::Result<()> {
    batch(ipv6).exchange(Some(rustix::net::netlink::NETFILTER)).map_err(|(_, error)| error)
}

fn batch(ipv6: bool) -> Batch {
    let mut batch = Batch::default();
    let mut push = |message: NetfilterMessage, flags| batch.push(NetlinkMessage::from(message), NLM_F_REQUEST | flags);
    let whole = || NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
    let tables = |message: NfTablesMessage| {
        NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
    };
    push(NetfilterMessage::new(whole(), ControlMessage::BatchBegin), 0);
    let attributes = vec![TableAttribute::Name(TABLE.to_owned())];
    push(tables(NfTablesMessage::NewTable(TableMessage { attributes })), NLM_F_CREATE);
    let hook = vec![Hook::Number(InetHookNumber::LocalOut.into()), Hook::Priority(NF_IP_PRI_NAT_DST.cast_unsigned())];
    let attributes = vec![
        ChainAttribute::Table(TABLE.to_owned()),
        ChainAttribute::Name(CHAIN.to_owned()),
        ChainAttribute::Hook(hook),
        ChainAttribute::Type("nat".to_owned()),
    ];
    push(tables(NfTablesMessage::NewChain(ChainMessage { attributes })), NLM_F_CREATE);
    let families: &[u8] = if ipv6 { &[NFPROTO_IPV4, NFPROTO_IPV6] } else { &[NFPROTO_IPV4] };
    for (place, family) in families.iter().enumerate() {
        let attributes = vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(CHAIN.to_owned()),
            RuleAttribute::Expressions(expressions(*family)),
        ];
        let acknowledge = if place + 1 == families.len() { ACKNOWLEDGE } else { 0 };
        let flags = NLM_F_CREATE | NLM_F_APPEND | acknowledge;
        push(tables(NfTablesMessage::NewRule(RuleMessage { attributes })), flags);
    }
    push(NetfilterMessage::new(whole(), ControlMessage::BatchEnd), 0);
    batch
}

/// A rule's expressions, for `nfproto FAMILY`.
fn expressions(family: u8) -> Vec<ListAttribute<ExpressionAttribute>> {
    let compare = |operator, value: Vec<u8>| {
        let data = Cmp::Data(DataAttribute::Value(value));
        Expressions::Cmp(vec![Cmp::SourceRegister(Register::Reg1), Cmp::Op(operator), data]).into()
    };
    let meta = |key| Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(Register::Reg1)]).into();
    // Where the destination lies in the header, and as much of it as tells loopback.
    let (offset, loopback) = match family {
        NFPROTO_IPV6 => (24, Ipv6Addr::LOCALHOST.octets().to_vec()),
        _ => (16, vec![127]),
    };
    let destination = Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(NFT_PAYLOAD_NETWORK_HEADER),
        Payload::Offset(offset),
        Payload::Len(if family == NFPROTO_IPV6 { 16 } else { 1 }),
    ]);
    let port = Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Reg1),
        Immediate::Data(DataAttribute::Value(NetworkPlan::REDIRECT_PORT.to_be_bytes().to_vec())),
    ]);
    let redirect = Expressions::Other {
        expression_type: "redir".to_owned(),
        attributes: vec![
            DefaultNla::new(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1.to_be_bytes().to_vec()),
            DefaultNla::new(NFTA_REDIR_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED.to_be_bytes().to_vec()),
        ],
    };
    vec![
        meta(MetaKey::Other(NFT_META_NFPROTO)),
        compare(Operator::Equal, vec![family]),
        destination.into(),
        compare(Operator::NotEqual, loopback),
        meta(MetaKey::L4Proto),
        compare(Operator::Equal, vec![IPPROTO_TCP]),
        port.into(),
        redirect.into(),
    ]
}
