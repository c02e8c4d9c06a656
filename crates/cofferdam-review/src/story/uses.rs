//! Credentials in a story: one line a credential and host, however many requests carried it.

use cofferdam_core::event::CredentialUsed;

use crate::text::{counted, fit, one_line};

/// Most lines; what comes beyond is only counted.
const MOST: usize = 64;

/// What was used where, how often, and which entry of the story tells it.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses {
    each: Vec<(CredentialUsed, u64, usize)>,
    /// Uses that no line tells of.
    pub(super) beyond: u64,
}

impl Uses {
    /// Takes a use. `true` where the story needs a new line, which is its `line`th entry.
    pub(super) fn take(&mut self, used: CredentialUsed, line: usize) -> bool {
        let same = |(known, ..): &&mut (CredentialUsed, u64, usize)| {
            (&known.name, &known.host, known.port, &known.purpose) == (&used.name, &used.host, used.port, &used.purpose)
        };
        if let Some((_, count, _)) = self.each.iter_mut().find(same) {
            *count += 1;
            return false;
        }
        if self.each.len() >= MOST {
            self.beyond += 1;
            return false;
        }
        self.each.push((used, 1, line));
        true
    }

    /// The lines, by the entries that they are of.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        self.each.iter().map(|(used, count, line)| {
            let CredentialUsed { name, host, port, purpose, .. } = used;
            let requests = counted(*count, "request");
            let text = format!("credential {name} used in {requests} to {host}:{port} · for \"{purpose}\"");
            (*line, fit(&one_line(text.as_bytes()), 240))
        })
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_core::event::{Event, EventKind};

    use super::*;
    use crate::story::{Collector, Entry};

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
}
