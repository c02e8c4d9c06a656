//! The network in a story: one line a host and purpose, one a denial, one a credential and host, however often each came.

use std::collections::HashMap;

use cofferdam_core::event::{CredentialUsed, Mediation, NetConnect, NetDenied};

use crate::network::denied;
use crate::text::{counted, one_line, size};

/// Most lines of each kind; what comes beyond is only counted.
const MOST: usize = 64;

/// What the connections of one host and purpose came to.
#[derive(Debug, Default)]
struct Host {
    line: usize,
    connections: u64,
    requests: u64,
    sent: u64,
    received: u64,
    failed: u64,
    error: Option<String>,
    relayed: bool,
}

/// Counts, and knows which line of the story tells of what.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    hosts: HashMap<(String, u16, String), Host>,
    denials: HashMap<(String, u16, String), (usize, u64, String)>,
    credentials: HashMap<(String, String, u16, String), (usize, u64)>,
    beyond: u64,
}

impl Traffic {
    /// A connection. `true` where the story needs a new line, which is its `line`th entry.
    pub(super) fn connected(&mut self, connect: &NetConnect, line: usize) -> bool {
        let key = (connect.host.clone(), connect.port, connect.purpose.clone());
        let new = !self.hosts.contains_key(&key);
        if new && self.hosts.len() >= MOST {
            self.beyond += 1;
            return false;
        }
        let host = self.hosts.entry(key).or_insert(Host { line, ..Host::default() });
        host.connections += 1;
        host.requests += connect.exchanges;
        host.sent = host.sent.saturating_add(connect.sent);
        host.received = host.received.saturating_add(connect.received);
        host.relayed |= connect.mediation != Mediation::Http;
        if let Some(error) = &connect.error {
            host.failed += 1;
            host.error = Some(error.clone());
        }
        new
    }

    /// As [`Traffic::connected`], of a denial.
    pub(super) fn denied(&mut self, event: &NetDenied, line: usize) -> bool {
        let key = (event.host.clone(), event.port, event.reason.clone());
        if let Some((_, count, _)) = self.denials.get_mut(&key) {
            *count += 1;
            return false;
        }
        if self.denials.len() >= MOST {
            self.beyond += 1;
            return false;
        }
        let allow = event.allow.as_ref().map(|allow| format!(" · {allow}")).unwrap_or_default();
        self.denials.insert(key, (line, 1, format!("{}{allow}", denied(event))));
        true
    }

    /// As [`Traffic::connected`], of a credential in a request.
    pub(super) fn used(&mut self, event: &CredentialUsed, line: usize) -> bool {
        let key = (event.name.clone(), event.host.clone(), event.port, event.purpose.clone());
        if let Some((_, count)) = self.credentials.get_mut(&key) {
            *count += 1;
            return false;
        }
        if self.credentials.len() >= MOST {
            self.beyond += 1;
            return false;
        }
        self.credentials.insert(key, (line, 1));
        true
    }

    /// The lines, by the entries that they are of.
    pub(super) fn lines(self) -> impl Iterator<Item = (usize, String)> {
        let hosts = self.hosts.into_iter().map(|((name, port, purpose), host)| {
            let what = match host.requests {
                0 => counted(host.connections, if host.relayed { "relayed connection" } else { "connection" }),
                requests => counted(requests, "request"),
            };
            let failed = match host.error {
                Some(error) => {
                    format!(", {} of {} failed ({error})", host.failed, counted(host.connections, "connection"))
                }
                None => String::new(),
            };
            let traffic = format!("{} sent, {} received", size(host.sent), size(host.received));
            (host.line, format!("network {name}:{port} {what}, {traffic}{failed} · for \"{purpose}\""))
        });
        let denials = self.denials.into_values().map(|(line, count, text)| {
            let times = if count > 1 { format!(" ({count} times)") } else { String::new() };
            (line, format!("{text}{times}"))
        });
        let credentials = self.credentials.into_iter().map(|((name, host, port, purpose), (line, count))| {
            let requests = counted(count, "request");
            (line, format!("credential {name} used in {requests} to {host}:{port} · for \"{purpose}\""))
        });
        hosts
            .chain(denials)
            .chain(credentials)
            .map(|(line, text)| (line, one_line(text.as_bytes())))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Connections, denials and uses of credentials that no line tells of.
    pub(super) fn beyond(&self) -> u64 {
        self.beyond
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_core::event::{Event, EventKind};

    use super::*;
    use crate::story::{Collector, Entry};

    fn connect(host: &str, exchanges: u64, error: Option<&str>) -> EventKind {
        EventKind::NetConnect(NetConnect {
            connection: 1,
            host: host.to_owned(),
            port: 443,
            mediation: Mediation::Http,
            address: None,
            rule: None,
            purpose: "fetch".to_owned(),
            sent: 10,
            received: 1000,
            milliseconds: 1,
            exchanges,
            error: error.map(str::to_owned),
        })
    }

    fn denial(host: &str) -> EventKind {
        EventKind::NetDenied(NetDenied {
            host: host.to_owned(),
            port: 443,
            scheme: "https".to_owned(),
            method: None,
            path: None,
            reason: "no-rule".to_owned(),
            detail: "no rule".to_owned(),
            rule: None,
            allow: Some("coffer run --allow x".to_owned()),
            connection: None,
        })
    }

    #[test]
    fn a_thousand_uses_of_a_credential_are_a_line_a_host() {
        let mut collector = Collector::default();
        for seq in 0..1000 {
            let what = EventKind::CredentialUsed(CredentialUsed {
                name: "github".to_owned(),
                purpose: "open pull requests".to_owned(),
                connection: 1,
                host: if seq % 2 == 0 { "a.example" } else { "b.example" }.to_owned(),
                port: 443,
                header: "authorization".to_owned(),
                placeholder: true,
            });
            collector.push(Event { seq, time: cofferdam_core::Timestamp(1), cause: None, link: None, what });
        }
        let remarks = collector.finish().entries;
        let Entry::Remark(first) = &remarks[0] else { panic!("{remarks:?}") };
        assert_eq!(remarks.len(), 2);
        assert_eq!(first.text, "credential github used in 500 requests to a.example:443 · for \"open pull requests\"");
    }

    #[test]
    fn a_thousand_connections_are_a_line_a_host() {
        let mut collector = Collector::default();
        let mut seq = 0;
        let mut push = |collector: &mut Collector, what| {
            collector.push(Event { seq, time: cofferdam_core::Timestamp(1), cause: None, link: None, what });
            seq += 1;
        };
        for n in 0..1000 {
            push(&mut collector, connect(if n % 2 == 0 { "a.example" } else { "b.example" }, 2, None));
            push(&mut collector, denial("evil.example"));
        }
        push(&mut collector, connect("a.example", 0, Some("reset")));
        for n in 0..100 {
            push(&mut collector, denial(&format!("h{n}.example")));
        }
        let story = collector.finish();
        let texts: Vec<&str> = story
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Remark(remark) => Some(remark.text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(texts.len(), 2 + MOST + 1);
        assert!(texts[0].starts_with("network a.example:443 1,000 requests"), "{}", texts[0]);
        assert!(texts[0].contains("1 of 501 connections failed (reset) · for \"fetch\""), "{}", texts[0]);
        assert!(texts[1].ends_with("coffer run --allow x (1000 times)"), "{}", texts[1]);
        assert!(texts.last().unwrap().starts_with("37 more connections and denials"), "{:?}", texts.last());
    }
}
