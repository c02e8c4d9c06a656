//! The network in a story: one line a host and purpose, one a denial, one a credential and host, however often each came.

use cofferdam_core::event::{CredentialUsed, EventKind, HttpExchange, Mediation, NetConnect, NetDenied};
use cofferdam_policy::Target;

use crate::network::denied;
use crate::text::{counted, fit, grouped, one_line, size};

/// Most lines of each kind for one command; what comes beyond is only counted.
const OF_COMMAND: usize = 8;
/// The same for what no command is named for.
pub(super) const OF_RUN: usize = 64;
/// Most columns of an error, of a purpose.
const WORDS: usize = 80;

/// What the network came to for a command, or for the agent itself.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    reached: Vec<Reached>,
    denials: Vec<Denial>,
    uses: Vec<Use>,
    /// Requests that were let out.
    pub requests: u64,
    /// What was denied.
    pub denied: u64,
    /// What came for hosts, or was denied for reasons, beyond those that are told one by one.
    pub beyond: u64,
}

/// A host that something was let out to, for one purpose.
#[derive(Clone, Debug, Default)]
struct Reached {
    host: String,
    port: u16,
    purpose: String,
    requests: u64,
    connections: u64,
    relayed: bool,
    sent: u64,
    received: u64,
    failed: u64,
    error: Option<String>,
}

/// What was denied for one reason.
#[derive(Clone, Debug)]
struct Denial {
    host: String,
    port: u16,
    reason: String,
    /// The first of them, in a sentence safe for a terminal.
    text: String,
    count: u64,
}

/// A credential that went out in requests to a host.
#[derive(Clone, Debug)]
struct Use {
    name: String,
    host: String,
    port: u16,
    purpose: String,
    count: u64,
}

/// A line that [`Traffic`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Reached(usize),
    Denial(usize),
    Use(usize),
}

impl Traffic {
    /// Nothing tried to leave.
    pub fn is_empty(&self) -> bool {
        self.reached.is_empty() && self.denials.is_empty() && self.uses.is_empty() && self.beyond == 0
    }

    /// Takes an event of the network that belongs here.
    pub(super) fn take(&mut self, what: &EventKind) {
        self.take_bounded(what, OF_COMMAND);
    }

    /// As [`Traffic::take`] with `most` lines of each kind; the line where it needs a new one.
    pub(super) fn take_bounded(&mut self, what: &EventKind, most: usize) -> Option<Slot> {
        match what {
            EventKind::HttpExchange(exchange) => {
                self.requests += 1;
                self.exchanged(exchange, most)
            }
            EventKind::NetConnect(connect) => self.connected(connect, most),
            EventKind::NetDenied(event) => {
                self.denied += 1;
                self.refused(event, most)
            }
            EventKind::CredentialUsed(used) => self.used(used, most),
            _ => None,
        }
    }

    fn exchanged(&mut self, exchange: &HttpExchange, most: usize) -> Option<Slot> {
        let (host, port) = place(exchange);
        let (at, new) = self.reached(&host, port, &exchange.purpose, most)?;
        let reached = &mut self.reached[at];
        reached.requests += 1;
        reached.fail(exchange.error.as_deref());
        new.then_some(Slot::Reached(at))
    }

    fn connected(&mut self, connect: &NetConnect, most: usize) -> Option<Slot> {
        let (at, new) = self.reached(&connect.host, connect.port, &connect.purpose, most)?;
        let reached = &mut self.reached[at];
        reached.connections += 1;
        reached.relayed |= connect.mediation != Mediation::Http;
        reached.sent = reached.sent.saturating_add(connect.sent);
        reached.received = reached.received.saturating_add(connect.received);
        if connect.exchanges == 0 {
            // Else its requests say it.
            reached.fail(connect.error.as_deref());
        }
        new.then_some(Slot::Reached(at))
    }

    /// The place of a host and purpose, and whether it is new; `None` where there is no room for it.
    fn reached(&mut self, host: &str, port: u16, purpose: &str, most: usize) -> Option<(usize, bool)> {
        let same = |r: &Reached| r.port == port && r.host == host && r.purpose == purpose;
        if let Some(at) = self.reached.iter().position(same) {
            return Some((at, false));
        }
        if self.reached.len() >= most {
            self.beyond += 1;
            return None;
        }
        let (host, purpose) = (host.to_owned(), purpose.to_owned());
        self.reached.push(Reached { host, port, purpose, ..Reached::default() });
        Some((self.reached.len() - 1, true))
    }

