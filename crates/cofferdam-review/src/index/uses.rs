//! What the network of a run was used for, counted: the rows of the table `hosts`, and the texts that a search finds.

use std::collections::{HashMap, HashSet};

use cofferdam_core::Timestamp;
use cofferdam_core::event::{Event, EventKind, Mediation, RuleRef};
use cofferdam_policy::Target;
use cofferdam_policy::host::in_authority;

use crate::story::Collector;
use crate::text::{fit, one_line};

/// Most rows of a run that tell hosts, methods and programs apart.
const ROWS: usize = 4096;
/// Most texts of a run that a search finds.
const TEXTS: usize = 5000;
/// Most columns of such a text, and of a name in a row.
const TEXT: usize = 500;
const NAME: usize = 260;

/// What was used, or refused, in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Use {
    /// The host; empty in a run that had too many to tell them apart.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What was spoken: `https`, `http`, `tcp`, `udp`, or `tls` where it passed through.
    pub scheme: String,
    /// The method of requests.
    pub method: String,
    /// The rule that allowed it, or that came nearest.
    pub rule: Option<RuleRef>,
    /// The purpose of the rule that allowed it.
    pub purpose: String,
    /// Why it was refused, as a word; empty where it was not.
    pub reason: String,
    /// What would have allowed it.
    pub allow: String,
    /// The command that did it, by its program's name; empty where none is named.
    pub program: String,
}

/// How often, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Requests; connections, where requests were not seen.
    pub count: u64,
    /// When the last one was recorded.
    pub last: Timestamp,
}

/// A text that a search finds.
#[derive(Debug)]
pub(super) struct Found {
    pub text: String,
    pub seq: u64,
    pub time: Timestamp,
    pub command: String,
}

/// Collects them.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pub rows: HashMap<Use, Times>,
    pub found: Vec<Found>,
    known: HashSet<(u64, String)>,
}

impl Uses {
    /// Takes the next event, before the collector does.
    pub(super) fn take(&mut self, collector: &Collector, event: &Event) {
        let (mut used, path) = match &event.what {
            EventKind::HttpExchange(exchange) => {
                let target = Target::parse(&exchange.url);
                let (host, port, scheme, path) = match &target {
                    Ok(t) => (t.host, t.port, t.scheme.as_str(), t.path.unwrap_or("/")),
                    Err(_) => (exchange.url.as_str(), 0, "", ""),
                };
                let used = Use {
                    host: host.to_owned(),
                    port,
                    scheme: scheme.to_owned(),
                    method: exchange.method.clone(),
                    rule: Some(exchange.rule.clone()),
                    purpose: exchange.purpose.clone(),
                    ..Use::default()
                };
                (used, path.split('?').next().unwrap_or_default().to_owned())
            }
            EventKind::NetConnect(connect) if connect.mediation != Mediation::Http => {
                let scheme = if connect.mediation == Mediation::Relay { "tcp" } else { "tls" };
                let used = Use {
                    host: connect.host.clone(),
                    port: connect.port,
                    scheme: scheme.to_owned(),
                    rule: connect.rule.clone(),
                    purpose: connect.purpose.clone(),
                    ..Use::default()
                };
                (used, String::new())
            }
            EventKind::NetDenied(denied) => {
                let used = Use {
                    host: denied.host.clone(),
                    port: denied.port,
                    scheme: denied.scheme.clone(),
                    method: denied.method.clone().unwrap_or_default(),
                    rule: denied.rule.clone(),
                    reason: denied.reason.clone(),
                    allow: denied.allow.clone().unwrap_or_default(),
                    ..Use::default()
                };
                (used, denied.path.clone().unwrap_or_default())
            }
            _ => return,
        };
        let command = collector.command_of(event.cause);
        used.program = command.map(|command| command.name.clone()).unwrap_or_default();
        let (seq, name) = command.map_or((event.seq, String::new()), |command| (command.seq, command.text.clone()));
        self.find(&used, &path, seq, event.time, name);
        self.count(used, event.time);
    }

    fn count(&mut self, mut used: Use, time: Timestamp) {
        for text in [&mut used.host, &mut used.method, &mut used.purpose, &mut used.reason, &mut used.program] {
            *text = fit(text, NAME);
        }
        if self.rows.len() >= ROWS && !self.rows.contains_key(&used) {
            // When a rule was used last stays exact.
            let Use { rule, purpose, reason, .. } = used;
            used = Use { rule, purpose, reason, ..Use::default() };
        }
        let times = self.rows.entry(used).or_default();
        times.count += 1;
        times.last = times.last.max(time);
    }

    fn find(&mut self, used: &Use, path: &str, seq: u64, time: Timestamp, command: String) {
        if self.found.len() >= TEXTS {
            return;
        }
        let host = in_authority(&used.host);
        let Use { port, scheme, method, purpose, reason, .. } = used;
        let denied = if reason.is_empty() { "" } else { "denied" };
        let words = [denied, method, &format!("{scheme}://{host}:{port}{path}"), purpose, reason];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let text = fit(&one_line(words.join(" ").as_bytes()), TEXT);
        if self.known.insert((seq, text.clone())) {
            self.found.push(Found { text, seq, time, command });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::samples::{denial, exchange};

    fn taken(events: impl IntoIterator<Item = EventKind>) -> Uses {
        let (mut uses, collector) = (Uses::default(), Collector::default());
        for (seq, what) in events.into_iter().enumerate() {
            let seq = seq as u64;
            uses.take(&collector, &Event { seq, time: Timestamp(seq as i64), cause: None, link: None, what });
        }
        uses
    }

    #[test]
    fn equals_are_one_row_and_one_text() {
        let uses = taken([
            exchange("GET", "https://a.example/x?one", "fetch"),
            exchange("GET", "https://a.example/x?two", "fetch"),
            exchange("POST", "https://a.example/x", "fetch"),
            denial("b.example", "no-rule"),
        ]);
        assert_eq!(uses.rows.len(), 3);
        assert!(uses.rows.values().any(|t| *t == Times { count: 2, last: Timestamp(1) }));
        let texts: Vec<&str> = uses.found.iter().map(|found| found.text.as_str()).collect();
        assert_eq!(texts[0], "GET https://a.example:443/x fetch");
        // Each stands for an event of its own where no command is known.
        assert_eq!(texts.len(), 4);
        assert_eq!(texts[3], "denied https://b.example:443 no-rule");
    }

    #[test]
    fn a_run_with_too_many_hosts_still_says_when_its_rules_were_used() {
        let many = (0..ROWS + 100).map(|n| denial(&format!("h{n}.example"), "no-rule"));
        let last = ["x.example", "y.example"].map(|host| exchange("GET", &format!("https://{host}/"), "fetch"));
        let uses = taken(many.chain(last));
        assert_eq!(uses.rows.len(), ROWS + 2);
        let fetched = uses.rows.iter().find(|(used, _)| used.purpose == "fetch").unwrap();
        assert_eq!((fetched.0.host.as_str(), fetched.1.count, fetched.1.last.0), ("", 2, ROWS as i64 + 101));
        assert_eq!(uses.rows.values().map(|times| times.count).sum::<u64>(), ROWS as u64 + 102);
        assert_eq!(uses.found.len(), ROWS + 102);
    }
}
