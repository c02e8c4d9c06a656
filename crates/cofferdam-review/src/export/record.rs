//! The evidence of a run, opened for export.

use std::io::Read;
use std::path::{Path, PathBuf};

use cofferdam_core::Timestamp;
use cofferdam_core::event::{BlobRef, Event, EventKind, RunAgent, RunEnded, RunStarted};
use cofferdam_evidence::{BlobStore, Commitment, Error, Events, Options, Report, SignedBy, State, VerifierKey, verify};

use super::{ExportError, Result};
use crate::Heads;
use crate::story::{Collector, Story};

/// Evidence that was verified when it was opened. What came into the log later is not seen.
#[derive(Debug)]
pub struct Record {
    directory: PathBuf,
    blobs: BlobStore,
    report: Report,
}

/// What is left of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its first bytes, and whether these are all.
    Kept {
        /// The bytes.
        bytes: Vec<u8>,
        /// Nothing was cut.
        whole: bool,
    },
    /// It is not there, or not what it was; a clause that says which.
    Gone(String),
}

/// Both ends of a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Its last bytes.
    pub tail: Vec<u8>,
    /// How many lie between them.
    pub between: u64,
}

/// The frame of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// When it started.
    pub began: Timestamp,
    /// `run.started`.
    pub started: RunStarted,
    /// When and how it ended; absent where no event says so.
    pub ended: Option<(Timestamp, RunEnded)>,
    /// The known agent that it was of.
    pub agent: Option<RunAgent>,
}

impl Summary {
    /// The agent with its version, as its profile and package name them.
    pub fn agent_in_words(&self) -> Option<String> {
        self.agent.as_ref().map(crate::model::agent)
    }
}

impl Record {
    /// Opens an evidence directory and verifies it, blobs too. `trusted` is the key that the person trusts.
    ///
    /// # Errors
    /// Where it cannot be read. What does not verify is no error: [`Record::report`] says it.
    pub fn open(evidence: &Path, trusted: Option<&VerifierKey>) -> Result<Record> {
        Self::open_with(evidence, &Options { trusted, ..Options::default() })
    }

    /// As [`Record::open`], without a look into the blobs.
    ///
    /// # Errors
    /// As there.
    pub fn open_log(evidence: &Path, trusted: Option<&VerifierKey>) -> Result<Record> {
        Self::open_with(evidence, &Options { trusted, blobs: false, ..Options::default() })
    }

    fn open_with(evidence: &Path, options: &Options<'_>) -> Result<Record> {
        let report = verify(evidence, options)?;
        Ok(Record { directory: evidence.to_owned(), blobs: BlobStore::open(evidence)?, report })
    }