    fn refused(&mut self, event: &NetDenied, most: usize) -> Option<Slot> {
        let same = |d: &&mut Denial| d.port == event.port && d.host == event.host && d.reason == event.reason;
        if let Some(known) = self.denials.iter_mut().find(same) {
            known.count += 1;
            return None;
        }
        if self.denials.len() >= most {
            self.beyond += 1;
            return None;
        }
        let allow = event.allow.as_ref().map(|allow| format!(" · {allow}")).unwrap_or_default();
        self.denials.push(Denial {
            host: event.host.clone(),
            port: event.port,
            reason: event.reason.clone(),
            text: fit(&one_line(format!("{}{allow}", denied(event)).as_bytes()), 240),
            count: 1,
        });
        Some(Slot::Denial(self.denials.len() - 1))
    }

    fn used(&mut self, event: &CredentialUsed, most: usize) -> Option<Slot> {
        self.count_use(
            Use {
                name: event.name.clone(),
                host: event.host.clone(),
                port: event.port,
                purpose: event.purpose.clone(),
                count: 1,
            },
            most,
        )
    }

    fn count_use(&mut self, new: Use, most: usize) -> Option<Slot> {
        let key = |u: &Use| (u.name.clone(), u.host.clone(), u.port, u.purpose.clone());
        if let Some(known) = self.uses.iter_mut().find(|known| key(known) == key(&new)) {
            known.count += new.count;
            return None;
        }
        if self.uses.len() >= most {
            self.beyond += new.count;
            return None;
        }
        self.uses.push(new);
        Some(Slot::Use(self.uses.len() - 1))
    }

    /// Counts another command's in.
    pub(super) fn add(&mut self, other: &Traffic) {
        self.requests += other.requests;
        self.denied += other.denied;
        self.beyond += other.beyond;
        for theirs in &other.reached {
            let Some((at, _)) = self.reached(&theirs.host, theirs.port, &theirs.purpose, OF_COMMAND) else { continue };
            self.reached[at].add(theirs);
        }
        for theirs in &other.denials {
            let same = |d: &&mut Denial| (&d.host, d.port, &d.reason) == (&theirs.host, theirs.port, &theirs.reason);
            let full = self.denials.len() >= OF_COMMAND;
            match self.denials.iter_mut().find(same) {
                Some(known) => known.count += theirs.count,
                None if full => self.beyond += theirs.count,
                None => self.denials.push(theirs.clone()),
            }
        }
        for theirs in &other.uses {
            self.count_use(theirs.clone(), OF_COMMAND);
        }
    }

    /// One line, safe for a terminal.
    pub(super) fn line(&self, slot: Slot) -> String {
        match slot {
            Slot::Reached(at) => self.reached.get(at).map(Reached::line).unwrap_or_default(),
            Slot::Denial(at) => self.denials.get(at).map(Denial::line).unwrap_or_default(),
            Slot::Use(at) => self.uses.get(at).map(Use::line).unwrap_or_default(),
        }
    }

    /// What was denied, a line each.
    pub(super) fn denial_lines(&self) -> impl Iterator<Item = String> {
        self.denials.iter().map(Denial::line)
    }

    /// What was let out, a line a host and purpose, and a line a credential.
    pub(super) fn reached_lines(&self) -> impl Iterator<Item = String> {
        self.reached.iter().map(Reached::line).chain(self.uses.iter().map(Use::line))
    }

    /// What names each denial among others: host, port and reason.
    pub(super) fn denial_keys(&self) -> impl Iterator<Item = (&str, u16, &str)> {
        self.denials.iter().map(|d| (d.host.as_str(), d.port, d.reason.as_str()))
    }

    /// The hosts that were reached.
    pub(super) fn host_keys(&self) -> impl Iterator<Item = (&str, u16)> {
        self.reached.iter().map(|r| (r.host.as_str(), r.port))
    }
}

impl Reached {
    fn fail(&mut self, error: Option<&str>) {
        if let Some(error) = error {
            self.failed += 1;
            self.error = Some(fit(error, WORDS));
        }
    }

    fn add(&mut self, other: &Reached) {
        self.requests += other.requests;
        self.connections += other.connections;
        self.relayed |= other.relayed;
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.failed += other.failed;
        self.error = other.error.clone().or(self.error.take());
    }

    fn line(&self) -> String {
        let what = match self.requests {
            0 => counted(self.connections, if self.relayed { "relayed connection" } else { "connection" }),
            requests => counted(requests, "request"),
        };
        let failed = match &self.error {
            Some(error) => format!(", {} failed ({error})", grouped(self.failed)),
            None => String::new(),
        };
        // Known when a connection has ended.
        let bytes = match self.sent + self.received {
            0 => String::new(),
            _ => format!(", {} sent, {} received", size(self.sent), size(self.received)),
        };
        let purpose = fit(&self.purpose, WORDS);
        let text = format!("network {}:{} {what} for \"{purpose}\"{bytes}{failed}", self.host, self.port);
        one_line(text.as_bytes())
    }
}

impl Denial {
    fn line(&self) -> String {
        if self.count > 1 { format!("{} ({} times)", self.text, grouped(self.count)) } else { self.text.clone() }
    }
}

