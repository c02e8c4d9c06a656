//! The evidence of a run, opened for export.

use std::io::Read;
use std::path::{Path, PathBuf};

use cofferdam_core::Timestamp;
use cofferdam_core::event::{BlobRef, Event, EventKind, RunEnded, RunStarted};
use cofferdam_evidence::{BlobStore, Commitment, Error, Events, Options, Report, SignedBy, State, VerifierKey, verify};

use super::{ExportError, Result};

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

/// The frame of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// When it started.
    pub began: Timestamp,
    /// `run.started`.
    pub started: RunStarted,
    /// When and how it ended; absent where no event says so.
    pub ended: Option<(Timestamp, RunEnded)>,
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
                    summary = Some(Summary { began: time, started, ended: None });
                }
                (_, None) => break,
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
        EventKind::PromotionApplied(p) | EventKind::PromotionAborted(p) | EventKind::PromotionUndone(p) => {
            p.paths.iter().filter_map(|change| change.version.as_ref()).collect()
        }
        _ => Vec::new(),
    }
}
