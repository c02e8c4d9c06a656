//! Where what the gateway says is written down.

use std::io::Read;

use cofferdam_core::event::{BlobRef, EventKind, Link};

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
}

impl Book for Recorder {
    fn append(&mut self, cause: Option<(u64, Link)>, what: EventKind) -> Result<u64, RecordError> {
        Recorder::append(self, cause, what)
    }

    fn keep(&self, content: &mut dyn Read) -> Result<BlobRef, RecordError> {
        Ok(self.blobs().put(content)?)
    }
}
