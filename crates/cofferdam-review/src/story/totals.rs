//! What the network of a whole run came to, for the head of its story.

use std::collections::HashSet;

use cofferdam_core::event::{EventKind, Mediation};

use super::traffic::place;
use crate::text::{counted, fit, grouped, one_line, size};

/// Most different hosts that are told apart.
const HOSTS: usize = 10_000;

/// What the network of a whole run came to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Requests that were let out.
    pub requests: u64,
    /// Connections that were relayed, or whose TLS was passed through.
    pub relayed: u64,
    hosts: HashSet<String>,
    /// What was denied.
    pub denied: u64,
    /// The first denial: host and reason.
    pub first_denied: Option<(String, String)>,
    /// Bytes that connections carried out.
    pub sent: u64,
    /// Bytes that they carried in.
    pub received: u64,
}

impl Totals {
    /// Takes the next event.
    pub(super) fn take(&mut self, what: &EventKind) {
        match what {
            EventKind::HttpExchange(exchange) => {
                self.requests += 1;
                self.host(place(exchange).0);
            }
            EventKind::NetConnect(connect) => {
                self.sent = self.sent.saturating_add(connect.sent);
                self.received = self.received.saturating_add(connect.received);
                if connect.mediation != Mediation::Http {
                    self.relayed += 1;
                    self.host(connect.host.clone());
                }
            }
            EventKind::NetDenied(denied) => {
                self.denied += 1;
                self.first_denied.get_or_insert_with(|| (denied.host.clone(), denied.reason.clone()));
            }
            _ => {}
        }
    }

    fn host(&mut self, host: String) {
        if self.hosts.len() < HOSTS {
            self.hosts.insert(host);
        }
    }

    /// For the header; `None` where nothing tried to leave. `datagrams` did not, where that is known.
    pub(super) fn line(&self, datagrams: u64) -> Option<String> {
        let mut parts = Vec::new();
        let let_out = [(self.requests, "request"), (self.relayed, "relayed connection")];
        let let_out: Vec<_> = let_out.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| counted(n, what)).collect();
        let bytes = match self.sent + self.received {
            0 => String::new(),
            _ => format!("{} up, {} down", size(self.sent), size(self.received)),
        };
        if !let_out.is_empty() {
            let hosts = counted(self.hosts.len() as u64, "host");
            let bytes = if bytes.is_empty() { bytes } else { format!(", {bytes}") };
            parts.push(format!("{} to {hosts}{bytes}", let_out.join(", ")));
        } else if !bytes.is_empty() {
            parts.push(bytes);
        }
        if let Some((host, reason)) = &self.first_denied {
            let more = if self.denied > 1 { ", …" } else { "" };
            parts.push(format!("{} denied ({}: {reason}{more})", grouped(self.denied), fit(host, 60)));
        }
        if datagrams > 0 {
            parts.push(format!("{} refused", counted(datagrams, "datagram")));
        }
        (!parts.is_empty()).then(|| one_line(parts.join(" · ").as_bytes()))
    }
}
