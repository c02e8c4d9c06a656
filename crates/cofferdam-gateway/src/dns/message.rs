//! Queries and answers (RFC 1035), by a library's hands: what is read here is hostile.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message_builder::{AdditionalBuilder, AnswerBuilder, PushError};
use domain::base::name::{Name, ParsedName};
use domain::base::{Header, Message, MessageBuilder, Question, Serial, StaticCompressor, Ttl};
use domain::rdata::{A, Aaaa, Soa};

use crate::names::KEPT;

/// How long programs may keep an answer.
const TTL: Ttl = Ttl::from_secs(KEPT.as_secs() as u32);
/// How long they may keep that there is nothing: short, for a person can allow more while the run goes on.
const NOTHING_TTL: Ttl = Ttl::from_secs(5);
/// What a datagram may have where the query says nothing (RFC 1035, section 4.2.1).
const PLAIN: usize = 512;
/// What it may have at most (RFC 9715 recommends 1,232 of 1,400).
const LARGEST: u16 = 1232;

/// How large an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// As the query says; what does not fit is marked as cut.
    Datagram,
    /// 64 KiB.
    Stream,
}

/// What there is of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These addresses, and nothing else.
    Addresses(Ipv4Addr, Ipv6Addr),
    /// Nothing.
    Nothing,
    /// All addresses are in use.
    Busy,
}

type Builder = AnswerBuilder<StaticCompressor<Vec<u8>>>;

/// The answer to a query; `None` to what is no query at all. `find` is asked once at most.
pub(super) fn respond(query: &[u8], limit: Limit, find: impl FnOnce(&str) -> Found) -> Option<Vec<u8>> {
    let query = Message::from_octets(query).ok()?;
    if query.header().qr() {
        return None;
    }
    let refused = |code| error(&query, code);
    if query.opt().is_some_and(|opt| opt.version() > 0) {
        return unknown_version(&query);
    }
    if query.header().opcode() != Opcode::QUERY {
        return refused(Rcode::NOTIMP);
    }
    let Ok(question) = query.sole_question() else { return refused(Rcode::FORMERR) };
    if question.qclass() != Class::IN {
        return refused(Rcode::REFUSED);
    }
    if matches!(question.qtype(), Rtype::AXFR | Rtype::IXFR) {
        return refused(Rcode::REFUSED);
    }
    let most = match (limit, query.opt()) {
        (Limit::Stream, _) => usize::from(u16::MAX),
        (Limit::Datagram, Some(opt)) => usize::from(opt.udp_payload_size()).clamp(PLAIN, usize::from(LARGEST)),
        (Limit::Datagram, None) => PLAIN,
    };
    let found = find(&question.qname().to_string());
    let mut answer = records(&query, &question, found).ok()?;
    if query.opt().is_some() {
        // RFC 6891, section 6.1.1: whoever sends one is sent one.
        answer
            .opt(|opt| {
                opt.set_udp_payload_size(LARGEST);
                Ok(())
            })
            .ok()?;
    }
    let whole = answer.finish().into_target();
    if whole.len() <= most {
        return Some(whole);
    }
    let mut cut = start(&query, Rcode::NOERROR)?;
    cut.header_mut().set_tc(true);
    Some(finish(cut))
}

fn start(query: &Message<&[u8]>, code: Rcode) -> Option<Builder> {
    let builder = MessageBuilder::from_target(StaticCompressor::new(Vec::with_capacity(PLAIN))).ok()?;
    let mut answer = builder.start_answer(query, code).ok()?;
    answer.header_mut().set_ra(true);
    Some(answer)
}

/// An error, without the question: what is not in order is not repeated, there can be thousands of questions in it.
fn error(query: &Message<&[u8]>, code: Rcode) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    answers(query.header(), code, builder.header_mut());
    Some(builder.finish())
}

/// To a version of EDNS that there was none of when this was written (RFC 6891, section 6.1.3).
fn unknown_version(query: &Message<&[u8]>) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    answers(query.header(), Rcode::NOERROR, builder.header_mut());
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(LARGEST);
            opt.set_rcode(OptRcode::BADVERS);
            Ok(())
        })
        .ok()?;
    Some(builder.finish())
}

/// Makes a header that of an answer.
fn answers(asked: Header, code: Rcode, header: &mut Header) {
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_ra(true);
    header.set_rcode(code);
}

fn finish(answer: Builder) -> Vec<u8> {
    answer.finish().into_target()
}

fn records(
    query: &Message<&[u8]>,
    question: &Question<ParsedName<&[u8]>>,
    found: Found,
) -> Result<AdditionalBuilder<StaticCompressor<Vec<u8>>>, PushError> {
    let code = match found {
        Found::Addresses(..) => Rcode::NOERROR,
        Found::Nothing => Rcode::NXDOMAIN,
        Found::Busy => Rcode::SERVFAIL,
    };
    let mut answer = start(query, code).ok_or(PushError::ShortBuf)?;
    let name = question.qname();
    match (found, question.qtype()) {
        (Found::Addresses(v4, _), Rtype::A) => answer.push((name, TTL, A::new(v4)))?,
        (Found::Addresses(_, v6), Rtype::AAAA) => answer.push((name, TTL, Aaaa::new(v6)))?,
        (Found::Addresses(v4, v6), Rtype::ANY) => {
            answer.push((name, TTL, A::new(v4)))?;
            answer.push((name, TTL, Aaaa::new(v6)))?;
        }
        (Found::Busy, _) => {}
        // No such record, or no such name: how long that may be kept stands in the SOA (RFC 2308, section 5).
        _ => {
            let root = Name::<Vec<u8>>::root();
            let soa =
                Soa::new(root.clone(), root.clone(), Serial(1), NOTHING_TTL, NOTHING_TTL, NOTHING_TTL, NOTHING_TTL);
            let mut authority = answer.authority();
            authority.push((root, NOTHING_TTL, soa))?;
            return Ok(authority.additional());
        }
    }
    Ok(answer.additional())
}