impl Use {
    fn line(&self) -> String {
        let (requests, purpose) = (counted(self.count, "request"), fit(&self.purpose, WORDS));
        let text =
            format!("credential {} used in {requests} to {}:{} for \"{purpose}\"", self.name, self.host, self.port);
        one_line(text.as_bytes())
    }
}

/// Host and port of a request.
pub(super) fn place(exchange: &HttpExchange) -> (String, u16) {
    match Target::parse(&exchange.url) {
        Ok(target) => (target.host.to_owned(), target.port),
        // A secret was struck out of it, or it was cut.
        Err(_) => (fit(&exchange.url, WORDS), 0),
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_core::event::Event;

    use super::*;
    use crate::export::samples::{connect, denial, exchange};
    use crate::story::{Collector, Entry, Story};

    fn story(events: Vec<EventKind>) -> Story {
        let mut collector = Collector::default();
        for (seq, what) in events.into_iter().enumerate() {
            let time = cofferdam_core::Timestamp(1);
            collector.push(Event { seq: seq as u64, time, cause: None, link: None, what });
        }
        collector.finish()
    }

    fn remarks(story: &Story) -> Vec<&str> {
        fn text(entry: &Entry) -> Option<&str> {
            match entry {
                Entry::Remark(remark) => Some(&remark.text),
                _ => None,
            }
        }
        story.entries.iter().filter_map(text).collect()
    }

    #[test]
    fn a_thousand_requests_without_a_command_are_a_line_a_host() {
        let mut events = Vec::new();
        for n in 0..1000 {
            let host = if n % 2 == 0 { "a.example" } else { "b.example" };
            events.push(exchange("GET", &format!("https://{host}/{n}"), "fetch"));
            events.push(connect(host, 443, 1, None));
            events.push(denial("evil.example", "no-rule"));
        }
        events.push(connect("a.example", 443, 0, Some("reset")));
        events.extend((0..100).map(|n| denial(&format!("h{n}.example"), "no-rule")));
        let story = story(events);
        let texts = remarks(&story);
        assert_eq!(texts.len(), 2 + OF_RUN + 1);
        assert!(texts[0].starts_with("network a.example:443 500 requests for \"fetch\", 5.0 kB sent"), "{}", texts[0]);
        assert!(texts[0].ends_with("1 failed (reset)"), "{}", texts[0]);
        assert!(texts[1].ends_with("coffer run --allow x (1,000 times)"), "{}", texts[1]);
        assert!(texts.last().unwrap().starts_with("37 more connections and denials"), "{:?}", texts.last());
        let total = story.network.line(3).unwrap();
        assert_eq!(
            total,
            "1,000 requests to 2 hosts, 10.0 kB up, 1.0 MB down · 1,100 denied (evil.example: no-rule, …) · \
             3 datagrams refused"
        );
    }

    fn used(host: &str) -> EventKind {
        EventKind::CredentialUsed(CredentialUsed {
            name: "github".to_owned(),
            purpose: "open pull requests".to_owned(),
            connection: 1,
            host: host.to_owned(),
            port: 443,
            header: "authorization".to_owned(),
            placeholder: true,
        })
    }

    #[test]
    fn a_thousand_uses_of_a_credential_are_a_line_a_host() {
        let story = story((0..1000).map(|n| used(if n % 2 == 0 { "a.example" } else { "b.example" })).collect());
        let texts = remarks(&story);
        assert_eq!(texts.len(), 2);
        assert_eq!(texts[0], "credential github used in 500 requests to a.example:443 for \"open pull requests\"");
    }

    #[test]
    fn purposes_are_told_apart_and_what_is_added_is_the_same_as_what_is_taken() {
        let events = [
            exchange("GET", "https://a.example/1", "read"),
            exchange("POST", "https://a.example/1", "write"),
            connect("a.example", 443, 2, None),
            denial("evil.example", "no-rule"),
            denial("evil.example", "port"),
            used("a.example"),
        ];
        let mut one = Traffic::default();
        let mut two = Traffic::default();
        for event in events.iter().chain(&events) {
            one.take(event);
        }
        let mut half = Traffic::default();
        events.iter().for_each(|event| half.take(event));
        two.add(&half);
        two.add(&half);
        let lines = |t: &Traffic| t.reached_lines().chain(t.denial_lines()).collect::<Vec<_>>();
        assert_eq!(lines(&one), lines(&two));
        assert_eq!((two.requests, two.denied, lines(&two).len()), (4, 4, 6));
    }

    #[test]
    fn what_a_host_is_called_does_not_act_on_a_terminal() {
        let mut traffic = Traffic::default();
        traffic.take(&denial("a\u{1b}[2J\nb", "no\u{202e}rule"));
        traffic.take(&exchange("GET", "https://x\u{1b}]0;/\n", "p\u{1b}[1m"));
        for line in traffic.denial_lines().chain(traffic.reached_lines()) {
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
    }
}
