//! Hostile words of the network in everything that a person is shown of it, as a function of bytes: a fuzzer calls it
//! (`fuzz/` at the root of the source), and a test with a seeded generator.

use cofferdam_core::event::{Body, EventKind, HttpExchange, Mediation, NetConnect, NetDenied, NetLookup, RuleRef};

use crate::network;
use crate::text::{fit, one_line, quoted};

/// Whether it acts on a terminal, or hides from the eye.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Panics where these bytes, as any text of the network's events, reach a reader as they are.
pub fn lines(bytes: &[u8]) {
    let word = || String::from_utf8_lossy(bytes).into_owned();
    let rule = RuleRef { layer: word(), file: Some(bytes.into()), line: 1, name: Some(word()) };
    let events = [
        EventKind::NetLookup(NetLookup { name: word(), allowed: true, purposes: vec![word()] }),
        EventKind::NetConnect(NetConnect {
            connection: 1,
            host: word(),
            port: 1,
            mediation: Mediation::Relay,
            address: Some(word()),
            rule: Some(rule.clone()),
            purpose: word(),
            sent: 0,
            received: 0,
            milliseconds: 0,
            exchanges: 0,
            error: Some(word()),
        }),
        EventKind::NetDenied(NetDenied {
            host: word(),
            port: 1,
            scheme: word(),
            method: Some(word()),
            path: Some(word()),
            reason: word(),
            detail: word(),
            rule: Some(rule.clone()),
            allow: Some(word()),
            connection: None,
        }),
        EventKind::HttpExchange(Box::new(HttpExchange {
            connection: 1,
            method: word(),
            url: word(),
            version: word(),
            status: None,
            rule,
            purpose: word(),
            request: Vec::new(),
            sent: Body::default(),
            response: Vec::new(),
            received: Body::default(),
            answered: None,
            microseconds: 0,
            upgrade: Some(word()),
            changed: vec![word()],
            error: Some(word()),
        })),
    ];
    for event in &events {
        let shown = match event {
            EventKind::NetLookup(it) => network::looked_up(it),
            EventKind::NetConnect(it) => network::connected(it),
            EventKind::NetDenied(it) => network::denied(it),
            EventKind::HttpExchange(it) => network::exchanged(it),
            _ => String::new(),
        };
        assert!(!shown.chars().any(acts), "{}", shown.escape_debug());
        let cut = fit(&shown, 40);
        assert!(!cut.chars().any(acts), "{}", cut.escape_debug());
    }
    for shown in [one_line(bytes), quoted(bytes)] {
        assert!(!shown.chars().any(acts), "{}", shown.escape_debug());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_words() {
        let mut random = fastrand::Rng::with_seed(8);
        let parts: &[&[u8]] = &[
            b"\x1b[91m",
            b"\x1b]0;x\x07",
            b"\n",
            b"\r",
            b"\0",
            b"\xc2\x9b2J",
            "\u{202e}".as_bytes(),
            "\u{2066}".as_bytes(),
            b"\xff\xfe",
            "\u{200b}".as_bytes(),
            "\u{feff}".as_bytes(),
            b"a",
            "🦀".as_bytes(),
            b"'",
            b"\\",
            b"%1b",
            b"<b>",
            b"\x7f",
        ];
        for _ in 0..10_000 {
            let bytes: Vec<u8> =
                (0..random.usize(..12)).flat_map(|_| parts[random.usize(..parts.len())]).copied().collect();
            lines(&bytes);
        }
    }
}