    /// What the verification found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The verification in one word: `verified`, `cut` or `tampered`.
    pub fn state(&self) -> &'static str {
        match self.report.state {
            State::Verified => "verified",
            State::Cut => "cut",
            State::Tampered(_) => "tampered",
        }
    }

    /// Whose signatures were checked, in the words of `coffer verify --json`.
    pub fn signed_by(&self) -> &'static str {
        match self.report.signed_by {
            SignedBy::Trusted(_) => "trusted-key",
            SignedBy::Claimed(_) => "the-runs-own-key",
            SignedBy::Nobody => "nobody",
        }
    }

    /// The commitment of a run whose every event is signed by the key that the person trusts.
    ///
    /// # Errors
    /// [`ExportError::NotVerified`].
    pub fn vouched(&self, summary: &Summary) -> Result<Commitment> {
        let run = summary.started.run.to_string();
        let why = match (&self.report.state, &self.report.signed_by, self.report.commitment) {
            (State::Verified, SignedBy::Trusted(_), Some(commitment)) => return Ok(commitment),
            (State::Verified, ..) => "it is signed by another key than this store's".to_owned(),
            (State::Cut, ..) if summary.ended.is_none() => "the run has not ended".to_owned(),
            (State::Cut, ..) => "the record stops early".to_owned(),
            (State::Tampered(fault), ..) => fault.to_string(),
        };
        Err(ExportError::NotVerified { run, why })
    }

    /// The events that were verified, in order; of a log that was tampered with, those before the fault.
    ///
    /// # Errors
    /// Where the log cannot be opened.
    pub fn events(&self) -> Result<impl Iterator<Item = Result<Event>>> {
        Ok(self.lines()?.take(self.count()).map(|event| Ok(event?)))
    }

    /// Calls `each` with the bytes of each event's line, and the event.
    pub(super) fn each_line(&self, mut each: impl FnMut(&[u8], Event) -> Result<()>) -> Result<()> {
        let mut lines = self.lines()?;
        for _ in 0..self.count() {
            let Some(event) = lines.next() else { break };
            each(lines.raw(), event?)?;
        }
        Ok(())
    }

    /// The story of those events.
    pub(super) fn story(&self) -> Result<Story> {
        let mut collector = Collector::new(Heads::from(BlobStore::open(&self.directory)?));
        for event in self.events()? {
            collector.push(event?);
        }
        Ok(collector.finish())
    }

    fn lines(&self) -> Result<Events> {
        Ok(cofferdam_evidence::read_events(&self.directory)?)
    }

    fn count(&self) -> usize {
        usize::try_from(self.report.events).unwrap_or(usize::MAX)
    }

    /// Beginning and end of the run.
    ///
    /// # Errors
    /// [`ExportError::NoRun`], or where the log cannot be read.
    pub fn summary(&self) -> Result<Summary> {
        let mut summary = None;
        for event in self.events()? {
            let Event { time, what, .. } = event?;
            match (what, &mut summary) {
                (EventKind::RunStarted(started), None) => {
                    summary = Some(Summary { began: time, started, ended: None, agent: None });
                }
                (_, None) => break,
                (EventKind::RunAgent(agent), Some(summary)) => summary.agent = Some(agent),
                (EventKind::RunEnded(facts), Some(summary)) => summary.ended = Some((time, facts)),
                _ => {}
            }
        }
        summary.ok_or(ExportError::NoRun)
    }

    /// The first `most` bytes of a blob.
    ///
    /// # Errors
    /// Where the system refuses; a blob that is gone or damaged is none.
    pub fn content(&self, blob: &BlobRef, most: u64) -> Result<Content> {
        let reader = match self.blobs.get(blob) {
            Ok(reader) => reader,
            Err(Error::BlobMissing { removed: true, .. }) => return Ok(Content::Gone("was removed on purpose".into())),
            Err(Error::BlobMissing { .. }) => return Ok(Content::Gone("is missing".into())),
            Err(e @ (Error::BlobContent { .. } | Error::NotRegular { .. })) => return Ok(Content::Gone(damaged(&e))),
            Err(e) => return Err(e.into()),
        };
        let mut bytes = Vec::new();
        match reader.take(most).read_to_end(&mut bytes) {
            Ok(_) => Ok(Content::Kept { whole: blob.size <= most, bytes }),
            Err(e) => Ok(Content::Gone(damaged(&e))),
        }
    }

    /// The first `head` bytes of a blob and the last `tail` of the others; the inner error is what became of it, as a
    /// clause.
    pub(super) fn ends(&self, blob: &BlobRef, head: usize, tail: usize) -> Result<std::result::Result<Ends, String>> {
        let mut reader = match self.blobs.get(blob) {
            Ok(reader) => reader,
            Err(_) => {
                return Ok(match self.content(blob, 0)? {
                    Content::Gone(why) => Err(why),
                    Content::Kept { .. } => Err("cannot be read".into()),
                });
            }
        };
        let mut ends = Ends::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => return Ok(Ok(ends)),
                Ok(n) => n,
                Err(e) => return Ok(Err(damaged(&e))),
            };
            let (first, rest) = buffer[..n].split_at(n.min(head - ends.head.len()));
            ends.head.extend_from_slice(first);
            ends.tail.extend_from_slice(rest);
            let over = ends.tail.len().saturating_sub(tail);
            ends.between += over as u64;
            ends.tail.drain(..over);
        }
    }

    /// A blob as a stream, verified on the way.
    pub(super) fn blob(&self, blob: &BlobRef) -> std::result::Result<cofferdam_evidence::BlobReader, Error> {
        self.blobs.get(blob)
    }
}

fn damaged(e: &dyn std::fmt::Display) -> String {
    format!("cannot be read: {e}")
}

/// The blobs that an event names.
pub(super) fn blobs_of(what: &EventKind) -> Vec<&BlobRef> {
    match what {
        EventKind::Prompt(prompt) => vec![&prompt.text],
        EventKind::ProcessExec(exec) => exec.arguments.iter().collect(),
        EventKind::CommandOutput(output) => vec![&output.blob],
        EventKind::FileChanged(change) => change.version.iter().collect(),
        EventKind::HttpExchange(exchange) => exchange.sent.kept.iter().chain(&exchange.received.kept).collect(),
        EventKind::PromotionApplied(p) | EventKind::PromotionAborted(p) | EventKind::PromotionUndone(p) => {
            p.paths.iter().filter_map(|change| change.version.as_ref()).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_evidence::BlobStore;

    use super::*;
    use crate::export::samples::Sample;

    #[test]
    fn both_ends_of_a_blob() {
        let sample = Sample::bare();
        let text: Vec<u8> = (0..200_000u32).flat_map(|n| n.to_le_bytes()).collect();
        let store = BlobStore::open(sample.dir()).unwrap();
        let blob = store.put(&text[..]).unwrap();
        let record = sample.record();
        let ends = |head, tail| record.ends(&blob, head, tail).unwrap().unwrap();
        let both = ends(70_000, 10);
        assert_eq!((&both.head[..], &both.tail[..]), (&text[..70_000], &text[text.len() - 10..]));
        assert_eq!(both.between, 800_000 - 70_010);
        assert_eq!(ends(usize::MAX, 10), Ends { head: text.clone(), ..Ends::default() });
        let joined = ends(100, 1 << 20);
        assert_eq!(([joined.head, joined.tail].concat(), joined.between), (text, 0));
        store.remove(&blob, "private").unwrap();
        assert_eq!(record.ends(&blob, 1, 1).unwrap(), Err("was removed on purpose".into()));
    }
}
