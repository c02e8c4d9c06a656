//! What of the network the end of a run tells.

use std::collections::BTreeSet;

use cofferdam_core::Timestamp;
use cofferdam_core::event::{EventKind, NetDenied, NetworkTotals};
use cofferdam_policy::{Layer, Policy, Request, Rule, Scheme};
use serde::Deserialize;

use crate::protocol::{Denied, NetworkSummary};

/// Most different hosts and denials that are remembered; beyond that they are only counted.
const REMEMBERED: usize = 256;

/// Counts the network's events.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    hosts: BTreeSet<String>,
    summary: NetworkSummary,
    /// What a known agent does without.
    quiet: Policy,
}

impl Traffic {
    /// With what a known agent tries to reach and does not need, as rules.
    pub(super) fn new(quiet: &[serde_json::Value]) -> Traffic {
        // What does not read is told like any other denial.
        let rules = quiet.iter().filter_map(|rule| Rule::deserialize(rule).ok()).collect();
        Traffic { quiet: Policy::new([Layer { rules }]), ..Traffic::default() }
    }

    fn is_quiet(&self, denied: &NetDenied) -> bool {
        // A registry is asked for `/@scope%2fname` and means `/@scope/name`.
        let path = denied.path.as_ref().map(|path| path.replace("%2f", "/").replace("%2F", "/"));
        let request = Request {
            scheme: if denied.scheme == "http" { Scheme::Http } else { Scheme::Https },
            host: &denied.host,
            port: denied.port,
            method: denied.method.as_deref(),
            path: path.as_deref(),
            now: Timestamp::now(),
        };
        // What was refused for what it holds is told, wherever it was to go.
        let by_rule = matches!(denied.reason.as_str(), "no-rule" | "port" | "scheme" | "method" | "path" | "ambiguous");
        by_rule && self.quiet.decide(&request).allowed
    }

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
        if self.is_quiet(denied) {
            self.summary.quiet += 1;
            return;
        }
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

    #[test]
    fn what_an_agent_does_without_is_counted_and_not_told() {
        let agent = cofferdam_models::profile::shipped().iter().find(|one| one.name == "claude").unwrap();
        let quiet: Vec<serde_json::Value> = {
            let dir = tempfile::tempdir().unwrap();
            let host = crate::plan::Host {
                env: Vec::new(),
                home: dir.path().to_owned(),
                cwd: dir.path().to_owned(),
                uid: 1000,
                binary: "/coffer".into(),
            };
            let named = crate::plan::agent::named(&host, agent.name, dir.path()).unwrap().unwrap();
            let made = named.make(&host, &["claude".into()], &[], &[], false).unwrap();
            made.quiet.iter().map(|rule| serde_json::to_value(rule).unwrap()).collect()
        };
        let mut traffic = Traffic::new(&quiet);
        let request = |host: &str, reason: &str, path: &str| {
            EventKind::NetDenied(NetDenied {
                host: host.to_owned(),
                port: 443,
                scheme: "https".to_owned(),
                reason: reason.to_owned(),
                method: Some("GET".to_owned()),
                path: Some(path.to_owned()),
                ..NetDenied::default()
            })
        };
        traffic.take(&request("statsig.anthropic.com", "no-rule", "/v1/rgstr"));
        traffic.take(&request("registry.npmjs.org", "no-rule", "/@anthropic-ai%2fclaude-code"));
        traffic.take(&request("api.anthropic.com", "path", "/api/event_logging/batch"));
        traffic.take(&denied("statsig.anthropic.com", "no-rule"));
        assert_eq!(traffic.summary.quiet, 4);
        traffic.take(&request("registry.npmjs.org", "no-rule", "/left-pad"));
        traffic.take(&request("statsig.anthropic.com", "secret", "/v1/rgstr"));
        let summary = traffic.finish(Some(0), std::iter::empty()).unwrap();
        assert_eq!((summary.totals.denied, summary.quiet, summary.denied.len()), (6, 4, 2));
    }
}
