//! What reads hostile bytes, as functions of bytes: fuzzers call them (`fuzz/` at the root of the source), and the tests
//! with a seeded generator. Each panics where something that must hold does not.
#![allow(clippy::expect_used, reason = "a fuzzer looks for panics")]

use std::io::Read;

use rustls::server::Acceptor;

use crate::wire::{PACKET, Say};
use crate::{classify, dns, names, passthrough};

/// A datagram or a message of a stream to the resolver inside.
pub fn dns(query: &[u8]) {
    for stream in [false, true] {
        let mut asked = 0;
        let mut names = names::Names::new(&[], 0);
        let answer = dns::respond(query, stream, |name| {
            asked += 1;
            names.look_up(name)
        });
        assert!(asked <= 1);
        let Some(answer) = answer else { continue };
        assert_eq!(answer[..2], query[..2], "the answer has the question's number");
        assert!(answer[2] & 0x80 != 0, "an answer");
        assert!(answer.len() <= if stream { usize::from(u16::MAX) } else { 1232 });
        domain::base::Message::from_octets(&answer[..]).expect("an answer that reads");
    }
}

/// What a connection says first: the choice of who serves it, and a ClientHello.
pub fn first_bytes(bytes: &[u8]) {
    let whole = classify::speaks_http(bytes);
    // More of the same never takes back what was clear.
    for length in 1..bytes.len().min(24) {
        if let (Some(part), Some(whole)) = (classify::speaks_http(&bytes[..length]), whole) {
            assert_eq!(part, whole, "{length} of {}", bytes.escape_ascii());
        }
    }
    // However it is cut, the name is the same, and it is one that a host can have.
    let at_once = name_of(bytes, bytes.len().max(1));
    assert_eq!(at_once, name_of(bytes, 1), "{}", bytes.escape_ascii());
    if let Some(name) = at_once {
        assert!(passthrough::is_same(&name, &name) || cofferdam_policy::host::Host::parse(&name).is_err());
    }
}

/// The name in a ClientHello that comes in pieces of this size.
fn name_of(bytes: &[u8], piece: usize) -> Option<String> {
    let mut acceptor = Acceptor::default();
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            acceptor.read_tls(&mut piece as &mut dyn Read).ok()?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return accepted.client_hello().server_name().map(str::to_owned),
                Err(_) => return None,
            }
        }
    }
    None
}

/// A packet of the gateway to the monitor: what reads is of its vocabulary, and is written as it was read.
pub fn wire(packet: &[u8]) {
    let Some(Ok(said)) = packet.get(..packet.len().min(PACKET)).map(serde_json::from_slice::<Say>) else { return };
    let text = serde_json::to_vec(&said).expect("what was read is written");
    let again: Say = serde_json::from_slice(&text).expect("what was written reads");
    assert_eq!(text, serde_json::to_vec(&again).expect("what was read is written"));
}

pub use crate::http::fuzz::request;

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations of these seeds, the seeds as they are, and bytes of nobody.
    fn rounds(seed: u64, count: usize, seeds: &[Vec<u8>], target: impl Fn(&[u8])) {
        seeds.iter().for_each(|seed| target(seed));
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..count {
            let mut bytes = seeds[round % seeds.len()].clone();
            if round % 7 == 0 {
                bytes = (0..random.usize(..400)).map(|_| random.u8(..)).collect();
            }
            for _ in 0..random.usize(..5) {
                if bytes.is_empty() {
                    break;
                }
                let at = random.usize(..bytes.len());
                match random.u8(..4) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes.truncate(at),
                    2 => bytes.insert(at, random.u8(..)),
                    _ => {
                        let piece = bytes[at..bytes.len().min(at + random.usize(1..20))].to_vec();
                        let to = random.usize(..bytes.len());
                        bytes.splice(to..to, piece);
                    }
                }
            }
            target(&bytes);
        }
    }

    fn client_hello() -> Vec<u8> {
        let config =
            rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
        let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    }

    #[test]
    fn queries() {
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01".to_vec();
        let extended =
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x01a\x07example\0\0\x1c\0\x01\0\0\x29\x10\0\0\0\0\0\0\0".to_vec();
        rounds(1, 20_000, &[query, extended], dns);
    }

    #[test]
    fn beginnings() {
        let hello = client_hello();
        assert_eq!(name_of(&hello, 1).as_deref(), Some("a.example"));
        // In records of a byte each (RFC 8446, section 5.1).
        let records: Vec<u8> = hello[5..].iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
        let old = b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10".to_vec();
        rounds(
            2,
            4_000,
            &[hello, records, b"GET / HTTP/1.1\r\n".to_vec(), old, b"PRI * HTTP/2.0".to_vec()],
            first_bytes,
        );
    }

    #[test]
    fn packets() {
        let seeds = [
            br#"{"Ask":{"id":1,"what":"x"}}"#.to_vec(),
            br#"{"Failed":{"why":"x"}}"#.to_vec(),
            br#"{"Record":{"owner":7,"kept":{"sent":false,"received":false},"what":{"kind":"net.lookup","data":{"name":"a.example","allowed":true}}}}"#.to_vec(),
            br#"{"Opened":{"owner":null,"connect":{"connection":1,"host":"a","port":1,"mediation":"http","sent":0,"received":0,"milliseconds":0}}}"#.to_vec(),
        ];
        for seed in &seeds {
            serde_json::from_slice::<Say>(seed).unwrap();
        }
        rounds(3, 50_000, &seeds, wire);
    }

    #[test]
    fn requests() {
        let seeds: Vec<_> = [
            &include_bytes!("../../../fuzz/seeds/request/plain")[..],
            include_bytes!("../../../fuzz/seeds/request/absolute-and-pipelined"),
            include_bytes!("../../../fuzz/seeds/request/chunked"),
            include_bytes!("../../../fuzz/seeds/request/length"),
            include_bytes!("../../../fuzz/seeds/request/both-framings"),
            include_bytes!("../../../fuzz/seeds/request/upgrade"),
            include_bytes!("../../../fuzz/seeds/request/http-1.0"),
            include_bytes!("../../../fuzz/seeds/request/http2"),
        ]
        .map(<[u8]>::to_vec)
        .into();
        rounds(4, 1_000, &seeds, request);
    }
}
