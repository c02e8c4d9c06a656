//! Where what the gateway says is written down.

use std::io::Read;

use cofferdam_core::event::{BlobRef, EventKind, Link};
use cofferdam_evidence::{Refused, Striker};

use super::record::{RecordError, Recorder};

/// A run's evidence, as far as its network needs it.
pub(super) trait Book {
    /// Appends an event; its number.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn append(&mut self, cause: Option<(u64, Link)>, what: EventKind) -> Result<u64, RecordError>;

    /// Keeps content.
    ///
    /// # Errors
    /// Where it cannot be read or written.
    fn keep(&self, content: &mut dyn Read) -> Result<BlobRef, RecordError>;

    /// The `model.request` of this number in the log holds a turn of the person's, cut from this many bytes: it is a prompt,
    /// unless another one of the run holds the same text.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn prompted(&mut self, request: u64, text: &[u8], bytes: u64) -> Result<(), RecordError>;

    /// From now on this value is struck out of everything too, unless it cannot be.
    ///
    /// # Errors
    /// Where what strikes cannot be made.
    fn learn(&mut self, name: &str, value: &[u8]) -> Result<Result<(), Refused>, RecordError>;

    /// What strikes by now.
    fn striker(&self) -> Striker;
}

impl Book for Recorder {
    fn append(&mut self, cause: Option<(u64, Link)>, what: EventKind) -> Result<u64, RecordError> {
        Recorder::append(self, cause, what)
    }

    fn keep(&self, content: &mut dyn Read) -> Result<BlobRef, RecordError> {
        Ok(self.blobs().put(content)?)
    }

    fn prompted(&mut self, request: u64, text: &[u8], bytes: u64) -> Result<(), RecordError> {
        Recorder::prompted(self, request, text, bytes)
    }

    fn learn(&mut self, name: &str, value: &[u8]) -> Result<Result<(), Refused>, RecordError> {
        Recorder::learn(self, name, value)
    }

    fn striker(&self) -> Striker {
        Recorder::striker(self)
    }
}
