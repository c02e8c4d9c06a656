//! What of the network the end of a run tells.

use std::collections::BTreeSet;

use cofferdam_core::event::{EventKind, NetDenied, NetworkTotals};

use crate::protocol::{Denied, NetworkSummary};

/// Most different hosts and denials that are remembered; beyond that they are only counted.
const REMEMBERED: usize = 256;

/// Counts the network's events.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    hosts: BTreeSet<String>,
    summary: NetworkSummary,
}

impl Traffic {
    /// Takes the next event.
    pub(super) fn take(&mut self, what: &EventKind) {
        match what {
            EventKind::HttpExchange(_) => self.summary.totals.requests += 1,
            EventKind::NetConnect(connect) => {
                self.summary.totals.connections += 1;
                if self.hosts.len() < REMEMBERED {
                    self.hosts.insert(connect.host.clone());
                }
            }
            EventKind::NetDenied(denied) => self.denied(denied),
            EventKind::NetUnpublished(ended) if self.summary.published.len() < REMEMBERED => {
                self.summary.published.push(ended.clone());
            }
            _ => {}
        }
    }

    fn denied(&mut self, denied: &NetDenied) {
        self.summary.totals.denied += 1;
        let same = |known: &&mut Denied| {
            (&known.host, known.port, &known.reason) == (&denied.host, denied.port, &denied.reason)
        };
        if let Some(known) = self.summary.denied.iter_mut().find(same) {
            known.count += 1;
        } else if self.summary.denied.len() < REMEMBERED {
            self.summary.denied.push(Denied {
                host: denied.host.clone(),
                port: denied.port,
                reason: denied.reason.clone(),
                detail: denied.detail.clone(),
                allow: denied.allow.clone(),
                count: 1,
            });
        }
    }

    /// What came of it, of so many `datagrams`, where that is known, and of the ports that listened inside; `None` where
    /// there is nothing to tell.
    pub(super) fn finish(
        &mut self,
        datagrams: Option<u64>,
        listened: impl Iterator<Item = u16>,
    ) -> Option<NetworkSummary> {
        let mut summary = std::mem::take(&mut self.summary);
        summary.listened = listened.filter(|port| !summary.published.iter().any(|p| p.port == *port)).collect();
        summary.hosts = std::mem::take(&mut self.hosts).len() as u64;
        summary.totals.datagrams = datagrams;
        let NetworkTotals { requests, connections, denied, datagrams } = summary.totals;
        let quiet = requests + connections + denied + datagrams.unwrap_or(0) == 0
            && summary.published.is_empty()
            && summary.listened.is_empty();
        (!quiet).then_some(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(host: &str, reason: &str) -> EventKind {
        EventKind::NetDenied(NetDenied {
            host: host.to_owned(),
            port: 443,
            reason: reason.to_owned(),
            ..NetDenied::default()
        })
    }

    #[test]
    fn denials_are_told_once_each_and_counted_all() {
        let mut traffic = Traffic::default();
        assert!(traffic.finish(Some(0), std::iter::empty()).is_none());
        for n in 0..1000 {
            traffic.take(&denied(if n % 2 == 0 { "a.example" } else { "b.example" }, "no-rule"));
        }
        traffic.take(&denied("a.example", "method"));
        let summary = traffic.finish(None, std::iter::empty()).unwrap();
        let told: Vec<_> = summary.denied.iter().map(|d| (d.host.as_str(), d.reason.as_str(), d.count)).collect();
        assert_eq!(told, [("a.example", "no-rule", 500), ("b.example", "no-rule", 500), ("a.example", "method", 1)]);
        assert_eq!((summary.totals.denied, summary.hosts), (1001, 0));
        let only_datagrams = Traffic::default().finish(Some(3), std::iter::empty()).unwrap();
        assert_eq!(only_datagrams.totals, NetworkTotals { datagrams: Some(3), ..NetworkTotals::default() });
    }
}