#[cfg(test)]
mod tests {
    use domain::base::{Message, MessageBuilder};
    use domain::rdata::AllRecordData;

    use super::*;

    const V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 5);
    const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5);

    fn query(name: &str, kind: Rtype) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec().question();
        builder.header_mut().set_rd(true);
        builder.header_mut().set_id(77);
        builder.push((Name::<Vec<u8>>::vec_from_str(name).unwrap(), kind)).unwrap();
        builder.finish()
    }

    fn found(name: &str) -> Found {
        if name.ends_with("example.com") { Found::Addresses(V4, V6) } else { Found::Nothing }
    }

    fn facts(answer: &[u8]) -> (Rcode, Vec<String>, bool) {
        let message = Message::from_octets(answer).unwrap();
        assert!(message.header().qr() && message.header().id() == 77);
        let records = message.answer().unwrap().limit_to::<AllRecordData<_, _>>();
        let records = records.map(|r| r.unwrap().data().to_string()).collect();
        let soa = message.authority().unwrap().next().is_some();
        (message.header().rcode(), records, soa)
    }

    #[test]
    fn addresses_nothing_and_no_such_name() {
        let ask = |name, kind| facts(&respond(&query(name, kind), Limit::Datagram, found).unwrap());
        assert_eq!(ask("www.example.com", Rtype::A), (Rcode::NOERROR, vec![V4.to_string()], false));
        assert_eq!(ask("www.example.com", Rtype::AAAA), (Rcode::NOERROR, vec![V6.to_string()], false));
        assert_eq!(ask("www.example.com", Rtype::MX), (Rcode::NOERROR, vec![], true));
        assert_eq!(ask("www.example.com", Rtype::HTTPS), (Rcode::NOERROR, vec![], true));
        assert_eq!(ask("intranet", Rtype::A), (Rcode::NXDOMAIN, vec![], true));
        assert_eq!(ask("intranet", Rtype::TXT), (Rcode::NXDOMAIN, vec![], true));
        assert_eq!(ask("www.example.com", Rtype::AXFR), (Rcode::REFUSED, vec![], false));
    }

    #[test]
    fn an_answer_or_nothing_and_never_an_answer() {
        let answer = respond(&query("a.example.com", Rtype::A), Limit::Datagram, found).unwrap();
        assert_eq!(respond(&answer, Limit::Datagram, found), None, "two of us would talk for ever");
        assert_eq!(respond(&[0; 11], Limit::Datagram, found), None);
        let mut two = query("a.example.com", Rtype::A);
        two[5] = 2;
        assert_eq!(facts(&respond(&two, Limit::Datagram, found).unwrap()).0, Rcode::FORMERR);
        let mut many = query("a.example.com", Rtype::A);
        many[4..6].copy_from_slice(&[2, 0]);
        // A pointer to the first name, type and class, again and again.
        many.extend([0xc0, 12, 0, 1, 0, 1].iter().cycle().take(511 * 6));
        assert_eq!(respond(&many, Limit::Datagram, found).unwrap().len(), 12);
        let mut version = MessageBuilder::new_vec().question();
        version.header_mut().set_id(77);
        version.push((Name::<Vec<u8>>::vec_from_str("a.example.com").unwrap(), Rtype::A)).unwrap();
        let mut version = version.additional();
        version
            .opt(|opt| {
                opt.set_version(1);
                Ok(())
            })
            .unwrap();
        let answer = respond(&version.finish(), Limit::Datagram, found).unwrap();
        assert_eq!(Message::from_octets(&answer[..]).unwrap().opt_rcode(), OptRcode::BADVERS);
        let mut update = query("a.example.com", Rtype::A);
        update[2] |= 5 << 3;
        assert_eq!(facts(&respond(&update, Limit::Datagram, found).unwrap()).0, Rcode::NOTIMP);
    }

    #[test]
    fn hostile_queries_do_no_harm() {
        let mut random = fastrand::Rng::with_seed(11);
        let seeds = [query("a.b.example.com", Rtype::A), query("example.com", Rtype::HTTPS)];
        for round in 0..50_000 {
            let mut bytes = seeds[round % 2].clone();
            if round % 5 == 0 {
                bytes = (0..random.usize(..600)).map(|_| random.u8(..)).collect();
            }
            for _ in 0..random.usize(..6) {
                if !bytes.is_empty() {
                    let at = random.usize(..bytes.len());
                    bytes[at] = random.u8(..);
                }
            }
            bytes.truncate(random.usize(..=bytes.len()));
            if let Some(answer) = respond(&bytes, Limit::Datagram, found) {
                assert!(answer.len() <= 1232, "{bytes:?}");
                assert_eq!(answer[..2], bytes[..2]);
            }
        }
    }
}
